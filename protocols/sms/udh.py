"""The user data header at the start of a short message part: walked element by element, and built
for long messages.

Source: 3GPP TS 23.040, 9.2.3.24. First octet: length of the rest; then elements of tag, length,
data. Concatenation is element 00 (8-bit reference) or 08 (16-bit reference).
"""

from __future__ import annotations

from dataclasses import dataclass

from protocols.errors import Malformed

CONCAT_8 = 0x00
CONCAT_16 = 0x08


@dataclass(frozen=True, slots=True)
class Concat:
    """This is part `number` (from 1) of `total` (up to 255) of the long message `reference`."""

    reference: int
    total: int
    number: int
    wide: bool = False  #: 16-bit reference

    def encode(self) -> bytes:
        """6 octets, or 7 when wide; ValueError when a number does not fit."""
        if not 1 <= self.number <= self.total <= 255:
            raise ValueError(f"part {self.number} of {self.total}")
        if self.wide:
            reference = self.reference.to_bytes(2, "big")
            return b"\x06\x08\x04" + reference + bytes((self.total, self.number))
        return b"\x05\x00\x03" + bytes((self.reference, self.total, self.number))


@dataclass(frozen=True, slots=True)
class Element:
    """One element of a header: ports are 04 and 05, languages 24 and 25; unknown tags are kept,
    not judged.
    """

    tag: int
    data: bytes


def flagged(udhi: int) -> bool:
    """Whether a TP_udhi octet says that content starts with a header: bit 0, or bit 6 as some
    gateways write it.
    """
    return bool(udhi & 0x41)


def walk(content: bytes) -> tuple[list[Element], bytes]:
    """The elements of the header and what follows it. Raises Malformed when a length points past
    its end.
    """
    if not content:
        raise Malformed("user data header: no octets")
    end = 1 + content[0]
    if end > len(content):
        raise Malformed(f"user data header of {end} octets in a content of {len(content)}")
    elements = []
    at = 1
    while at < end:
        if at + 2 > end or at + 2 + content[at + 1] > end:
            raise Malformed(f"user data header: element at octet {at} passes the end")
        stop = at + 2 + content[at + 1]
        elements.append(Element(content[at], content[at + 2 : stop]))
        at = stop
    return elements, content[end:]


def concat(elements: list[Element]) -> Concat | None:
    """The concatenation among the elements, if there is a sound one (part 1..total, right
    length).
    """
    for element in elements:
        data = element.data
        if element.tag == CONCAT_8 and len(data) == 3:
            found = Concat(data[0], data[1], data[2])
        elif element.tag == CONCAT_16 and len(data) == 4:
            found = Concat(data[0] << 8 | data[1], data[2], data[3], wide=True)
        else:
            continue
        if 1 <= found.number <= found.total:
            return found
    return None


def strip(content: bytes, udhi: int) -> tuple[Concat | None, bytes]:
    """The concatenation and the user data of one part; without the flag, the content as it is.
    Raises Malformed.
    """
    if not udhi & 0x41:
        return None, content
    if content[:3] == b"\x05\x00\x03" and len(content) >= 6 and 1 <= content[5] <= content[4]:
        return Concat(content[3], content[4], content[5]), content[6:]  # nearly all real traffic
    elements, rest = walk(content)
    return concat(elements), rest
