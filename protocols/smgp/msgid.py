"""MsgID of SMGP: ten octets of packed decimal digits: gateway 6 digits, time MMDDHHMM 8, serial 6.

It is 20 hex digits in text everywhere (decimal ones from a sane gateway). Source: SMGP 3.0, 6.2.13.
"""

from __future__ import annotations

from typing import NamedTuple


class MsgId(NamedTuple):
    """A MsgID taken apart, each part as its digits."""

    gateway: str
    time: str
    serial: str


def pack(gateway: int, month: int, day: int, hour: int, minute: int, serial: int) -> str:
    """The 20 digits; ValueError for a part outside its range."""
    parts = {
        "gateway": (gateway, 999_999), "month": (month, 12), "day": (day, 31), "hour": (hour, 23),
        "minute": (minute, 59), "serial": (serial, 999_999),
    }  # fmt: skip
    for name, (value, most) in parts.items():
        if not 0 <= value <= most:
            raise ValueError(f"MsgID {name} {value} is outside 0..{most}")
    return f"{gateway:06}{month:02}{day:02}{hour:02}{minute:02}{serial:06}"


def unpack(msg_id: str) -> MsgId:
    """The parts of 20 digits; ValueError for another length."""
    if len(msg_id) != 20:
        raise ValueError(f"MsgID {msg_id[:40]!r} is not 20 digits")
    return MsgId(msg_id[:6], msg_id[6:14], msg_id[14:])
