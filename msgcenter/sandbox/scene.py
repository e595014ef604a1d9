"""What the scenes of the walk-through share: the desk, the narrator, and numbers that belong to one run alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgcenter.clock import Clock
from msgcenter.sandbox.desk import Desk
from msgcenter.sandbox.story import Story


@dataclass(frozen=True, slots=True)
class Scene:
    """What the scenes share. `run` makes this run's phone numbers and keys its own."""

    desk: Desk
    story: Story
    clock: Clock
    config: Path
    run: int

    def number(self, scene: int, prefix: str = "138") -> str:
        """11 digits; the last two are the scene's."""
        width = 9 - len(prefix)
        return f"{prefix}{self.run % 10**width:0{width}d}{scene:02d}"


def text_of(text: str) -> dict[str, str]:
    """A request's content."""
    return {"type": "text", "text": text}


def has_receipt(view: dict[str, Any]) -> bool:
    return any(entry.get("receipt") for entry in view.get("trace") or ())


async def told(desk: Desk, sender: str) -> list[dict[str, Any]]:
    """The events of messages whose sender's address ends so, in order."""
    found: list[dict[str, Any]] = []
    cursor = ""
    while True:
        page = await desk.get(f"/v1/events?limit=1000&cursor={cursor}")
        if not page["items"]:
            return found
        cursor = page["cursor"]
        found += [e for e in page["items"] if str(e["data"].get("from", "")).endswith(sender)]
