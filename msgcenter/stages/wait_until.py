"""wait_until: a message with `send_at` in the future is held until then, as a due row that can be listed and cancelled."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from protocols.envelope import Decision
from protocols.outcome import Held


class WaitUntil:
    name = "wait_until"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        now = self._clock.now_ms()
        for item in items:
            at = item.envelope.not_before
            if at > now:
                item.decide(
                    Held(at, "send_at"),
                    Decision(self.name, "send_at", "held", "not before its send_at", at),
                )
