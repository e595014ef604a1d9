"""The customer directory: read by address or id in one statement, changed one sheet at a time, and a short log of what changed.

Changes take turns: each locks `customer_head` first, so that it sees everything before it and positions in `customer_change`
are contiguous in commit order: a reader that has seen position n has missed nothing before it. A profile is one JSON column;
`customer_address` and `customer_tag` are indexes of it, kept by the same transaction. One file, because a reader of the tables must
see what every writer keeps true about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

from sqlalchemy import (
    JSON,
    ColumnElement,
    Select,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.ext.asyncio import AsyncConnection

from msgcenter.customers import (
    Consent,
    ConsentRow,
    CustomerRow,
    Link,
    Person,
    profile_of,
    row_of,
)
from msgcenter.customers.person import by_root, erased_consent, hashed_address, merged
from msgcenter.customers.sheet import Sheet
from msgcenter.store import Page
from msgcenter.store.bulk import Bulk
from msgcenter.store.cursors import decode_place, encode_place
from msgcenter.store.database import Database, chunks, rows_of
from msgcenter.store.rows import clean
from msgcenter.store.tables import (
    Key,
    audit,
    customer,
    customer_address,
    customer_change,
    customer_consent,
    customer_head,
    customer_link,
    customer_tag,
)

T = TypeVar("T")

CHANGES_KEPT_MS = 60_000
"""How long a change can be read; a reader that comes later finds a gap, and forgets everything."""
MOST_CHANGES = 500
EVERYTHING = "*"
"""The key of a change that concerns every address."""
_CONSENT_FIELDS = tuple(field.name for field in fields(Consent))


@dataclass(frozen=True, slots=True)
class Found:
    """An answer to `find_customers`. `holdings`: address -> (valid_from, valid_to, customer), for those known; `people`: id ->
    person, for every id asked for or holding an address."""

    holdings: Mapping[str, tuple[tuple[int, int, str], ...]]
    people: Mapping[str, Person]


@dataclass(frozen=True, slots=True)
class Changes:
    """`position`: of the last change. `keys`: ids and addresses changed since; None = too many, or too long ago to tell."""

    position: int
    keys: frozenset[str] | None


class Customers(Database):
    """Find, list, change."""

    _customer_question: Any = None
    _customer_rows: Bulk | None = None
    _customer_salt = ""

    # -- reading --------------------------------------------------------------------------------

    async def find_customers(self, addresses: Sequence[str], ids: Sequence[str]) -> Found:
        """Who has these addresses, and everything known of them and of these ids: one statement."""
        salt = await self.customer_salt()
        plain = {hashed_address(one, salt): one for one in map(clean, addresses)}
        async with self._read() as connection:
            found = await self._load(connection, [*plain, *plain.values()], list(map(clean, ids)))
        rows = {row.id: row for row, *_ in found}
        holdings: dict[str, set[tuple[int, int, str]]] = {}
        asked: set[str] = set()
        for _, address, valid_from, valid_to, holder in found:
            asked.add(holder)
            if address:
                held = (valid_from, valid_to, holder)
                holdings.setdefault(plain.get(address, address), set()).add(held)
        people: dict[str, Person] = {}
        for members in by_root(rows.values()).values():
            person = merged(members)
            people.update((row.id, person) for row in members if row.id in asked)
        return Found({one: tuple(sorted(held)) for one, held in holdings.items()}, people)

    async def customer_salt(self) -> str:
        """What the hashes that outlive an erasure are made with; the same for ever."""
        if not self._customer_salt:
            async with self._read() as connection:
                self._customer_salt = str(await connection.scalar(select(customer_head.c.salt)))
        return self._customer_salt

    async def customer_changes(self, after: int) -> Changes:
        """What changed after a position; -1 = only tell me the position."""
        log = customer_change
        query = select(log.c.position, log.c["keys"]).where(log.c.position > after)
        async with self._read() as connection:
            position = int(await connection.scalar(select(customer_head.c.position)) or 0)
            if after < 0 or after == position:
                return Changes(position, frozenset())
            if after > position or position - after > MOST_CHANGES:
                return Changes(position, None)
            rows = list(await connection.execute(query.order_by(log.c.position)))
        if not rows or rows[0].position != after + 1:
            return Changes(position, None)
        return Changes(rows[-1].position, frozenset(key for row in rows for key in row[1]))

    async def list_customers(
        self, tag: str = "", cursor: str = "", limit: int = 100
    ) -> Page[Person]:
        """Everybody (with a tag), by id of the canonical customer. Raises BadCursor."""
        after = decode_place(cursor)[1] if cursor else ""
        roots: Select[Any] = select(customer.c.id).where(customer.c.id == customer.c.root)
        if tag:
            tagged = customer_tag.join(customer, customer.c.id == customer_tag.c.customer)
            roots = select(customer.c.root.label("id")).select_from(tagged).distinct()
            roots = roots.where(customer_tag.c.tag == clean(tag))
        name = customer.c.root if tag else customer.c.id
        roots = roots.where(name > after).order_by(name).limit(limit + 1)
        async with self._read() as connection:
            ids = list((await connection.execute(roots)).scalars())
            more, ids = len(ids) > limit, ids[:limit]
            rows: list[CustomerRow] = []
            for chunk in chunks(ids):
                query = select(customer).where(customer.c.root.in_(chunk))
                rows += [row_of(row._mapping) for row in await connection.execute(query)]
        people = [merged(members) for members in by_root(rows).values()]
        people.sort(key=lambda person: person.id)
        return Page(tuple(people), encode_place(0, ids[-1]) if more else "")

    async def blocked_customers(
        self, after: str = "", limit: int = 1000
    ) -> tuple[list[Person], str]:
        """People of customers with a block, ended or not, and where to go on; the last page is empty."""
        query = select(customer.c.id).where(customer.c.blocked, customer.c.id > after)
        async with self._read() as connection:
            found = await connection.execute(query.order_by(customer.c.id).limit(limit))
            ids = list(found.scalars())
        if not ids:
            return [], after
        people = (await self.find_customers((), ids)).people
        return list({person.id: person for person in people.values()}.values()), ids[-1]

    async def list_consents(
        self, customers: Sequence[str], cursor: str = "", limit: int = 100
    ) -> Page[ConsentRow]:
        """All evidence of these customers, newest first. Raises BadCursor."""
        table = customer_consent
        query = select(table).where(table.c.customer.in_([clean(one) for one in customers]))
        if cursor:
            at, key = decode_place(cursor)
            query = query.where(or_(table.c.at < at, (table.c.at == at) & (table.c.id < key)))
        query = query.order_by(table.c.at.desc(), table.c.id.desc()).limit(limit + 1)
        async with self._read() as connection:
            rows = list(await connection.execute(query))
        more, rows = len(rows) > limit, rows[:limit]
        items = [
            ConsentRow(
                row.customer,
                Consent(**{name: row._mapping[name] for name in _CONSENT_FIELDS}),
                row.recorded_at,
            )
            for row in rows
        ]
        return Page(tuple(items), encode_place(rows[-1].at, rows[-1].id) if more else "")

    async def list_links(self, customers: Sequence[str]) -> list[Link]:
        """Every link of these customers, undone ones too, by time."""
        ids = [clean(one) for one in customers]
        table = customer_link
        query = select(table).where(table.c.a.in_(ids) | table.c.b.in_(ids))
        async with self._read() as connection:
            rows = await connection.execute(query.order_by(table.c.at, table.c.id))
            return [Link(**row._mapping) for row in rows]

    # -- changing -------------------------------------------------------------------------------

    async def change_customers(
        self,
        work: Callable[[Sheet], T],
        *,
        ids: Iterable[str] = (),
        addresses: Iterable[str] = (),
        by: str = "",
        source: str = "",
    ) -> T:
        """Run `work` on the sheet that holds these customers, the holders of these addresses, and all linked with them; what it
        returns. What it raises undoes it all. `by` and `source`: see `Sheet`; its audit rows are kept with the change."""
        named = sorted({clean(one) for one in ids})
        given = sorted({clean(one) for one in addresses})

        async def turn(connection: AsyncConnection) -> T:
            locked = select(customer_head.c.position, customer_head.c.salt).with_for_update()
            position, salt = (await connection.execute(locked)).one()
            hashes = [hashed_address(one, salt) for one in given]
            found = await self._load(connection, [*given, *hashes], named)
            rows = {row.id: row for row, *_ in found}
            links = await self._links(connection, rows.values())
            now = self._clock.now_ms()
            sheet = Sheet(rows.values(), links, salt=salt, now=now, by=by, source=source)
            result = work(sheet)
            keys = await self._write_sheet(connection, sheet, rows, {one.id: one for one in links})
            if keys:
                await self._log_change(connection, position + 1, now, keys)
            return result

        return await self._write(turn)

    async def _links(self, connection: AsyncConnection, rows: Iterable[CustomerRow]) -> list[Link]:
        """Of those customers that are not alone, or that nobody asked for alone."""
        table = customer_link
        out: dict[str, Link] = {}
        for chunk in chunks([row.id for row in rows]):
            query = select(table).where(table.c.a.in_(chunk) | table.c.b.in_(chunk))
            out.update((row.id, Link(**row._mapping)) for row in await connection.execute(query))
        return list(out.values())

    async def _load(
        self, connection: AsyncConnection, addresses: Sequence[str], ids: Sequence[str]
    ) -> list[tuple[CustomerRow, str, int, int, str]]:
        """(row, address, valid_from, valid_to, holder): all members of the person of each holder of an address or id asked for;
        the address is empty for an id."""
        if self._customer_question is None:
            self._customer_question = _question(self.is_sqlite)
        given = {"addresses": list(addresses), "ids": list(ids)}
        known: dict[str, CustomerRow] = {}
        out = []
        for values in await connection.execute(self._customer_question, given):
            row = known.get(values.id)
            if row is None:
                row = known[values.id] = row_of(values._mapping)
            out.append((row, values.address, values.valid_from, values.valid_to, values.holder))
        return out

    async def _write_sheet(
        self,
        connection: AsyncConnection,
        sheet: Sheet,
        rows: Mapping[str, CustomerRow],
        links: Mapping[str, Link],
    ) -> set[str]:
        """Keep what differs; ids and addresses concerned."""
        changed = [row for row in sheet.rows.values() if rows.get(row.id) != row]
        gone = [one for one in rows if one not in sheet.rows]
        await self._keep_rows(connection, changed)
        if gone:
            await connection.execute(delete(customer).where(customer.c.id.in_(gone)))
        await self._index(connection, customer_address, _held, rows, changed, gone)
        await self._index(connection, customer_tag, _tagged, rows, changed, gone)
        if sheet.consents:
            values = [
                {**_consent(one), "customer": who, "recorded_at": sheet.now}
                for who, one in sheet.consents
            ]
            kept = self._insert(customer_consent).on_conflict_do_nothing()
            await connection.execute(kept, values)
        await self._keep_links(
            connection, [one for one in sheet.links.values() if links.get(one.id) != one]
        )
        for old, new in sheet.renamed.items():
            await self._rename(connection, old, new, sheet.salt)
        if sheet.audits:
            names = ("what", "target", "detail")
            lines = [dict(zip(names, line, strict=True)) for line in sheet.audits]
            who = {"at": sheet.now, "who": clean(sheet.by)}
            await connection.execute(insert(audit), [{**line, **who} for line in lines])
        if sheet.renamed:
            return {EVERYTHING}
        keys = {row.id for row in changed}
        for row in changed:
            before = rows.get(row.id)
            had = () if before is None else before.holdings
            if had != row.holdings:
                keys.update(held.address for held in (*had, *row.holdings))
            # The others of its person show what it says.
            keys.update(one.id for one in sheet.members(row.id))
            if before is not None and before.root != row.root:
                keys.update(one.id for one in rows.values() if one.root == before.root)
        return keys

    async def _keep_rows(self, connection: AsyncConnection, changed: Sequence[CustomerRow]) -> None:
        if not changed:
            return
        if self._customer_rows is None:
            bulk = Bulk(customer, self.is_sqlite)
            new = bulk.insert.excluded
            bulk.insert = bulk.insert.on_conflict_do_update(
                index_elements=[customer.c.id],
                set_={one.name: new[one.name] for one in customer.c if one.name != "id"},
            )
            self._customer_rows = bulk
        values = [
            {
                "id": row.id,
                "root": row.root,
                "own": row.own,
                "profile": profile_of(row),
                "blocked": row.blocked,
                "created_at": row.created_at,
                "updated_at": row.updated_at,
                "erased_at": row.erased_at,
            }
            for row in changed
        ]
        await connection.execute(self._customer_rows.insert, self._customer_rows.parameters(values))

    async def _index(
        self,
        connection: AsyncConnection,
        table: Table,
        entries: Callable[[CustomerRow], list[dict[str, Any]]],
        rows: Mapping[str, CustomerRow],
        changed: Sequence[CustomerRow],
        gone: Sequence[str],
    ) -> None:
        """Bring an index table to what the rows say."""
        fresh: list[dict[str, Any]] = []
        stale = list(gone)
        for row in changed:
            before = rows.get(row.id)
            now = entries(row)
            if before is not None:
                if entries(before) == now:
                    continue
                stale.append(row.id)
            fresh += now
        for chunk in chunks(stale):
            await connection.execute(delete(table).where(table.c.customer.in_(chunk)))
        if fresh:
            await connection.execute(insert(table), fresh)

    async def _keep_links(self, connection: AsyncConnection, links: Sequence[Link]) -> None:
        if not links:
            return
        kept = self._insert(customer_link)
        columns = [one.name for one in customer_link.c if one.name != "id"]
        kept = kept.on_conflict_do_update(
            index_elements=[customer_link.c.id],
            set_={name: kept.excluded[name] for name in columns},
        )
        await connection.execute(kept, rows_of(list(links)))

    async def _rename(self, connection: AsyncConnection, old: str, new: str, salt: str) -> None:
        """What is kept of an erased customer besides its row: evidence and who did what, under the new id."""
        table = customer_consent
        found = await connection.execute(select(table).where(table.c.customer == old))
        for row in found.all():
            one = Consent(**{name: row._mapping[name] for name in _CONSENT_FIELDS})
            kept = erased_consent(one, salt)
            values = {"customer": new, "source": kept.source, "proof": kept.proof}
            await connection.execute(update(table).where(table.c.id == one.id).values(values))
        await connection.execute(update(audit).where(audit.c.target == old).values(target=new))

    async def _log_change(
        self, connection: AsyncConnection, position: int, now: int, keys: set[str]
    ) -> None:
        log = customer_change
        await connection.execute(
            insert(log), {"position": position, "at": now, "keys": sorted(keys)}
        )
        await connection.execute(delete(log).where(log.c.at < now - CHANGES_KEPT_MS))
        await connection.execute(update(customer_head).values(position=position))


def _held(row: CustomerRow) -> list[dict[str, Any]]:
    return [
        {
            "address": clean(held.address),
            "valid_from": held.valid_from,
            "customer": row.id,
            "valid_to": held.valid_to,
        }
        for held in row.holdings
    ]


def _tagged(row: CustomerRow) -> list[dict[str, Any]]:
    return [
        {"tag": clean(name), "customer": row.id} for name in sorted({tag.name for tag in row.tags})
    ]


def _consent(one: Consent) -> dict[str, Any]:
    return rows_of([one])[0]


def _question(is_sqlite: bool) -> Any:
    holder, member = customer.alias("holder"), customer.alias("member")

    def among(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
        if is_sqlite:
            given = func.json_each(bindparam(name, type_=JSON)).table_valued("value")
            return column.in_(select(given.c.value))
        return column == func.any(bindparam(name, type_=ARRAY(Key)))

    held = customer_address
    people = holder.join(member, member.c.root == holder.c.root)
    by_address = (
        select(
            member,
            held.c.address.label("address"),
            held.c.valid_from.label("valid_from"),
            held.c.valid_to.label("valid_to"),
            holder.c.id.label("holder"),
        )
        .select_from(held.join(people, holder.c.id == held.c.customer))
        .where(among(held.c.address, "addresses"))
    )
    by_id = (
        select(
            member,
            literal("").label("address"),
            literal(0).label("valid_from"),
            literal(0).label("valid_to"),
            holder.c.id.label("holder"),
        )
        .select_from(people)
        .where(among(holder.c.id, "ids"))
    )
    return union_all(by_address, by_id)
