"""One person out of linked customers: pure, and the same in whatever order the links were made or undone.

The union is strict: windows, mutes and blocks add up, service-only in one is service-only in all, of consents the latest word
wins and a withdrawal wins a draw. Plain facts (zone, city, level …) are those of the canonical customer, then of the others in
`rank` order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from msgcenter.customers import (
    HASHED,
    PROFILE,
    Consent,
    CustomerRow,
    Holding,
    Link,
    Mute,
    Person,
    Preferences,
    Tag,
    word_order,
)
from msgcenter.state import Suppression
from protocols.address import Address
from protocols.envelope import hashed

BLOCKED = "blocked"
"""Why the messages of a blocked person were not sent."""


def implicit_key(address: str, since: int) -> str:
    """The person key of an address while nobody claims it. `since`: when its last holder's time ended; a number that was given
    out again (二次放号) starts from nothing."""
    return f"{address}#{since}" if since else address


def nobody(address: str, since: int = 0) -> Person:
    """The person behind an address of which nothing is known."""
    key = implicit_key(address, since)
    return Person("", key, aliases=frozenset((key,)), holdings=(Holding(address, since),))


def rank(row: CustomerRow) -> tuple[bool, int, str]:
    """A caller's own id before an implicit one, then the older, then by id."""
    return bool(row.own), row.created_at, row.id


def together(ids: Iterable[str], links: Iterable[Link]) -> list[frozenset[str]]:
    """The ids, parted into those that links in force hold together."""
    parent = {one: one for one in ids}

    def top(one: str) -> str:
        while parent[one] != one:
            parent[one] = parent[parent[one]]
            one = parent[one]
        return one

    for link in links:
        if not link.undone_at and link.a in parent and link.b in parent:
            parent[top(link.a)] = top(link.b)
    parts: dict[str, set[str]] = {}
    for one in parent:
        parts.setdefault(top(one), set()).add(one)
    return [frozenset(part) for part in parts.values()]


def root_of(members: Sequence[CustomerRow], links: Iterable[Link]) -> str:
    """Which id stands for all: the one that the newest link in force asks for, else the first in rank."""
    ids = {row.id for row in members}
    asked = [
        link
        for link in links
        if not link.undone_at and link.canonical in ids and link.a in ids and link.b in ids
    ]
    if asked:
        return max(asked, key=lambda link: (link.at, link.id)).canonical
    return min(members, key=rank).id


def merged(members: Sequence[CustomerRow]) -> Person:
    """The person of rows that have one root."""
    root = members[0].root
    if len(members) == 1:
        return _alone(members[0])
    rows = sorted(members, key=lambda row: (row.id != root, *rank(row)))
    first = rows[0]
    return Person(
        id=root,
        key=first.key,
        members=tuple(row.id for row in rows),
        aliases=frozenset(alias for row in rows for alias in _aliases(row)),
        zone=_said(row.zone for row in rows),
        city=_said(row.city for row in rows),
        level=_said(row.level for row in rows),
        organisation=_said(row.organisation for row in rows),
        agent=_said(row.agent for row in rows),
        holdings=tuple(sorted({held for row in rows for held in row.holdings})),
        tags=tags_of(tag for row in rows for tag in row.tags),
        preferences=_strictest([row.preferences for row in rows]),
        consents=last_words(one for row in rows for one in row.consents),
        blocks=tuple(
            sorted({b for row in rows for b in row.blocks}, key=lambda block: (block.at, block.id))
        ),
        created_at=min(row.created_at for row in rows),
        updated_at=max(row.updated_at for row in rows),
        erased_at=max(row.erased_at for row in rows),
    )


def last_words(consents: Iterable[Consent]) -> tuple[Consent, ...]:
    """The last word on each (channel, category), by channel and category."""
    out: dict[tuple[str, str], Consent] = {}
    for one in consents:
        place = (one.channel, one.category)
        known = out.get(place)
        if known is None or word_order(one) > word_order(known):
            out[place] = one
    return tuple(out[place] for place in sorted(out))


def tags_of(tags: Iterable[Tag]) -> tuple[Tag, ...]:
    """Each name and source once, with its first time."""
    out: dict[tuple[str, str], Tag] = {}
    for tag in sorted(tags):
        out.setdefault((tag.name, tag.source), tag)
    return tuple(out.values())


