"""The GSM 7-bit default alphabet with its extension table: text to septets and back, and septets
packed into octets.

Source: 3GPP TS 23.038 (GSM 03.38), 6.1.2 and 6.2.1. A septet travels alone in an octet (unpacked,
what nearly all SMPP peers expect) or packed eight to seven octets, low bits first.
"""

from __future__ import annotations

from protocols.errors import Malformed

ESCAPE = 0x1B
BASIC = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞ ÆæßÉ"  # 1B, the escape, stands here as a blank
    " !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
EXTENSION = {
    0x0A: "\f", 0x14: "^", 0x28: "{", 0x29: "}", 0x2F: "\\", 0x3C: "[", 0x3D: "~", 0x3E: "]",
    0x40: "|", 0x65: "€",
}  # fmt: skip

_SEPTETS = {ch: bytes((code,)) for code, ch in enumerate(BASIC) if code != ESCAPE}
_SEPTETS |= {ch: bytes((ESCAPE, code)) for code, ch in EXTENSION.items()}


def encode(text: str) -> bytes:
    """One octet per septet, two for a character of the extension. Raises UnicodeEncodeError naming
    the first character that the alphabet does not have.
    """
    try:
        return b"".join([_SEPTETS[ch] for ch in text])
    except KeyError:
        at = next(k for k, ch in enumerate(text) if ch not in _SEPTETS)
        raise UnicodeEncodeError("gsm7", text, at, at + 1, "not in the alphabet") from None


def decode(septets: bytes) -> str:
    """Text of unpacked septets. An unknown extension shows the basic character (a second escape: a
    blank), octets above 127 and an escape at the end show U+FFFD.
    """
    out = []
    escaped = False
    for code in septets:
        if escaped:
            out.append(EXTENSION.get(code) or (BASIC[code] if code < 128 else "\ufffd"))
            escaped = False
        elif code == ESCAPE:
            escaped = True
        else:
            out.append(BASIC[code] if code < 128 else "\ufffd")
    if escaped:
        out.append("\ufffd")
    return "".join(out)


def cut(septets: bytes, start: int, stop: int) -> int:
    """`stop`, or one less when an escape and its character would be parted."""
    escapes = 0
    while stop - escapes > start and septets[stop - escapes - 1] == ESCAPE:
        escapes += 1
    return stop - escapes % 2


def fill_bits(header: int) -> int:
    """Bits left empty between a header of that many octets and the first packed septet."""
    return -8 * header % 7


def pack(septets: bytes, fill: int = 0) -> bytes:
    """Septets to octets, after `fill` empty bits. Raises ValueError for an octet above 127."""
    bits = fill
    number = 0
    for code in septets:
        if code > 127:
            raise ValueError(f"septet {code} is outside 0..127")
        number |= code << bits
        bits += 7
    return number.to_bytes((bits + 7) // 8, "little")


def unpack(octets: bytes, count: int, fill: int = 0) -> bytes:
    """`count` septets out of octets; the count must be told, for a last zero may be `@` or nothing.

    Raises Malformed when they do not hold that many.
    """
    if fill + 7 * count > 8 * len(octets):
        raise Malformed(f"{count} packed septets do not fit {len(octets)} octets")
    number = int.from_bytes(octets, "little") >> fill
    return bytes([number >> 7 * k & 127 for k in range(count)])
