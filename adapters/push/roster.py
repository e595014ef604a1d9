"""Who has a role in a grid now: the duty roster, a YAML file that is read again when it changes.

    installer@hz-03:
    - {account: zhangsan, hours: "08:00-18:00", days: [mon, tue, wed, thu, fri]}
    - {account: lisi}

Without `hours` or `days` somebody is always on duty; hours are those of China and may go past midnight.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import yaml
from pydantic import TypeAdapter, ValidationError, field_validator

from msgcenter.adapter import Malformed, Strict
from protocols.address import Address

_CHINA = timedelta(hours=8)
_HOURS = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-4]):([0-5][0-9])")
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Duty(Strict):
    """One person's duty."""

    account: str
    hours: str = ""
    days: tuple[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"], ...] = ()

    @field_validator("hours")
    @classmethod
    def _readable(cls, value: str) -> str:
        if value and not _HOURS.fullmatch(value):
            raise ValueError("hours are written like 08:00-18:00")
        return value

    def is_on(self, now_ms: int) -> bool:
        now = datetime.fromtimestamp(now_ms / 1000, UTC) + _CHINA
        day = now.weekday()
        if self.hours:
            first, last, minute = *_span(self.hours), now.hour * 60 + now.minute
            if first <= last:
                on = first <= minute < last
            else:  # past midnight: the early hours belong to the day before
                on = minute >= first or minute < last
                day = (day - 1) % 7 if minute < last else day
            if not on:
                return False
        return not self.days or _DAYS[day] in self.days


def _span(hours: str) -> tuple[int, int]:
    match = _HOURS.fullmatch(hours)
    assert match is not None
    a, b, c, d = (int(part) for part in match.groups())
    return a * 60 + b, c * 60 + d


_ROSTER: TypeAdapter[dict[str, list[Duty]]] = TypeAdapter(dict[str, list[Duty]])


class Rosters(Protocol):
    """Whoever knows who is on duty."""

    def on_duty(self, role: Address, now_ms: int) -> list[Address]:
        """The grid accounts that have the role now. Raises Malformed for a role that nobody ever has."""
        ...


class RosterFile:
    """A roster in a file; a new version that cannot be read is told in the log, and the old one stays."""

    def __init__(self, path: Path | None, log: Any) -> None:
        self._path = path
        self._log = log
        self._seen: tuple[int, int] = (0, 0)
        self._duties: dict[str, list[Duty]] = {}

    def on_duty(self, role: Address, now_ms: int) -> list[Address]:
        self._read()
        duties = self._duties.get(role.value)
        if duties is None:
            raise Malformed(f"role {role.value}: nobody has it in the duty roster")
        return [Address("gridapp", duty.account) for duty in duties if duty.is_on(now_ms)]

    def _read(self) -> None:
        if self._path is None:
            return
        try:
            stat = self._path.stat()
            seen = stat.st_mtime_ns, stat.st_size
            if seen == self._seen:
                return
            self._seen = seen
            self._duties = _ROSTER.validate_python(
                yaml.safe_load(self._path.read_text("utf-8")) or {}
            )
        except (OSError, UnicodeDecodeError, yaml.YAMLError, ValidationError) as error:
            self._log.error("roster_not_read", error=f"{type(error).__name__}: {error}"[:300])
