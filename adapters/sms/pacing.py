"""How fast a supplier is written to: a bound that flow control halves and time gives back slowly
(additive increase, multiplicative decrease), shared by its connections.
"""

from __future__ import annotations

from math import floor, inf

_MEASURE_S = 0.5
_LEAST = 20.0
"""Parts a second below which a supplier's own rate is not believed to lie."""


class Pace:
    """Parts a second. Without a bound of its own it knows only what flow control has taught it.

    `most` 0 = no bound. After `slow_down` the rate is half of what it was (never below a twentieth
    of the rate at the first one) and comes back in `recover_s`, in a straight line. A burst of a
    tenth of a second is allowed.
    """

    def __init__(self, most: float, *, recover_s: float = 30.0, hold_s: float = 1.0) -> None:
        self._most = most or inf
        self._recover_s = recover_s
        self._hold_s = max(hold_s, _MEASURE_S)
        """Refusals within this time of a halving say nothing of the rate after it."""
        self._rate = self._most
        self._full = inf
        """The rate that recovery leads back to; above it an unbounded pace is unbounded again."""
        self._tokens = max(1.0, self._most / 10) if self._most < inf else 0.0
        self._then = 0.0
        self._slowed_at = -inf
        self._since = 0.0
        self._taken = 0
        self._measured = 0.0

    @property
    def rate(self) -> float:
        """What is allowed now; infinite without any bound."""
        return self._rate

    def bound(self, most: float) -> None:
        """Another bound from now on; what was slowed down stays so and recovers to it."""
        self._most = most or inf
        if self._full == inf:
            self._rate = self._most
        else:
            self._full = min(self._full, self._most)
            self._rate = min(self._rate, self._most)

    def room(self, now: float) -> float:
        """How many may be written now; tell `took` how many were."""
        if now - self._since >= _MEASURE_S:
            self._measured = self._taken / (now - self._since)
            self._since, self._taken = now, 0
        if self._rate == inf:
            return inf
        passed = max(0.0, now - self._then)
        self._then = now
        if self._full < inf:
            self._recover(passed)
            if self._rate == inf:
                return inf
        rate = self._rate
        self._tokens = min(max(1.0, rate / 10), self._tokens + passed * rate)
        return floor(self._tokens)

    def took(self, count: int) -> None:
        """So many of those were written."""
        self._taken += count
        if self._rate < inf:
            self._tokens -= count

    @property
    def wait(self) -> float:
        """Seconds until there is room for one; 0 = now."""
        return max(0.0, 1.0 - self._tokens) / self._rate if self._rate < inf else 0.0

    def slow_down(self, now: float) -> bool:
        """Flow control was met: halve the rate, once for all refusals of one moment."""
        if now - self._slowed_at < self._hold_s:
            return False
        self._slowed_at = now
        if self._full == inf:
            current = self._taken / max(now - self._since, 0.1)
            full = min(self._most, max(self._measured, current, _LEAST))
            self._full = full
            self._rate = min(self._rate, full)
            self._tokens = 0.0
        else:
            self._recover(max(0.0, now - self._then))
            if self._full == inf:  # it had recovered, unnoticed for want of traffic
                self._full = self._rate = min(self._most, max(self._measured, _LEAST))
        self._then = now
        self._rate = max(self._rate / 2, self._full / 20)
        return True

    def _recover(self, passed: float) -> None:
        self._rate += passed * self._full / 2 / self._recover_s
        if self._rate >= self._full:
            self._rate, self._full = self._most, inf
