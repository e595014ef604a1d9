"""Fixed-window counters: so many of a key until its window ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Literal

from msgcenter.clock import Clock

Span = Literal["minute", "hour", "day", "month"]
_BEIJING = timezone(timedelta(hours=8))
_SECONDS = {"minute": 60, "hour": 3600}


class Windows:
    """A minute or an hour begins with the first one counted; a day and a month are those of the calendar (UTC+8)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._open: dict[tuple[str, Span], tuple[int, int]] = {}  # end ms, count

    def count(self, key: str, span: Span) -> int:
        """How many are in the present window."""
        end, count = self._open.get((key, span), (0, 0))
        return count if self._clock.now_ms() < end else 0

    def full(self, key: str, span: Span, limit: int, amount: int = 1) -> bool:
        """Whether `amount` more would be over `limit` (0: never)."""
        return limit > 0 and self.count(key, span) + amount > limit

    def add(self, key: str, span: Span, amount: int = 1) -> None:
        now = self._clock.now_ms()
        end, count = self._open.get((key, span), (0, 0))
        if now >= end:
            if len(self._open) > 200_000:
                self._open = {at: held for at, held in self._open.items() if held[0] > now}
            end, count = self._end(span, now), 0
        self._open[key, span] = (end, count + amount)

    def take(self, key: str, limits: dict[Span, int], amount: int = 1) -> Span | None:
        """Count `amount` in every window, or in none: then the window that is full."""
        for span, limit in limits.items():
            if self.full(key, span, limit, amount):
                return span
        for span in limits:
            self.add(key, span, amount)
        return None

    def clear(self) -> None:
        self._open.clear()

    @staticmethod
    def _end(span: Span, now: int) -> int:
        if span in _SECONDS:
            return now + _SECONDS[span] * 1000
        day = datetime.fromtimestamp(now / 1000, _BEIJING).replace(
            hour=0, minute=0, second=0, microsecond=0
        )
        if span == "day":
            return int((day + timedelta(days=1)).timestamp() * 1000)
        return int((day.replace(day=1) + timedelta(days=32)).replace(day=1).timestamp() * 1000)


def days_of_month(now_ms: int) -> int:
    """Of the month in which `now_ms` lies (UTC+8)."""
    first = datetime.fromtimestamp(now_ms / 1000, _BEIJING).replace(day=1)
    return ((first + timedelta(days=32)).replace(day=1) - first).days
