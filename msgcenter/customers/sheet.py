"""The sheet: the part of the directory that one change can see, and what the change did to it; pure.

The Store loads a sheet alone (changes of the directory take turns), lets a function change it, and writes down what differs.
Nothing here is half done: each verb checks first, raises `Refused`, and only then changes the sheet. One file, for its verbs
share one index of rows, addresses and persons that none may leave behind.

| address given, nobody else has it at that time | it becomes the customer's |
| an implicit customer has it | the two are linked: whoever wrote from it before is this customer |
| another customer has it, `valid_from` given | it changed hands: the other's time ends there |
| another customer has it, no `valid_from` | refused: link them, or say when it changed hands |
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from msgcenter.customers import (
    IMPLICIT,
    Block,
    Consent,
    CustomerRow,
    Holding,
    Link,
    Person,
    Preferences,
    Tag,
)
from msgcenter.customers.person import (
    erased,
    hashed_address,
    implicit_key,
    last_words,
    merged,
    root_of,
    tags_of,
    together,
)
from protocols.envelope import hashed

MOST_TOGETHER = 50
"""Customers of one person; more are a mistake of whoever links them."""
MOST_HOLDINGS, MOST_TAGS, MOST_BLOCKS = 200, 500, 100
SAME_ADDRESS = "same_address"
"""Evidence of a link that came with claiming an address."""
_KEPT_MS = 90 * 86_400_000
"""How long a block is shown after its end."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """One fault. `code`: a key of the API's field texts; `facts` fill its placeholders."""

    field: str
    code: str
    value: str
    facts: Mapping[str, object] = dataclasses.field(default_factory=dict)


class Refused(Exception):
    """The change does not fit what the directory holds; nothing was changed."""

    def __init__(self, *faults: Wrong) -> None:
        super().__init__(", ".join(f"{fault.field}: {fault.code}" for fault in faults))
        self.faults = faults


class Unknown(Exception):
    """There is no such customer (or link)."""


@dataclass(frozen=True, slots=True)
class Claim:
    """An address given with a customer. `valid_from` 0 = from the beginning, or from when its last holder's time ended;
    `valid_to` 0 = as it was, or open."""

    address: str
    valid_from: int = 0
    valid_to: int = 0


@dataclass(frozen=True, slots=True)
class Put:
    """A customer as a caller describes it; None = as it was. `id` empty: the customer of the first address. `tags`: all that
    this source says; `add_tags`, `remove_tags`: some of them (a removed tag goes whoever gave it)."""

    id: str = ""
    zone: str | None = None
    city: str | None = None
    level: str | None = None
    organisation: str | None = None
    agent: str | None = None
    tags: tuple[str, ...] | None = None
    add_tags: tuple[str, ...] = ()
    remove_tags: tuple[str, ...] = ()
    addresses: tuple[Claim, ...] = ()
    preferences: Preferences | None = None
    consents: tuple[Consent, ...] = ()


