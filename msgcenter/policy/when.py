"""When a rule applies: one matcher over the facts of a message, compiled once, the same for every kind of rule, and
able to name the facts it looked at."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from protocols.envelope import hashed

SHANGHAI = ZoneInfo("Asia/Shanghai")
#: The levels of an organisation path, from the top.
LEVELS = ("省", "地市", "区县", "网格", "厅店")
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
#: A share is cut in parts of 1/10,000.
WHOLE = 10_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Told = tuple[tuple[str, str], ...]
"""Facts as a `Decision` keeps them: name and value."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one message when rules are asked. Empty means not known: a condition on it does not hold."""

    category: str = ""
    tags: frozenset[str] = frozenset()
    level: str = ""
    """The customer's membership level."""
    organisation: tuple[str, ...] = ()
    """Of the sender, from the province down: 省, 地市, 区县, 网格, 厅店."""
    agent: str = ""
    """Type of the sender: own, partner, field, campus."""
    caller: str = ""
    campaign: str = ""
    channel: str = ""
    """Channel kind."""
    payload: str = ""
    """What is said, as `content.type` names it: text, media, card …"""
    account: str = ""
    person: str = ""
    at: int = 0
    """The moment asked about, epoch milliseconds."""
    zone: tzinfo = SHANGHAI
    """Of the recipient."""

    def local(self) -> datetime:
        """The recipient's wall clock at `at`."""
        return wall(self.at, self.zone)


def wall(at: int, zone: tzinfo) -> datetime:
    """Epoch milliseconds -> the time a clock on the wall shows there, exact to the millisecond."""
    return (_EPOCH + timedelta(milliseconds=at)).astimezone(zone)


def share_of(person: str, draw: str) -> int:
    """Where a person falls in a draw: 0 to 9,999, the same for ever; draws of different names are independent."""
    digest = hashlib.blake2b(f"{draw}\x1f{person}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") * WHOLE >> 64


@dataclass(frozen=True, slots=True)
class Hours:
    """From `start` until before `end`, in minutes after midnight of the wall clock (0 to 1440); an end not after the
    start lies on the next day."""

    start: int
    end: int

    @property
    def crosses(self) -> bool:
        return self.end <= self.start

    def holds(self, minute: float) -> bool:
        """Whether a minute of the day lies inside, whichever day the hours began on."""
        if self.crosses:
            return minute >= self.start or minute < self.end
        return self.start <= minute < self.end

    def __str__(self) -> str:
        return "-".join(f"{m // 60:02d}:{m % 60:02d}" for m in (self.start, self.end))


@dataclass(frozen=True, slots=True)
class Place:
    """A part of the organisation: a path from the province down whose names may be `*`, or one name at one level
    (`level` from 0)."""

    path: tuple[str, ...] = ()
    level: int = -1
    name: str = ""

    def holds(self, organisation: Sequence[str]) -> bool:
        if self.level >= 0:
            return len(organisation) > self.level and organisation[self.level] == self.name
        return len(organisation) >= len(self.path) and all(
            want in ("*", have) for want, have in zip(self.path, organisation, strict=False)
        )


@dataclass(frozen=True, slots=True)
class Match:
    """Whether the conditions held, and the facts that were looked at; the last one decided."""

    holds: bool
    facts: Told


