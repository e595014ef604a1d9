"""Routing: the first rule that fits; a split gives each channel its part of the persons, the same ones for ever, and a changed weight
moves no more of them than it must."""

from __future__ import annotations

from collections import Counter

import pytest

from msgcenter.policy.routing import ONLY_CHANNEL, Chosen, RouteRule, Routing, drawn
from msgcenter.policy.when import Facts, Matcher

PEOPLE = [f"cus_{number:05d}" for number in range(10_000)]
A_POINT = len(PEOPLE) / 100


def split(weights: dict[str, float], draw: str = "trial") -> dict[str, str]:
    shares = tuple(weights.items())
    return {person: drawn(person, draw, shares) for person in PEOPLE}


@pytest.mark.parametrize(
    "weights", [{"east": 30, "west": 70}, {"a": 50, "b": 30, "c": 20}, {"a": 1, "b": 9}]
)
def test_each_channel_gets_its_part_of_ten_thousand_within_one_point(
    weights: dict[str, float],
) -> None:
    got = Counter(split(weights).values())
    whole = sum(weights.values())
    for channel, weight in weights.items():
        assert abs(got[channel] - weight / whole * len(PEOPLE)) <= A_POINT


def test_who_falls_where_is_fixed_for_ever() -> None:
    shares = (("east", 30.0), ("west", 70.0))
    assert [drawn(f"cus_{n}", "trial", shares) for n in range(12)] == [
        *("east", "east", "west", "east", "west", "east"),
        *("east", "west", "west", "east", "west", "east"),
    ]


def test_neither_the_order_nor_the_scale_of_the_weights_matters() -> None:
    assert split({"a": 30, "b": 70}) == split({"b": 7, "a": 3})


@pytest.mark.parametrize(
    ("before", "after", "moves"),
    [
        ({"a": 30, "b": 70}, {"a": 40, "b": 60}, 10),
        ({"a": 30, "b": 30, "c": 40}, {"a": 40, "b": 30, "c": 30}, 13.3),
        ({"a": 50, "b": 50}, {"a": 45, "b": 45, "c": 10}, 10),
        ({"a": 20, "b": 80}, {"a": 0, "b": 80}, 20),
    ],
)
def test_a_changed_weight_moves_only_the_share_that_it_must(
    before: dict[str, float], after: dict[str, float], moves: float
) -> None:
    """Two weights that change at once move what each would alone: c from 40 to 30 of 100, then a from 30 to 40 of 90."""
    old, new = split(before), split(after)
    moved = [person for person in PEOPLE if old[person] != new[person]]
    assert abs(len(moved) - moves * A_POINT) <= A_POINT
    # nobody leaves a channel that grew, nobody enters one that shrank
    size = {name: (before.get(name, 0), after.get(name, 0)) for name in {*before, *after}}
    assert all(size[old[person]][0] >= size[old[person]][1] for person in moved)
    assert all(size[new[person]][0] <= size[new[person]][1] for person in moved)


def test_two_weights_move_persons_one_way_only() -> None:
    old, new = split({"a": 30, "b": 70}), split({"a": 31, "b": 69})
    assert {(old[p], new[p]) for p in PEOPLE if old[p] != new[p]} == {("b", "a")}


def test_draws_of_different_names_are_independent() -> None:
    one, other = split({"a": 50, "b": 50}, "one"), split({"a": 50, "b": 50}, "other")
    both = sum(one[person] == other[person] == "a" for person in PEOPLE)
    assert abs(both - len(PEOPLE) / 4) <= 1.5 * A_POINT


def test_the_first_rule_that_fits_wins_and_says_what_it_looked_at() -> None:
    routing = Routing(
        {
            "sms": (
                RouteRule("gold", Matcher(levels=frozenset({"gold"})), (("direct", 1.0),)),
                RouteRule(
                    "trial",
                    Matcher(tags=frozenset({"new"})),
                    (("east", 30.0), ("west", 70.0)),
                    "spring",
                ),
            )
        },
        {"sms": "east", "push": "jiguang"},
    )
    gold = Facts(level="gold", tags=frozenset({"new"}), person="cus_0")
    assert routing.choose("sms", gold) == Chosen("direct", "gold", (("level", "gold"),))
    new = Facts(tags=frozenset({"new"}), person="cus_0")
    assert routing.choose("sms", new) == Chosen(
        "west", "trial", (("tags", "new"), ("person", "cus_0"), ("draw", "spring"))
    )
    assert routing.choose("sms", Facts(person="cus_0")) == Chosen("east", ONLY_CHANNEL)
    assert routing.choose("fax", new) is None
    assert [routing.of_person(kind) for kind in ("sms", "push", "fax")] == [True, False, False]


def test_only_what_asks_about_the_person_needs_the_directory() -> None:
    plain = Matcher(categories=frozenset({"code"}), callers=frozenset({"crm"}))
    assert not RouteRule("one", plain, (("east", 1.0),)).of_person
    assert RouteRule("split", plain, (("east", 1.0), ("west", 1.0))).of_person
    for asks in ("tags", "levels", "agents"):
        assert Matcher(**{asks: frozenset({"x"})}).of_person
