"""Suspects: parked messages that may be what kills the process that works them, counted in State, which outlives it.

A process that is killed says nothing. So before it begins what it has not yet seen through, it writes that down, and takes
it back afterwards; whoever comes next finds what was never taken back. Work that killed `CAREFUL_FROM` processes in a row
is done message by message from then on, and a message that was begun `DEATHS` times and never ended is given up.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Protocol

import msgpack

CAREFUL_FROM = 3
DEATHS = 3
KILLS = f"begun {DEATHS} times on its own, and each time its process died"
KEPT_S = 7 * 86_400.0


class Memory(Protocol):
    """The part of State that keeps small values. Both raise StateError."""

    async def memo(self, keys: Sequence[str]) -> list[bytes | None]: ...

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None: ...


class Suspects:
    """Of one queue, kept by the one process that works it; all methods raise StateError."""

    def __init__(self, queue: str, memory: Memory) -> None:
        self._key = f"suspects\x1f{queue}"
        self._memory = memory
        self._known = False
        self._deaths = 0
        self._row = ""
        self._begun = 0
        self.unproven: set[str] = set()
        """Keys whose parked messages this process has not yet seen through."""

    @property
    def careful(self) -> bool:
        """Whether what is unproven is to be worked message by message."""
        return self._deaths >= CAREFUL_FROM

    async def begin(self, keys: Iterable[str]) -> None:
        """Before anything else: what was parked when this process came. Later calls change nothing."""
        if self._known:
            return
        [kept] = await self._memory.memo([self._key])
        if kept:
            self._deaths, self._row, self._begun = msgpack.unpackb(kept)
        self.unproven.update(keys)
        self._known = True

    async def accuse(self, keys: Iterable[str]) -> None:
        """These came in frames that were never settled, however often they were delivered."""
        self._deaths = max(self._deaths, CAREFUL_FROM)
        await self._note(self._deaths, self._row, self._begun)
        self.unproven.update(keys)

    @asynccontextmanager
    async def together(self, keys: Iterable[str]) -> AsyncIterator[None]:
        """The work on these keys; what it raises is no death."""
        await self._note(self._deaths + 1, "", 0)
        yield
        self.unproven.difference_update(keys)
        await self._ended()

    @asynccontextmanager
    async def alone(self, row: str) -> AsyncIterator[bool]:
        """The work on one message; yields whether it is to be given up instead. What it raises is no death."""
        before = self._begun if row == self._row else 0
        self._row, self._begun = row, before
        await self._note(self._deaths, row, before + 1)
        yield before >= DEATHS
        await self._ended()

    async def gone(self, key: str) -> None:
        """Nothing of it is parked any more."""
        if key in self.unproven:
            self.unproven.discard(key)
            await self._ended()

    async def _ended(self) -> None:
        """Deaths are counted until all that was parked is seen through: what kills need not come first."""
        self._row, self._begun = "", 0
        if not self.unproven:
            self._deaths = 0
        await self._note(self._deaths, "", 0)

    async def _note(self, deaths: int, row: str, begun: int) -> None:
        value = msgpack.packb([deaths, row, begun]) if deaths or row else b""
        await self._memory.remember(self._key, value, KEPT_S if value else 0)
