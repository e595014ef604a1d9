"""The model of `flood` in `policy.yaml`: how much one person may write before the desk is spared."""

from __future__ import annotations

from pydantic import Field, field_validator

from msgcenter.config.values import Duration, Strict, fault

MOST_WAITING = 49
"""A conversation that waits is looked at this far."""


class FloodRate(Strict):
    """`{messages: 20, within: 10s}`: so many in any such span."""

    messages: int = Field(ge=1, le=10_000)
    """So many …"""
    within: Duration
    """… in so long a time."""

    @field_validator("within")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if not 1 <= value <= 86400:
            raise fault("must be from 1s to 1d", "write it like 10s or 1m")
        return value


class FloodTerms(Strict):
    """Somebody who writes faster than `slow` is passed on at that pace; when `mute_at` messages wait, they and what follows for
    `mute_for` are kept in the archive only."""

    slow: FloodRate = FloodRate(messages=20, within=10.0)
    """Beyond it messages are passed on at this pace, in order."""
    mute_at: int = Field(default=40, ge=1, le=MOST_WAITING, description="messages that wait")
    mute_for: Duration = Field(default=600.0, description="then the desk is spared so long")
    listed: FloodRate = Field(
        default=FloodRate(messages=6, within=60.0),
        description="the pace of people on the block list at level slow",
    )
