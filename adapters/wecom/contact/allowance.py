"""What WeCom lets one customer or group have of mass messages, counted before a task is made; what was not sent is given back."""

from __future__ import annotations

import asyncio
import calendar
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from typing import Literal

from msgcenter.adapter import Port, Rejected, Unavailable
from protocols.wecom.limits import DAY

Period = Literal["month", "week", "day"]
_CODES = {
    "month": "wecom_monthly_allowance",
    "week": "wecom_weekly_allowance",
    "day": "wecom_daily_allowance",
}
_BEIJING = timezone(timedelta(hours=8))
#: Longer than any period: the period is part of what is counted under.
_SPAN_S = 32.0 * DAY
WAIT_S = 10.0


def period_of(kind: Period, now_ms: int) -> tuple[str, int]:
    """The name of the period of the calendar (UTC+8) that `now_ms` lies in, and the mass messages it allows."""
    day = datetime.fromtimestamp(now_ms / 1000, _BEIJING).date()
    match kind:
        case "month":
            return f"{day:%Y-%m}", calendar.monthrange(day.year, day.month)[1]
        case "week":
            year, week, _ = day.isocalendar()
            return f"{year}-W{week:02}", 7
        case "day":
            return f"{day:%Y-%m-%d}", 1


class Allowance:
    """`take` before a task is made, `give_back` for whom it was certainly not made. Counts are exact for all processes of
    the channel; WeCom counts when the member confirms, so a task over the turn of a period counts in the earlier one here.
    """

    def __init__(self, port: Port, kind: Period) -> None:
        self._port = port
        self._kind = kind

    async def take(self, targets: Sequence[str]) -> tuple[str, set[str]]:
        """Count one for each of `targets`. Answers the period, for `give_back`, and those who have none left."""
        period, most = period_of(self._kind, self._port.clock.now_ms())
        keys = [f"mass:{period}:{target}" for target in targets]
        waits = await self._port.allow(keys, [(most, _SPAN_S)])
        over = [target for target, wait in zip(targets, waits, strict=True) if wait > 0]
        if not over:
            return period, set()
        # What was given back does not show in the count: it is kept beside it, and used up only when that is full.
        async with self._port.turn("allowance", wait_s=WAIT_S) as mine:
            if not mine:
                return period, set(over)
            return period, {one for one in over if not await self._spare(period, one, -1)}

    async def give_back(self, period: str, targets: Sequence[str]) -> None:
        """A definite non-send; should it not be kept, the customer may get one message fewer, never one more."""
        if not targets:
            return
        try:
            async with self._port.turn("allowance", wait_s=WAIT_S) as mine:
                if not mine:
                    raise TimeoutError
                await asyncio.gather(*[self._spare(period, one, 1) for one in targets])
        except (Unavailable, TimeoutError) as error:  # the outcome stands
            told = type(error).__name__
            self._port.log.warning("allowance_not_given_back", targets=len(targets), error=told)

    def refusal(self) -> Rejected:
        told = f"this {self._kind}'s mass messages to this recipient are used up; WeCom would drop another one"
        return Rejected("recipient", told, _CODES[self._kind])

    async def _spare(self, period: str, target: str, change: int) -> bool:
        key = f"spare:{period}:{target}"
        spare = int(await self._port.memo(key) or b"0") + change
        if spare < 0:
            return False
        await self._port.remember(key, str(spare).encode(), _SPAN_S if spare else 0.0)
        return True
