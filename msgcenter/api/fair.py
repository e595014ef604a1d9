"""Fair queueing: requests wait by caller and begin in turns, a few in each turn of the event loop, so a caller that floods waits
behind itself; who would wait long is refused at once.

A request takes its turn when its key is known and before anything else is done for it: no body read, no signature checked. What
is refused takes its turn too, so refusals displace nobody either.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from msgcenter.api.problems import Problem
from msgcenter.clock import Clock

AT_ONCE = 8
"""Requests that begin in one turn of the event loop: about a millisecond's work, the most that a caller waits for others."""
MOST = 1000
"""Requests that wait in one process; each holds no more of its body than the socket's buffer."""
LONGEST_S = 2.0
"""Who has waited longer is refused instead of served, and a line whose first has takes nobody more: a quick no is worth more than an
answer after the client's patience, and by refusing the line gets short again."""
RETRY_S = 2.0
FULL = "the backlog is full"


@dataclass(frozen=True, slots=True)
class _Waiting:
    future: asyncio.Future[None]
    since: float


class FairQueue:
    """One per process. `await turn(caller)` before the work."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lines: dict[str, deque[_Waiting]] = {}
        self._turns: deque[str] = deque()
        self._count = 0
        self._begun = 0
        """Requests that began in this turn of the event loop."""

    @property
    def waiting(self) -> int:
        """Requests that wait for their turn."""
        return self._count

    async def turn(self, caller: str) -> None:
        """Return when it is the caller's turn, nearly always at once. Raises Problem overloaded, caller_overloaded."""
        if not self._count and self._begun < AT_ONCE:
            self._begin()
            return
        line = self._lines.get(caller)
        now = self._clock.monotonic()
        own, others = len(line or ()), len(self._lines) - (line is not None)
        refuse_over_share(own, others, self._count, 1, MOST)
        if line and now - line[0].since > LONGEST_S:
            raise refused_late(own, others, self._count)
        if line is None:
            line = self._lines[caller] = deque()
            self._turns.append(caller)
        waiting = _Waiting(asyncio.get_running_loop().create_future(), now)
        line.append(waiting)
        self._count += 1
        await waiting.future
        if self._clock.monotonic() - now > LONGEST_S:
            raise refused_late(own, others, self._count)

    def _begin(self) -> None:
        if not self._begun:
            asyncio.get_running_loop().call_soon(self._next)
        self._begun += 1

    def _next(self) -> None:
        """The next turn of the event loop: whoever is first in the next lines. Who has gone meanwhile takes no turn."""
        self._begun = 0
        while self._turns and self._begun < AT_ONCE:
            caller = self._turns.popleft()
            line = self._lines[caller]
            waiting = line.popleft()
            self._count -= 1
            if not waiting.future.done():
                waiting.future.set_result(None)
                self._begin()
            if line:
                self._turns.append(caller)
            else:
                del self._lines[caller]


def refuse_over_share(own: int, others: int, waiting: int, more: int, most: int) -> None:
    """How callers share a queue of `most` places: while `waiting` and `more` fit, anybody gets in; when it is full only a caller
    whose `own` stay below an equal share with the `others` that wait, up to twice the bound.

    Raises Problem `caller_overloaded` (above its share) or `overloaded`.
    """
    if not waiting or waiting + more <= most:
        return
    if others and own + more > most // (others + 1):
        raise Problem("caller_overloaded", retry_after=RETRY_S, count=own)
    if (not others and own) or waiting + more > 2 * most:
        raise Problem("overloaded", retry_after=RETRY_S, why=FULL)


def refused_late(own: int, others: int, waiting: int) -> Problem:
    """What a caller is told whose line takes too long: its own doing when it holds more than an equal share of what waits."""
    if others and own > waiting // (others + 1):
        return Problem("caller_overloaded", retry_after=RETRY_S, count=own)
    return Problem("overloaded", retry_after=RETRY_S, why=FULL)
