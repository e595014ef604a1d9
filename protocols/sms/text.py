"""Text to short message parts and back: encodings by Msg_Fmt, the length limits of each, and
splitting that breaks no character.

The numbers are CMPP's Msg_Fmt; `coding` has the same for protocols that number differently. To
send, an encoding needs a row in `ENCODINGS` (codec, where it may be cut) and one in `LIMITS`; to
read, one in `_READERS`. Limits are octets of content without the header. Source: CMPP 3.0, 7.4.3.1
(Msg_Fmt); 3GPP TS 23.038 and 23.040 (lengths).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from protocols.sms.udh import Concat

ASCII = 0
SIM_WRITE = 3
BINARY = 4
UCS2 = 8
GBK = 15


@dataclass(frozen=True, slots=True)
class Limits:
    """Octets of user data that fit: in a single message, in a part behind a 6-octet header,
    behind a 7-octet one.
    """

    single: int
    part: int
    part_wide: int


OCTETS = Limits(140, 134, 133)
#: Gateways that count ASCII in septets: "<160" by the text of the specification.
SEPTETS = Limits(159, 153, 152)
LIMITS = {
    ASCII: OCTETS,
    SIM_WRITE: OCTETS,
    BINARY: OCTETS,
    UCS2: Limits(140, 134, 132),
    GBK: OCTETS,
}

MAX_PARTS = 255


#: `cut(data, start, stop)` moves `stop` down to the last edge between two characters.
Cut = Callable[[bytes, int, int], int]


@dataclass(frozen=True, slots=True)
class Encoding:
    """How text becomes octets, and where these may be cut."""

    codec: str
    cut: Cut


def cut_anywhere(_data: bytes, _start: int, stop: int) -> int:
    """Where every octet is a character."""
    return stop


def cut_utf16(data: bytes, _start: int, stop: int) -> int:
    """Even octets only, and never between the halves of a surrogate pair."""
    stop -= stop % 2
    return stop - 2 if 0xD8 <= data[stop - 2] <= 0xDB else stop


ENCODINGS = {ASCII: Encoding("ascii", cut_anywhere), UCS2: Encoding("utf-16-be", cut_utf16)}
_READERS = {ASCII: "ascii", UCS2: "utf-16-be", GBK: "gb18030"}


class Part(NamedTuple):
    """One short message: `content` as it goes into the PDU, header included when `udhi` is 1."""

    number: int
    total: int
    udhi: int
    content: bytes


class TooLong(ValueError):
    """The text needs more than 255 parts."""


def choose(text: str) -> int:
    """The Msg_Fmt to send with: ASCII when every character is, else UCS2."""
    return ASCII if text.isascii() else UCS2


def encode(text: str, msg_fmt: int) -> bytes:
    """Octets of the text; a lone surrogate becomes `?`. Raises ValueError for a format or
    character that cannot be sent.
    """
    encoding = ENCODINGS.get(msg_fmt)
    if encoding is None:
        raise ValueError(f"Msg_Fmt {msg_fmt} is not one that text is sent in")
    if encoding.codec == "utf-16-be":
        return text.encode("utf-16-be", "replace")
    return text.encode(encoding.codec)


def decode(content: bytes, msg_fmt: int) -> str | None:
    """Text of user data (no header); what cannot be read becomes U+FFFD. None when the format is
    not text.
    """
    codec = _READERS.get(msg_fmt)
    return None if codec is None else content.decode(codec, "replace")


def edges(data: bytes, cut: Cut, limit: int) -> list[int]:
    """Where the parts of `data` end, each at most `limit` octets."""
    found = []
    start, size = 0, len(data)
    while size - start > limit:
        start = cut(data, start, start + limit)
        found.append(start)
    found.append(size)
    return found


def divide(data: bytes, cut: Cut, limits: Limits, reference: int, wide: bool) -> list[Part]:
    """The parts of encoded text; see `split`. Raises TooLong above 255."""
    if len(data) <= limits.single:
        return [Part(1, 1, 0, data)]
    stops = edges(data, cut, limits.part_wide if wide else limits.part)
    total = len(stops)
    if total > MAX_PARTS:
        raise TooLong(f"{total} parts, at most {MAX_PARTS}")
    reference &= 0xFFFF if wide else 0xFF
    parts = []
    start = 0
    for number, stop in enumerate(stops, 1):
        header = Concat(reference, total, number, wide).encode()
        parts.append(Part(number, total, 1, header + data[start:stop]))
        start = stop
    return parts


def count_parts(
    text: str, msg_fmt: int | None = None, *, wide: bool = False, limits: Limits | None = None
) -> int:
    """How many short messages `split` would make; not bounded by 255."""
    fmt = choose(text) if msg_fmt is None else msg_fmt
    limit = limits or LIMITS[fmt]
    data = encode(text, fmt)
    if len(data) <= limit.single:
        return 1
    return len(edges(data, ENCODINGS[fmt].cut, limit.part_wide if wide else limit.part))


def split(
    text: str,
    msg_fmt: int | None = None,
    *,
    reference: int = 0,
    wide: bool = False,
    limits: Limits | None = None,
) -> list[Part]:
    """The parts of a text: one without header if it fits, else each behind a concatenation header.

    `reference` is taken modulo 256, or 65536 when `wide`; rotate it per recipient. `limits`
    overrides the table (`SEPTETS` for gateways that count ASCII so). Raises TooLong above 255 parts
    and ValueError as `encode` does.
    """
    fmt = choose(text) if msg_fmt is None else msg_fmt
    return divide(encode(text, fmt), ENCODINGS[fmt].cut, limits or LIMITS[fmt], reference, wide)
