"""render: check, before anything is claimed, that the adapter can put the message into the far end's form."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.adapter import Adapter
from msgcenter.pipeline import Item
from protocols.errors import Malformed
from protocols.outcome import Rejected


class Render:
    name = "render"

    def __init__(self, adapter: Adapter) -> None:
        self._adapter = adapter

    async def __call__(self, items: Sequence[Item]) -> None:
        payloads = self._adapter.spec.payloads
        for item in items:
            payload = item.payload
            if type(payload) not in payloads:
                kind = type(payload).__name__
                item.decide(
                    Rejected(
                        "account",
                        f"{self._adapter.spec.kind} does not carry {kind}",
                        "payload_kind",
                    )
                )
                continue
            try:
                self._adapter.render(item.spoken)
            except Malformed as error:
                item.decide(Rejected("message", str(error), "content"))