def gates(person: Person, at: int) -> list[Suppression]:
    """What State must stop while the person is blocked: every key that a message of theirs may carry. Empty when it is not."""
    ends = [block.until for block in person.blocks if block.level == "block" and block.holds(at)]
    if not ends:
        return []
    ttl_s = 0.0 if 0 in ends else (max(ends) - at) / 1000
    return [Suppression(gate(alias), BLOCKED, ttl_s) for alias in sorted(person.aliases)]


def gate(key: str) -> str:
    return f"person:{key}"


def addresses_of(
    person: Person, kinds: Sequence[str], at: int, reach: Callable[[str], Collection[str]]
) -> list[Address]:
    """Where the person can be reached at `at`: by kind in the order given, within a kind the latest address first; each once.

    `reach`: the address schemes of a kind. What is kept as a hash only reaches nobody.
    """
    now = [held for held in person.holdings if held.covers(at) and held.address[0] != HASHED]
    now.sort(key=lambda held: -held.valid_from)
    out: dict[Address, None] = {}
    for kind in kinds:
        schemes = reach(kind)
        for held in now:
            scheme, _, value = held.address.partition(":")
            if scheme in schemes:
                out[Address(scheme, value)] = None
    return list(out)


def erased(row: CustomerRow, salt: str, at: int) -> CustomerRow:
    """What remains of a customer who asks to be forgotten: the refusals, the blocks, and proof of consent, each without a name:
    ids, addresses and proofs only as keyed hashes. Whoever writes from the address again still meets the refusal."""
    if row.erased_at:
        return row
    new = erased_id(row.id, salt)
    refusals = [one for one in row.consents if one.state == "withdrawn"]
    wish = row.preferences
    return CustomerRow(
        id=new,
        root=new,
        own=HASHED + new.removeprefix("cus_"),
        holdings=tuple(
            replace(held, address=hashed_address(held.address, salt)) for held in row.holdings
        ),
        preferences=Preferences(service_only=wish.service_only),
        consents=tuple(erased_consent(one, salt) for one in refusals),
        blocks=tuple(replace(block, reason="") for block in row.blocks),
        created_at=row.created_at,
        updated_at=at,
        erased_at=at,
    )


def erased_id(customer: str, salt: str) -> str:
    return f"cus_{hashed('erased', salt, customer)}"


def erased_consent(one: Consent, salt: str) -> Consent:
    proof = hashed("proof", salt, one.proof) if one.proof else ""
    return replace(one, proof=proof, source="")


def hashed_address(address: str, salt: str) -> str:
    """The address as an erased customer's row keeps it."""
    return address if address.startswith(HASHED) else HASHED + hashed("address", salt, address)


def _alone(row: CustomerRow) -> Person:
    known = {name: getattr(row, name) for name in PROFILE}
    return Person(row.id, row.key, (row.id,), frozenset(_aliases(row)), **known)


def _aliases(row: CustomerRow) -> list[str]:
    """Its key, and those its addresses had before anybody knew whose they are."""
    return [row.key, *(implicit_key(held.address, held.valid_from) for held in row.holdings)]


def _said(values: Iterable[str]) -> str:
    return next((value for value in values if value), "")


def _strictest(wishes: Sequence[Preferences]) -> Preferences:
    mutes: dict[tuple[str, ...], int] = {}
    for wish in wishes:
        for mute in wish.mutes:
            mutes[mute.channels] = max(mute.until, mutes.get(mute.channels, 0))
    return Preferences(
        windows=tuple(sorted({window for wish in wishes for window in wish.windows})),
        mutes=tuple(sorted(Mute(until, channels) for channels, until in mutes.items())),
        service_only=any(wish.service_only for wish in wishes),
        channels=next((wish.channels for wish in wishes if wish.channels), ()),
    )


def by_root(rows: Iterable[CustomerRow]) -> Mapping[str, list[CustomerRow]]:
    out: dict[str, list[CustomerRow]] = {}
    for row in rows:
        out.setdefault(row.root, []).append(row)
    return out
