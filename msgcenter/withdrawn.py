"""Withdrawn: the adapter that stands in for a channel taken out of service; it hands nothing over and sends everything back to submit.

It runs in the channel's own machinery, so what holds there holds here: a pass that was sent is not sent again (its stored
outcome is found), a claim without outcome is Unknown, conversations keep their order. `settle` sees that the channel is
gone and publishes the next pass to submit, which finds it another channel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from msgcenter.adapter import Adapter, Dispatch, Port, Spec
from protocols.outcome import Outcome, Retry

CODE = "channel_removed"


def withdrawn(spec: Spec) -> type[Adapter]:
    """An adapter class with the abilities of the kind that was removed."""

    class Withdrawn(Adapter):
        Settings = BaseModel

        def __init__(self, settings: Any, port: Port) -> None:
            super().__init__(settings, port)

        async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
            detail = f"channel {self.port.channel} was taken out of service"
            return [Retry("channel", detail, code=CODE)] * len(batch)

    Withdrawn.spec = spec
    return Withdrawn
