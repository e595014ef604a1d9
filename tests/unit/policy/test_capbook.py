"""Caps by `when`: which rules a message falls under, that each counts exactly its own, and what cities share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from msgcenter.config.compiled import cap_rule
from msgcenter.policy import caps
from msgcenter.policy.capbook import CapBook, CapEntry
from msgcenter.policy.caps import Calendar, CapRule, Caps, Downgrade, Gap, Hold, Merge, Rolling
from msgcenter.policy.when import Facts, Matcher, Place
from tests.unit.test_config import read, write

NOW = 1_750_000_000_000
DAY = CapRule("day", "person", (Rolling(86400.0, 3),))


def one(*words: str) -> frozenset[str]:
    return frozenset(words)


def counters(book: CapBook, **facts: object) -> dict[str, list[str]]:
    """Counter -> the rules that look at it, for a message with these facts."""
    given = Facts(person="p", at=NOW, **facts)  # type: ignore[arg-type]
    picked = book.pick(given)
    asked = picked.caps.ask(
        caps.Facts(
            now_ms=NOW,
            category=given.category,
            tier=5,
            zone="Asia/Shanghai",
            person=given.person,
            channel=given.channel,
            tags=picked.tags,
        )
    )
    return {
        take.counter.name: [rule.name for rule, _ in origins]
        for take, origins in zip(asked.takes, asked.origins, strict=True)
    }


def entry(name: str, limit: int, when: Matcher) -> CapEntry:
    return CapEntry(when, CapRule(name, "person", (Rolling(86400.0, limit),)))


def test_rules_that_count_the_same_share_a_counter() -> None:
    book = CapBook([entry("a", 3, Matcher()), entry("b", 5, Matcher())])
    ((names),) = counters(book).values()
    assert names == ["a", "b"]


def test_a_rule_for_one_caller_counts_only_what_it_sends() -> None:
    book = CapBook([entry("all", 3, Matcher()), entry("iop", 1, Matcher(callers=one("iop")))])
    both = counters(book, caller="iop")
    assert list(both.values()) == [["all"], ["iop"]]
    (plain,) = counters(book, caller="crm")
    assert plain in both
    assert len(both) == 2


def test_category_tag_and_channel_are_the_counters_own() -> None:
    when = Matcher(categories=one("care"), tags=one("5g"), channels=one("sms"))
    book = CapBook([CapEntry(when, DAY)])
    found = counters(book, category="care", channel="sms", tags=one("5g", "x"))
    assert len(found) == 1
    assert counters(book, category="care", channel="sms", tags=one("x")) == {}
    direct = CapBook([CapEntry(Matcher(categories=one("care")), DAY)])
    assert book.all.series != direct.all.series


def test_a_condition_keeps_its_counter_when_the_rule_is_renamed() -> None:
    when = Matcher(levels=one("gold"), categories=one("marketing"))
    facts = {"level": "gold", "category": "marketing"}
    first = counters(CapBook([entry("old", 1, when)]), **facts)
    assert list(first) == list(counters(CapBook([entry("new", 2, when)]), **facts))
    assert counters(CapBook([entry("old", 1, when)]), level="silver", category="marketing") == {}


def test_a_citys_version_counts_with_the_provinces() -> None:
    city = Place(("广东", "广州"))
    base = Matcher(callers=one("iop"))
    book = CapBook(
        [
            entry("cap", 1, replace(base, within=city)),
            entry("cap", 3, replace(base, elsewhere=(city,))),
        ]
    )
    here = counters(book, caller="iop", organisation=("广东", "广州"))
    there = counters(book, caller="iop", organisation=("广东", "深圳"))
    assert list(here) == list(there)
    limits = [
        [rule.windows for rule in book.pick(Facts(caller="iop", organisation=o)).caps.rules]
        for o in (("广东", "广州"), ("广东", "深圳"))
    ]
    assert limits == [[(Rolling(86400.0, 1),)], [(Rolling(86400.0, 3),)]]


def test_sets_of_rules_are_made_once() -> None:
    book = CapBook([entry("iop", 1, Matcher(callers=one("iop")))])
    first = book.pick(Facts(caller="iop"))
    assert book.pick(Facts(caller="iop", person="q")) is first
    assert isinstance(book.pick(Facts()).caps, Caps)


def test_caps_are_made_from_the_file(tmp_path: Path) -> None:
    write(
        tmp_path,
        policy="caps:\n"
        "  a: {scope: person_channel, windows: [{rolling: 24h, limit: 3}, {calendar: week, limit: 5}, {gap: 30m}],\n"
        "      on_cap: hold, max_wait: 2h, reserve: 1}\n"
        "  b: {scope: organisation, level: 地市, windows: [{calendar: month, limit: 9}], on_cap: downgrade, to: sms}\n"
        "  c: {scope: account, source: platform, windows: [{gap: 1s}], on_cap: merge}\n",
    )
    policy = read(tmp_path).policy
    a, b, c = (cap_rule(name, cap) for name, cap in policy.caps.items())
    assert a == CapRule(
        "a",
        "person_channel",
        (Rolling(86400.0, 3), Calendar("week", 5), Gap(1800.0)),
        Hold(7200.0),
        kept=1,
    )
    assert b == CapRule("b", "organisation", (Calendar("month", 9),), Downgrade("sms"), level=2)
    assert c == CapRule("c", "account", (Gap(1.0),), Merge(), source="platform")
    assert [entry.rule.name for entry in read(tmp_path).rules.caps] == ["a", "b", "c"]
