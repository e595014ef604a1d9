"""replay: a pass whose outcome is already stored is not run again; its consequences are published again."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.pipeline import Item
from msgcenter.state import State
from protocols import wire


class Replay:
    name = "replay"

    def __init__(self, state: State, pipeline: str) -> None:
        self._state = state
        self._pipeline = pipeline

    async def __call__(self, items: Sequence[Item]) -> None:
        stored = await self._state.replay([item.envelope.key(self._pipeline) for item in items])
        for item, outcome in zip(items, stored, strict=True):
            if outcome is not None:
                item.outcome = wire.open_outcome(outcome)
                item.replayed = True
