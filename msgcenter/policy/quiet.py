"""Quiet hours and do-not-disturb: whether a message may go out now, and if not, when.

Windows are half-open, [start, end), on the recipient's wall clock. Across a change of that clock the wall is what counts:
what it shows inside a window is closed, even the second time the same hour comes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from types import MappingProxyType
from typing import Literal
from zoneinfo import ZoneInfo

from msgcenter.policy.days import DayKind, Days
from msgcenter.policy.when import (
    EVERYTHING,
    SHANGHAI,
    Facts,
    Hours,
    Matcher,
    Told,
    wall,
)

#: Windows end to end for longer than this (each step is one, at most a day) never open.
MAX_STEPS = 400
NEVER = 0
OnQuiet = Literal["hold", "drop", "downgrade"]

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Window:
    """Quiet time on the days it begins on: those of `weekdays` (0 is Monday) or of `kinds`; neither given: every day."""

    hours: Hours
    weekdays: frozenset[int] = frozenset()
    kinds: frozenset[DayKind] = frozenset()


@dataclass(frozen=True, slots=True)
class WindowSet:
    """Windows of one rule; any of them closes. `when` must not ask for the time: that is what the windows say."""

    name: str
    windows: tuple[Window, ...]
    when: Matcher = EVERYTHING


@dataclass(frozen=True, slots=True)
class Conduct:
    """What one category does about quiet time. `max_hold` in seconds; 0 is never held."""

    rank: int = 5
    sets: tuple[str, ...] = ()
    """Names of window sets that bind it."""
    dnd: bool = True
    """Whether the customer's own wishes bind it."""
    service: bool = False
    """Whether it goes to a customer who wants service messages only."""
    on_quiet: OnQuiet = "drop"
    downgrade_to: str = ""
    max_hold: float = 0.0


@dataclass(frozen=True, slots=True)
class Mute:
    """Not to be disturbed before `until` (epoch milliseconds) by these channel kinds; none: by any."""

    until: int
    channels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Wishes:
    """What one customer asked for. `zone`: IANA name, empty = not known."""

    windows: tuple[WindowSet, ...] = ()
    mutes: tuple[Mute, ...] = ()
    service_only: bool = False
    zone: str = ""

    def muted_until(self, channel: str) -> int:
        """0 = never muted there."""
        if not self.mutes:
            return 0
        ends = (m.until for m in self.mutes if not m.channels or channel in m.channels)
        return max(ends, default=0)


NOTHING = Wishes()


def standing(
    start: int, end: int, days: Iterable[int] = (), channels: Iterable[str] = ()
) -> WindowSet:
    """A customer's standing do-not-disturb: minutes of the local day, ISO weekdays (1 is Monday) on which it starts, channel
    kinds; none: all."""
    weekdays = frozenset(day - 1 for day in days)
    when = Matcher(channels=frozenset(channels))
    return WindowSet("customer.window", (Window(Hours(start, end), weekdays),), when)


@dataclass(frozen=True, slots=True)
class QuietRules:
    """The window sets by name (a city's own version stands before the province's), and how a release is spread."""

    sets: Mapping[str, tuple[WindowSet, ...]] = field(default_factory=lambda: MappingProxyType({}))
    days: Days = field(default_factory=Days)
    zone: str = "Asia/Shanghai"
    """Of the tenant."""
    city_zones: Mapping[tuple[str, ...], str] = field(default_factory=lambda: MappingProxyType({}))
    """Organisation path 省, 地市 -> IANA name."""
    spread_s: float = 1800.0
    """Over how long after the end of a window what was held is let out."""


@dataclass(frozen=True, slots=True)
class Open:
    facts: Told = ()
    unknown_years: tuple[int, ...] = ()
    """Years whose holidays are not known here: plain weekdays were used; a warning metric counts them."""


@dataclass(frozen=True, slots=True)
class Closed:
    """`until`: epoch milliseconds of the next open moment, NEVER = 0 if there is none. `rule`: what closes it now (of
    several the one that lasts longest)."""

    until: int
    rule: str
    facts: Told = ()
    unknown_years: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Zone:
    """The recipient's zone and where it was found: customer, city, tenant or default."""

    zone: tzinfo
    name: str
    source: str


