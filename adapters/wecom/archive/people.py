"""Who said an archived message, to whom, and in which conversation of ours: between two, or in a group."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from adapters.wecom.archive.messages import sound
from adapters.wecom.conversation import OUTSIDE, customer_address, order_key, room_address
from protocols.address import Address
from protocols.wecom.archive import Message

_MIXED = ("_external", "_updown_stream")
"""Endings of a msgid when somebody outside the corp takes part."""
_UNFIT = re.compile(r"[\s\x00-\x1f\x7f]+")
NOBODY = "sys"


@dataclass(frozen=True, slots=True)
class Heard:
    """One way a message went: see `Received` for the fields."""

    sender: Address
    account_number: str
    recipient: Address | None
    order_key: str


def _id(text: str) -> str:
    """An id that an address can hold."""
    return _UNFIT.sub("", sound(text))[:200] or NOBODY


class People:
    """`accounts`: userids of our accounts, in their order; they are members whatever they are called."""

    def __init__(self, corp: str, accounts: Sequence[str]) -> None:
        self._corp = corp
        self._spelt = {userid.lower(): userid for userid in accounts}
        self._rank = {userid.lower(): rank for rank, userid in enumerate(accounts)}

    def heard(self, message: Message) -> list[Heard]:
        """One, unless it was written to several people and no group.

        The account is the same for both directions: of the members who take part the one that stands first in accounts.yaml,
        else the first by name. What a member says who is not that account, to that account, came to us.
        """
        sender = _id(message.sender or message.user)
        others = [_id(one) for one in message.recipients if one] or [NOBODY]
        if message.room_id:
            return [self._in_room(message, sender, others)]
        if message.action == "switch":
            return [
                Heard(Address("staff", sender), sender, None, order_key(self._corp, sender, NOBODY))
            ]
        return [self._between(message, sender, other) for other in dict.fromkeys(others)]

    def _between(self, message: Message, sender: str, other: str) -> Heard:
        outside = self._outside(message, (sender, other))
        account = self._account(one for one in (sender, other) if one not in outside)
        account = account or other
        is_ours = sender.lower() == account.lower()
        peer = other if is_ours else sender
        recipient = self._address(other, outside) if is_ours and other != NOBODY else None
        key = order_key(self._corp, account, peer)
        return Heard(self._address(sender, outside), account, recipient, key)

    def _in_room(self, message: Message, sender: str, others: Sequence[str]) -> Heard:
        outside = self._outside(message, (sender, *others))
        account = self._account(one for one in (sender, *others) if one not in outside)
        room = _id(message.room_id)
        recipient = None if sender in outside else room_address(room)
        key = order_key(self._corp, "", room)
        return Heard(self._address(sender, outside), account or NOBODY, recipient, key)

    def _account(self, members: Iterable[str]) -> str:
        last = len(self._rank)
        ranked = [(self._rank.get(one.lower(), last), one) for one in members if one != NOBODY]
        found = min(ranked, default=(0, ""))[1]
        return self._spelt.get(found.lower(), found)

    def _outside(self, message: Message, everybody: Sequence[str]) -> set[str]:
        """Who is not of the corp. An id that begins as one of a customer may be a member's: one of our accounts, or, between
        two, the shorter one (an external_userid has 32 characters)."""
        if not message.msgid.endswith(_MIXED):
            return set()
        found = {
            one for one in everybody if one.startswith(OUTSIDE) and one.lower() not in self._rank
        }
        if not message.room_id and len(found) == len(set(everybody)) == 2:
            found = {max(found, key=lambda one: (len(one), one))}
        return found

    def _address(self, one: str, outside: set[str]) -> Address:
        return customer_address(self._corp, one) if one in outside else Address("staff", one)
