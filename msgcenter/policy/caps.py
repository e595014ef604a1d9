"""Frequency caps: from rules and the facts of one message to the counters it pays.

Pure: nothing here counts, waits or knows the time by itself. `Caps.ask` makes the takes for `State.reserve` (or `peek`);
`capped.py` reads the answers. All rules that apply hold at once; a narrower one never loosens a wider one.
One file, because the rules, the facts and the way from one to the other are read together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Literal, TypeAlias, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgcenter.state.units import Counter, Per, Take, Window

Scope: TypeAlias = Literal[
    "person", "person_channel", "person_category", "group", "account", "caller", "organisation"
]
Period: TypeAlias = Literal["day", "week", "month"]
DAY_MS = 86_400_000
PERIOD_MS = {"day": DAY_MS, "week": 7 * DAY_MS, "month": 31 * DAY_MS}
#: A day or month with a change of the clocks is up to two hours longer.
CLOCK_CHANGE_MS = 2 * 3_600_000
RESERVE_TIER = 3
"""Tiers up to this one may use the share that a rule keeps."""


# -- rules --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Rolling:
    """At most `limit` in any `seconds`."""

    seconds: float
    limit: int


@dataclass(frozen=True, slots=True)
class Calendar:
    """At most `limit` in one day, week (from Monday) or month of the zone that applies."""

    period: Period
    limit: int


@dataclass(frozen=True, slots=True)
class Gap:
    """At least `seconds` between two sends."""

    seconds: float


CapWindow: TypeAlias = Rolling | Calendar | Gap


@dataclass(frozen=True, slots=True)
class Drop:
    """The message ends as suppressed."""


@dataclass(frozen=True, slots=True)
class Hold:
    """The message waits until it is eligible, but not if that takes longer than `max_wait_s`: then it is dropped."""

    max_wait_s: float


@dataclass(frozen=True, slots=True)
class Downgrade:
    """The message tries another channel kind."""

    channel: str


@dataclass(frozen=True, slots=True)
class Merge:
    """The message waits, and of those that wait together the newest is sent for all."""


OnCap: TypeAlias = Drop | Hold | Downgrade | Merge


@dataclass(frozen=True, slots=True)
class CapRule:
    """`name`: its reason code. `level`: how many names of the organisation's path a rule of that scope counts together.

    `categories`, `tags`, `channels`: the rule looks only at messages with one of these, and counts only those, as they were
    when they were sent; empty = all. `kept`: units of every window (not of a gap) that only tiers up to 3 may use. `zone`: of
    its calendar; "" = the recipient's. `source` "platform": the far end's own allowance: it is spent by every attempt and
    whatever the category says, for no rule of ours makes the platform send.
    """

    name: str
    scope: Scope
    windows: tuple[CapWindow, ...]
    on_cap: OnCap = Drop()
    source: Literal["rule", "platform"] = "rule"
    level: int = 0
    categories: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    kept: int = 0
    zone: str = ""

    def __post_init__(self) -> None:
        if not self.windows:
            raise ValueError(f"cap {self.name}: windows is empty; give at least one")
        if self.scope == "organisation" and self.level < 1:
            raise ValueError(
                f"cap {self.name}: level is {self.level}; an organisation needs 1 or more"
            )
        if self.kept < 0:
            raise ValueError(f"cap {self.name}: kept is {self.kept}; it must be 0 or more")
        for window in self.windows:
            if isinstance(window, Gap | Rolling) and window.seconds < 0.001:
                raise ValueError(f"cap {self.name}: {window.seconds} seconds; it must be above 0")
            if isinstance(window, Rolling | Calendar) and window.limit < 0:
                raise ValueError(f"cap {self.name}: limit is {window.limit}; it must be 0 or more")


# -- facts --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Once:
    """What a person gets once in `keep_s` seconds (400 days at most), whatever channel or step brings it: a coupon. Only for
    a message with a person."""

    key: str
    keep_s: float


@dataclass(frozen=True, slots=True)
class Facts:
    """One message, as far as caps ask; what is "" has no counter. `bypass`, `counts`: its category's. `organisation`: the
    path from the top. `names`: others that the person is known by. `zone`: the recipient's, a tz name. `now_ms`: the
    asker's clock (State goes by its own and uses this only to know which days are near)."""

    now_ms: int
    category: str
    tier: int
    zone: str
    person: str = ""
    channel: str = ""
    group: str = ""
    account: str = ""
    caller: str = ""
    organisation: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    bypass: bool = False
    counts: bool = True
    once: tuple[Once, ...] = ()


