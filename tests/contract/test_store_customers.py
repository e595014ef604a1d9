"""The Store's contract for customers: who is behind an address and since when, links that can be undone, what an erasure leaves,
and the log by which processes learn of changes; on SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path

import pytest

from msgcenter.clock import ManualClock
from msgcenter.customers import Block, Consent, Link, Mute, Person, Preferences, Window
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.sheet import Claim, Put, Refused, Sheet, Unknown
from msgcenter.store import BadCursor
from msgcenter.store.customers import CHANGES_KEPT_MS, EVERYTHING
from msgcenter.store.store import Store
from tests.migrated import placed

T0 = 1_790_000_000_000
DAY = 86_400_000
TEL, TEL2, WECOM = "tel:+8613800138000", "tel:+8613900139000", "wecom:ww1/app/wm1"


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return placed(tmp_path)
    return request.getfixturevalue("postgres_store_url")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(T0)


@pytest.fixture
async def store(url: str, clock: ManualClock) -> AsyncIterator[Store]:
    store = Store(url, clock)
    await store.open()
    yield store
    await store.close()


async def put(store: Store, *given: Put, source: str = "crm") -> None:
    def work(sheet: Sheet) -> None:
        for one in given:
            sheet.put(one)

    await store.change_customers(
        work,
        ids=[one.id for one in given if one.id],
        addresses=[claim.address for one in given for claim in one.addresses],
        by=f"{source}/key",
        source=source,
    )


async def at(store: Store, address: str, when: int = T0) -> Person:
    return (await CustomerLookup(store, ManualClock(when)).many([address], when))[address]


async def person(store: Store, customer: str) -> Person:
    return (await store.find_customers([], [customer])).people[customer]


def said(state: str, when: int, category: str = "marketing", channel: str = "sms") -> Consent:
    name = f"{state}-{when}-{category}-{channel}"
    return Consent(name, channel, category, state, when, "v1", "hall", f"proof-{name}", T0 + DAY)  # type: ignore[arg-type]


FULL = Put(
    "c1",
    zone="Asia/Urumqi",
    city="乌鲁木齐\x00",
    level="gold",
    organisation="新疆/乌鲁木齐",
    agent="own",
    tags=("5G", "vip"),
    addresses=(Claim(TEL), Claim(WECOM)),
    preferences=Preferences(
        (Window(22 * 60, 8 * 60, (6, 7), ("sms",)),), (Mute(T0 + DAY),), True, ("sms",)
    ),
    consents=(said("granted", T0),),
)


async def test_what_is_put_is_found_by_id_and_by_each_address(store: Store) -> None:
    await put(store, FULL)
    found = await person(store, "c1")
    assert found == await at(store, TEL) == await at(store, WECOM)
    assert (found.zone, found.level, found.agent) == ("Asia/Urumqi", "gold", "own")
    assert found.tag_names == {"5G", "vip"}
    assert {(tag.source, tag.at) for tag in found.tags} == {("crm", T0)}
    assert found.preferences == FULL.preferences
    assert found.consent("sms", "marketing") == Consent(
        **{**_values(FULL.consents[0]), "by": "crm/key"}
    )
    assert found.muted_until("sms", T0) == T0 + DAY
    assert found.aliases == {"c1", TEL, WECOM}
    nobody = await at(store, TEL2)
    assert (nobody.id, nobody.key, nobody.aliases) == ("", TEL2, {TEL2})
    assert (await store.find_customers([], ["c9"])).people == {}


def _values(one: Consent) -> dict[str, object]:
    return {name: getattr(one, name) for name in Consent.__slots__}


async def test_what_is_left_out_stays_and_sources_keep_their_own_tags(store: Store) -> None:
    await put(store, FULL)
    await put(store, Put("c1", tags=("old",), level=""), source="iop")
    await put(store, Put("c1", tags=("vip",)))
    found = await person(store, "c1")
    assert {(tag.name, tag.source) for tag in found.tags} == {("vip", "crm"), ("old", "iop")}
    assert (found.zone, found.level) == ("Asia/Urumqi", "")
    assert [one.id for one in (await store.list_customers("old")).items] == ["c1"]
    await put(store, Put("c1", remove_tags=("old", "vip")))
    assert (await store.list_customers("old")).items == ()


async def test_a_number_given_out_again_starts_from_nothing(
    store: Store, clock: ManualClock
) -> None:
    await put(store, Put("c1", addresses=(Claim(TEL),), consents=(said("withdrawn", T0),)))
    with pytest.raises(Refused, match="address_taken"):
        await put(store, Put("c2", addresses=(Claim(TEL),)))
    ended = T0 - DAY
    await put(store, Put("c1", addresses=(Claim(TEL, 0, ended),)))
    before, after = await at(store, TEL, ended - 1), await at(store, TEL, ended)
    assert (before.id, after.id, after.consents) == ("c1", "", ())
    assert after.key == f"{TEL}#{ended}"
    assert not before.aliases & after.aliases
    # the unknown new holder says something, and is claimed later: nothing of the first one's comes along
    await store.change_customers(
        lambda sheet: sheet.consent(sheet.of_address(TEL, T0).id, said("granted", T0)),
        addresses=[TEL],
    )
    implicit = await at(store, TEL)
    assert (implicit.key, implicit.id[:4]) == (f"{TEL}#{ended}", "cus_")
    await put(store, Put("c2", addresses=(Claim(TEL),)))
    found = await at(store, TEL)
    assert (found.id, found.members) == ("c2", ("c2", implicit.id))
    assert [one.state for one in found.consents] == ["granted"]
    assert found.aliases == {"c2", f"{TEL}#{ended}"}
    # and again, named at once with the day
    await put(store, Put("c3", addresses=(Claim(TEL, T0 + DAY),)))
    assert [(await at(store, TEL, when)).id for when in (ended - 1, T0, T0 + DAY)] == [
        "c1",
        "c2",
        "c3",
    ]


async def test_a_number_may_come_back_to_its_holder(store: Store) -> None:
    await put(store, Put("c1", addresses=(Claim(TEL, 0, T0 - DAY),)))
    for _ in range(2):
        await put(store, Put("c1", addresses=(Claim(TEL, 0, T0 - DAY),)))
    await put(store, Put("c1", addresses=(Claim(TEL),)))
    held = (await person(store, "c1")).holdings
    assert [(one.valid_from, one.valid_to) for one in held] == [(0, T0 - DAY), (T0 - DAY, 0)]


async def test_an_implicit_customer_joins_whoever_claims_its_address_and_leaves_again(
    store: Store,
) -> None:
    await store.change_customers(
        lambda sheet: sheet.consent(sheet.of_address(TEL, T0).id, said("withdrawn", T0)),
        addresses=[TEL],
    )
    implicit = await at(store, TEL)
    assert (implicit.key, implicit.aliases) == (TEL, {TEL})
    await put(store, Put("c1", addresses=(Claim(TEL), Claim(WECOM))))
    both = await person(store, "c1")
    assert both.consent("sms", "marketing") is not None
    assert both.aliases == {"c1", TEL, WECOM}
    assert await at(store, TEL) == both
    await store.change_customers(
        lambda sheet: sheet.unlink("c1", implicit.id), ids=["c1", implicit.id], by="ops"
    )
    assert await at(store, TEL) == implicit
    assert (await at(store, WECOM)).consents == ()
    [link] = await store.list_links(["c1"])
    assert (link.evidence, link.undone_at, link.undone_by) == ("same_address", T0, "ops")


async def test_links_merge_strictly_and_come_apart_as_they_were(store: Store) -> None:
    await put(
        store,
        Put("a", city="广州", addresses=(Claim(TEL),), consents=(said("granted", T0 + 1),)),
        Put("b", level="gold", addresses=(Claim(TEL2),), consents=(said("withdrawn", T0 + 1),)),
    )
    before = [await person(store, one) for one in "ab"]
    await store.change_customers(
        lambda sheet: sheet.block("b", Block("blk_1", "block", 0, "x", T0)), ids=["b"]
    )
    blocked = await person(store, "b")
    await store.change_customers(
        lambda sheet: sheet.link(Link("l1", "b", "a", "unionid", 0.9, "b", T0, "ops")), ids="ab"
    )
    both = await person(store, "a")
    assert both == await person(store, "b")
    assert (both.id, both.members, both.city, both.level) == ("b", ("b", "a"), "广州", "gold")
    assert [one.state for one in both.consents] == ["withdrawn"]
    assert both.block_level(T0) == "block"
    people, last = await store.blocked_customers()
    assert ([one.id for one in people], last) == (["b"], "b")
    assert (await store.blocked_customers(last))[0] == []
    await store.change_customers(lambda sheet: sheet.unlink("a", "b"), ids="ab")
    assert [await person(store, one) for one in "a"] == before[:1]
    assert (await person(store, "b")).consents == blocked.consents
    for ids in (("a", "b"), ("a", "zz")):
        with pytest.raises(Unknown):
            await store.change_customers(lambda sheet, ids=ids: sheet.unlink(*ids), ids=ids)


async def test_consents_are_evidence(store: Store) -> None:
    await put(store, Put("c1", consents=tuple(said("granted", T0 + n) for n in range(5))))
    await put(store, Put("c1", consents=(said("granted", T0),)))  # once more: nothing new
    page = await store.list_consents(["c1"], limit=3)
    rest = await store.list_consents(["c1"], page.next_cursor, limit=3)
    assert [row.consent.at - T0 for row in (*page.items, *rest.items)] == [4, 3, 2, 1, 0]
    assert (page.items[0].customer, page.items[0].recorded_at) == ("c1", T0)
    assert [one.at for one in (await person(store, "c1")).consents] == [T0 + 4]
    with pytest.raises(BadCursor):
        await store.list_consents(["c1"], "x")


async def test_an_erased_customer_is_a_hash_that_still_refuses(store: Store) -> None:
    await put(store, FULL, Put("c1", consents=(said("withdrawn", T0, "care"),)))
    [kept] = await store.change_customers(lambda sheet: sheet.erase("c1", "asked"), ids=["c1"])
    left = await at(store, TEL)
    assert (left.id, left.city, left.tags, left.erased_at) == (kept, "", (), T0)
    assert TEL in left.aliases
    assert [(one.category, one.state) for one in left.consents] == [("care", "withdrawn")]
    everything = repr(await store.list_consents([kept])) + repr(await person(store, kept))
    for word in (TEL, WECOM, "c1'", "proof-", "hall"):
        assert word not in everything, word
    assert len((await store.list_consents([kept])).items) == 2
    assert (await store.find_customers([], ["c1"])).people == {}
    await store.change_customers(lambda sheet: sheet.erase(kept), ids=[kept])  # again: nothing
    await put(store, Put("c1", addresses=(Claim(TEL),)))
    assert (await person(store, "c1")).consent("sms", "care") is not None
    assert {row.target for row in (await store.list_audit(target=kept)).items} == {kept}


async def test_a_refusal_undoes_the_whole_change(store: Store) -> None:
    await put(store, Put("c1", addresses=(Claim(TEL),)))
    with pytest.raises(Refused):
        await put(store, Put("c2", tags=("x",)), Put("c3", addresses=(Claim(TEL),)))
    assert (await store.find_customers([], ["c2", "c3"])).people == {}
    assert (await store.customer_changes(-1)).position == 1


async def test_the_log_names_what_changed_and_says_when_it_cannot(
    store: Store, clock: ManualClock
) -> None:
    start = (await store.customer_changes(-1)).position
    await put(store, Put("c1", addresses=(Claim(TEL),)), Put("c2"))
    await put(store, Put("c2", tags=("x",)))
    changes = await store.customer_changes(start)
    assert (changes.position, changes.keys) == (start + 2, {"c1", "c2", TEL})
    assert (await store.customer_changes(start + 1)).keys == {"c2"}
    await put(store, Put("c2", tags=("x",)))  # changes nothing
    assert (await store.customer_changes(start + 2)).position == start + 2
    await store.change_customers(
        lambda sheet: sheet.link(Link("l1", "c1", "c2", "x", at=T0)), ids=["c1", "c2"]
    )
    await put(store, Put("c1", city="x"))
    assert (await store.customer_changes(start + 3)).keys == {"c1", "c2"}
    await clock.advance(CHANGES_KEPT_MS / 1000 + 1)
    await put(store, Put("c3"))
    assert (await store.customer_changes(start)).keys is None
    assert (await store.customer_changes(start + 4)).keys == {"c3"}
    assert (await store.customer_changes(start + 99)).keys is None
    await store.change_customers(lambda sheet: sheet.erase("c3"), ids=["c3"])
    assert (await store.customer_changes(start + 5)).keys == {EVERYTHING}


async def test_writers_at_once_lose_nothing_and_leave_no_gap(store: Store) -> None:
    async def tag(number: int) -> None:
        await put(store, Put("c1", add_tags=(f"t{number}",)), Put(f"d{number}"))

    await asyncio.gather(*(tag(number) for number in range(20)))
    assert len((await person(store, "c1")).tags) == 20
    assert len(await asyncio.gather(*(person(store, f"d{n}") for n in range(20)))) == 20
    keys = [(await store.customer_changes(n)).keys or frozenset() for n in range(20)]
    assert len(keys[0]) == 21
    assert all(later < earlier for earlier, later in pairwise(keys))


async def test_links_made_at_once_end_in_one_person(store: Store) -> None:
    names = [f"p{number:02d}" for number in range(12)]
    await put(store, *(Put(name) for name in names))

    async def link(number: int) -> None:
        a, b = names[number], names[number + 1]
        await store.change_customers(
            lambda sheet: sheet.link(Link(f"l{number}", a, b, "x", at=T0)), ids=[a, b]
        )

    await asyncio.gather(*(link(number) for number in range(11)))
    found = (await store.find_customers([], names)).people
    assert {one.id for one in found.values()} == {"p00"}
    assert set(found["p05"].members) == set(names)


async def test_lists_are_paged_by_person(store: Store) -> None:
    names = [f"c{number:02d}" for number in range(10)]
    await put(
        store, *(Put(name, tags=("even",) if int(name[1:]) % 2 == 0 else ()) for name in names)
    )
    await store.change_customers(
        lambda sheet: sheet.link(Link("l", "c03", "c04", "x", at=T0)), ids=["c03", "c04"]
    )
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        page = await store.list_customers(cursor=cursor, limit=4)
        seen += [one.id for one in page.items]
        if not (cursor := page.next_cursor):
            break
    assert seen == [name for name in names if name != "c04"]
    assert [one.id for one in (await store.list_customers("even")).items] == [
        *("c00", "c02", "c03", "c06", "c08"),
    ]


async def test_the_salt_outlives_the_process_and_differs(url: str, store: Store) -> None:
    other = Store(url, ManualClock(T0))
    await other.open()
    try:
        assert len(await store.customer_salt()) == 64
        assert await other.customer_salt() == await store.customer_salt()
    finally:
        await other.close()