class Sheet:
    """Rows by id, links by id. `source`: the caller whose change this is; `by`: its key; `salt`: of the hashes that outlive
    an erasure."""

    def __init__(
        self,
        rows: Iterable[CustomerRow],
        links: Iterable[Link],
        *,
        salt: str,
        now: int,
        by: str = "",
        source: str = "",
    ) -> None:
        self.rows: dict[str, CustomerRow] = {row.id: row for row in rows}
        self.links: dict[str, Link] = {link.id: link for link in links}
        self.salt = salt
        self.now = now
        self.by = by
        self.source = source
        self.consents: list[tuple[str, Consent]] = []
        self.renamed: dict[str, str] = {}
        self.audits: list[tuple[str, str, Mapping[str, Any]]] = []
        self._at: dict[str, set[str]] = {}
        self._of: dict[str, set[str]] = {}
        for row in self.rows.values():
            self._index(row)

    # -- reading --------------------------------------------------------------------------------

    def get(self, customer: str) -> CustomerRow:
        """Raises Unknown."""
        if customer not in self.rows:
            raise Unknown(customer)
        return self.rows[customer]

    def members(self, customer: str) -> list[CustomerRow]:
        return [self.rows[one] for one in sorted(self._with(self.get(customer).root))]

    def person(self, customer: str) -> Person:
        return merged(self.members(customer))

    def holders(self, address: str) -> list[tuple[Holding, CustomerRow]]:
        """Everybody who has or had the address, the earliest first."""
        forms = {address, hashed_address(address, self.salt)}
        ids = {one for form in forms for one in self._at.get(form, ())}
        found = [
            (held, self.rows[one])
            for one in ids
            for held in self.rows[one].holdings
            if held.address in forms
        ]
        return sorted(found, key=lambda pair: (pair[0].valid_from, pair[1].id))

    def holder(self, address: str, at: int) -> CustomerRow | None:
        return next((row for held, row in self.holders(address) if held.covers(at)), None)

    # -- changing -------------------------------------------------------------------------------

    def put(self, given: Put) -> CustomerRow:
        """Make or change a customer. Raises Refused."""
        row = self._meant(given)
        new = row.id not in self.rows
        said: dict[str, Any] = {
            name: value
            for name in ("zone", "city", "level", "organisation", "agent", "preferences")
            if (value := getattr(given, name)) is not None
        }
        tags = self._tags(row, given)
        ways = [self._claim(row, number, claim) for number, claim in enumerate(given.addresses)]
        self._room(row, tags, given)
        consents = [replace(one, by=one.by or self.by) for one in given.consents]
        held = [
            Holding(claim.address, way.since, claim.valid_to)
            for claim, way in zip(given.addresses, ways, strict=True)
            if way.free
        ]
        self._keep(
            replace(
                row,
                **said,
                tags=tags,
                holdings=tuple(sorted({*row.holdings, *held})),
                consents=last_words((*row.consents, *consents)),
            )
        )
        for claim, way in zip(given.addresses, ways, strict=True):
            self._take(row.id, claim, way)
        self.consents += [(row.id, one) for one in consents]
        names = [*said, *(["tags"] if given.tags is not None else ())]
        lists = ("add_tags", "remove_tags", "addresses", "consents")
        names += [name for name in lists if getattr(given, name)]
        self._audit("customer.put", row.id, {"fields": names, "new": new})
        return self.rows[row.id]

    def of_address(self, address: str, at: int) -> CustomerRow:
        """The customer who has the address at `at`; an implicit one is made when nobody has."""
        found = self.holder(address, at)
        if found is not None:
            return found
        holders = self.holders(address)
        since = _free_since(holders, at)
        until = min((held.valid_from for held, _ in holders if held.valid_from > at), default=0)
        row = replace(self._implicit(address, since), holdings=(Holding(address, since, until),))
        self._keep(row)
        return row

    def prefer(self, customer: str, wish: Preferences) -> None:
        """Replace its preferences. Raises Unknown."""
        self._keep(replace(self.get(customer), preferences=wish))
        self._audit("customer.preferences", customer, {"service_only": wish.service_only})

    def consent(self, customer: str, one: Consent) -> None:
        """Add a piece of evidence. Raises Unknown."""
        row = self.get(customer)
        one = replace(one, by=one.by or self.by)
        self._keep(replace(row, consents=last_words((*row.consents, one))))
        self.consents.append((customer, one))
        detail = {"id": one.id, "channel": one.channel, "category": one.category}
        self._audit(f"customer.consent_{one.state}", customer, detail)

    def block(self, customer: str, block: Block) -> None:
        """Put it on the block list; the same id again replaces. Raises Unknown, Refused."""
        row = self.get(customer)
        kept = [
            one
            for one in row.blocks
            if one.id != block.id and (not one.until or one.until > self.now - _KEPT_MS)
        ]
        if len(kept) >= MOST_BLOCKS:
            raise Refused(Wrong("level", "too_many", block.level, {"limit": MOST_BLOCKS}))
        self._keep(replace(row, blocks=(*kept, block)))
        detail = {"id": block.id, "level": block.level, "until": block.until}
        self._audit("customer.block", customer, {**detail, "reason": block.reason})

    def unblock(self, customer: str, block: str) -> None:
        """Lift a block of it or of a customer linked with it. Raises Unknown when there is none."""
        for row in self.members(customer):
            if any(one.id == block for one in row.blocks):
                left = tuple(one for one in row.blocks if one.id != block)
                self._keep(replace(row, blocks=left))
                self._audit("customer.unblock", row.id, {"id": block})
                return
        raise Unknown(block)

    def link(self, link: Link) -> None:
        """Keep evidence that two customers are one person; a link in force between the two stands. Raises Unknown, Refused."""
        a, b = self.get(link.a), self.get(link.b)
        if a.id == b.id:
            raise Refused(Wrong("with", "link_self", b.id))
        both = {row.id for row in (*self.members(a.id), *self.members(b.id))}
        if len(both) > MOST_TOGETHER:
            raise Refused(Wrong("with", "too_many", b.id, {"limit": MOST_TOGETHER}))
        if link.canonical and link.canonical not in both:
            known = {"known": ", ".join(sorted(both))}
            raise Refused(Wrong("canonical", "not_one_of", link.canonical, known))
        self.links[link.id] = link
        self._join(both)
        detail = {"id": link.id, "with": link.b, "evidence": link.evidence}
        self._audit("customer.link", a.id, {**detail, "confidence": link.confidence})

    def unlink(self, customer: str, other: str) -> list[str]:
        """Undo every link in force between the two; ids of the links. Raises Unknown when there is none."""
        pair = {self.get(customer).id, self.get(other).id}
        found = [one for one in self.links.values() if {one.a, one.b} == pair and not one.undone_at]
        if not found:
            raise Unknown(other)
        both = {row.id for row in self.members(customer)}
        for one in found:
            self.links[one.id] = replace(one, undone_at=self.now, undone_by=self.by)
        self._join(both)
        ids = [one.id for one in found]
        self._audit("customer.unlink", customer, {"with": other, "ids": ids})
        return ids

    def erase(self, customer: str, reason: str = "") -> list[str]:
        """Forget the person: all its customers. The ids under which what must be kept goes on. Raises Unknown."""
        rows = self.members(customer)
        for row in rows:
            new = erased(row, self.salt, self.now)
            if new.id == row.id:
                continue
            self.renamed[row.id] = new.id
            self._forget(row)
            self._keep(new)
        names = self.renamed
        for link in list(self.links.values()):
            self.links[link.id] = replace(
                link,
                a=names.get(link.a, link.a),
                b=names.get(link.b, link.b),
                canonical=names.get(link.canonical, link.canonical),
            )
        new_ids = [names.get(row.id, row.id) for row in rows]
        self._join(set(new_ids))
        for one in new_ids:
            self._audit("customer.erase", one, {"members": len(new_ids), "reason": reason})
        return new_ids

    # -- inside ---------------------------------------------------------------------------------

    def _with(self, root: str) -> set[str]:
        return self._of.get(root, set())

    def _index(self, row: CustomerRow) -> None:
        self._of.setdefault(row.root, set()).add(row.id)
        for held in row.holdings:
            self._at.setdefault(held.address, set()).add(row.id)

    def _forget(self, row: CustomerRow) -> None:
        del self.rows[row.id]
        self._of[row.root].discard(row.id)
        for held in row.holdings:
            self._at[held.address].discard(row.id)

    def _keep(self, row: CustomerRow) -> None:
        before = self.rows.get(row.id)
        if before == row:
            return
        if before is not None:
            self._of[before.root].discard(row.id)
        self.rows[row.id] = row if row.erased_at == self.now else replace(row, updated_at=self.now)
        self._index(row)

    def _audit(self, what: str, target: str, detail: Mapping[str, Any]) -> None:
        self.audits.append((what, target, detail))

    def _join(self, ids: set[str]) -> None:
        """Give each part of these customers its root."""
        links = list(self.links.values())
        for part in together(ids, links):
            rows = [self.rows[one] for one in part]
            root = root_of(rows, links)
            for row in rows:
                if row.root != root:
                    self._keep(replace(row, root=root))

    def _tags(self, row: CustomerRow, given: Put) -> tuple[Tag, ...]:
        tags = row.tags
        if given.tags is None and not given.add_tags and not given.remove_tags:
            return tags
        if given.tags is not None:
            wanted = frozenset(given.tags)
            tags = tuple(tag for tag in tags if tag.source != self.source or tag.name in wanted)
        added = (*(given.tags or ()), *given.add_tags)
        new = tags_of((*tags, *(Tag(name, self.source, self.now) for name in added)))
        gone = frozenset(given.remove_tags)
        return tuple(tag for tag in new if tag.name not in gone)

    def _room(self, row: CustomerRow, tags: tuple[Tag, ...], given: Put) -> None:
        if len(tags) > MOST_TAGS:
            raise Refused(Wrong("tags", "too_many", str(len(tags)), {"limit": MOST_TAGS}))
        if len(row.holdings) + len(given.addresses) > MOST_HOLDINGS:
            number = str(len(given.addresses))
            raise Refused(Wrong("addresses", "too_many", number, {"limit": MOST_HOLDINGS}))

    def _meant(self, given: Put) -> CustomerRow:
        """The customer as it is before, or as it begins. Raises Refused."""
        if given.id:
            if given.id in self.rows:
                return self.rows[given.id]
            if given.id.startswith(IMPLICIT):
                raise Refused(Wrong("id", "customer_id_reserved", given.id))
            return CustomerRow(given.id, given.id, created_at=self.now)
        if not given.addresses:
            raise Refused(Wrong("id", "customer_nameless", ""))
        first = given.addresses[0]
        holders = self.holders(first.address)
        since = first.valid_from
        if since:
            same = (row for held, row in holders if held.valid_from == since)
        else:
            at = min(self.now, first.valid_to - 1) if first.valid_to else self.now
            same = (row for held, row in holders if held.covers(at))
            since = _free_since(holders, at)
        return next(same, None) or self._implicit(first.address, since)

    def _implicit(self, address: str, since: int) -> CustomerRow:
        customer = f"{IMPLICIT}{hashed('implicit', address, since)}"
        key = implicit_key(address, since)
        return CustomerRow(customer, customer, key, created_at=self.now)

    def _claim(self, row: CustomerRow, number: int, claim: Claim) -> _Way:
        """How the customer comes by the address. Raises Refused."""
        name, until = f"addresses[{number}]", claim.valid_to
        if until and until <= claim.valid_from:
            raise Refused(Wrong(f"{name}.valid_to", "time_order", str(until)))
        holders = self.holders(claim.address)
        last = min(self.now, until - 1) if until else self.now
        way = _Way(claim.valid_from or _free_since(holders, last))
        own = self._with(row.root) | {row.id}
        together_ = set(own)
        for held, one in holders:
            if (until and held.valid_from >= until) or 0 < held.valid_to <= way.since:
                continue  # before or after this time
            if one.id in own:
                way.own.append((held, one.id))
            elif one.own and (not claim.valid_from or held.valid_from >= way.since):
                way.linked.append((held, one.id))
                together_ |= self._with(one.root)
            elif claim.valid_from and held.valid_from < way.since:
                way.ended.append((held, one.id))
            else:
                facts = {"holder": one.id}
                raise Refused(Wrong(f"{name}.address", "address_taken", claim.address, facts))
        if len(together_) > MOST_TOGETHER:
            raise Refused(Wrong(name, "too_many", claim.address, {"limit": MOST_TOGETHER}))
        return way

    def _take(self, customer: str, claim: Claim, way: _Way) -> None:
        """End the time of others, or link them."""
        for held, one in way.ended:
            self._change(one, held, replace(held, valid_to=way.since))
            self._audit("customer.address_ended", one, {"at": way.since})
        for held, one in (*way.own, *way.linked):
            if claim.valid_to and claim.valid_to != held.valid_to:
                self._change(one, held, replace(held, valid_to=claim.valid_to))
        for held, one in way.linked:
            made = hashed("link", customer, one, held.valid_from, self.now)
            if self.rows[one].root != self.rows[customer].root:
                self.link(Link(f"lnk_{made}", customer, one, SAME_ADDRESS, at=self.now, by=self.by))

    def _change(self, customer: str, old: Holding, new: Holding) -> None:
        row = self.rows[customer]
        new = replace(new, address=old.address)
        kept = (one for one in row.holdings if one != old)
        self._keep(replace(row, holdings=tuple(sorted((*kept, new)))))


@dataclass(slots=True)
class _Way:
    """How an address comes to a customer from `since` on: it or one linked with it has it, implicit customers who have it are
    linked, others' time ends."""

    since: int
    own: list[tuple[Holding, str]] = dataclasses.field(default_factory=list)
    linked: list[tuple[Holding, str]] = dataclasses.field(default_factory=list)
    ended: list[tuple[Holding, str]] = dataclasses.field(default_factory=list)

    @property
    def free(self) -> bool:
        """Nobody has it, once others' time is ended: it becomes the customer's own."""
        return not self.own and not self.linked


def _free_since(holders: Sequence[tuple[Holding, CustomerRow]], at: int) -> int:
    """When the last time of somebody ended that was over by `at`."""
    return max((held.valid_to for held, _ in holders if 0 < held.valid_to <= at), default=0)