Origins: TypeAlias = tuple[tuple[CapRule, CapWindow], ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """`takes`: what to reserve. `origins`: for every take and window of it, the rule and its own window."""

    takes: tuple[Take, ...]
    origins: tuple[Origins, ...]


# -- asking -------------------------------------------------------------------------------------------------------------


class Caps:
    """The rules of one configuration, made ready once: `ask` is on the way of every message."""

    def __init__(self, rules: Sequence[CapRule]) -> None:
        """Raises ValueError for a rule with an unknown zone."""
        self.rules = tuple(rules)
        self._ready = [_Ready(rule) for rule in rules]

    @property
    def series(self) -> frozenset[str]:
        """What State counts for these rules: for `State.covered` and the loading of past sends."""
        return frozenset(ready.series for ready in self._ready) | {ONCE}

    @property
    def keeps(self) -> dict[str, int]:
        """Series -> how far back it is asked for, milliseconds."""
        out = {ONCE: ONCE_KEEP_MS}
        for ready in self._ready:
            out[ready.series] = max(out.get(ready.series, 0), ready.keep_ms)
        return out

    def of_person(self, key: str, kinds: Iterable[str], categories: Iterable[str]) -> list[Counter]:
        """The counters of one person for which any message could pay, each once, in the order of the rules; without `once`."""
        keeps = self.keeps
        found: dict[str, Counter] = {}
        for ready in self._ready:
            match ready.rule.scope:
                case "person":
                    names = [key]
                case "person_channel":
                    names = [f"{key}\x1f{kind}" for kind in kinds]
                case "person_category":
                    names = [f"{key}\x1f{category}" for category in categories]
                case _:
                    continue
            for name in names:
                counter = Counter(ready.series, name, keeps[ready.series], key)
                found.setdefault(counter.name, counter)
        return list(found.values())

    def ask(self, facts: Facts, *, know: bool = False) -> Asked:
        """The counters this message pays, each once with the windows of all rules that look at it.

        A category that bypasses and counts is counted without being refused; one that only bypasses pays nothing; platform
        allowances and `once` hold for all. `know`: hold rather than guess while State does not know a whole window (its
        memory was lost, the rule is new). Raises ValueError for a zone that there is not.
        """
        found: dict[str, tuple[Take, Origins]] = {}
        for ready in self._ready:
            rule = ready.rule
            exempt = facts.bypass and rule.source != "platform"
            of = ready.identity(facts)
            if not of or (exempt and not facts.counts) or not ready.looks_at(facts):
                continue
            home = facts.person if ready.personal else ""
            counter = Counter(ready.series, of, ready.keep_ms, home)
            take = Take(counter, ready.windows(facts, know), 1, ready.per, exempt)
            origins = ready.origins
            name = counter.name
            if name in found:
                take, origins = _joined(found[name][0], take), found[name][1] + origins
            found[name] = (take, origins)
        for once in facts.once if facts.person else ():
            # Taken under every name: whoever is linked later with one of them has it already.
            for name in dict.fromkeys((facts.person, *facts.names)):
                take, origins = _once(once, name, know)
                found[take.counter.name] = (take, origins)
        pairs = found.values()
        return Asked(tuple(take for take, _ in pairs), tuple(origins for _, origins in pairs))


ONCE = "once"
ONCE_KEEP_MS = 400 * DAY_MS
"""All `once` keys are one series, so that what State knows of them is one date; so long is it kept."""


def _once(once: Once, name: str, know: bool) -> tuple[Take, Origins]:
    counter = Counter(ONCE, f"{name}\x1f{once.key}", ONCE_KEEP_MS, name)
    window = Window("rolling", 1, _ms(once.keep_s), must_know=know)
    rolling = Rolling(once.keep_s, 1)
    rule = CapRule(f"once:{once.key}", "person", (rolling,))
    return Take(counter, (window,), per="message"), ((rule, rolling),)


def _joined(one: Take, other: Take) -> Take:
    keep = max(one.counter.keep_ms, other.counter.keep_ms)
    return replace(
        one, counter=replace(one.counter, keep_ms=keep), windows=one.windows + other.windows
    )


def series_of(rule: CapRule) -> str:
    """What a rule counts. Rules that count the same share their counters, so a new rule finds the past of an old one. A unit
    paid per attempt (platform) is not one paid per step, so these are counted apart."""
    name = f"{rule.scope}{rule.level}" if rule.scope == "organisation" else rule.scope
    if rule.source == "platform":
        name = f"platform/{name}"
    for word, only in (
        ("category", rule.categories),
        ("tag", rule.tags),
        ("channel", rule.channels),
    ):
        if only:
            name += f"?{word}={','.join(sorted(only))}"
    return name


class _Ready:
    """One rule with all that does not depend on the message; its windows are made once per day and zone."""

    def __init__(self, rule: CapRule) -> None:
        self.rule = rule
        self.series = series_of(rule)
        self.personal = rule.scope.startswith("person")
        self.per: Per = (
            "attempt" if rule.source == "platform" or rule.scope == "person_channel" else "step"
        )
        self.keep_ms = max(map(_keep_ms, rule.windows))
        self.origins: Origins = tuple((rule, window) for window in rule.windows)
        self._calendar = any(isinstance(window, Calendar) for window in rule.windows)
        self._windows: dict[tuple[bool, bool, str], tuple[int, tuple[Window, ...]]] = {}
        if rule.zone:
            _zone(rule.zone)

    def looks_at(self, facts: Facts) -> bool:
        rule = self.rule
        return (
            (not rule.categories or facts.category in rule.categories)
            and (not rule.tags or not rule.tags.isdisjoint(facts.tags))
            and (not rule.channels or facts.channel in rule.channels)
        )

    def identity(self, facts: Facts) -> str:
        match self.rule.scope:
            case "person":
                return facts.person
            case "person_channel":
                return (
                    f"{facts.person}\x1f{facts.channel}" if facts.person and facts.channel else ""
                )
            case "person_category":
                return f"{facts.person}\x1f{facts.category}" if facts.person else ""
            case "group":
                return facts.group
            case "account":
                return facts.account
            case "caller":
                return facts.caller
            case "organisation":
                path = facts.organisation[: self.rule.level]
                return "/".join(path) if len(path) == self.rule.level else ""
            case _:
                assert_never(self.rule.scope)

    def windows(self, facts: Facts, know: bool) -> tuple[Window, ...]:
        zone = (self.rule.zone or facts.zone) if self._calendar else ""
        reserve = facts.tier <= RESERVE_TIER
        until, windows = self._windows.get((reserve, know, zone), (-1, ()))
        if facts.now_ms // EDGES_MS != until:
            windows = tuple(
                _window(self.rule, window, zone, facts.now_ms, reserve, know)
                for window in self.rule.windows
            )
            self._windows[reserve, know, zone] = (facts.now_ms // EDGES_MS, windows)
        return windows


EDGES_MS = 900_000
"""So often edges are computed anew; no zone's midnight lies inside such a span."""


def _keep_ms(window: CapWindow) -> int:
    if isinstance(window, Calendar):
        return PERIOD_MS[window.period] + CLOCK_CHANGE_MS
    return _ms(window.seconds)


def _window(
    rule: CapRule, window: CapWindow, zone: str, now_ms: int, reserve: bool, know: bool
) -> Window:
    if isinstance(window, Gap):
        return Window("gap", 1, _ms(window.seconds), must_know=know)
    limit = window.limit if reserve else max(0, window.limit - rule.kept)
    if isinstance(window, Rolling):
        return Window("rolling", limit, _ms(window.seconds), must_know=know)
    edges = edges_ms(window.period, zone, now_ms)
    return Window("calendar", limit, edges=edges, must_know=know)


def edges_ms(period: Period, zone: str, now_ms: int) -> tuple[int, int, int, int]:
    """Starts of the previous period, of the one `now_ms` lies in, of the next and of the one after, in epoch milliseconds;
    days begin at local midnight. Raises ValueError for an unknown zone."""
    today = datetime.fromtimestamp(now_ms / 1000, _zone(zone)).date()
    return _edges(period, zone, today)


@lru_cache(maxsize=4096)
def _edges(period: Period, zone: str, today: date) -> tuple[int, int, int, int]:
    match period:
        case "day":
            days = [today + timedelta(days=n) for n in (-1, 0, 1, 2)]
        case "week":
            monday = today - timedelta(days=today.weekday())
            days = [monday + timedelta(weeks=n) for n in (-1, 0, 1, 2)]
        case "month":
            months = [today.year * 12 + today.month - 1 + n for n in (-1, 0, 1, 2)]
            days = [date(month // 12, month % 12 + 1, 1) for month in months]
        case _:
            assert_never(period)
    tz = _zone(zone)
    first, start, end, last = (
        round(datetime.combine(day, time(), tz).timestamp() * 1000) for day in days
    )
    return first, start, end, last


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(
            f"zone {name!r} is unknown: give a tz name such as Asia/Shanghai"
        ) from error


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
