"""waited: a message that comes back after a wait hears that it was cancelled meanwhile; and State, which forgets, is told of it again.

The gate that a cancellation sets stands before the channel. Without this stage what waits for its `send_at` or a morning would
wait on, cancelled, until then, and leave after all if State lost its memory before.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from msgcenter.state import Accepted, State
from msgcenter.status import Meta
from protocols.envelope import Decision
from protocols.outcome import Suppressed
from protocols.payload import CONTENT

CANCELLED = "cancelled"
KNOWN_MS = 86_400_000
"""So old a message is told to State again at every pass; well before State forgets it."""


def cancelled_name(message: str) -> str:
    """What State remembers of a message that was cancelled while it may wait."""
    return f"{CANCELLED}:{message}"


class Waited:
    """In the submit pipeline, for single messages; a plan hears of its cancellation as of any other news."""

    name = "waited"

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StateError."""
        now = self._clock.now_ms()
        waited = [item for item in items if _waits(item, now)]
        if not waited:
            return
        memos = await self._state.memo([cancelled_name(item.envelope.id) for item in waited])
        for item, memo in zip(waited, memos, strict=True):
            if memo is not None:
                item.decide(
                    Suppressed(CANCELLED, "while it waited"),
                    Decision(self.name, CANCELLED, "suppressed", "its caller cancelled it"),
                )
        old = [item.envelope for item in waited if now - item.envelope.created_at >= KNOWN_MS]
        if old:
            await self._state.accepted([Accepted(one.id, Meta.packed(one)) for one in old])


def _waits(item: Item, now: int) -> bool:
    envelope = item.envelope
    comes_back = envelope.attempt or envelope.not_before > now
    return bool(
        comes_back
        and type(envelope.payload) in CONTENT
        and not envelope.inbound
        and not envelope.leaf
    )
