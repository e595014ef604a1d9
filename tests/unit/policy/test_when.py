"""`when:`: every condition, alone and together; a share of persons is the right size and stays the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from msgcenter.policy.when import EVERYTHING, WHOLE, Facts, Hours, Matcher, Place, share_of

#: Thursday 2026-03-05 22:30 in Shanghai.
AT = round(datetime(2026, 3, 5, 14, 30, tzinfo=UTC).timestamp() * 1000)
FACTS = Facts(
    category="marketing",
    tags=frozenset({"5g", "vip"}),
    level="gold",
    organisation=("广东", "广州", "天河", "珠江新城", "体育西厅"),
    agent="partner",
    caller="iop",
    campaign="spring",
    channel="sms",
    person="cus_1",
    at=AT,
)


def one(*words: str) -> frozenset[str]:
    return frozenset(words)


@pytest.mark.parametrize(
    ("matcher", "holds"),
    [
        (Matcher(), True),
        (Matcher(categories=one("care", "marketing")), True),
        (Matcher(categories=one("care")), False),
        (Matcher(tags=one("5g", "4g")), True),
        (Matcher(tags=one("4g")), False),
        (Matcher(levels=one("gold")), True),
        (Matcher(levels=one("silver")), False),
        (Matcher(agents=one("partner")), True),
        (Matcher(agents=one("own")), False),
        (Matcher(callers=one("iop")), True),
        (Matcher(callers=one("crm")), False),
        (Matcher(campaigns=one("spring")), True),
        (Matcher(campaigns=one("autumn")), False),
        (Matcher(channels=one("sms")), True),
        (Matcher(channels=one("kf")), False),
        (Matcher(places=(Place(("广东",)),)), True),
        (Matcher(places=(Place(("广东", "深圳")),)), False),
        (Matcher(places=(Place(("广东", "*", "天河")),)), True),
        (Matcher(places=(Place(level=0, name="广东"),)), True),
        (Matcher(places=(Place(level=1, name="广州"),)), True),
        (Matcher(places=(Place(level=2, name="天河"),)), True),
        (Matcher(places=(Place(level=3, name="珠江新城"),)), True),
        (Matcher(places=(Place(level=4, name="体育西厅"),)), True),
        (Matcher(places=(Place(level=4, name="珠江新城"),)), False),
        (Matcher(places=(Place(("广东", "深圳")), Place(("广东", "广州")))), True),
        (Matcher(elsewhere=(Place(("广东", "广州")),)), False),
        (Matcher(elsewhere=(Place(("广东", "深圳")),)), True),
        (Matcher(within=Place(("广东", "广州")), places=(Place(level=2, name="天河"),)), True),
        (Matcher(within=Place(("广东", "广州")), places=(Place(level=2, name="越秀"),)), False),
        (Matcher(hours=(Hours(22 * 60, 8 * 60),)), True),
        (Matcher(hours=(Hours(8 * 60, 22 * 60),)), False),
        (Matcher(hours=(Hours(21 * 60, 22 * 60 + 30),)), False),  # the end is not inside
        (Matcher(hours=(Hours(22 * 60 + 30, 23 * 60),)), True),  # the start is
        (Matcher(weekdays=frozenset({3})), True),
        (Matcher(weekdays=frozenset({4})), False),
        (Matcher(share=(0, WHOLE)), True),
        (Matcher(categories=one("marketing"), callers=one("crm")), False),
        (Matcher(categories=one("marketing"), callers=one("iop")), True),
    ],
)
def test_a_condition_holds_when_one_of_its_values_does_and_all_must(
    matcher: Matcher, holds: bool
) -> None:
    assert matcher.match(FACTS).holds is holds


def test_what_is_not_known_fits_no_value() -> None:
    for matcher in (
        Matcher(categories=one("care")),
        Matcher(tags=one("vip")),
        Matcher(levels=one("gold")),
        Matcher(places=(Place(("*",)),)),
        Matcher(places=(Place(level=0, name="广东"),)),
        Matcher(within=Place(("广东", "广州"))),
        Matcher(share=(0, WHOLE)),
    ):
        assert not matcher.match(Facts()).holds
    assert Matcher(elsewhere=(Place(("广东",)),)).match(Facts()).holds


def test_the_facts_that_were_used_are_told_and_the_last_one_decided() -> None:
    matcher = Matcher(
        categories=one("marketing"), places=(Place(("广东", "深圳")),), hours=(Hours(0, 60),)
    )
    assert matcher.match(FACTS).facts == (
        ("category", "marketing"),
        ("organisation", "广东/广州/天河/珠江新城/体育西厅"),
    )
    late = Matcher(hours=(Hours(22 * 60, 23 * 60),), share=(0, WHOLE), draw="d").match(FACTS)
    assert late.facts[0] == ("local_time", "thu 22:30")
    assert late.facts[1][0] == "share"
    assert EVERYTHING.match(FACTS).facts == ()


def test_hours_and_weekdays_go_by_the_recipients_clock() -> None:
    facts = Facts(at=AT, zone=ZoneInfo("Pacific/Auckland"))  # there it is Friday 03:30
    assert Matcher(hours=(Hours(3 * 60, 4 * 60),), weekdays=frozenset({4})).match(facts).holds


PEOPLE = {
    "customers": [f"cus_{n:026d}" for n in range(10_000)],
    "phones": [f"tel:+86138{n:08d}" for n in range(10_000)],
    "accounts": [f"wecom:ww1/app/wm{n * 7919:x}" for n in range(10_000)],
}


@pytest.mark.parametrize("people", PEOPLE.values(), ids=PEOPLE)
@pytest.mark.parametrize("share", [1, 30, 50, 99])
def test_a_share_of_ten_thousand_is_within_one_point(people: list[str], share: int) -> None:
    matcher = Matcher(share=(0, share * 100), draw="spring")
    rest = Matcher(share=(share * 100, WHOLE), draw="spring")
    taken = {p for p in people if matcher.match(Facts(person=p)).holds}
    assert abs(len(taken) - share * 100) <= 100
    # everybody falls on exactly one side, and on the same one again
    assert {p for p in people if rest.match(Facts(person=p)).holds} == set(people) - taken
    assert {p for p in people if matcher.match(Facts(person=p)).holds} == taken


def test_a_draw_never_changes() -> None:
    # worked out apart: printf 'spring\037cus_1' | b2sum -l 64, as a fraction of 2**64, in 1/10,000
    assert [share_of(p, "spring") for p in ("cus_1", "cus_2")] == [770, 9137]


def test_draws_of_different_names_are_independent() -> None:
    people = PEOPLE["customers"]
    both = [p for p in people if share_of(p, "a") < 5000 and share_of(p, "b") < 5000]
    assert abs(len(both) - 2500) < 200


def test_a_larger_share_keeps_the_persons_of_a_smaller_one() -> None:
    for person in PEOPLE["phones"][:500]:
        small = Matcher(share=(0, 1000), draw="d").match(Facts(person=person)).holds
        large = Matcher(share=(0, 3000), draw="d").match(Facts(person=person)).holds
        assert large or not small


def test_conditions_have_a_name_that_follows_from_them() -> None:
    assert Matcher().conditions() == ""
    assert Matcher(categories=one("care"), tags=one("a"), channels=one("sms")).conditions() == ""
    base = Matcher(callers=one("crm", "iop"), categories=one("care"))
    assert (
        base.conditions() == Matcher(callers=one("iop", "crm"), categories=one("care")).conditions()
    )
    # hashed the same in every process: a set of words has no order of its own
    assert base.conditions() == "jg7ykw15kdp3w0d3e8sa4f5y9z"
    city = Place(("广东", "广州"))
    assert replace(base, within=city).conditions() == base.conditions()
    assert replace(base, elsewhere=(city,)).conditions() == base.conditions()
    others = [
        Matcher(callers=one("crm"), categories=one("care")),
        replace(base, categories=frozenset()),
        replace(base, levels=one("gold")),
        replace(base, agents=one("own")),
        replace(base, campaigns=one("c")),
        replace(base, places=(city,)),
        replace(base, places=(Place(level=1, name="广州"),)),
        replace(base, hours=(Hours(0, 60),)),
        replace(base, weekdays=frozenset({1})),
        replace(base, share=(0, 3000), draw="a"),
        replace(base, share=(0, 3000), draw="b"),
    ]
    assert len({base.conditions(), *(other.conditions() for other in others)}) == 12
