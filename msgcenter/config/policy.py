"""The models of the rules: `policy.yaml` with caps, quiet hours, consent, content, opt-out words and approvals, and what
lies beside it: `words.yaml`, `holidays.yaml` and the cities' own versions in `cities/`.

Long because it is a list of models and nothing else: what ops may write, in the order of the file.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    WithJsonSchema,
    field_serializer,
    field_validator,
    model_validator,
)

from msgcenter.config.category import Category
from msgcenter.config.flood import FloodTerms
from msgcenter.config.groups import GroupTerms
from msgcenter.config.links import Host, LinkTerms
from msgcenter.config.rules import Weight, checked_split, one_way, ways_of
from msgcenter.config.values import Duration, Name, Strict, fault
from msgcenter.config.when import HoursText, When
from msgcenter.policy.content import Personal
from msgcenter.policy.days import DayKind
from msgcenter.policy.opt_out import plain

Overridable = Literal["limit", "windows"]
#: `offday` is any day off, `holiday` one that a statutory holiday gives (节假日), `workday` all others (with 调休).
DayWord = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun", "workday", "offday", "holiday"]
Level = Literal["省", "地市", "区县", "网格", "厅店"]

_Word = Annotated[str, StringConstraints(min_length=1, max_length=200)]
_Note = Annotated[str, StringConstraints(max_length=200)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError) as e:
        raise fault("is not a time zone", "write it like Asia/Shanghai or Asia/Urumqi") from e
    return name


def _day(value: object) -> object:
    if isinstance(value, date):
        return value
    try:
        return date.fromisoformat(str(value))
    except ValueError as e:
        raise fault("must be a day", "write it like 2027-02-06") from e


def _path_of_city(text: str) -> str:
    names = text.split("/")
    if len(names) != 2 or any(not name.strip() or name == "*" for name in names):
        raise fault("must be a province and a city of it", "write it like 广东/广州")
    return text


def _number(text: str) -> str:
    if not re.fullmatch(r"[0-9]{1,21}\*?", text):
        raise fault("must be an access number", 'write it like "10086", or "106*" for all of 106…')
    return text


def _command(text: str) -> str:
    if not plain(text):
        raise fault("is empty when compared", "write a word like TD or 退订")
    return text


ZoneName = Annotated[str, AfterValidator(_zone)]


class CapWindow(Strict):
    """`{rolling: 24h, limit: 3}`, `{calendar: week, limit: 5}` or `{gap: 30m}`."""

    rolling: Duration | None = Field(default=None, description="any time of this length")
    calendar: Literal["day", "week", "month"] | None = Field(
        default=None, description="by the recipient's clock; a week begins on Monday"
    )
    gap: Duration | None = Field(default=None, description="at least this long between two")
    limit: int | None = Field(default=None, ge=0, le=1_000_000)
    """Messages in the window."""

    @property
    def shape(self) -> tuple[str, object]:
        """What it measures, without the limit."""
        return next(
            (name, value)
            for name in ("rolling", "calendar", "gap")
            if (value := getattr(self, name)) is not None
        )

    @model_validator(mode="after")
    def _one_shape(self) -> CapWindow:
        given = [n for n in ("rolling", "calendar", "gap") if getattr(self, n) is not None]
        if len(given) != 1:
            raise fault(
                "needs exactly one of rolling, calendar and gap",
                "write {rolling: 24h, limit: 3}, {calendar: week, limit: 5} or {gap: 30m}",
            )
        if (self.limit is None) != (self.gap is not None):
            raise fault(
                "rolling and calendar need a limit, gap takes none",
                "write {rolling: 24h, limit: 3} or {gap: 30m}",
            )
        if self.rolling == 0 or self.gap == 0:
            raise fault("must be longer than 0", "write it like 24h or 30m")
        return self


class Cap(Strict):
    """At most so many messages. All caps that fit apply at once; the strictest wins."""

    name_zh: str = Field(default="", max_length=40)
    """The name that people read."""
    when: When | None = None
    """The messages it counts and stops; none: all."""
    scope: Literal[
        "person", "person_channel", "person_category", "group", "account", "caller", "organisation"
    ] = Field(description="what is counted for itself")
    level: Level | None = Field(
        default=None, description="for scope organisation: which level of the sender's path"
    )
    windows: tuple[CapWindow, ...] = Field(min_length=1, max_length=8)
    """Spans of time with their limits; all apply."""
    on_cap: Literal["drop", "hold", "downgrade", "merge"] = "drop"
    """At the limit: drop it, hold it until there is room, try another kind, or merge: it waits, and the newest
    of those that wait together is sent for all. See the ops guide."""
    max_wait: Duration | None = Field(default=None, description="for hold: then it is dropped")
    to: Name | None = Field(default=None, description="for downgrade: the kind tried instead")
    reserve: int = Field(default=0, ge=0, description="of each limit, kept for tiers P0-P3")
    source: Literal["rule", "platform"] = Field(
        default="rule",
        description="platform: the far end's own allowance, which binds bypass categories too",
    )
    overridable: tuple[Overridable, ...] = Field(
        default=(), description="what a city's file may change"
    )

    @model_validator(mode="after")
    def _fits(self) -> Cap:
        if (self.scope == "organisation") != (self.level is not None):
            raise fault(
                "scope organisation and level belong together",
                "write `scope: organisation` with `level: 地市`",
            )
        if (self.on_cap == "hold") != (self.max_wait is not None):
            raise fault("on_cap: hold and max_wait belong together", "write `max_wait: 2h`")
        if (self.on_cap == "downgrade") != (self.to is not None):
            raise fault("on_cap: downgrade and to belong together", "write `to: platform`")
        return self


class QuietWindow(Strict):
    """`{hours: 21:00-08:00}`, on the days it begins on."""

    hours: HoursText
    days: tuple[DayWord, ...] = Field(
        default=(), description="mon … sun, workday, offday, holiday; left out: every day"
    )


class QuietSet(Strict):
    """Quiet time of one rule: any of its windows closes."""

    name_zh: str = Field(default="", max_length=40)
    """The name that people read."""
    windows: tuple[QuietWindow, ...] = Field(max_length=32)
    """Hours in which nothing goes."""
    when: When | None = None
    """The messages it binds; none: all of the categories that name it."""
    source: _Note = Field(default="", description="whose rule it is")
    overridable: tuple[Literal["windows"], ...] = Field(
        default=(), description="what a city's file may change"
    )

    @field_validator("when")
    @classmethod
    def _time_in_windows(cls, when: When | None) -> When | None:
        for name in ("hours", "weekdays"):
            if when and name in when.given:
                raise fault(f"asks for {name}", "say it in `windows`")
        return when


class ConsentTerms(Strict):
    """What counts as consent where `when` holds; the first entry that fits is the one."""

    when: When | None = None
    """The messages that it binds; none: all."""
    wordings: tuple[_Word, ...] = Field(default=(), description="only these versions of the text")
    sources: tuple[_Word, ...] = Field(default=(), description="only given there")
    proof: bool = Field(default=False, description="only with a proof id")
    valid_for: Duration | None = Field(default=None, description="none: until taken back")


class ContentList(Strict):
    """What may not stand in a text: words, personal data, links to other hosts."""

    action: Literal["block", "mask", "hold"]
    """block refuses, mask covers what was found, hold waits for a review."""
    when: When | None = None
    """The messages whose text is looked at; none: all."""
    words: tuple[_Word, ...] = ()
    """Words that are looked for."""
    lists: tuple[Name, ...] = Field(default=(), description="word lists of words.yaml")
    personal: tuple[Personal, ...] = ()
    """Kinds of personal data."""
    links: tuple[Host, ...] | None = Field(
        default=None, description="allowed hosts, with all below them; []: no links at all"
    )

    @model_validator(mode="after")
    def _looks(self) -> ContentList:
        if not (self.words or self.lists or self.personal) and self.links is None:
            raise fault("looks for nothing", "add `words`, `lists`, `personal` or `links`")
        return self


class OptOutWords(Strict):
    """Words by which customers refuse or come back, on some access numbers or in the chats of some channels. A text is always
    passed on; where no entry fits it is nothing else."""

    numbers: tuple[Annotated[str, AfterValidator(_number)], ...] = Field(
        default=(), description='in quotes; "106*" is all that begin so; none: all others'
    )
    channels: tuple[Name, ...] = Field(
        default=(),
        description="only on channels of these kinds; without `numbers`: all accounts of theirs",
    )
    out: tuple[Annotated[_Word, AfterValidator(_command)], ...] = ()
    """Words that refuse."""
    back: tuple[Annotated[_Word, AfterValidator(_command)], ...] = ()
    """Words that agree again."""
    inside: bool = Field(default=False, description="also inside a longer text")
    answer_out: str = Field(default="", max_length=500)
    """What is answered to a refusal, once; empty: nothing."""
    answer_back: str = Field(default="", max_length=500)
    """What is answered to agreeing again, once; empty: nothing."""
    scope: Literal["number", "channel", "all"] = Field(
        default="channel", description="what is refused: by this number, the channel, or all"
    )

    @model_validator(mode="after")
    def _apart(self) -> OptOutWords:
        both = {plain(word) for word in self.out} & {plain(word) for word in self.back}
        if both:
            raise fault(
                "a word means both out and back", "keep it in one: case and width do not matter"
            )
        return self


class ApprovalTerms(Strict):
    """Changes of `files` need one approval of each role, each by another person."""

    files: tuple[_Word, ...] = Field(min_length=1, description="names, or patterns like cities/*")
    roles: tuple[Name, ...] = Field(min_length=1, max_length=8)
    """Each must agree once, by another key; `roles` of callers.yaml says who has one."""


_SECTIONS = ("categories", "quiet", "caps", "consent", "content", "opt_out", "approvals")


class PolicyConfig(Strict):
    """`policy.yaml`. Keys given for a shipped entry replace only those; a new category needs all of them that have no
    default."""

    categories: Mapping[Name, Category]
    """By name; the seven shipped ones may be changed in part, new ones are added whole."""
    zone: ZoneName = Field(default="Asia/Shanghai", description="where nothing nearer is known")
    spread: Duration = Field(
        default=1800.0, description="over how long messages held by quiet time are let out"
    )
    quiet: Mapping[Name, QuietSet] = Field(default_factory=dict)
    """Sets of quiet windows by name; `night` is shipped."""
    caps: Mapping[Name, Cap] = Field(default_factory=dict)
    """By name; at most so many messages in so long a time."""
    consent: Mapping[Name, ConsentTerms] = Field(default_factory=dict)
    """By name; where consent is needed beyond what the category says."""
    content: Mapping[Name, ContentList] = Field(default_factory=dict)
    """By name; words, personal data and links that are looked for in texts."""
    opt_out: Mapping[Name, OptOutWords] = Field(default_factory=dict)
    """Opt-out and re-subscribe words, by access number or kind of channel."""
    approvals: Mapping[Name, ApprovalTerms] = Field(default_factory=dict)
    """Who must agree before a changed file comes into force."""
    flood: FloodTerms = FloodTerms()
    """What is done with somebody who writes too much."""
    links: LinkTerms = LinkTerms()
    """Short links."""
    groups: GroupTerms = GroupTerms()
    """Safety of groups."""

    @field_validator(*_SECTIONS, mode="after")
    @classmethod
    def _freeze(cls, value: Mapping[str, Any]) -> Mapping[str, Any]:
        return MappingProxyType(dict(value))

    @field_serializer(*_SECTIONS, mode="wrap")
    def _thaw(self, value: Mapping[str, Any], dump: SerializerFunctionWrapHandler) -> Any:
        return dump(dict(value))


class WordsConfig(Strict):
    """`words.yaml`: word lists by name, for `content` rules."""

    lists: Mapping[Name, tuple[_Word, ...]] = Field(default_factory=dict)
    """Name -> words; content rules name them."""


class HolidaysConfig(Strict):
    """`holidays.yaml`: days that differ from, or are not yet in, the calendar that is installed. A year of which one day
    is given counts as known."""

    days: Mapping[
        Annotated[
            date,
            BeforeValidator(_day),
            WithJsonSchema({"type": "string", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}),
        ],
        DayKind,
    ] = Field(default_factory=dict)
    """Day -> workday, offday or holiday: over the calendar that is shipped."""


class CityCap(Strict):
    """A city's own numbers for a cap of policy.yaml that says `overridable`."""

    windows: tuple[CapWindow, ...] = Field(min_length=1, max_length=8)
    """In place of the province's."""


