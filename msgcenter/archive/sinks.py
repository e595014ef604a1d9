"""Sinks of one process: every installed one (entry point `msgcenter.sinks`), each behind its spill journal, opened and closed together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from msgcenter.archive.journal import Journal
from msgcenter.archive.sink import ENTRY_POINTS, SinkContext
from msgcenter.archive.spill import Spill, Spilled
from msgcenter.clock import Clock
from msgcenter.store import ContentPolicy
from msgcenter.store.store import Store


class Sinks:
    """`await open()`, use `writers`, run `drain()` as a task, `await close()`."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        data: Path,
        policy: ContentPolicy,
        *,
        partitions: int,
        settings: Mapping[str, Mapping[str, Any]],
        kind_of: Callable[[str], str],
        home_of: Callable[[str], str] = lambda channel: channel,
        disabled: frozenset[str] = frozenset(),
        log: Any,
    ) -> None:
        self._spilled: dict[str, Spilled] = {}
        for point in entry_points(group=ENTRY_POINTS):
            if point.name in disabled:
                continue
            own = settings.get(point.name, {})
            context = SinkContext(
                name=point.name,
                clock=clock,
                store=store,
                directory=data / str(own.get("path", f"archive/{point.name}")),
                policy=policy,
                partitions=partitions,
                settings=own,
                kind_of=kind_of,
                home_of=home_of,
            )
            journal = Journal(data / "spill" / point.name)
            self._spilled[point.name] = Spilled(point.load()(context), journal, clock, log=log)

    @property
    def writers(self) -> dict[str, Spilled]:
        return dict(self._spilled)

    def waiting(self) -> dict[str, Spill]:
        """What each sink's journal holds, for the gauges."""
        return {name: sink.spill for name, sink in self._spilled.items()}

    async def open(self) -> None:
        for sink in self._spilled.values():
            await sink.open()

    async def drain(self) -> None:
        """Bring what was spilled to its sinks, for ever."""
        await asyncio.gather(*(sink.drain() for sink in self._spilled.values()))

    async def close(self) -> None:
        for sink in self._spilled.values():
            await sink.close()
