"""expire: what is past its expiry is not sent; a late code is worse than none."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from protocols.envelope import Decision
from protocols.outcome import Suppressed


class Expire:
    name = "expire"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        now = self._clock.now_ms()
        for item in items:
            expires = item.envelope.expires_at
            if expires and now >= expires:
                facts = (("expires_at", str(expires)), ("now", str(now)))
                item.decide(
                    Suppressed("expired", f"{(now - expires) / 1000:.0f} s too late"),
                    Decision(self.name, "expires_at", "suppressed", "past its expiry", 0, facts),
                )
