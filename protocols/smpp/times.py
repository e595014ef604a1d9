"""Times of SMPP, `YYMMDDhhmmsstnnp`: absolute with an offset from UTC in quarter hours, or relative
(`R`).

Source: SMPP 3.4, 7.1.1. A year below 38 is 20xx, else 19xx. SGIP writes the same form.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from protocols.errors import Malformed


def absolute(at: datetime) -> str:
    """16 characters for a time with a zone; China's end in `032+`. Raises ValueError without one."""
    offset = at.utcoffset()
    if offset is None:
        raise ValueError("a time without zone has no place on the wire; give it one")
    quarters = int(offset.total_seconds()) // 900
    sign = "-" if quarters < 0 else "+"
    return f"{at:%y%m%d%H%M%S}{at.microsecond // 100_000}{abs(quarters):02}{sign}"


def relative(seconds: int) -> str:
    """16 characters for a duration below 100 days, in days and less. Raises ValueError outside."""
    days, rest = divmod(seconds, 86_400)
    if not 0 <= days < 100:
        raise ValueError(f"{seconds} s are outside 0..100 days")
    return f"0000{days:02}{rest // 3600:02}{rest // 60 % 60:02}{rest % 60:02}000R"


def read(value: str) -> datetime | timedelta:
    """The time, or for `R` the duration (a month being 30 days, a year 365). Raises Malformed."""
    digits, sign = value[:15], value[15:]
    if len(value) != 16 or not digits.isascii() or not digits.isdecimal() or sign not in "+-R":
        raise Malformed(f"time {value[:20]!r} is not YYMMDDhhmmsstnn and one of + - R")
    year, month, day, hour, minute, second = (int(digits[k : k + 2]) for k in range(0, 12, 2))
    if sign == "R":
        days = year * 365 + month * 30 + day
        return timedelta(days=days, hours=hour, minutes=minute, seconds=second)
    quarters = int(digits[13:15])
    if quarters > 48:
        raise Malformed(f"time {value!r}: {quarters} quarter hours from UTC, at most 48")
    zone = timezone(timedelta(minutes=15 * quarters * (-1 if sign == "-" else 1)))
    try:
        return datetime(
            year + (2000 if year < 38 else 1900), month, day, hour, minute, second,
            int(digits[12]) * 100_000, zone,
        )  # fmt: skip
    except ValueError as error:
        raise Malformed(f"time {value!r}: {error}") from None
