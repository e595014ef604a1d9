"""Quiet hours: the next open moment is right by brute force, across midnight, overlaps, holidays and changes of the clock;
what a customer asked for binds what it may bind."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from types import MappingProxyType
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgcenter.policy.days import Day, Days
from msgcenter.policy.quiet import (
    NEVER,
    Closed,
    Conduct,
    Mute,
    Open,
    QuietRules,
    Window,
    WindowSet,
    Wishes,
    judge,
    next_open,
    standing,
    zone_of,
)
from msgcenter.policy.when import SHANGHAI, Facts, Hours, Matcher, Place

MINUTE = 60_000
BERLIN = ZoneInfo("Europe/Berlin")


def ms(text: str, zone: ZoneInfo = SHANGHAI, fold: int = 0) -> int:
    """`2026-03-05 22:30` there -> epoch milliseconds."""
    moment = datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold)
    return round(moment.timestamp() * 1000)


def hours(text: str, **more: frozenset) -> Window:  # type: ignore[type-arg]
    start, end = (int(t[:2]) * 60 + int(t[3:]) for t in text.split("-"))
    return Window(Hours(start, end), **more)


def named(name: str, *windows: Window, when: Matcher | None = None) -> WindowSet:
    return WindowSet(name, windows, when or Matcher())


NIGHT = named("night", hours("22:00-08:00"))
MARKETING = named("marketing", hours("21:00-08:00"))


def rules(*sets: WindowSet, **more: object) -> QuietRules:
    by_name: dict[str, tuple[WindowSet, ...]] = {}
    for one in sets:
        by_name[one.name] = (*by_name.get(one.name, ()), one)
    return QuietRules(sets=MappingProxyType(by_name), **more)  # type: ignore[arg-type]


def ask(
    at: str,
    *sets: WindowSet,
    wishes: Wishes | None = None,
    zone: ZoneInfo = SHANGHAI,
    conduct: Conduct | None = None,
    channel: str = "sms",
    organisation: tuple[str, ...] = (),
    days: Days | None = None,
) -> Open | Closed:
    found = rules(*sets, **({"days": days} if days else {}))
    conduct = conduct or Conduct(sets=tuple(found.sets))
    facts = Facts(
        category="marketing",
        channel=channel,
        organisation=organisation,
        at=ms(at, zone),
        zone=zone,
    )
    return judge(found, conduct, facts, wishes or Wishes())


def until(verdict: Open | Closed) -> int:
    assert isinstance(verdict, Closed)
    return verdict.until


class TestEdges:
    @pytest.mark.parametrize(
        ("at", "opens"),
        [
            ("2026-03-05 21:59:59.999", None),
            ("2026-03-05 22:00", "2026-03-06 08:00"),
            ("2026-03-05 23:59:59.999", "2026-03-06 08:00"),
            ("2026-03-06 00:00", "2026-03-06 08:00"),
            ("2026-03-06 07:59:59.999", "2026-03-06 08:00"),
            ("2026-03-06 08:00", None),
        ],
    )
    def test_the_start_is_closed_and_the_end_is_open(self, at: str, opens: str | None) -> None:
        verdict = ask(at, NIGHT)
        assert isinstance(verdict, Open) if opens is None else until(verdict) == ms(opens)

    def test_several_windows_a_day(self) -> None:
        day = named("day", hours("12:00-14:00"), hours("22:00-08:00"))
        assert until(ask("2026-03-05 12:30", day)) == ms("2026-03-05 14:00")
        assert isinstance(ask("2026-03-05 14:00", day), Open)
        assert until(ask("2026-03-05 22:30", day)) == ms("2026-03-06 08:00")

    def test_windows_of_several_sets_are_passed_one_after_the_other(self) -> None:
        morning = named("morning", hours("07:30-09:00"))
        rush = named("rush", hours("08:59-10:15"))
        verdict = ask("2026-03-05 21:30", MARKETING, morning, rush)
        assert until(verdict) == ms("2026-03-06 10:15")
        assert isinstance(verdict, Closed)
        assert verdict.rule == "marketing"
        assert dict(verdict.facts)["closed_by"] == "marketing, morning, rush"

    def test_of_two_that_close_now_the_longer_one_is_named(self) -> None:
        late = named("late", hours("22:00-09:30"))
        assert ask("2026-03-05 23:00", MARKETING, late).rule == "late"  # type: ignore[union-attr]

    def test_the_whole_day_and_the_whole_week(self) -> None:
        sunday = named("sunday", hours("00:00-24:00", weekdays=frozenset({6})))
        assert until(ask("2026-03-08 12:00", sunday)) == ms("2026-03-09 00:00")
        assert until(ask("2026-03-08 12:00", named("never", hours("00:00-24:00")))) == NEVER

    def test_a_window_belongs_to_the_day_it_begins_on(self) -> None:
        friday = named("friday", hours("22:00-08:00", weekdays=frozenset({4})))
        assert until(ask("2026-03-07 07:00", friday)) == ms("2026-03-07 08:00")  # Saturday morning
        assert isinstance(ask("2026-03-06 07:00", friday), Open)  # Friday morning
        assert isinstance(ask("2026-03-07 23:00", friday), Open)

    def test_nothing_closes_without_windows(self) -> None:
        assert next_open([], 5) == 5
        assert next_open([named("empty")], 5) == 5


class TestChangesOfTheClock:
    def test_an_hour_that_is_skipped_shortens_the_night(self) -> None:
        at = ms("2026-03-28 23:00", BERLIN)
        opens = next_open([NIGHT], at, BERLIN)
        assert opens == ms("2026-03-29 08:00", BERLIN)
        assert (opens - at) // MINUTE == 8 * 60

    def test_an_hour_that_comes_twice_lengthens_it(self) -> None:
        at = ms("2026-10-24 23:00", BERLIN)
        opens = next_open([NIGHT], at, BERLIN)
        assert opens == ms("2026-10-25 08:00", BERLIN)
        assert (opens - at) // MINUTE == 10 * 60

    def test_what_the_wall_shows_counts_the_second_time_too(self) -> None:
        small = [named("small", hours("02:30-02:45"))]
        for fold in (0, 1):
            at = ms("2026-10-25 02:35", BERLIN, fold)
            assert next_open(small, at, BERLIN) == ms("2026-10-25 02:45", BERLIN, fold)

    def test_the_wall_may_leave_a_window_by_going_back(self) -> None:
        late = [named("late", hours("02:30-03:30"))]
        at = ms("2026-10-25 02:45", BERLIN, 0)
        # at 03:00 summer time it is 02:00 again, which is before the window
        assert next_open(late, at, BERLIN) == ms("2026-10-25 02:00", BERLIN, 1)

    def test_a_window_that_is_skipped_closes_nothing(self) -> None:
        gone = [named("gone", hours("02:15-02:45"))]
        at = ms("2026-03-29 01:59", BERLIN)
        assert next_open(gone, at, BERLIN) == at
        assert next_open(gone, at + MINUTE, BERLIN) == at + MINUTE

    def test_a_window_that_begins_in_a_skipped_hour_closes_the_rest_of_it(self) -> None:
        part = [named("part", hours("02:30-03:30"))]
        at = ms("2026-03-29 03:00", BERLIN)
        assert next_open(part, at, BERLIN) == ms("2026-03-29 03:30", BERLIN)


ZONES = (
    *("Asia/Shanghai", "UTC", "Europe/Berlin", "America/New_York", "America/St_Johns"),
    *("Australia/Lord_Howe", "Asia/Kathmandu", "Africa/Casablanca", "Pacific/Chatham"),
)
#: Days with a change of the clock near them, and with holidays and working weekends in China.
STARTS = (
    *("2026-03-07", "2026-03-27", "2026-04-03", "2026-10-23", "2026-10-30", "2026-09-25"),
    *("2026-02-14", "2026-02-26", "2026-10-08", "2026-03-21"),
)
KINDS = ("workday", "offday", "holiday")


@st.composite
def windows(draw: st.DrawFn) -> Window:
    start = draw(st.integers(0, 1439))
    end = draw(st.integers(1, 1440).filter(lambda end: end != start))
    weekdays = draw(st.sets(st.integers(0, 6), max_size=5))
    kinds = draw(st.sets(st.sampled_from(KINDS), max_size=2))
    return Window(Hours(start, end), frozenset(weekdays), frozenset(kinds))


def brute(sets: list[WindowSet], at: int, zone: ZoneInfo) -> int | None:
    """Minute by minute, over a week: the first that lies in no window; written from the definition alone."""
    for minute in range(7 * 24 * 60):
        moment = at + minute * MINUTE
        wall = datetime.fromtimestamp(moment // 1000, zone)
        of_day = wall.hour * 60 + wall.minute
        today, yesterday = wall.date(), wall.date() - timedelta(days=1)
        closed = False
        for one in sets:
            for window in one.windows:
                start, end = window.hours.start, window.hours.end
                if start < end:
                    closed |= begins(window, today) and start <= of_day < end
                else:
                    closed |= begins(window, today) and of_day >= start
                    closed |= begins(window, yesterday) and of_day < end
        if not closed:
            return moment
    return None


@cache
def begins(window: Window, day: date) -> bool:
    if not window.weekdays and not window.kinds:
        return True
    kind = Days().of(day).kind
    return (
        day.weekday() in window.weekdays
        or kind in window.kinds
        or (kind == "holiday" and "offday" in window.kinds)
    )


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.lists(windows(), max_size=3), max_size=2),
    st.sampled_from(ZONES),
    st.sampled_from(STARTS),
    st.integers(0, 3 * 24 * 60),
)
def test_next_open_equals_brute_force(
    found: list[list[Window]], zone_name: str, start: str, minute: int
) -> None:
    zone = ZoneInfo(zone_name)
    sets = [named(f"s{i}", *each) for i, each in enumerate(found)]
    at = ms(f"{start} 00:00", ZoneInfo("UTC")) + minute * MINUTE
    opens = next_open(sets, at, zone)
    expected = brute(sets, at, zone)
    if expected is None:
        assert opens == NEVER or opens >= at + 7 * 24 * 60 * MINUTE
    else:
        assert opens == expected
    if opens != NEVER:
        assert opens >= at
        assert next_open(sets, opens, zone) == opens  # it lies in no window


@settings(max_examples=100, deadline=None)
@given(st.lists(windows(), min_size=1, max_size=4), st.integers(0, 10**12), st.sampled_from(ZONES))
def test_next_open_is_never_inside_a_window_to_the_millisecond(
    found: list[Window], offset: int, zone_name: str
) -> None:
    zone, sets = ZoneInfo(zone_name), [named("s", *found)]
    at = ms("2020-01-01 00:00") + offset % (6 * 365 * 86_400_000)
    opens = next_open(sets, at, zone)
    if opens not in (NEVER, at):
        assert next_open(sets, opens, zone) == opens
        assert next_open(sets, opens - 1, zone) == opens  # not a millisecond too late


class TestWhose:
    def test_by_channel_and_city(self) -> None:
        sms = named("sms", hours("20:00-09:00"), when=Matcher(channels=frozenset({"sms"})))
        city = named("city", hours("12:00-14:00"), when=Matcher(places=(Place(("广东", "广州")),)))
        assert until(ask("2026-03-05 20:30", sms, city)) == ms("2026-03-06 09:00")
        assert isinstance(ask("2026-03-05 20:30", sms, city, channel="kf"), Open)
        assert isinstance(ask("2026-03-05 13:00", sms, city), Open)
        there = ("广东", "广州", "天河")
        verdict = ask("2026-03-05 13:00", sms, city, organisation=there)
        assert until(verdict) == ms("2026-03-05 14:00")
        assert dict(verdict.facts)["organisation"] == "广东/广州/天河"

    def test_only_the_sets_of_the_category_bind_it(self) -> None:
        conduct = Conduct(sets=("night",))
        assert isinstance(ask("2026-03-05 21:30", NIGHT, MARKETING, conduct=conduct), Open)
        free = Conduct(rank=0, sets=(), dnd=False)
        assert isinstance(ask("2026-03-05 23:30", NIGHT, MARKETING, conduct=free), Open)

    def test_a_customers_windows_add_to_the_rules(self) -> None:
        wishes = Wishes(windows=(standing(7 * 60, 10 * 60),))
        verdict = ask("2026-03-05 22:30", NIGHT, wishes=wishes)
        assert until(verdict) == ms("2026-03-06 10:00")
        assert ask("2026-03-05 09:00", NIGHT, wishes=wishes).rule == "customer.window"  # type: ignore[union-attr]
        only = Wishes(windows=(standing(0, 1440, days=[4], channels=["kf"]),))  # Thursdays
        assert isinstance(ask("2026-03-05 12:00", wishes=only), Open)
        assert until(ask("2026-03-05 12:00", wishes=only, channel="kf")) == ms("2026-03-06 00:00")

    def test_a_mute_ends_and_windows_hold_after_it(self) -> None:
        mute = Wishes(mutes=(Mute(ms("2026-03-07 12:00")),))
        assert until(ask("2026-03-05 12:00", NIGHT, wishes=mute)) == ms("2026-03-07 12:00")
        assert ask("2026-03-05 12:00", NIGHT, wishes=mute).rule == "customer.mute"  # type: ignore[union-attr]
        assert isinstance(ask("2026-03-07 12:00", NIGHT, wishes=mute), Open)
        late = Wishes(mutes=(Mute(ms("2026-03-07 23:00")),))
        assert until(ask("2026-03-05 12:00", NIGHT, wishes=late)) == ms("2026-03-08 08:00")
        years = Wishes(mutes=(Mute(ms("2030-03-07 12:00")),))
        assert until(ask("2026-03-05 12:00", NIGHT, wishes=years)) == ms("2030-03-07 12:00")

    def test_a_mute_of_one_channel_leaves_the_others(self) -> None:
        mute = Wishes(mutes=(Mute(ms("2026-03-07 12:00"), frozenset({"sms"})),))
        assert isinstance(ask("2026-03-05 12:00", wishes=mute, channel="kf"), Open)
        assert isinstance(ask("2026-03-05 12:00", wishes=mute), Closed)

    def test_service_only_lets_service_messages_through(self) -> None:
        wishes = Wishes(service_only=True)
        verdict = ask("2026-03-05 12:00", wishes=wishes)
        assert (until(verdict), verdict.rule) == (NEVER, "customer.service_only")  # type: ignore[union-attr]
        care = Conduct(rank=4, service=True)
        assert isinstance(ask("2026-03-05 12:00", wishes=wishes, conduct=care), Open)

    def test_what_bypasses_do_not_disturb_is_not_bound_by_it(self) -> None:
        conduct = Conduct(rank=2, dnd=False)
        wishes = Wishes((standing(0, 1440),), (Mute(ms("2027-01-01 00:00")),), True)
        assert isinstance(ask("2026-03-05 12:00", wishes=wishes, conduct=conduct), Open)


class TestDays:
    def test_statutory_holidays_and_working_weekends(self) -> None:
        days = Days()
        assert days.of(date(2026, 10, 1)) == Day("holiday", True)
        assert days.of(date(2026, 10, 10)) == Day("workday", True)  # a Saturday, 调休
        assert days.of(date(2026, 10, 17)) == Day("offday", True)
        assert days.of(date(2026, 10, 19)) == Day("workday", True)

    def test_windows_on_them(self) -> None:
        off = named("off", hours("00:00-10:00", kinds=frozenset({"offday"})))
        work = named("work", hours("12:00-14:00", kinds=frozenset({"workday"})))
        feast = named("feast", hours("00:00-24:00", kinds=frozenset({"holiday"})))
        assert isinstance(ask("2026-10-10 09:00", off, work), Open)
        assert until(ask("2026-10-10 12:00", off, work)) == ms("2026-10-10 14:00")
        assert until(ask("2026-10-17 09:00", off, work)) == ms("2026-10-17 10:00")
        assert until(ask("2026-10-01 09:00", off, work)) == ms("2026-10-01 10:00")
        assert until(ask("2026-10-01 09:00", feast)) == ms("2026-10-08 00:00")  # 国庆, seven days
        assert isinstance(ask("2026-10-17 09:00", feast), Open)

    def test_the_overlay_wins_and_makes_its_year_known(self) -> None:
        days = Days({date(2031, 1, 22): "holiday", date(2026, 10, 17): "workday"})
        assert days.of(date(2031, 1, 22)) == Day("holiday", True)
        assert days.of(date(2031, 1, 23)) == Day("workday", True)
        assert days.of(date(2031, 1, 25)) == Day("offday", True)
        assert days.of(date(2026, 10, 17)).kind == "workday"

    def test_an_unknown_year_goes_by_its_weekdays_and_says_so(self) -> None:
        off = named("off", hours("00:00-10:00", kinds=frozenset({"offday"})))
        verdict = ask("2031-01-25 09:00", off)  # a Saturday
        assert until(verdict) == ms("2031-01-26 10:00") - 86_400_000
        assert verdict.unknown_years == (2031,)
        assert ask("2031-01-24 09:00", off).unknown_years == (2031,)
        assert ask("2031-01-24 09:00", NIGHT).unknown_years == ()  # nobody asked the calendar
        known = Days({date(2031, 1, 22): "holiday"})
        assert ask("2031-01-25 09:00", off, days=known).unknown_years == ()


class TestZones:
    RULES = QuietRules(
        zone="Asia/Urumqi", city_zones=MappingProxyType({("新疆", "喀什"): "Asia/Kashgar"})
    )

    @pytest.mark.parametrize(
        ("customer", "organisation", "zone", "source"),
        [
            ("Europe/Berlin", ("新疆", "喀什"), "Europe/Berlin", "customer"),
            ("", ("新疆", "喀什", "疏附"), "Asia/Kashgar", "city"),
            ("Nowhere/Land", ("新疆", "喀什"), "Asia/Kashgar", "city"),
            ("", ("新疆", "和田"), "Asia/Urumqi", "tenant"),
            ("../../etc/passwd", (), "Asia/Urumqi", "tenant"),
            ("Asia", (), "Asia/Urumqi", "tenant"),
            ("\0", (), "Asia/Urumqi", "tenant"),
        ],
    )
    def test_customer_then_city_then_tenant(
        self, customer: str, organisation: tuple[str, ...], zone: str, source: str
    ) -> None:
        found = zone_of(self.RULES, customer, organisation)
        assert (found.name, found.source) == (zone, source)

    def test_there_is_always_one(self) -> None:
        found = zone_of(QuietRules(zone="Not/There"), "", ())
        assert (found.zone, found.source) == (SHANGHAI, "default")

    def test_one_moment_is_night_here_and_day_there(self) -> None:
        at = datetime(2026, 3, 5, 15, tzinfo=UTC)
        local = at.astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
        assert isinstance(ask(local, NIGHT), Closed)
        there = at.astimezone(BERLIN).strftime("%Y-%m-%d %H:%M")
        assert isinstance(ask(there, NIGHT, zone=BERLIN), Open)
