"""Files that people sent, on their way home beside the lane that asked for them: a slow one delays no other conversation.

A doorbell waits for its file a moment. If the file takes longer it goes on coming, and the doorbell, which stays durable, looks
again; in another process it is begun anew, and what arrives twice has one id.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

from msgcenter.adapter import Retry
from protocols.outcome import Outcome
from protocols.payload import Pull

MOMENT_S = 1.5
LOOK_AGAIN_S = 3.0
"""Longer than the core tries in place: meanwhile the doorbell is parked, and the lane free."""
MOST = 32
"""Files under way at once, in each process of a channel."""
CODE = "file_under_way"


class Fetching:
    """`await fetching(pull, fetch)` answers the doorbell, inside `open`."""

    def __init__(self, moment_s: float = MOMENT_S) -> None:
        self._moment_s = moment_s
        self._under_way: dict[str, asyncio.Task[Outcome]] = {}

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """What is under way at the end is given up; its doorbell has it begun anew."""
        try:
            yield
        finally:
            tasks = list(self._under_way.values())
            self._under_way.clear()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def __call__(
        self, pull: Pull, fetch: Callable[[], Coroutine[Any, Any, Outcome]]
    ) -> Outcome:
        """What `fetch` answers (or raises), once for all who ask under this source; Retry while that is not known."""
        task = self._under_way.get(pull.source)
        if task is None:
            if len(self._under_way) >= MOST and not self._dropped():
                told = f"{MOST} files are under way"
                return Retry("message", told, LOOK_AGAIN_S, CODE)
            task = asyncio.get_running_loop().create_task(fetch())
            self._under_way[pull.source] = task
        await asyncio.wait((task,), timeout=self._moment_s)
        if not task.done():
            return Retry("message", "the file is still coming", LOOK_AGAIN_S, CODE)
        self._under_way.pop(pull.source, None)
        if task.cancelled():  # the session ended
            return Retry("message", "the file was not fetched to its end", LOOK_AGAIN_S, CODE)
        return task.result()

    def _dropped(self) -> bool:
        """Make room: forget what came, and whose doorbell is answered elsewhere by now."""
        done = [source for source, task in self._under_way.items() if task.done()]
        for source in done:
            task = self._under_way.pop(source)
            if not task.cancelled():
                task.exception()  # seen: its doorbell tries again wherever it is
        return bool(done)
