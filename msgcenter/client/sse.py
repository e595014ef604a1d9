"""Server-sent events as they are read off a connection (WHATWG HTML, "Server-sent events")."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event. `id`: the cursor behind it; `data`: JSON as text."""

    id: str
    event: str
    data: str

    def json(self) -> Any:
        return json.loads(self.data)


async def read_events(lines: AsyncIterable[bytes]) -> AsyncIterator[ServerEvent]:
    """Events of a stream of lines; comments and an event that was cut off are left out."""
    name, last_id = "", ""
    data: list[str] = []
    async for raw in lines:
        line = raw.decode().rstrip("\r\n")
        if not line:
            if data:
                yield ServerEvent(last_id, name or "message", "\n".join(data))
            name, data = "", []
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        match field:
            case "data":
                data.append(value)
            case "event":
                name = value
            case "id" if "\0" not in value:
                last_id = value
