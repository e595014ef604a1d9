"""Short message text: choosing a format, counting and splitting parts, headers, joining."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.errors import Malformed
from protocols.sms import text, udh
from protocols.sms.joining import Reassembler
from protocols.sms.udh import Concat


@pytest.mark.parametrize(
    ("body", "wide", "expected"),
    [
        ("中" * 70, False, 1),
        ("中" * 71, False, 2),
        ("中" * 134, False, 2),
        ("中" * 135, False, 3),
        ("中" * 132, True, 2),
        ("中" * 133, True, 3),
        ("中" * 500, False, 8),
        ("a" * 140, False, 1),
        ("a" * 141, False, 2),
        ("a" * 268, False, 2),
        ("a" * 269, False, 3),
        ("", False, 1),
        ("😀" * 35, False, 1),
        ("😀" * 36, False, 2),
        ("中" + "😀" * 66, False, 2),
        ("😀" * 67, False, 3),  # 33 pairs to a part: the 67th unit would cut one
    ],
)
def test_parts_at_the_edges_of_the_table(body: str, wide: bool, expected: int) -> None:
    assert text.count_parts(body, wide=wide) == expected
    parts = text.split(body, reference=300, wide=wide)
    assert len(parts) == expected
    assert all(len(part.content) <= 140 for part in parts)


def test_septet_limits_are_a_setting() -> None:
    assert text.count_parts("a" * 159, limits=text.SEPTETS) == 1
    assert text.count_parts("a" * 160, limits=text.SEPTETS) == 2
    assert text.count_parts("a" * 307, limits=text.SEPTETS) == 3


def test_header_octets() -> None:
    first, second = text.split("中" * 71, reference=0x1AB)
    assert first.content[:6].hex() == "050003ab0201"
    assert second.content.hex() == "050003ab0202" + "4e2d" * 4
    assert (second.number, second.total, second.udhi) == (2, 2, 1)
    wide = text.split("中" * 71, reference=0x1AB, wide=True)
    assert wide[0].content[:7].hex() == "06080401ab0201"


def test_too_long_and_unsendable() -> None:
    assert len(text.split("中" * 67 * 255)) == 255
    with pytest.raises(text.TooLong):
        text.split("中" * 67 * 255 + "中")
    with pytest.raises(ValueError, match="Msg_Fmt 15"):
        text.encode("a", text.GBK)
    with pytest.raises(UnicodeEncodeError):
        text.encode("é", text.ASCII)


def test_reading() -> None:
    assert text.decode(b"hi\xff", text.ASCII) == "hi\ufffd"
    assert text.decode(bytes.fromhex("d83d0041"), text.UCS2) == "\ufffdA"
    assert text.decode(bytes.fromhex("4f6059"), text.UCS2) == "你\ufffd"
    assert text.decode("退订".encode("gbk"), text.GBK) == "退订"
    assert text.decode(b"\0", text.BINARY) is None
    assert text.encode("a\ud800b", text.UCS2) == "a?b".encode("utf-16-be")


@settings(max_examples=150, deadline=None)
@given(
    st.text(st.one_of(st.just("😀"), st.characters(exclude_categories=["Cs"])), max_size=600),
    st.booleans(),
    st.integers(0, 70000),
    st.randoms(use_true_random=False),
)
def test_split_then_join_in_any_order(
    body: str, wide: bool, reference: int, rng: random.Random
) -> None:
    fmt = text.choose(body)
    parts = text.split(body, reference=reference, wide=wide)
    assert text.count_parts(body, wide=wide) == len(parts)
    for part in parts:
        _, data = udh.strip(part.content, part.udhi)
        read = text.decode(data, fmt)
        assert read is not None and "\ufffd" not in read.replace(
            "\ufffd" if "\ufffd" in body else "", ""
        )
    if len(parts) == 1:
        assert text.decode(parts[0].content, fmt) == body
        return
    shuffled = parts * 2
    rng.shuffle(shuffled)
    joiner = Reassembler(remember=60)
    ready = []
    for part in shuffled:
        concat, data = udh.strip(part.content, 0x40)
        assert concat is not None
        ready += joiner.add("138", "1065", concat, fmt, data, now=1.0)
    assert [joined.text for joined in ready] == [body]
    assert ready[0].complete and len(joiner) == 0
    assert joiner.duplicates == len(parts)


def test_header_with_other_elements() -> None:
    content = bytes.fromhex("0b" + "0504158a0000" + "0003070201") + b"rest"
    elements, rest = udh.walk(content)
    assert [(e.tag, e.data.hex()) for e in elements] == [(5, "158a0000"), (0, "070201")]
    assert rest == b"rest"
    assert udh.strip(content, 1) == (Concat(7, 2, 1), b"rest")
    assert udh.strip(content, 0) == (None, content)


@pytest.mark.parametrize("bad", ["", "05", "05000307", "0500ff070201", "0100"])
def test_header_past_its_end(bad: str) -> None:
    with pytest.raises(Malformed):
        udh.strip(bytes.fromhex(bad), 1)


@pytest.mark.parametrize(
    "unsound", ["050003070003", "050003070200", "050003070203", "04000207ff", "03000102"]
)
def test_unsound_concatenation_is_none(unsound: str) -> None:
    assert udh.strip(bytes.fromhex(unsound) + b"x", 1) == (None, b"x")


def test_garbage_headers_raise_only_malformed() -> None:
    rng = random.Random(3)
    sound = 0
    for _ in range(20_000):
        try:
            udh.strip(rng.randbytes(rng.randrange(12)), rng.randrange(256))
            sound += 1
        except Malformed:
            continue
    assert 1000 < sound < 19_000


def test_same_reference_with_other_totals_interleaved() -> None:
    joiner = Reassembler()
    ready = []
    for concat, data in [
        (Concat(1, 2, 1), b"a"),
        (Concat(1, 3, 3), b"z"),
        (Concat(1, 2, 2), b"b"),
        (Concat(1, 3, 1), b"x"),
        (Concat(1, 3, 2), b"y"),
    ]:
        ready += joiner.add("138", "1065", concat, 0, data, now=0)
    assert [joined.text for joined in ready] == ["ab", "xyz"]


def test_a_reference_taken_by_a_new_message() -> None:
    joiner = Reassembler()
    assert joiner.add("138", "1065", Concat(1, 2, 1), 0, b"old", now=0, tag="t1") == []
    [old] = joiner.add("138", "1065", Concat(1, 2, 1), 0, b"new", now=1)
    assert (old.complete, old.text, old.pieces[0].tag) == (False, "old", "t1")
    [new] = joiner.add("138", "1065", Concat(1, 2, 2), 0, b"er", now=1)
    assert (new.complete, new.text) == (True, "newer")


def test_time_runs_out_for_the_oldest_first() -> None:
    joiner = Reassembler(timeout=10)
    joiner.add("a", "1065", Concat(1, 2, 2), 0, b"2", now=0)
    joiner.add("b", "1065", Concat(1, 2, 1), 0, b"1", now=5)
    assert joiner.expire(9.9) == []
    [gone] = joiner.expire(10)
    assert (gone.source, gone.complete, gone.text) == ("a", False, "2")
    assert len(joiner) == 1


def test_memory_is_bounded() -> None:
    joiner = Reassembler(max_open=3, remember=1e9)
    ready = [j for n in range(5) for j in joiner.add(str(n), "", Concat(0, 2, 1), 0, b"", now=n)]
    assert [j.source for j in ready] == ["0", "1"]
    assert len(joiner) == 3


def test_formats_may_differ_between_parts_and_a_pair_may_be_cut() -> None:
    joiner = Reassembler()
    high, low = "😀".encode("utf-16-be")[:2], "😀".encode("utf-16-be")[2:]
    joiner.add("a", "", Concat(1, 3, 1), 8, high, now=0)
    joiner.add("a", "", Concat(1, 3, 2), 8, low, now=0)
    [joined] = joiner.add("a", "", Concat(1, 3, 3), 0, b"!", now=0)
    assert joined.text == "😀!"


def test_late_duplicate_is_not_a_ghost_only_while_remembered() -> None:
    joiner = Reassembler(remember=5)
    for number in (1, 2):
        joiner.add("a", "", Concat(1, 2, number), 0, bytes((number,)), now=0)
    assert joiner.add("a", "", Concat(1, 2, 1), 0, b"\1", now=4) == []
    assert len(joiner) == 0
    joiner.add("a", "", Concat(1, 2, 1), 0, b"\1", now=6)
    assert len(joiner) == 1
