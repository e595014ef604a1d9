"""Which ways of writing text each carrier protocol has, which of them costs least for a text, and
how many parts and price units it makes.

A `Coding` is an alphabet, its number on the wire (Msg_Fmt, MessageCoding, data_coding) and the
lengths that fit. Source: 3GPP TS 23.038 and 23.040 (lengths); CMPP 3.0, 7.4.3.1; SMPP 3.4, 5.2.19;
SGIP 1.2, 4.2.3; SMGP 3.0, 6.2.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from protocols.sms import gsm7
from protocols.sms import text as t


def _cut_gbk(data: bytes, start: int, stop: int) -> int:
    """Down to the edge of a two-octet character: lead octets are told from trails only by walking."""
    at = start
    while True:
        size = 2 if data[at] > 0x80 else 1
        if at + size > stop:
            return at
        at += size


def _utf16(text: str) -> bytes:
    return text.encode("utf-16-be", "replace")


@dataclass(frozen=True, slots=True)
class Alphabet:
    """Text to octets and back. `write` raises UnicodeEncodeError for a character it does not have;
    `read` shows what it cannot read as U+FFFD.
    """

    name: str
    write: Callable[[str], bytes]
    read: Callable[[bytes], str]
    cut: t.Cut


GSM7 = Alphabet("gsm7", gsm7.encode, gsm7.decode, gsm7.cut)
ASCII = Alphabet(
    "ascii", lambda s: s.encode("ascii"), lambda b: b.decode("ascii", "replace"), t.cut_anywhere
)
LATIN1 = Alphabet(
    "latin1", lambda s: s.encode("latin-1"), lambda b: b.decode("latin-1"), t.cut_anywhere
)
#: UTF-16BE in practice; a lone surrogate becomes `?` when sent and U+FFFD when read.
UCS2 = Alphabet("ucs2", _utf16, lambda b: b.decode("utf-16-be", "replace"), t.cut_utf16)
#: Sent as GBK, which every handset has; read as GB18030, which holds GBK.
GBK = Alphabet("gbk", lambda s: s.encode("gbk"), lambda b: b.decode("gb18030", "replace"), _cut_gbk)

#: Septets, one to an octet: 160 alone, and what headers of 6 and 7 octets leave.
UNPACKED = t.Limits(160, 153, 152)


@dataclass(frozen=True, slots=True)
class Coding:
    """One way to write text in one protocol: `code` is its number there, `limits` are octets."""

    alphabet: Alphabet
    code: int
    limits: t.Limits

    @property
    def name(self) -> str:
        return self.alphabet.name


_UCS2 = Coding(UCS2, 8, t.LIMITS[t.UCS2])
_ASCII = Coding(ASCII, 0, t.OCTETS)
_GBK = Coding(GBK, 15, t.OCTETS)
#: The protocols' own choices, in order of preference. CMPP and SGIP send Chinese as UCS2 always;
#: SMGP's text wants GBK. SMPP's 0 is the alphabet of the SMSC: see `smpp`.
CMPP = (_ASCII, _UCS2)
SGIP = (_ASCII, _UCS2)
SMGP = (_ASCII, _GBK, _UCS2)
SMPP = (Coding(GSM7, 0, UNPACKED), Coding(LATIN1, 3, t.OCTETS), _UCS2)
CODINGS: Mapping[str, tuple[Coding, ...]] = {
    "cmpp2": CMPP, "cmpp3": CMPP, "smpp": SMPP, "sgip": SGIP, "smgp": SMGP,
}  # fmt: skip


def smpp(default: Alphabet = GSM7) -> tuple[Coding, ...]:
    """The codings of an SMSC whose data_coding 0 is `default` (GSM7, LATIN1 or ASCII)."""
    first = Coding(default, 0, UNPACKED if default is GSM7 else t.OCTETS)
    return (first, *(coding for coding in SMPP[1:] if coding.alphabet is not default))


class Measure(NamedTuple):
    """What a text costs: `parts` are the short messages that travel, `units` those that are billed
    (up to the single length one, above it length divided by the part length, rounded up: a
    character that fits no more and moves to the next part is not billed twice).
    """

    coding: Coding
    parts: int
    units: int


def measure(text: str, codings: Sequence[Coding], *, wide: bool = False) -> Measure:
    """The cheapest way to write `text` (fewest parts, then fewest octets, then first named) and its
    cost. `wide`: parts carry a 16-bit reference. Raises ValueError when no coding has all its
    characters.
    """
    return write(text, codings, wide=wide)[0]


def write(text: str, codings: Sequence[Coding], *, wide: bool = False) -> tuple[Measure, bytes]:
    """As `measure`, with the octets that were measured, so that nobody has to make them twice."""
    best: tuple[int, int] | None = None
    found: tuple[Measure, bytes] | None = None
    plain = text.isascii()
    for coding in codings:
        if coding.alphabet is ASCII and not plain:
            continue  # cheaper than to be told by an exception, and true of most texts here
        try:
            data = coding.alphabet.write(text)
        except UnicodeEncodeError:
            continue
        size, limits = len(data), coding.limits
        part = limits.part_wide if wide else limits.part
        one = size <= limits.single
        parts = 1 if one else len(t.edges(data, coding.alphabet.cut, part))
        if best is None or (parts, size) < best:
            cost = Measure(coding, parts, 1 if one else -(-size // part))
            best, found = (parts, size), (cost, data)
    if found is None:
        names = ", ".join(coding.name for coding in codings)
        raise ValueError(f"the text has characters that none of {names} can write; allow ucs2")
    return found


def split(text: str, coding: Coding, *, reference: int = 0, wide: bool = False) -> list[t.Part]:
    """The parts of a text, each behind a concatenation header when there are several.

    `reference` is taken modulo 256, or 65536 when `wide`. Raises TooLong above 255 parts and
    UnicodeEncodeError for a character the coding does not have.
    """
    alphabet = coding.alphabet
    return t.divide(alphabet.write(text), alphabet.cut, coding.limits, reference, wide)


def read(content: bytes, code: int, codings: Sequence[Coding]) -> str | None:
    """Text of user data (no header) by its number on the wire; None when none of `codings` has it."""
    for coding in codings:
        if coding.code == code:
            return coding.alphabet.read(content)
    return None
