"""Holds: which accounts of a channel are left alone for a while, so that one in trouble costs the others nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from msgcenter.clock import Clock
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown

FIRST_S, LAST_S = 5.0, 60.0
"""A hold doubles from the first to the last with every failure in a row, unless the far end names its own wait."""
PROBE_S = 5.0
"""After a hold one message goes ahead to try; the others wait for its answer, this long at most."""
UNKNOWNS = 3
"""So many lost answers in a row, and the account is held: each may have cost a whole time-out."""


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    unknowns: int = 0
    until: float = 0.0
    probe: float = 0.0
    detail: str = ""


class Holds:
    """One per channel and process: what the far end said of one message of an account goes for its other ones."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._trouble: dict[str, _Trouble] = {}

    def remaining(self, account: str) -> tuple[float, str]:
        """Seconds that the account is held, 0 = not; and why."""
        trouble = self._trouble.get(account)
        if trouble is None:
            return 0.0, ""
        return max(0.0, trouble.until - self._clock.monotonic()), trouble.detail

    def probe(self, account: str) -> tuple[float, str]:
        """A message of this account would go out now: (0, "") if it may. After a hold the first one tries for all, and the others
        are told how long they wait for its answer at most, and why."""
        trouble = self._trouble.get(account)
        if trouble is None or not trouble.failures:
            return 0.0, ""
        now = self._clock.monotonic()
        if trouble.probe > now:
            return trouble.probe - now, trouble.detail
        trouble.probe = now + PROBE_S
        return 0.0, ""

    def learn(self, outcomes: Iterable[tuple[str, Outcome]]) -> None:
        """(account, outcome) of what was just handed over. A success ends the trouble. What was in flight together fails
        once: while the account is held already, more failures do not prolong it."""
        now = self._clock.monotonic()
        for account, outcome in outcomes:
            match outcome:
                case Retry(scope="account", after=after, detail=detail):
                    self._hold(account, now, after, detail)
                case Unknown(detail=detail):
                    trouble = self._trouble.setdefault(account, _Trouble())
                    trouble.unknowns += 1
                    if trouble.unknowns >= UNKNOWNS:
                        self._hold(account, now, 0.0, detail)
                case Sent() | Rejected(scope="message" | "recipient"):
                    self._trouble.pop(account, None)
                case _:
                    continue

    def _hold(self, account: str, now: float, after: float, detail: str) -> None:
        trouble = self._trouble.setdefault(account, _Trouble())
        if trouble.until > now:
            return
        trouble.failures += 1
        backoff = min(FIRST_S * 2 ** min(trouble.failures - 1, 10), LAST_S)
        trouble.until = now + (after or backoff)
        trouble.probe = 0.0
        trouble.detail = detail
