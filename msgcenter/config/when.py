"""`when:`, the conditions of a rule as ops write them, the same in every file and for every kind of rule."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from msgcenter.config.values import Name, Strict, fault
from msgcenter.policy.when import LEVELS, WEEKDAYS, WHOLE, Hours, Matcher, Place

AgentType = Literal["own", "partner", "field", "campus"]
PayloadType = Literal[
    "text", "markdown", "media", "link", "miniprogram", "card", "native", "template"
]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

_TIME = r"([01]?[0-9]|2[0-4]):([0-5][0-9])"
_HOURS = re.compile(rf"{_TIME}\s*-\s*{_TIME}")
_PERCENT = r"([0-9]{1,3}(?:\.[0-9]{1,2})?)\s*%"
_SHARE = re.compile(rf"{_PERCENT}(?:\s*-\s*{_PERCENT})?")

_Word = Annotated[str, StringConstraints(min_length=1, max_length=64)]


def parse_hours(value: object) -> object:
    """`21:00-08:00` -> Hours; the end is not included, `24:00` is the end of the day."""
    if isinstance(value, Hours):
        return value
    match = _HOURS.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise fault("must be hours", "write them like 21:00-08:00, in quotes or not")
    start, end = (int(match[i]) * 60 + int(match[i + 1]) for i in (1, 3))
    if start >= 1440 or end > 1440:
        raise fault("goes beyond 24:00", "begin before 24:00 and end by 24:00")
    if start == end:
        raise fault("begins and ends at the same time", "write 00:00-24:00 for the whole day")
    return Hours(start, end)


def parse_share(value: object) -> object:
    """`30%` -> (0, 3000); `30%-100%` -> (3000, 10000)."""
    if isinstance(value, tuple):
        return value
    match = _SHARE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise fault("must be a share", "write it like 30%, or 30%-100% for the others")
    low, high = (float(match[1]), float(match[2])) if match[2] else (0.0, float(match[1]))
    if not 0 <= low < high <= 100:
        raise fault("must grow from 0% to 100% at most", "write it like 30%, or 30%-100%")
    return round(low * WHOLE / 100), round(high * WHOLE / 100)


def _show_share(share: tuple[int, int]) -> str:
    return "-".join(f"{part * 100 / WHOLE:g}%" for part in share)


def parse_place(text: str) -> Place:
    """`广东/广州`, `广东/*/天河`, or one name at one level: `网格:体育西网格`."""
    level, colon, name = text.partition(":")
    if colon and level in LEVELS and name:
        return Place(level=LEVELS.index(level), name=name)
    path = tuple(text.split("/"))
    if colon or len(path) > len(LEVELS) or any(not part.strip() for part in path):
        raise fault(
            "must be a part of the organisation",
            "write a path like 广东/广州 or 广东/*/天河, or a level like 网格:体育西网格",
        )
    return Place(path)


def _checked_place(text: str) -> str:
    parse_place(text)
    return text


HoursText = Annotated[
    Hours,
    BeforeValidator(parse_hours),
    PlainSerializer(str, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{_HOURS.pattern}$",
            "description": "hours of the wall clock, end not included: 21:00-08:00",
        }
    ),
]
Share = Annotated[
    tuple[int, int],
    BeforeValidator(parse_share),
    PlainSerializer(_show_share, return_type=str),
    WithJsonSchema(
        {
            "type": "string",
            "pattern": f"^{_SHARE.pattern}$",
            "description": "a share of all persons: 30%, or 30%-100% for the others",
        }
    ),
]
PlaceText = Annotated[
    str, StringConstraints(min_length=1, max_length=200), AfterValidator(_checked_place)
]


class When(Strict):
    """All given conditions must hold; each holds when one of its values does. What is not known of a message fits no
    value."""

    categories: tuple[Name, ...] = Field(default=(), description="any of these categories")
    callers: tuple[Name, ...] = Field(default=(), description="any of these callers")
    channels: tuple[Name, ...] = Field(default=(), description="any of these channel kinds")
    payloads: tuple[PayloadType, ...] = Field(
        default=(), description="what is said, as `content.type` in a request"
    )
    campaigns: tuple[_Word, ...] = Field(default=(), description="any of these campaigns")
    tags: tuple[_Word, ...] = Field(default=(), description="any of these tags of the customer")
    levels: tuple[_Word, ...] = Field(default=(), description="any of these customer levels")
    organisations: tuple[PlaceText, ...] = Field(
        default=(),
        description="of the sending account, of the customer where none sends: 广东/广州, 广东/*/天河 or one level like "
        "网格:体育西网格",
    )
    agents: tuple[AgentType, ...] = Field(
        default=(),
        description="of the sending account, else the customer's: 自营 own, 社渠 partner, 行销 field, 校园 campus",
    )
    hours: tuple[HoursText, ...] = Field(
        default=(), description="the recipient's wall clock: 21:00-08:00"
    )
    weekdays: tuple[Weekday, ...] = Field(default=(), description="of the recipient's clock")
    share: Share | None = Field(
        default=None, description="a lasting share of all persons: 30%, or 30%-100% for the others"
    )
    draw: _Word | None = Field(
        default=None, description="name of the draw: the same name takes the same persons"
    )

    @property
    def given(self) -> tuple[str, ...]:
        """The conditions that are written down."""
        return tuple(name for name in type(self).model_fields if getattr(self, name))

    @model_validator(mode="after")
    def _some(self) -> When:
        if not self.given:
            raise fault("has no condition", "add `categories` or `callers`, or remove `when`")
        if (self.share is None) != (self.draw is None):
            raise fault(
                "share and draw belong together",
                "give both: `share: 30%` and `draw: spring`, the name of the draw",
            )
        return self

    def matcher(self) -> Matcher:
        return Matcher(
            categories=frozenset(self.categories),
            tags=frozenset(self.tags),
            levels=frozenset(self.levels),
            places=tuple(parse_place(text) for text in self.organisations),
            agents=frozenset(self.agents),
            callers=frozenset(self.callers),
            campaigns=frozenset(self.campaigns),
            channels=frozenset(self.channels),
            payloads=frozenset(self.payloads),
            hours=self.hours,
            weekdays=frozenset(WEEKDAYS.index(day) for day in self.weekdays),
            share=self.share,
            draw=self.draw or "",
        )
