"""resolve: whom a message is for: an address becomes its customer, a customer the address by which the step's kind reaches it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgcenter.clock import Clock
from msgcenter.customers import Person
from msgcenter.pipeline import Item
from msgcenter.rulebook import PERSONAL, People, Rulebook
from msgcenter.store import StoreError
from protocols.envelope import Decision
from protocols.outcome import Rejected, Retry

AWAY = "directory_away"
"""Why a message waits that may not be sent without knowing to whom."""


class Recipients:
    """Asks the directory once for a micro-batch. While it is away, what nobody can have refused goes to a bare address."""

    name = "resolve"

    def __init__(self, people: People, book: Callable[[], Rulebook], clock: Clock) -> None:
        self._people = people
        self._book = book
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        book = self._book()
        asked = [
            item
            for item in items
            if item.envelope.recipient.scheme in PERSONAL and book.binds(item.envelope)
        ]
        if not asked:
            return
        now = self._clock.now_ms()
        found = await who_are(self._people, asked, book, now)
        for item in asked:
            if item.outcome is None:
                self._one(item, book, found, now)

    def _one(self, item: Item, book: Rulebook, found: Mapping[str, Person], now: int) -> None:
        envelope = item.envelope
        meant = envelope.recipient
        who = found.get(str(meant))
        if who is None:
            if meant.scheme == "customer":
                item.decide(
                    Rejected("recipient", "no such customer", "customer_unknown"),
                    Decision(self.name, "directory", "rejected", "no such customer"),
                )
            return
        item.who = who
        if meant.scheme != "customer":
            if who.key != envelope.person:
                item.amend(person=who.key)
            return
        kind = envelope.channels[envelope.step]
        to = book.address(who, kind, now)
        facts = (("customer", who.id), ("kind", kind))
        if to is None:
            item.decide(
                Rejected("recipient", f"the customer has no address for {kind}", "no_address"),
                Decision(self.name, "directory", "rejected", f"no address for {kind}", 0, facts),
            )
            return
        item.amend(to=to, given=meant, person=who.key)
        item.decisions.append(Decision(self.name, "directory", "resolved", to.scheme, 0, facts))


async def who_are(
    people: People, items: Sequence[Item], book: Rulebook, now: int
) -> Mapping[str, Person]:
    """The people of these items by recipient. While the directory is away, those that need it are told to come again."""
    try:
        return await people.many([str(item.envelope.recipient) for item in items], now)
    except StoreError as error:
        for item in items:
            envelope = item.envelope
            unresolved = envelope.to.scheme == "customer"
            if unresolved or book.waits(envelope):
                item.decide(
                    Retry("channel", f"the directory is away: {error}", code=AWAY),
                    Decision("resolve", AWAY, "retry", "nobody knows what the customer wants"),
                )
        return {}
