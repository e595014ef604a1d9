"""Reask: after an edit of the rules, what the old ones hold is decided anew at once, not when it would have been let out."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any, Protocol

from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.store import StoreError

NOT_OURS = ("send_at", "retry", "plan_wait", "plan_end")
"""Rules of due rows that no policy made."""
LOOKS = 3


class DueRows(Protocol):
    async def hasten_due(self, at_ms: int, *, but: Sequence[str]) -> int: ...


def ruled(config: Config) -> tuple[object, ...]:
    """What of a configuration can change a decision about a held message."""
    return (config.policy, config.words, config.holidays, dict(config.cities), config.routes)


async def reask(store: DueRows, clock: Clock, log: Any, new: Config, stop: asyncio.Event) -> None:
    """Twice more after a while: a process that has not taken the edit yet would hold them again by the old rules."""
    for look in range(LOOKS):
        if look:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(2 * new.process.reload.poll):
                    await stop.wait()
        if stop.is_set():
            return
        try:
            count = await store.hasten_due(clock.now_ms(), but=NOT_OURS)
        except StoreError as error:
            log.warning("held_messages_not_asked_again", error=error)
        else:
            log.info("held_messages_asked_again", messages=count, generation=new.generation)
