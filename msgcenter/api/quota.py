"""Quotas: how many messages a caller may send, counted over all processes by State, fetched in
small advances so that a request seldom asks."""

from __future__ import annotations

from dataclasses import dataclass

from msgcenter.api.problems import Problem
from msgcenter.clock import Clock
from msgcenter.config import CallerConfig
from msgcenter.state import State

ADVANCE_S = 0.1
"""Each fetch takes this much of the caller's rate ahead; unused tokens lapse after 2 s."""
LAPSE_S = 2.0


@dataclass(slots=True)
class _Purse:
    tokens: int = 0
    fetched: float = 0.0


class Quotas:
    """One per process."""

    def __init__(self, state: State, clock: Clock) -> None:
        self._state = state
        self._clock = clock
        self._purses: dict[str, _Purse] = {}

    async def take(self, name: str, caller: CallerConfig, count: int) -> None:
        """Use up `count` messages of a caller's quota. Raises Problem quota_exceeded (nothing is
        used up then), StateError."""
        quota = caller.quota
        if quota is None:
            return
        purse = self._purses.setdefault(name, _Purse())
        now = self._clock.monotonic()
        if now - purse.fetched > LAPSE_S:
            purse.tokens = 0
        if purse.tokens < count:
            missing = count - purse.tokens
            want = max(missing, min(round(quota.rate * ADVANCE_S), quota.burst))
            grant = await self._state.tokens(
                f"quota:{name}", want=want, rate=quota.rate, burst=quota.burst
            )
            purse.tokens += grant.granted
            purse.fetched = self._clock.monotonic()
        if purse.tokens < count:
            wait = max(1.0, (count - purse.tokens) / quota.rate)
            raise Problem(
                "quota_exceeded", retry_after=wait, rate=f"{quota.rate:g}", burst=quota.burst
            )
        purse.tokens -= count
