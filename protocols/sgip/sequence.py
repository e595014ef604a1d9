"""The Sequence Number of SGIP: node number, time MMDDhhmmss and counter, four octets each; it is
the message id too, for Submit_Resp has none and Report refers to it.

It is one unsigned number of 96 bits everywhere, 24 hex digits in text. Source: SGIP 1.2, 4.1.2.
"""

from __future__ import annotations

from typing import NamedTuple

_LIMIT = 0xFFFFFFFF


class Sequence(NamedTuple):
    """A Sequence Number taken apart. A node of an SP is 3AAAAQQQQQ: area code and corporation, it
    exceeds a signed 32-bit integer.
    """

    node: int
    time: int
    counter: int


def pack(parts: Sequence) -> int:
    """The 96-bit number; ValueError when a part does not fit 32 bits."""
    for name, value in zip(Sequence._fields, parts, strict=True):
        if not 0 <= value <= _LIMIT:
            raise ValueError(f"Sequence Number {name} {value} is outside 0..{_LIMIT}")
    return parts.node << 64 | parts.time << 32 | parts.counter


def unpack(number: int) -> Sequence:
    """The parts of a Sequence Number; ValueError outside 0..2^96-1."""
    if not 0 <= number < 1 << 96:
        raise ValueError(f"Sequence Number {number} is outside 0..2^96-1")
    return Sequence(number >> 64, number >> 32 & _LIMIT, number & _LIMIT)


def to_hex(number: int) -> str:
    """24 lower-case hex digits."""
    return f"{number:024x}"


def sp_node(area: str, corporation: str) -> int:
    """The node number of an SP, 3AAAAQQQQQ: area codes shorter than four are filled with 0 on the
    right. Raises ValueError for what does not fit.
    """
    if not (area.isdecimal() and corporation.isdecimal()):
        raise ValueError(f"area {area!r} and corporation {corporation!r} must be digits")
    if len(area) > 4 or len(corporation) > 5:
        raise ValueError(f"area {area!r} has at most 4 digits, corporation {corporation!r} 5")
    return int("3" + area.ljust(4, "0") + corporation.rjust(5, "0"))
