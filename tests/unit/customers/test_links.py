"""Linked customers are one person whatever the order in which links were made and undone; undone, they are as they were."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from msgcenter.customers import (
    Block,
    Consent,
    CustomerRow,
    Holding,
    Link,
    Mute,
    Person,
    Preferences,
    Tag,
    Window,
)
from msgcenter.customers.person import addresses_of, gates, nobody
from msgcenter.customers.sheet import Sheet
from msgcenter.state import Suppression

T0 = 1_790_000_000_000
IDS = "abcdef"

pairs = st.tuples(st.sampled_from(IDS), st.sampled_from(IDS)).filter(
    lambda pair: pair[0] != pair[1]
)
consents = st.builds(
    Consent,
    id=st.text("xyz", min_size=1, max_size=4),
    channel=st.sampled_from(["sms", "*"]),
    category=st.sampled_from(["care", "*"]),
    state=st.sampled_from(["granted", "withdrawn"]),
    at=st.integers(1, 4),
)
rows = st.builds(
    CustomerRow,
    id=st.just(""),
    own=st.sampled_from(["", "", "tel:+86"]),
    city=st.sampled_from(["", "广州", "深圳"]),
    level=st.sampled_from(["", "gold"]),
    tags=st.lists(
        st.builds(Tag, st.sampled_from("tuv"), st.just("s"), st.integers(1, 3)), max_size=2
    ).map(tuple),
    preferences=st.builds(
        Preferences,
        st.lists(st.builds(Window, st.integers(0, 9), st.integers(10, 19)), max_size=2).map(tuple),
        st.lists(st.builds(Mute, st.integers(1, 9)), max_size=2).map(tuple),
        st.booleans(),
        st.sampled_from([(), ("sms",), ("push", "sms")]),
    ),
    consents=st.lists(consents, max_size=1).map(tuple),
    created_at=st.integers(1, 3),
)


def sheet_of(profiles: list[CustomerRow]) -> Sheet:
    members = [
        replace(row, id=name, root=name, own=row.own and f"{row.own}{name}")
        for name, row in zip(IDS, profiles, strict=True)
    ]
    return Sheet(members, [], salt="s", now=T0)


def links_of(chosen: list[tuple[str, str]], wishes: list[int]) -> list[Link]:
    """Numbered as they were made; some ask for one of the two to stand for both."""
    return [
        Link(f"l{number:02d}", a, b, "x", canonical=("", a, b)[wish % 3], at=T0 + number)
        for number, ((a, b), wish) in enumerate(zip(chosen, wishes, strict=False))
    ]


def people(sheet: Sheet) -> dict[str, Person]:
    """Without the time of the change, which is not part of what is known."""
    return {name: replace(sheet.person(name), updated_at=0) for name in IDS}


@given(
    profiles=st.lists(rows, min_size=6, max_size=6),
    chosen=st.lists(pairs, max_size=8),
    wishes=st.lists(st.integers(0, 5), min_size=8, max_size=8),
    data=st.data(),
)
def test_the_order_of_links_makes_no_difference(
    profiles: list[CustomerRow],
    chosen: list[tuple[str, str]],
    wishes: list[int],
    data: st.DataObject,
) -> None:
    links = links_of(chosen, wishes)
    one, other = sheet_of(profiles), sheet_of(profiles)
    for link in links:
        one.link(link)
    for link in data.draw(st.permutations(links)):
        # An id asked for may not be linked yet when the order is another one: the two at hand always are.
        other.link(link)
    assert people(one) == people(other)


@given(
    profiles=st.lists(rows, min_size=6, max_size=6),
    chosen=st.lists(pairs, min_size=1, max_size=8, unique_by=lambda pair: tuple(sorted(pair))),
    wishes=st.lists(st.integers(0, 5), min_size=8, max_size=8),
    data=st.data(),
)
def test_undoing_links_leaves_what_the_others_say(
    profiles: list[CustomerRow],
    chosen: list[tuple[str, str]],
    wishes: list[int],
    data: st.DataObject,
) -> None:
    links = links_of(chosen, wishes)
    gone = data.draw(st.lists(st.sampled_from(links), unique=True))
    one, other = sheet_of(profiles), sheet_of(profiles)
    before = people(one)
    for link in links:
        one.link(link)
    for link in gone:
        one.unlink(link.a, link.b)
    for link in links:
        if link not in gone:
            other.link(link)
    assert people(one) == people(other)
    for link in links:
        if link not in gone:
            one.unlink(link.b, link.a)
    assert people(one) == before


@given(
    profiles=st.lists(rows, min_size=6, max_size=6), chosen=st.lists(pairs, min_size=1, max_size=8)
)
def test_the_union_is_never_milder_than_one_of_it(
    profiles: list[CustomerRow], chosen: list[tuple[str, str]]
) -> None:
    sheet = sheet_of(profiles)
    for link in links_of(chosen, [0] * 8):
        sheet.link(link)
    for name in IDS:
        whole = sheet.person(name)
        for member in whole.members:
            wish = sheet.rows[member].preferences
            assert set(wish.windows) <= set(whole.preferences.windows)
            assert whole.preferences.service_only >= wish.service_only
            ends = max((mute.until for mute in wish.mutes), default=0)
            assert whole.muted_until("sms", 0) >= ends
            assert sheet.rows[member].key in whole.aliases
        said = [one for member in whole.members for one in sheet.rows[member].consents]
        last = whole.consent("sms", "care")
        if said:
            assert last is not None
            latest = [one for one in said if one.at == max(other.at for other in said)]
            assert last.at == latest[0].at
            if any(one.state == "withdrawn" for one in latest):
                assert last.state == "withdrawn"


def person(**fields: object) -> Person:
    return replace(Person("c", "c", ("c",), frozenset(("c", "tel:+861"))), **fields)  # type: ignore[arg-type]


def test_only_a_block_in_force_shuts_gates() -> None:
    slow, ended = Block("1", "slow"), Block("2", "block", T0)
    assert gates(person(blocks=(slow, ended)), T0) == []
    assert gates(person(blocks=(slow, Block("3", "block", T0 + 5000))), T0) == [
        Suppression("person:c", "blocked", 5.0),
        Suppression("person:tel:+861", "blocked", 5.0),
    ]
    both = person(blocks=(Block("3", "block", T0 + 5000), Block("4", "block")))
    assert {one.ttl_s for one in gates(both, T0)} == {0.0}
    assert both.block_level(T0) == "block"
    assert person(blocks=(slow, ended)).block_level(T0) == "slow"


def test_addresses_come_in_the_order_of_kinds_and_only_in_their_time() -> None:
    held = (
        Holding("tel:+861", 0, T0),
        Holding("tel:+862", 5),
        Holding("tel:+863", 9),
        Holding("wecom:a/b/c"),
        Holding("#hash"),
    )
    schemes = {"sms": ("tel",), "wecom-app": ("wecom",), "voice": ("tel",), "push": ("gridapp",)}
    found = addresses_of(
        person(holdings=held), ("push", "wecom-app", "sms", "voice"), T0, schemes.__getitem__
    )
    assert [str(one) for one in found] == ["wecom:a/b/c", "tel:+863", "tel:+862"]
    found = addresses_of(person(holdings=held), ("sms",), T0 - 1, schemes.__getitem__)
    assert [str(one) for one in found] == ["tel:+863", "tel:+862", "tel:+861"]
    assert [
        str(one) for one in addresses_of(nobody("tel:+861"), ("sms",), 1, schemes.__getitem__)
    ] == ["tel:+861"]