class CityQuiet(Strict):
    """A city's own windows for a set of policy.yaml that says `overridable`."""

    windows: tuple[QuietWindow, ...] = Field(max_length=32)
    """In place of the province's."""


class CityRoute(Strict):
    """A city's own way for a route of routes.yaml that says `overridable`; conditions and draw stay the province's."""

    channel: Name | None = None
    """The city's channel; or `split`."""
    split: Mapping[Name, Weight] | None = None
    """Channel -> share of the city's customers."""

    @field_validator("split")
    @classmethod
    def _parts(cls, split: Mapping[str, float] | None) -> Mapping[str, float] | None:
        return checked_split(split)

    @field_serializer("split", mode="wrap")
    def _thaw(self, split: Mapping[str, float] | None, dump: SerializerFunctionWrapHandler) -> Any:
        return dump(None if split is None else dict(split))

    @model_validator(mode="after")
    def _one_way(self) -> CityRoute:
        one_way(self.channel, self.split)
        return self

    @property
    def ways(self) -> tuple[tuple[str, float], ...]:
        """Channel and weight of each."""
        return ways_of(self.channel, self.split)


class CityConfig(Strict):
    """`cities/NAME.yaml`: where one city differs from the province, as far as policy.yaml and routes.yaml allow."""

    city: Annotated[str, AfterValidator(_path_of_city)] = Field(
        description="province and city: 广东/广州"
    )
    zone: ZoneName | None = None
    """The city's clock; none: the province's."""
    caps: Mapping[Name, CityCap] = Field(default_factory=dict)
    """Limits of the province's caps, as far as they are overridable."""
    quiet: Mapping[Name, CityQuiet] = Field(default_factory=dict)
    """Windows of the province's quiet sets, as far as they are overridable."""
    routes: Mapping[Name, CityRoute] = Field(default_factory=dict)
    """The city's own way for a route that is overridable."""

    @property
    def path(self) -> tuple[str, ...]:
        return tuple(self.city.split("/"))
