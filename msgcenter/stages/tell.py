"""tell: an event about a group or a caller has no far end: its record is what tells it, in order with what else is for the group."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.archive.events_sink import is_told
from msgcenter.pipeline import Item
from protocols.outcome import Sent


class Tell:
    """Ends such an event as sent; the event log and the callbacks take it from the record."""

    name = "tell"

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            if is_told(item.envelope):
                item.decide(Sent(()))
