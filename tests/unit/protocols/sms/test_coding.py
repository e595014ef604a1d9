"""Alphabets of every protocol, the cheapest one for a text, parts and price units, packed septets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Malformed
from protocols.sms import coding, gsm7, udh
from protocols.sms.coding import ASCII, CODINGS, GBK, GSM7, LATIN1, SMPP, UCS2, measure
from protocols.sms.joining import Reassembler
from protocols.sms.text import TooLong

#: The tables of GSM 03.38, written anew from the code points: rows 0 to 7 of the default alphabet.
TABLE = {
    0x00: "@", 0x02: "$", 0x0A: "\n", 0x0D: "\r", 0x10: "Δ", 0x11: "_", 0x1A: "Ξ", 0x1F: "É",
    0x20: " ", 0x24: "¤", 0x27: "'", 0x30: "0", 0x3F: "?", 0x40: "¡", 0x41: "A", 0x5A: "Z",
    0x5B: "Ä", 0x5E: "Ü", 0x5F: "§", 0x60: "¿", 0x61: "a", 0x7A: "z", 0x7B: "ä", 0x7F: "à",
    0x09: "Ç", 0x0B: "Ø", 0x0C: "ø", 0x0E: "Å", 0x0F: "å", 0x1C: "Æ", 0x1D: "æ", 0x1E: "ß",
}  # fmt: skip


def test_default_alphabet() -> None:
    assert len(gsm7.BASIC) == 128
    for code, char in TABLE.items():
        assert gsm7.encode(char) == bytes((code,)) and gsm7.decode(bytes((code,))) == char
    assert gsm7.encode("a€b") == b"a\x1b\x65b"
    assert gsm7.encode("^{}\\[~]|\f").hex() == "1b141b281b291b2f1b3c1b3d1b3e1b401b0a"
    for missing in ("`", "ç", "中", "\ud800", "\x1b"):
        with pytest.raises(UnicodeEncodeError, match="not in the alphabet"):
            gsm7.encode("a" + missing)


def test_reading_what_is_not_in_the_alphabet() -> None:
    assert gsm7.decode(b"\x1bA\x1b\x1b\xff\x1b\xff\x1b") == "A \ufffd\ufffd\ufffd"


def test_packing_by_hand() -> None:
    # "hellohello" of GSM 03.38: 68 65 6c 6c 6f 68 65 6c 6c 6f
    assert gsm7.pack(b"hellohello").hex() == "e8329bfd4697d9ec37"
    assert gsm7.unpack(bytes.fromhex("e8329bfd4697d9ec37"), 10) == b"hellohello"
    # seven octets hold 7 septets and a zero, or 8 of which the last is @
    assert gsm7.pack(b"abcdefg") == gsm7.pack(b"abcdefg\0")
    # behind a 6-octet header: one fill bit; "A" = 1000001 becomes 10000010
    assert gsm7.fill_bits(6) == 1 and gsm7.fill_bits(7) == 0
    assert gsm7.pack(b"A", 1) == b"\x82"
    assert gsm7.unpack(b"\x82", 1, 1) == b"A"
    with pytest.raises(Malformed, match="2 packed septets"):
        gsm7.unpack(b"\x82", 2)
    with pytest.raises(ValueError, match="septet 128"):
        gsm7.pack(b"\x80")


@given(st.binary(max_size=200).map(lambda b: bytes(c & 127 for c in b)), st.integers(0, 6))
def test_packing_round_trip(septets: bytes, fill: int) -> None:
    packed = gsm7.pack(septets, fill)
    assert len(packed) == -(-(7 * len(septets) + fill) // 8)
    assert gsm7.unpack(packed, len(septets), fill) == septets


@pytest.mark.parametrize(
    ("protocol", "text", "name", "parts", "units"),
    [
        ("cmpp3", "", "ascii", 1, 1),
        ("cmpp3", "a" * 140, "ascii", 1, 1),
        ("cmpp2", "a" * 141, "ascii", 2, 2),
        ("cmpp3", "é", "ucs2", 1, 1),
        ("cmpp3", "中" * 70, "ucs2", 1, 1),
        ("cmpp3", "中" * 71, "ucs2", 2, 2),
        ("cmpp3", "中" * 134, "ucs2", 2, 2),
        ("cmpp3", "中" * 135, "ucs2", 3, 3),
        ("sgip", "a" * 71, "ascii", 1, 1),
        ("sgip", "中" * 71, "ucs2", 2, 2),
        ("cmpp3", "中" + "😀" * 66, "ucs2", 2, 2),
        ("cmpp3", "😀" * 67, "ucs2", 3, 2),  # 33 pairs a part, but 134 units are billed
        ("smpp", "a" * 160, "gsm7", 1, 1),
        ("smpp", "a" * 161, "gsm7", 2, 2),
        ("smpp", "€" * 80, "gsm7", 1, 1),
        ("smpp", "€" * 81, "gsm7", 2, 2),
        ("smpp", "€" * 153, "gsm7", 3, 2),  # 76 pairs a part
        ("smpp", "ç" * 140, "latin1", 1, 1),
        ("smpp", "ç" * 141, "latin1", 2, 2),
        ("smpp", "中", "ucs2", 1, 1),
        ("smgp", "a" * 140, "ascii", 1, 1),
        ("smgp", "中" * 70, "gbk", 1, 1),
        ("smgp", "中" * 60 + "a" * 20, "gbk", 1, 1),
        ("smgp", "中a" * 134, "gbk", 4, 3),  # 402 octets; a part that begins with `a` takes 133
        ("smgp", "😀", "ucs2", 1, 1),
        ("smgp", "中\ud800", "ucs2", 1, 1),
    ],
)
def test_measure(protocol: str, text: str, name: str, parts: int, units: int) -> None:
    found = measure(text, CODINGS[protocol])
    assert (found.coding.name, found.parts, found.units) == (name, parts, units)
    assert len(coding.split(text, found.coding)) == parts


def test_wide_references_leave_less() -> None:
    assert measure("中" * 134, CODINGS["cmpp3"], wide=True).parts == 3
    assert measure("a" * 305, SMPP, wide=True) == (SMPP[0], 3, 3)


def test_nothing_can_write_it() -> None:
    with pytest.raises(ValueError, match="none of ascii, gbk can write"):
        measure("😀", CODINGS["smgp"][:2])


def test_codes_on_the_wire() -> None:
    codes = {name: [c.code for c in codings] for name, codings in CODINGS.items()}
    assert codes == {
        "cmpp2": [0, 8], "cmpp3": [0, 8], "sgip": [0, 8], "smgp": [0, 15, 8], "smpp": [0, 3, 8],
    }  # fmt: skip
    assert [c.name for c in coding.smpp(LATIN1)] == ["latin1", "ucs2"]
    assert [c.name for c in coding.smpp(ASCII)] == ["ascii", "latin1", "ucs2"]
    assert coding.smpp() == SMPP


def test_reading() -> None:
    assert coding.read("退订".encode("gbk"), 15, CODINGS["smgp"]) == "退订"
    assert coding.read("𠀀".encode("gb18030"), 15, CODINGS["smgp"]) == "𠀀"
    assert coding.read(b"\xd8\x3d\x00A", 8, CODINGS["sgip"]) == "\ufffdA"
    assert coding.read(b"\0", 4, CODINGS["sgip"]) is None


def test_too_long() -> None:
    with pytest.raises(TooLong, match="256 parts"):
        coding.split("a" * (153 * 255 + 1), SMPP[0])
    with pytest.raises(UnicodeEncodeError):
        coding.split("中", SMPP[0])


ALPHABETS = {
    GSM7.name: (GSM7, st.sampled_from(gsm7.BASIC + "€^{}[]")),
    GBK.name: (
        GBK,
        st.one_of(st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5), st.just("a")),
    ),
    UCS2.name: (UCS2, st.one_of(st.just("😀"), st.characters(exclude_categories=["Cs"]))),
    LATIN1.name: (LATIN1, st.characters(max_codepoint=255)),
}


@pytest.mark.parametrize("name", ALPHABETS)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_character_is_cut_and_parts_join(name: str, data: st.DataObject) -> None:
    alphabet, chars = ALPHABETS[name]
    text = data.draw(st.text(chars, max_size=500))
    wide = data.draw(st.booleans())
    [each] = [c for p in ("smpp", "smgp") for c in CODINGS[p] if c.alphabet is alphabet][:1]
    parts = coding.split(text, each, reference=7, wide=wide)
    assert measure(text, (each,), wide=wide).parts == len(parts)
    shown = ""
    joiner = Reassembler()
    for part in parts:
        assert len(part.content) <= (160 if alphabet is GSM7 else 140)
        concat, octets = udh.strip(part.content, part.udhi)
        shown += alphabet.read(octets)
        if concat is not None:
            for joined in joiner.add("a", "b", concat, each.code, octets, now=0):
                assert joined.decoded(lambda b, _code: alphabet.read(b)) == text
    assert shown == text and len(joiner) == 0
