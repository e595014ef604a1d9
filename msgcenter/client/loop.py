"""Loop: an event loop in a thread of its own, so that code without one can use what needs it; safe to call from any thread but
that one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """Runs coroutines to their end. The thread ends with `_stop`, or with the process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="msgcenter-client", daemon=True
        )
        self._thread.start()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Raises whatever the work raises, RuntimeError once closed."""
        if self._loop.is_closed():
            work.close()
            raise RuntimeError("the client is closed")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # also a KeyboardInterrupt of the caller: the work must not go on alone
            future.cancel()
            raise

    def _each(self, items: AsyncIterator[T]) -> Iterator[T]:
        """One item at a time; nothing is read ahead."""

        async def following() -> tuple[bool, Any]:
            try:
                return True, await anext(items)
            except StopAsyncIteration:
                return False, None

        async def ended() -> None:
            if (close := getattr(items, "aclose", None)) is not None:
                await close()

        try:
            while True:
                more, item = self._run(following())
                if not more:
                    return
                yield item
        finally:
            if not self._loop.is_closed():
                self._run(ended())

    def _stop(self) -> None:
        if self._loop.is_closed():
            return
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
