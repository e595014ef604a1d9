"""Optional parameters behind the fixed fields of a PDU: tag 2 octets, length 2, value; the same in
SMPP and SMGP.

Their order is free, unknown ones are kept and not judged; of several with one tag the first counts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from protocols.errors import Malformed
from protocols.sms.fields import BadLength, Note


class Tlv(NamedTuple):
    """One optional parameter."""

    tag: int
    value: bytes


class Tag(NamedTuple):
    """What is known of a tag: its name, and how many octets its value may have."""

    name: str
    least: int
    most: int


class BadTlv(BadLength):
    """The optional parameters cannot be taken apart."""


class BadTlvLength(Malformed):
    """A known optional parameter has a length it cannot have."""


def find(tlvs: tuple[Tlv, ...], tag: int) -> bytes | None:
    """The value of the first parameter with this tag."""
    return next((tlv.value for tlv in tlvs if tlv.tag == tag), None)


def number(tlvs: tuple[Tlv, ...], tag: int) -> int | None:
    """The same as an unsigned integer; None when absent or empty."""
    value = find(tlvs, tag)
    return int.from_bytes(value, "big") if value else None


def text(tlvs: tuple[Tlv, ...], tag: int) -> str | None:
    """The same as text up to its NUL."""
    value = find(tlvs, tag)
    return None if value is None else value.partition(b"\0")[0].decode("latin-1")


@dataclass(frozen=True, slots=True)
class Tlvs:
    """The field that takes all the rest of a body. `tags` are the known ones: a wrong length raises
    BadTlvLength. `lenient`: what cannot be taken apart is dropped with a note (`short_tlv`,
    `tlv_length`) instead of raising.
    """

    tags: Mapping[int, Tag]
    lenient: bool = False

    def write(self, value: tuple[Tlv, ...]) -> bytes:
        out = []
        for tag, data in value:
            known = self.tags.get(tag)
            if known is not None and not known.least <= len(data) <= known.most:
                raise ValueError(f"{known.name}: {_misfit(known, len(data))}")
            if not 0 <= tag <= 0xFFFF or len(data) > 0xFFFF:
                raise ValueError(f"tag {tag} with {len(data)} octets fits no parameter")
            out.append(tag.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data)
        return b"".join(out)

    def read(self, body: bytes, at: int, note: Note) -> tuple[tuple[Tlv, ...], int]:
        found: list[Tlv] = []
        size = len(body)
        while at < size:
            stop = at + 4 + int.from_bytes(body[at + 2 : at + 4], "big")
            if at + 4 > size or stop > size:
                if not self.lenient:
                    raise BadTlv(f"parameter at octet {at} passes the end of {size}")
                note("short_tlv")
                return tuple(found), size
            tlv = Tlv(int.from_bytes(body[at : at + 2], "big"), body[at + 4 : stop])
            known = self.tags.get(tlv.tag)
            if known is None or known.least <= len(tlv.value) <= known.most:
                found.append(tlv)
            elif self.lenient:
                note("tlv_length")
            else:
                raise BadTlvLength(f"{known.name}: {_misfit(known, len(tlv.value))}")
            at = stop
        return tuple(found), at


def _misfit(known: Tag, size: int) -> str:
    if known.least == known.most:
        return f"{size} octets, exactly {known.least} needed"
    return f"{size} octets, {known.least} to {known.most} allowed"
