"""The simulator contract: a far end that behaves like the real one, keeps a journal of what it really received, and can be told to misbehave.

Simulators are found by entry point (`msgcenter.simulators`) and run inside the sandbox, the tests and the bench, or alone
(`msgcenter sim NAME`). `--help` of that command is made from `Options`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol, TextIO

from pydantic import BaseModel


class Journal:
    """What the far end received, in order; optionally also one JSON line each in a file, flushed per entry.

    `keep` bounds memory (the newest are kept); the file, when given, holds everything.
    """

    def __init__(self, path: Path | None = None, keep: int = 100_000) -> None:
        self._entries: list[dict[str, Any]] = []
        self._keep = keep
        self._file: TextIO | None = path.open("a", encoding="utf-8") if path else None
        self._watchers: list[Callable[[Mapping[str, Any]], None]] = []
        self.total = 0

    def append(self, entry: Mapping[str, Any]) -> None:
        self.total += 1
        self._entries.append(dict(entry))
        if len(self._entries) > self._keep * 2:
            del self._entries[: -self._keep]
        if self._file:
            self._file.write(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) + "\n")
            self._file.flush()
        for watcher in self._watchers:
            watcher(entry)

    def entries(self) -> list[dict[str, Any]]:
        return list(self._entries)

    def watch(self, callback: Callable[[Mapping[str, Any]], None]) -> None:
        self._watchers.append(callback)

    def extend(self, entries: Iterable[Mapping[str, Any]]) -> None:
        for entry in entries:
            self.append(entry)

    def close(self) -> None:
        if self._file:
            self._file.close()


class Simulator(Protocol):
    """One far end. Constructed as `Simulator(options, journal)`; `start` listens, `stop` closes every socket.

    `port` is the listening port once started (options.port 0 picks a free one). `banner()` is what the standalone
    command prints after start: addresses and secrets a client needs, one line each.
    """

    Options: ClassVar[type[BaseModel]]

    journal: Journal
    port: int

    def __init__(self, options: Any, journal: Journal) -> None: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """An order by name (`msgcenter.journals` offers it over HTTP). Raises ValueError or TypeError for one that makes no sense."""
        ...

    def banner(self) -> list[str]: ...
