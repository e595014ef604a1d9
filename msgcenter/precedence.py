"""Precedence: in one process, the work of a lower lane steps aside while a higher one has messages in hand, and is never starved.

All workers of a process share its one event loop and its one processor core: a lane that waits in a queue of its own still waits
behind whatever bulk is being worked. So bulk works in small pieces and gives way between two of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from msgcenter.bus import Lane
from msgcenter.clock import Clock

RANKS: dict[Lane, int] = {"conv": 0, "urgent": 0, "normal": 1, "bulk": 2}
BEHIND = RANKS["bulk"]
"""The rank of what is written down about messages."""
LONGEST_S = 0.1
"""One giving way lasts no longer. A piece of work takes about a tenth of it, so the lowest rank keeps its tenth."""
FRESH_S = 0.25
"""So long a lease counts as in hand: what still waits then waits for a far end, not for this process."""
PIECE = 25
"""Messages that a rank which gives way works at a time."""


class Precedence:
    """`with in_hand(rank)` around the work; `await give_way(rank)` between two pieces of it. One for each process."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: tuple[dict[int, float], ...] = tuple(
            {} for _ in range(1 + max(RANKS.values()))
        )
        self._number = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    @contextmanager
    def in_hand(self, rank: int) -> Iterator[None]:
        """This work goes before that of greater ranks."""
        self._number += 1
        number = self._number
        self._since[rank][number] = self._clock.monotonic()
        try:
            yield
        finally:
            del self._since[rank][number]
            self._wake()

    async def give_way(self, rank: int) -> None:
        """Returns at once when nothing of a smaller rank is in hand; otherwise when that is done, `LONGEST_S` at the most."""
        wait = min(LONGEST_S, self._free_at(rank) - self._clock.monotonic())
        if wait <= 0:
            await asyncio.sleep(0)  # what has just come in is read before the next piece
            return
        future = asyncio.get_running_loop().create_future()
        self._waiting[future] = rank
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await future
        finally:
            self._waiting.pop(future, None)

    def _free_at(self, rank: int) -> float:
        """When the freshest work of a smaller rank counts no longer; 0 = there is none."""
        return max(
            (at + FRESH_S for higher in self._since[:rank] for at in higher.values()), default=0.0
        )

    def _wake(self) -> None:
        if not self._waiting:
            return
        now = self._clock.monotonic()
        for future, rank in self._waiting.items():
            if self._free_at(rank) <= now and not future.done():
                future.set_result(None)