def zone_of(rules: QuietRules, customer: str, organisation: Sequence[str]) -> Zone:
    """The first of customer, city, tenant that names a zone that exists; else Asia/Shanghai. There is always one."""
    city = rules.city_zones.get(tuple(organisation[:2]), "")
    for source, name in (("customer", customer), ("city", city), ("tenant", rules.zone)):
        found = _zone(name) if name else None
        if found is not None:
            return Zone(found, name, source)
    return Zone(SHANGHAI, "Asia/Shanghai", "default")


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown; not a name; a folder of the zone data
        return None


def judge(
    rules: QuietRules, conduct: Conduct, facts: Facts, wishes: Wishes = NOTHING
) -> Open | Closed:
    """Whether a message may go at `facts.at` in `facts.zone` (see `zone_of`), by every rule that binds its category."""
    if conduct.dnd and wishes.service_only and not conduct.service:
        why = (("category", facts.category), ("service_only", "true"))
        return Closed(NEVER, "customer.service_only", why)
    told: Told = ()
    sets: list[WindowSet] = []
    for named in _binding(rules, conduct, wishes):
        match = named.when.match(facts)
        if match.facts:
            told += tuple(fact for fact in match.facts if fact not in told)
        if match.holds:
            sets.append(named)
    mute = wishes.muted_until(facts.channel) if conduct.dnd else 0
    if not sets and facts.at >= mute:
        return Open(told)
    told = (("local_time", f"{facts.local():%Y-%m-%d %H:%M %z}"), *told)
    return _search(sets, mute, facts, rules.days, told)


def _binding(rules: QuietRules, conduct: Conduct, wishes: Wishes) -> Iterator[WindowSet]:
    for name in conduct.sets:
        yield from rules.sets.get(name, ())
    if conduct.dnd:
        yield from wishes.windows


def next_open(
    sets: Iterable[WindowSet], at: int, zone: tzinfo = SHANGHAI, days: Days | None = None
) -> int:
    """The first moment from `at` on (epoch milliseconds) that lies in no window of any set; NEVER if there is none."""
    verdict = _search(list(sets), 0, Facts(at=at, zone=zone), days or Days(), ())
    return at if isinstance(verdict, Open) else verdict.until


def _search(
    sets: Sequence[WindowSet], mute: int, facts: Facts, days: Days, told: Told
) -> Open | Closed:
    unknown: set[int] = set()
    at, passed = facts.at, dict[str, None]()
    for _ in range(MAX_STEPS):
        ends = [(mute, "customer.mute")] if at < mute else []
        now = wall(at, facts.zone)
        for named in sets:
            for window in named.windows:
                left = _left(window, now, days, unknown)
                if left is not None:
                    ends.append((_after(at, left, facts.zone), named.name))
        if not ends:
            years = tuple(sorted(unknown))
            if not passed:
                return Open(told, years)
            return Closed(at, next(iter(passed)), (*told, ("closed_by", ", ".join(passed))), years)
        ends.sort(reverse=True)
        passed.update(dict.fromkeys(name for _, name in ends))
        at = ends[0][0]
    told = (*told, ("closed_by", ", ".join(passed)))
    return Closed(NEVER, next(iter(passed)), told, tuple(sorted(unknown)))


def _left(window: Window, now: datetime, days: Days, unknown: set[int]) -> timedelta | None:
    """How long the window still lasts by the wall clock; None outside of it."""
    hours = window.hours
    midnight = datetime.combine(now.date(), time.min)
    since = now.replace(tzinfo=None) - midnight
    start, end = hours.start * _MINUTE, hours.end * _MINUTE
    if not hours.crosses:
        inside = start <= since < end and _begins(window, now.date(), days, unknown)
        return end - since if inside else None
    if since >= start and _begins(window, now.date(), days, unknown):
        return end + _DAY - since
    if since < end and _begins(window, now.date() - _DAY, days, unknown):
        return end - since
    return None


def _begins(window: Window, day: date, days: Days, unknown: set[int]) -> bool:
    if day.weekday() in window.weekdays:
        return True
    if not window.kinds:
        return not window.weekdays
    kind, known = days.of(day)
    if not known:
        unknown.add(day.year)
    return kind in window.kinds or (kind == "holiday" and "offday" in window.kinds)


def _after(at: int, left: timedelta, zone: tzinfo) -> int:
    """`at` plus what the wall clock still has to go, but no further than where that clock is next changed."""
    offset = wall(at, zone).utcoffset()
    end = at + left // _MS
    if wall(end, zone).utcoffset() == offset:
        return max(end, at + 1)
    low, high = at, end  # the clock is changed in (low, high]; a day has no second change
    while high - low > 1:
        middle = (low + high) // 2
        if wall(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high