@dataclass(frozen=True, slots=True)
class Matcher:
    """All given conditions must hold; each holds when one of its values does. Without any it always holds."""

    categories: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    levels: frozenset[str] = frozenset()
    places: tuple[Place, ...] = ()
    elsewhere: tuple[Place, ...] = ()
    """Holds only outside these: how a rule of the province steps back where a city has its own."""
    within: Place | None = None
    """Holds only inside this, besides `places`: a city's own version of a rule."""
    agents: frozenset[str] = frozenset()
    callers: frozenset[str] = frozenset()
    campaigns: frozenset[str] = frozenset()
    channels: frozenset[str] = frozenset()
    payloads: frozenset[str] = frozenset()
    hours: tuple[Hours, ...] = ()
    weekdays: frozenset[int] = frozenset()
    """0 is Monday."""
    share: tuple[int, int] | None = None
    """From and before, in 1/10,000."""
    draw: str = ""
    always: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        given = (
            *(self.categories, self.tags, self.levels, self.places, self.elsewhere, self.within),
            *(
                self.agents,
                self.callers,
                self.campaigns,
                self.channels,
                self.payloads,
                self.hours,
                self.weekdays,
                self.share,
            ),
        )
        object.__setattr__(self, "always", not any(given))

    @property
    def of_person(self) -> bool:
        """Whether it asks for what only the customer's entry in the directory tells; where no account sends, the place in the
        organisation and the agent are the customer's too, and the clock is the customer's own."""
        return any(
            (
                *(self.tags, self.levels, self.places, self.elsewhere, self.within),
                *(self.agents, self.hours, self.weekdays, self.share),
            )
        )

    def conditions(self) -> str:
        """A name that is the same for the same conditions, in every process and for ever; empty when there are none beyond
        category, tag and channel. Where a city has its own version (`within`, `elsewhere`) makes no difference."""
        others = (
            *(self.levels, self.agents, self.callers, self.campaigns),
            *(self.places, self.hours, self.weekdays, self.share, self.payloads),
        )
        if not any(others):
            return ""
        words = (self.categories, self.tags, self.channels, *others[:4])
        return hashed(
            *(",".join(sorted(each)) for each in words),
            ",".join(sorted(f"{p.level}:{p.name or '/'.join(p.path)}" for p in self.places)),
            ",".join(sorted(map(str, self.hours))),
            ",".join(map(str, sorted(self.weekdays))),
            self.share,
            self.draw,
            *((",".join(sorted(self.payloads)),) if self.payloads else ()),
        )

    def match(self, facts: Facts) -> Match:
        """Looks at the conditions in a fixed order and stops at the first that does not hold."""
        if self.always:
            return ALWAYS
        told: list[tuple[str, str]] = []
        for wanted, name, value in (
            (self.categories, "category", facts.category),
            (self.channels, "channel", facts.channel),
            (self.payloads, "payload", facts.payload),
            (self.callers, "caller", facts.caller),
            (self.campaigns, "campaign", facts.campaign),
            (self.agents, "agent", facts.agent),
            (self.levels, "level", facts.level),
        ):
            if wanted:
                told.append((name, value))
                if value not in wanted:
                    return Match(False, tuple(told))
        if self.tags:
            told.append(("tags", " ".join(sorted(facts.tags))))
            if not self.tags & facts.tags:
                return Match(False, tuple(told))
        return self._beyond_words(facts, told)

    def _beyond_words(self, facts: Facts, told: list[tuple[str, str]]) -> Match:
        """The conditions that are more than a look-up."""
        if self.places or self.elsewhere or self.within:
            told.append(("organisation", "/".join(facts.organisation)))
            if self.places and not any(p.holds(facts.organisation) for p in self.places):
                return Match(False, tuple(told))
            if self.within is not None and not self.within.holds(facts.organisation):
                return Match(False, tuple(told))
            if any(place.holds(facts.organisation) for place in self.elsewhere):
                return Match(False, tuple(told))
        if self.hours or self.weekdays:
            local = facts.local()
            told.append(("local_time", f"{WEEKDAYS[local.weekday()]} {local:%H:%M}"))
            minute = local.hour * 60 + local.minute
            if self.weekdays and local.weekday() not in self.weekdays:
                return Match(False, tuple(told))
            if self.hours and not any(hours.holds(minute) for hours in self.hours):
                return Match(False, tuple(told))
        if self.share is not None:
            place = share_of(facts.person, self.draw) if facts.person else -1
            told.append(("share", f"{place / 100:.2f}%" if facts.person else ""))
            low, high = self.share
            if not low <= place < high:
                return Match(False, tuple(told))
        return Match(True, tuple(told))


ALWAYS = Match(True, ())
EVERYTHING = Matcher()
