"""identify: who an inbound message is for: the account its number belongs to, and the caller that owns the account."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from msgcenter.pipeline import Item
from msgcenter.port import UNASSIGNED
from protocols.address import Address
from protocols.payload import DeliveryReport

Owner = Callable[[str, str], tuple[str, str] | None]
"""(channel, number written to) -> (account name, caller); the longest number that is a prefix wins. None = nobody's."""


class Identify:
    """Runs before `replay` and decides nothing, so that a replayed item is assigned as the first run was."""

    name = "identify"

    def __init__(self, owner: Owner) -> None:
        self._owner = owner

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            envelope = item.envelope
            if isinstance(envelope.payload, DeliveryReport):
                continue
            item.number = envelope.account
            owner = self._owner(envelope.channel, envelope.account)
            if owner is not None:
                account, caller = owner
                item.envelope = replace(
                    envelope,
                    account=account,
                    caller=caller,
                    to=Address("caller", caller)
                    if caller and envelope.to == UNASSIGNED
                    else envelope.to,
                )
