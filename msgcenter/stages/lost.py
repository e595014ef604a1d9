"""lost: a message that was in a worker's hands before State began to remember may have left, and nobody knows: Unknown."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.clock import shard_of_id
from msgcenter.pipeline import Item
from msgcenter.state import State
from protocols.envelope import Decision
from protocols.outcome import Unknown
from protocols.payload import Advance, Plan, Signal

STATE_LOST = "state_lost"


class Lost:
    """Behind `replay` in submit: run again there, the message would be a new one to its channel. In the channel's own pipeline
    admit asks the same of State itself."""

    name = "lost"

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, items: Sequence[Item]) -> None:
        again = [
            item
            for item in items
            if item.again and not isinstance(item.envelope.payload, Plan | Advance | Signal)
        ]
        if not again:
            return
        born = await self._state.policy_epoch()
        for item in again:
            shard = shard_of_id(item.envelope.id) if len(born) > 1 else 0
            if item.envelope.created_at < born[shard]:
                item.decide(
                    Unknown("State lost its memory while this was in hand; it may have been sent"),
                    Decision(self.name, STATE_LOST, "unknown", "older than what State remembers"),
                )
