"""What kind of day a date is in China: working day, day off or statutory holiday, with 调休 and local exceptions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import lru_cache
from types import MappingProxyType
from typing import Literal, NamedTuple

import chinese_calendar

DayKind = Literal["workday", "offday", "holiday"]
"""`holiday` is a day off that a statutory holiday gives; every holiday is an `offday` too, nothing else overlaps."""


AHEAD = timedelta(days=60)
"""So long before a year begins its holidays should be known: the State Council names them in the November before."""


class Day(NamedTuple):
    kind: DayKind
    known: bool
    """False when the year's holidays are not published here: then Monday to Friday are working days."""


@dataclass(frozen=True, slots=True)
class Days:
    """The calendar with `overlay` (`holidays.yaml`) laid over what chinesecalendar ships. A year of which the overlay
    names a day counts as known: from then on the plain weekdays between its days are meant."""

    overlay: Mapping[date, DayKind] = field(default_factory=lambda: MappingProxyType({}))
    _years: frozenset[int] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        object.__setattr__(self, "_years", frozenset(day.year for day in self.overlay))

    def unknown_years(self, today: date) -> list[int]:
        """The years between today and `AHEAD` of it whose holidays are not known."""
        return sorted({day.year for day in (today, today + AHEAD) if not self.of(day).known})

    def of(self, day: date) -> Day:
        given = self.overlay.get(day)
        if given is not None:
            return Day(given, True)
        published = _published(day)
        if published is None:
            return Day("offday" if day.weekday() >= 5 else "workday", day.year in self._years)
        return Day(published, True)


@lru_cache(maxsize=4096)
def _published(day: date) -> DayKind | None:
    """None for a year that chinesecalendar does not know; it goes through its whole table on every call."""
    try:
        off, name = chinese_calendar.get_holiday_detail(day)
    except NotImplementedError:  # what chinesecalendar raises for a year it has no table of
        return None
    return ("holiday" if name else "offday") if off else "workday"
