"""Sink: where records are archived; found by entry point `msgcenter.sinks`, built in and
third-party alike.

Each sink has its own copy of the record topic; its frames are settled when `write` has returned. An
entry point names a callable `make(context) -> Sink`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from msgcenter.clock import Clock
from msgcenter.store import ContentPolicy
from msgcenter.store.store import Store
from protocols.envelope import Record

ENTRY_POINTS = "msgcenter.sinks"


class SinkError(Exception):
    """Not known to be written; the same records may be written again."""


class SinkFull(SinkError):
    """Neither the sink nor its spill journal takes more now: backpressure, try later."""


class Sink(Protocol):
    """One archive target."""

    name: str

    async def open(self) -> None:
        """Get ready; repair what an earlier crash left. Raises SinkError. Idempotent."""
        ...

    async def write(self, records: Sequence[Record]) -> None:
        """Return when every record is durable. Raises SinkError. A record is recognised by its id:
        written again, it changes nothing."""
        ...

    async def close(self) -> None:
        """Let go of every file and connection that is the sink's own. Idempotent."""
        ...


@dataclass(frozen=True, slots=True)
class SinkContext:
    """What the core lends one sink. `directory`: its own, may not exist yet. `settings`: its part
    of the config. `partitions`: of the event log. `kind_of`: the kind of a channel as configured now, "" when there is none.
    `home_of`: the channel whose accounts and groups it reads, usually itself."""

    name: str
    clock: Clock
    store: Store
    directory: Path
    policy: ContentPolicy
    partitions: int = 1
    settings: Mapping[str, Any] = field(default_factory=dict)
    kind_of: Callable[[str], str] = lambda channel: ""
    home_of: Callable[[str], str] = lambda channel: channel
