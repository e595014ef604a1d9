"""Caps: which counters a message pays, what a denial comes to, and that what State allows is what a naive count allows."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgcenter.clock import ManualClock
from msgcenter.policy.capped import allowance, judge
from msgcenter.policy.caps import (
    Calendar,
    CapRule,
    Caps,
    CapWindow,
    Downgrade,
    Drop,
    Facts,
    Gap,
    Hold,
    Merge,
    Once,
    Rolling,
    edges_ms,
    series_of,
)
from msgcenter.state import Admit, Conclude
from msgcenter.state.cells import Retention
from msgcenter.state.memory import MemoryState
from msgcenter.state.units import NEVER, Denied, Reserve, Reserved, Take, Usage, Use
from protocols.envelope import Key

SHANGHAI = "Asia/Shanghai"
HOUR = 3_600_000
DAY = 24 * HOUR
NOON = round(datetime(2026, 11, 20, 12, tzinfo=ZoneInfo(SHANGHAI)).timestamp() * 1000)  # a Friday
FACTS = Facts(
    NOON, "marketing", 5, SHANGHAI, person="p", channel="sms", account="a", caller="crm",
    organisation=("sh", "pudong", "g7"), tags=frozenset({"5g"}),
)  # fmt: skip
TWICE = (Rolling(86_400, 2),)


def rule(name: str = "r", scope: str = "person", windows=TWICE, **more: object) -> CapRule:
    return CapRule(name, scope, windows, **more)  # type: ignore[arg-type]


def takes(*rules: CapRule, facts: Facts = FACTS, know: bool = False) -> tuple[Take, ...]:
    return Caps(rules).ask(facts, know=know).takes


# -- which counters -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "more", "series", "of", "home"),
    [
        ("person", {}, "person", "p", "p"),
        ("person_channel", {}, "person_channel", "p\x1fsms", "p"),
        ("person_category", {}, "person_category", "p\x1fmarketing", "p"),
        ("account", {}, "account", "a", ""),
        ("caller", {}, "caller", "crm", ""),
        ("organisation", {"level": 2}, "organisation2", "sh/pudong", ""),
    ],
)
def test_a_scope_is_a_counter(scope, more, series, of, home) -> None:
    [take] = takes(rule(scope=scope, **more))
    counter = take.counter
    assert (counter.series, counter.of, counter.home) == (series, of, home)
    assert counter.keep_ms == DAY
    assert take.per == ("attempt" if scope == "person_channel" else "step")


def test_a_scope_that_the_message_has_not_got_asks_nothing() -> None:
    assert not takes(rule(scope="group"), rule(scope="organisation", level=4))
    assert not takes(rule(), rule(scope="person_channel"), facts=replace(FACTS, person=""))
    [take] = takes(rule(scope="group"), facts=replace(FACTS, group="chat", person=""))
    assert take.counter.of == "chat"


def test_rules_that_count_the_same_share_a_counter_and_all_their_windows_hold() -> None:
    week = rule("week", windows=(Calendar("week", 5), Gap(3600)))
    caps = Caps([rule("day"), week])
    asked = caps.ask(FACTS)
    [take] = asked.takes
    assert [window.kind for window in take.windows] == ["rolling", "calendar", "gap"]
    assert [one.name for one, _ in asked.origins[0]] == ["day", "week", "week"]
    assert take.counter.keep_ms == 7 * DAY + 2 * HOUR
    assert caps.series == {"person", "once"}


def test_a_rule_for_some_messages_counts_only_those() -> None:
    rules = [
        rule("a", categories=frozenset({"marketing", "care"})),
        rule("b", tags=frozenset({"5g"})),
        rule("c", channels=frozenset({"push"})),
        rule("d", categories=frozenset({"care"})),
    ]
    assert [take.counter.series for take in takes(*rules)] == [
        "person?category=care,marketing",
        "person?tag=5g",
    ]
    assert not takes(rules[1], facts=replace(FACTS, tags=frozenset()))


def test_bypass_and_counts_are_two_switches() -> None:
    platform = rule("month", source="platform", windows=(Calendar("month", 30),))
    rules = (rule(), platform)
    counted = replace(FACTS, bypass=True, counts=True)
    assert [one.counted_only for one in takes(*rules, facts=counted)] == [True, False]
    free = replace(FACTS, bypass=True, counts=False, once=(Once("k", 60),))
    asked = takes(*rules, facts=free)
    assert [one.counter.series for one in asked] == ["platform/person", "once"]
    assert [one.per for one in asked] == ["attempt", "message"]
    assert not any(one.counted_only for one in asked)


def test_a_kept_share_is_for_the_first_tiers() -> None:
    shared = rule(windows=(Rolling(60, 10), Gap(5)), kept=3)
    limits = {
        tier: [window.limit for window in takes(shared, facts=replace(FACTS, tier=tier))[0].windows]
        for tier in (2, 3, 4, 6)
    }
    assert limits == {2: [10, 1], 3: [10, 1], 4: [7, 1], 6: [7, 1]}
    [take] = takes(rule(windows=(Rolling(60, 2),), kept=5))
    assert take.windows[0].limit == 0


def test_once_is_one_series_whatever_the_key() -> None:
    asked = takes(facts=replace(FACTS, once=(Once("k1", 86_400), Once("k2", 60))), know=True)
    assert [(one.counter.series, one.counter.of) for one in asked] == [
        ("once", "p\x1fk1"),
        ("once", "p\x1fk2"),
    ]
    assert [one.windows[0].span_ms for one in asked] == [DAY, 60_000]
    assert all(one.windows[0].must_know and one.per == "message" for one in asked)
    assert not takes(facts=replace(FACTS, person="", once=(Once("k1", 60),)))


def test_once_is_taken_under_every_name_of_the_person() -> None:
    asked = takes(facts=replace(FACTS, names=("p", "tel:+861"), once=(Once("k", 60),)))
    assert [(one.counter.of, one.counter.home) for one in asked] == [
        ("p\x1fk", "p"),
        ("tel:+861\x1fk", "tel:+861"),
    ]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"windows": ()}, "windows is empty"),
        ({"windows": (Rolling(0, 1),)}, "above 0"),
        ({"windows": (Calendar("day", -1),)}, "0 or more"),
        ({"scope": "organisation"}, "level is 0"),
        ({"kept": -1}, "kept is -1"),
    ],
)
def test_a_rule_that_means_nothing_says_which(bad, words) -> None:
    with pytest.raises(ValueError, match=f"cap r: .*{words}"):
        rule(**bad)


# -- calendars ------------------------------------------------------------------------------------


def local(*ymd: int, zone: str = SHANGHAI) -> int:
    return round(datetime(*ymd, tzinfo=ZoneInfo(zone)).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_days_weeks_and_months_are_the_recipients() -> None:
    day = [local(2026, 11, n) for n in (19, 20, 21, 22)]
    week = [local(2026, 11, n) for n in (9, 16, 23, 30)]
    month = [local(2026, 10, 1), local(2026, 11, 1), local(2026, 12, 1), local(2027, 1, 1)]
    for period, edges in (("day", day), ("week", week), ("month", month)):
        assert edges_ms(period, SHANGHAI, NOON) == tuple(edges)  # type: ignore[arg-type]
    assert edges_ms("day", "America/New_York", NOON)[1] == local(
        2026, 11, 19, zone="America/New_York"
    )
    with pytest.raises(ValueError, match="Asia/Shanghai"):
        edges_ms("day", "Asia/Pudong", NOON)
    with pytest.raises(ValueError, match="unknown"):
        Caps([rule(zone="../etc")])


@given(
    st.integers(0, 4_000_000_000_000),
    st.sampled_from(
        [SHANGHAI, "Europe/Berlin", "Asia/Kathmandu", "Pacific/Apia", "America/Havana"]
    ),
    st.sampled_from(["day", "week", "month"]),
)
def test_every_moment_lies_in_its_period(now, zone, period) -> None:
    edges = edges_ms(period, zone, now)
    assert edges[1] <= now < edges[2]
    assert all(one < other for one, other in pairwise(edges))
    [take] = takes(
        rule(windows=(Calendar(period, 1),)), facts=replace(FACTS, now_ms=now, zone=zone)
    )
    assert take.windows[0].edges == edges


def test_edges_follow_the_clock_and_the_recipient() -> None:
    caps = Caps([rule(windows=(Calendar("day", 1),))])
    for zone in (SHANGHAI, "Europe/Berlin", SHANGHAI):
        for hours in range(0, 72, 5):
            facts = replace(FACTS, zone=zone, now_ms=NOON + hours * HOUR)
            [take] = caps.ask(facts).takes
            assert take.windows[0].edges == edges_ms("day", zone, facts.now_ms)


# -- what a denial comes to -----------------------------------------------------------------------


def denied(*nexts: int, why: str = "limit") -> list[Denied]:
    return [Denied(n, 0, Use(2, 0, 2, next_ms, why)) for n, next_ms in enumerate(nexts)]  # type: ignore[arg-type]


def judged(*pairs, now: int = NOON, why: str = "limit"):
    scopes = ["person", "person_channel", "person_category", "account"]
    rules = [rule(f"r{n}", scopes[n], on_cap=action) for n, (action, _) in enumerate(pairs)]
    asked = Caps(rules).ask(FACTS)
    return judge(asked, denied(*(at for _, at in pairs), why=why), now)


def test_a_rule_that_drops_is_stricter_than_one_that_holds() -> None:
    found = judged((Hold(1e6), NOON + 9000), (Drop(), NOON + 5), (Hold(1e6), NOON + 7000))
    assert (found.rule.name, found.action) == ("r1", Drop())
    assert (found.used, found.limit, found.next_ms) == (2, 2, NOON + 9000)
    assert [one.rule.name for one in found.full] == ["r1", "r0", "r2"]


def test_of_those_that_hold_the_longest_is_named_and_none_waits_too_long() -> None:
    held = judged((Hold(10), NOON + 4000), (Hold(10), NOON + 9000), (Downgrade("sms"), NOON + 1))
    assert (held.rule.name, held.action, held.next_ms) == ("r1", Hold(10), NOON + 9000)
    late = judged((Hold(5), NOON + 4000), (Hold(10), NOON + 9000))
    assert (late.rule.name, late.action) == ("r0", Drop()), "it would be held past its max_wait"
    never = judged((Hold(1e9), NEVER))
    assert (never.action, never.next_ms) == (Drop(), NEVER)
    assert judged((Merge(), NOON + 5)).action == Merge()
    assert judged((Downgrade("push"), NEVER)).action == Downgrade("push")


def test_what_is_only_not_known_holds_even_where_a_full_rule_drops() -> None:
    found = judged((Drop(), NOON + DAY), why="history")
    assert isinstance(found.action, Hold)
    assert found.next_ms == NOON + DAY
    assert found.full[0].history


def test_an_allowance_tells_every_rule_and_the_strictest_first() -> None:
    asked = Caps([rule("day"), rule("acc", "account")]).ask(FACTS)
    rows = allowance(
        asked,
        [Usage((Use(1, 1, 2, NOON),), 0), Usage((Use(2, 0, 2, NOON + 5, "limit"),), NOON - DAY)],
    )
    assert [(row.rule.name, row.left, row.next_ms, row.open) for row in rows] == [
        ("acc", 0, NOON + 5, 0),
        ("day", 1, NOON, 1),
    ]
    assert all(row.known for row in rows)


def test_what_rules_share_is_named_by_what_they_count() -> None:
    assert series_of(rule("x")) == series_of(rule("y", windows=(Gap(5),)))
    assert series_of(rule("x")) != series_of(rule("x", source="platform"))


# -- against a naive count ------------------------------------------------------------------------


@dataclass
class Naive:
    """All sends and open units of a person, counted by looking at each."""

    zone: str
    sent: list[int]
    open: int = 0

    def used(self, window: CapWindow, now: int) -> int:
        if isinstance(window, Calendar):
            start = edges_ms(window.period, self.zone, now)[1]
            return self.open + sum(at >= start for at in self.sent)
        span = round(window.seconds * 1000)
        return self.open + sum(at > now - span for at in self.sent)

    def room(self, windows: tuple[CapWindow, ...], now: int) -> bool:
        return all(
            self.used(window, now) < (1 if isinstance(window, Gap) else window.limit)
            for window in windows
        )


WINDOWS = st.lists(
    st.one_of(
        st.builds(Rolling, st.sampled_from([60, 3600, 86_400, 90_000]), st.integers(1, 4)),
        st.builds(Calendar, st.sampled_from(["day", "week", "month"]), st.integers(1, 5)),
        st.builds(Gap, st.sampled_from([30, 3600, 40_000])),
    ),
    min_size=1,
    max_size=3,
).map(tuple)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1, 30, 59, 600, 3600, 20_000, 86_399, 86_400, 400_000]),
        st.sampled_from(["send", "send", "send", "fail", "open", "close"]),
    ),
    min_size=1,
    max_size=25,
)


@settings(max_examples=120, deadline=None)
@given(WINDOWS, STEPS, st.sampled_from([SHANGHAI, "Europe/Berlin", "Asia/Kathmandu"]))
def test_state_allows_what_a_naive_count_allows(windows, steps, zone) -> None:
    asyncio.run(_walk(windows, steps, zone))


async def _walk(windows: tuple[CapWindow, ...], steps: list[tuple[int, str]], zone: str) -> None:
    clock = ManualClock(NOON)
    state = MemoryState(clock, retention=Retention(message_s=1e9))
    caps = Caps([rule(windows=windows)])
    naive = Naive(zone, [])
    opened: list[Reserve] = []

    async def reserve(number: object) -> tuple[Reserve, Reserved]:
        facts = replace(FACTS, now_ms=clock.now_ms(), zone=zone)
        item = Reserve(f"msg_{number}", 0, 0, caps.ask(facts).takes, open_s=1e7)
        [found] = await state.reserve([item])
        return item, found

    async def finish(item: Reserve, unspent: str) -> None:
        key = Key(item.id, 0, 0, "channel")
        [go] = await state.admit([Admit(key, (), "w", 30, item.id)])
        assert go.verdict == "go"
        await state.conclude([Conclude(key, b"x", reservation=item.id, unspent=unspent)])  # type: ignore[arg-type]

    for number, (seconds, act) in enumerate(steps):
        await clock.advance(seconds)
        now = clock.now_ms()
        if act == "close" and opened:
            await finish(opened.pop(0), "")
            naive.open -= 1
            naive.sent.append(now)
            continue
        room = naive.room(windows, now)
        item, found = await reserve(number)
        assert found.ok == room
        if not found.ok:
            for one in found.denied:
                window = windows[one.window]
                assert one.use.used == naive.used(window, now)
            if not naive.open:
                await _eligible_exactly(naive, windows, found, now)
        elif act == "open":
            opened.append(item)
            naive.open += 1
        else:
            await finish(item, "refunded" if act == "fail" else "")
            if act != "fail":
                naive.sent.append(now)
    for window in windows:
        for at in naive.sent:
            count = replace(naive, open=0, sent=[one for one in naive.sent if one <= at])
            assert count.used(window, at) <= (1 if isinstance(window, Gap) else window.limit)


async def _eligible_exactly(
    naive: Naive, windows: tuple[CapWindow, ...], found: Reserved, now: int
) -> None:
    """There is room at the time named, and not a millisecond before."""
    eligible = max(one.use.next_ms for one in found.denied)
    assert naive.room(windows, eligible)
    assert not naive.room(windows, max(now, eligible - 1))
