"""A clock that runs like another one and can be pushed forward; whoever sleeps on it wakes when his time is jumped over."""

from __future__ import annotations

import asyncio

from msgcenter.clock import Clock


class JumpClock:
    """`Clock` plus `jump(seconds)`."""

    def __init__(self, inner: Clock) -> None:
        self._inner = inner
        self._ahead = 0.0
        self._jumped = asyncio.Event()

    def now_ms(self) -> int:
        return self._inner.now_ms() + round(self._ahead * 1000)

    def monotonic(self) -> float:
        return self._inner.monotonic() + self._ahead

    async def sleep(self, seconds: float) -> None:
        until = self.monotonic() + seconds
        while (left := until - self.monotonic()) > 0:
            waits = (
                asyncio.ensure_future(self._inner.sleep(left)),
                asyncio.ensure_future(self._jumped.wait()),
            )
            try:
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for wait in waits:
                    wait.cancel()

    def jump(self, seconds: float) -> None:
        """Raises ValueError for a jump backwards."""
        if seconds < 0:
            raise ValueError("time only goes forward")
        self._ahead += seconds
        self._jumped.set()
        self._jumped = asyncio.Event()
