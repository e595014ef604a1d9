"""Writes: every change of the customer directory, in the order that keeps a blocked person silent whatever fails between.

What silences reaches State before the Store, what lets speak again reaches the Store before State. The gates of a blocked person
are told by `customers.person.gates`, those of a person who refuses something by `customers.wishes.stops`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from msgcenter.clock import Clock
from msgcenter.customers import Block, Consent, Link, Person, Preferences
from msgcenter.customers.counts import Counts
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.person import gate, gates, last_words, nobody
from msgcenter.customers.sheet import Put, Refused, Sheet, Unknown
from msgcenter.customers.wishes import Terms, stops
from msgcenter.state import State
from msgcenter.state.units import Counter
from msgcenter.store import StoreError
from msgcenter.store.store import Store

T = TypeVar("T")
REACH = 1000
"""Rows of one transaction."""


@dataclass(frozen=True, slots=True)
class By:
    """Who asks for a change: the caller (source of tags) and its key (for the audit log)."""

    source: str
    key: str = ""

    @property
    def who(self) -> str:
        return f"{self.source}/{self.key}" if self.key else self.source


class CustomerWrites:
    """One per process that writes. Every method raises StateError, StoreError; and Unknown or Refused as it says."""

    def __init__(
        self,
        state: State,
        store: Store,
        lookup: CustomerLookup,
        clock: Clock,
        terms: Callable[[], Terms] = Terms,
        counters: Callable[[str], Sequence[Counter]] = lambda _key: (),
    ) -> None:
        """`terms`: what the configuration in force says of refusals; `counters`: what it counts of a person key."""
        self._terms = terms
        self._counts = Counts(state, counters)
        self._state = state
        self._store = store
        self.lookup = lookup
        self._clock = clock

    async def restore(self) -> None:
        """Put the gates of every blocked person into State again: it may have been lost."""
        after = ""
        while True:
            people, after = await self._store.blocked_customers(after)
            if not people:
                return
            await self._shut(people)

    async def put(self, given: Sequence[Put], by: By) -> list[Person | Refused]:
        """Make or change customers, in order, each for itself; at most REACH in one transaction."""
        out: list[Person | Refused] = []
        for start in range(0, len(given), REACH):
            out += await self._put(given[start : start + REACH], by)
        return out

    async def prefer(self, customer: str, wish: Preferences, by: By) -> Person:
        """Replace the preferences of a customer. When this returns, nothing they forbid leaves, what is on its way included.
        Raises Unknown."""
        before = await self._known(customer)
        early = replace(before, preferences=wish)
        return await self._wish(
            before,
            early,
            lambda: self._change(customer, lambda sheet: sheet.prefer(customer, wish), by),
        )

    async def consent(self, customer: str, consents: Sequence[Consent], by: By) -> Person:
        """Add evidence. When this returns, nothing it refuses leaves. Raises Unknown."""

        def work(sheet: Sheet) -> None:
            for one in consents:
                sheet.consent(customer, one)

        before = await self._known(customer)
        return await self._wish(
            before, _saying(before, consents), lambda: self._change(customer, work, by)
        )

    async def consent_of(
        self, address: str, at: int, consents: Sequence[Consent], by: By
    ) -> Person:
        """Add evidence for whoever has an address at a time: an answer TD, for example. Makes its implicit customer. When this
        returns, nothing it refuses leaves."""

        def work(sheet: Sheet) -> Person:
            row = sheet.of_address(address, at)
            for one in consents:
                sheet.consent(row.id, one)
            return sheet.person(row.id)

        async def change() -> Person:
            person = await self._store.change_customers(
                work, addresses=[address], by=by.who, source=by.source
            )
            await self.lookup.catch_up()
            return person

        try:
            before = (await self.lookup.many([address], at))[address]
        except StoreError:
            # Nothing can be written down now, and it will come again; the address itself is silent already.
            await self._shut([_saying(nobody(address), consents)])
            raise
        return await self._wish(before, _saying(before, consents), change)

    async def block_of(self, address: str, at: int, block: Block, by: By) -> Person:
        """`block` for whoever has an address at a time, somebody who is no contact too. Makes its implicit customer. Raises Refused."""
        before = (await self.lookup.many([address], at))[address]
        early = replace(before, blocks=(*before.blocks, block))
        await self._shut([early])

        def work(sheet: Sheet) -> Person:
            row = sheet.of_address(address, at)
            sheet.block(row.id, block)
            return sheet.person(row.id)

        try:
            person = await self._store.change_customers(
                work, addresses=[address], by=by.who, source=by.source
            )
        except Refused:
            await self._retell([early], [address])
            raise
        await self.lookup.catch_up()
        await self._shut([person])
        return person

    async def block(self, customer: str, block: Block, by: By) -> Person:
        """Put a customer on the block list. When this returns, or fails after it reached State, nothing more is sent to a person
        at level `block`. Raises Unknown, Refused."""
        before = await self._known(customer)
        early = replace(before, blocks=(*before.blocks, block))
        await self._shut([early])
        try:
            return await self._change(customer, lambda sheet: sheet.block(customer, block), by)
        except Refused:
            await self._retell([early], [customer])
            raise

    async def unblock(self, customer: str, block: str, by: By) -> Person:
        """Lift a block; repeated until it succeeds, the person may be written to again. Raises Unknown."""
        try:
            await self._change(customer, lambda sheet: sheet.unblock(customer, block), by)
        finally:  # a block that is not there may have been lifted by a call that got no further
            person = await self._known(customer)
            await self._retell([], [customer])
        return person

    async def link(self, link: Link, by: By) -> Person:
        """Two customers are one person from now on, and when this returns have one allowance; if it fails behind the Store,
        repeat it. Raises Unknown, Refused."""
        a, b = await self._known(link.a), await self._known(link.b)
        both = replace(a, aliases=a.aliases | b.aliases, blocks=(*a.blocks, *b.blocks))
        await self._shut([both])
        try:
            person = await self._change(link.a, lambda sheet: sheet.link(link), by, link.b)
        except Refused:
            await self._retell([both], [a.id, b.id])
            raise
        await self._counts.join(person)
        return person

    async def unlink(self, customer: str, other: str, by: By) -> list[Person]:
        """They are two again: both as they are then. Raises Unknown."""

        def work(sheet: Sheet) -> list[Person]:
            sheet.unlink(customer, other)
            return [sheet.person(customer), sheet.person(other)]

        before = await self._known(customer)
        people = await self._run(work, by, customer, other)
        await self._retell([before], [customer, other])
        await self._counts.part(people, before.key)
        return people

    async def erase(self, customer: str, by: By, reason: str = "") -> Person:
        """Forget a person; what is left of it. Raises Unknown."""
        before = await self._known(customer)
        person = await self._run(
            lambda sheet: sheet.person(sheet.erase(customer, reason)[0]), by, customer
        )
        if gates(before, self._clock.now_ms()):
            # Gates of the address itself stay: a message on its way still carries that key.
            await self._shut([replace(person, aliases=person.aliases | before.aliases)])
        await self._counts.carry(before, person)
        return person

    # -- inside ---------------------------------------------------------------------------------

    async def _put(self, given: Sequence[Put], by: By) -> list[Person | Refused]:
        ids = [one.id for one in given if one.id]
        addresses = [claim.address for one in given for claim in one.addresses]
        found = await self._store.find_customers([], ids)
        now = self._clock.now_ms()
        early: list[Person] = []
        for one in given:
            person = found.people.get(one.id)
            if person is not None and one.addresses and gates(person, now):
                more = {claim.address for claim in one.addresses}
                early.append(replace(person, aliases=person.aliases | more))
        await self._shut(early)

        def work(sheet: Sheet) -> list[str | Refused]:
            out: list[str | Refused] = []
            for one in given:
                try:
                    out.append(sheet.put(one).id)
                except Refused as refused:
                    out.append(refused)
            people.update(
                (one, sheet.person(one)) for one in dict.fromkeys(out) if isinstance(one, str)
            )
            return out

        people: dict[str, Person] = {}
        results = await self._store.change_customers(
            work, ids=ids, addresses=addresses, by=by.who, source=by.source
        )
        await self.lookup.catch_up()
        await self._lift(
            (one for one in found.people.values() if one.id in people), people.values()
        )
        await self._shut(people.values())
        await self._counts.join_all(
            person for one, person in people.items() if _named_anew(found.people.get(one), person)
        )
        if early and any(isinstance(one, Refused) for one in results):
            # An address that was not given to a blocked person after all speaks for its holder again.
            named = {alias for person in early for alias in person.aliases if ":" in alias}
            await self._retell(early, named | {person.id for person in early})
        return [people[one] if isinstance(one, str) else one for one in results]

    async def _known(self, customer: str) -> Person:
        person = (await self._store.find_customers([], [customer])).people.get(customer)
        if person is None:
            raise Unknown(customer)
        return person

    async def _change(
        self, customer: str, work: Callable[[Sheet], None], by: By, *others: str
    ) -> Person:
        def whole(sheet: Sheet) -> Person:
            work(sheet)
            return sheet.person(customer)

        person = await self._run(whole, by, customer, *others)
        await self._shut([person])
        return person

    async def _run(self, work: Callable[[Sheet], T], by: By, *ids: str) -> T:
        result = await self._store.change_customers(work, ids=ids, by=by.who, source=by.source)
        await self.lookup.catch_up()
        return result

    async def _shut(self, people: Iterable[Person]) -> None:
        now = self._clock.now_ms()
        terms = self._terms()
        items = [
            one for person in people for one in (*gates(person, now), *stops(person, now, terms))
        ]
        if items:
            await self._state.suppress(items)

    async def _wish(
        self, before: Person, early: Person, change: Callable[[], Awaitable[Person]]
    ) -> Person:
        """Carry out a change of what a person wishes: `early` is the person as it will be."""
        await self._shut([early])
        after = await change()
        await self._lift([before, early], [after])
        # Behind the lifting: a refusal that somebody else wrote down meanwhile stands.
        await self._shut([(await self._refreshed(after))])
        return after

    async def _refreshed(self, person: Person) -> Person:
        found = await self._store.find_customers([], [person.id])
        return found.people.get(person.id, person)

    async def _lift(self, before: Iterable[Person], after: Iterable[Person]) -> None:
        """Take away the gates of what is not refused any more."""
        now, terms = self._clock.now_ms(), self._terms()
        stood = {one.gate for person in before for one in stops(person, now, terms)}
        stand = {one.gate for person in after for one in stops(person, now, terms)}
        if gone := sorted(stood - stand):
            await self._state.unsuppress(gone)

    async def _retell(self, early: Sequence[Person], keys: Collection[str]) -> None:
        """State learns how those behind these addresses and ids stand after all; `early`: what it was told of them ahead."""
        people = await self._standing(keys)
        await self._lift(early, people)
        await self._open(people)
        # Behind the opening: what somebody else wrote down meanwhile stands.
        await self._shut(await self._standing(keys))

    async def _standing(self, keys: Collection[str]) -> list[Person]:
        await self.lookup.catch_up()
        return list((await self.lookup.many(keys, self._clock.now_ms())).values())

    async def _open(self, people: Iterable[Person]) -> None:
        now = self._clock.now_ms()
        free = [
            gate(alias)
            for person in people
            if not gates(person, now)
            for alias in sorted(person.aliases)
        ]
        if free:
            await self._state.unsuppress(free)


def _named_anew(before: Person | None, after: Person) -> bool:
    """Whether something may be counted under a name that it did not have."""
    return before is None or before.key != after.key or bool(after.aliases - before.aliases)


def _saying(person: Person, consents: Sequence[Consent]) -> Person:
    """The person once it has said this too."""
    return replace(person, consents=last_words((*person.consents, *consents)))
