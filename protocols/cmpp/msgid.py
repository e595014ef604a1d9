"""Msg_Id: month 4, day 5, hour 5, minute 6, second 6, gateway 22 and sequence 16 bits, most
significant first (CMPP 3.0, 7.4.3.2).

It carries no year and its clock is the gateway's. From August on it exceeds a signed 64-bit column:
store the 16 hex digits.
"""

from __future__ import annotations

from typing import NamedTuple


class MsgId(NamedTuple):
    """A Msg_Id taken apart."""

    month: int
    day: int
    hour: int
    minute: int
    second: int
    gateway: int
    sequence: int


_LIMITS = MsgId(15, 31, 31, 63, 63, 0x3FFFFF, 0xFFFF)


def pack(parts: MsgId) -> int:
    """The 64-bit number; ValueError when a part does not fit its bits."""
    for name, value, limit in zip(MsgId._fields, parts, _LIMITS, strict=True):
        if not 0 <= value <= limit:
            raise ValueError(f"Msg_Id {name} {value} is outside 0..{limit}")
    return (
        parts.month << 60
        | parts.day << 55
        | parts.hour << 50
        | parts.minute << 44
        | parts.second << 38
        | parts.gateway << 16
        | parts.sequence
    )


def unpack(number: int) -> MsgId:
    """The parts of a 64-bit Msg_Id; ValueError outside 0..2^64-1."""
    if not 0 <= number < 1 << 64:
        raise ValueError("Msg_Id is outside 0..2^64-1")
    return MsgId(
        number >> 60,
        number >> 55 & 31,
        number >> 50 & 31,
        number >> 44 & 63,
        number >> 38 & 63,
        number >> 16 & 0x3FFFFF,
        number & 0xFFFF,
    )


def run(first: int, count: int) -> list[int]:
    """The Msg_Ids of `count` recipients of one submit, in list order: the 16-bit sequence wraps to
    0 without a carry.
    """
    high = first & ~0xFFFF
    return [high | (first + k) & 0xFFFF for k in range(count)]


def to_hex(number: int) -> str:
    """16 lower-case hex digits."""
    return f"{number:016x}"
