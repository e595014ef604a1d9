"""What an SMPP message carries: long texts three ways, data_coding, receipts of every vendor, ids in
two bases, times.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.errors import Malformed
from protocols.smpp import content, receipt, times
from protocols.smpp import pdu as p
from protocols.smpp.receipt import Receipt, parse_receipt, same_id
from protocols.smpp.tags import MESSAGE_PAYLOAD, MESSAGE_STATE, RECEIPTED_MESSAGE_ID
from protocols.sms import coding
from protocols.sms.joining import Reassembler
from protocols.sms.tlv import Tlv
from protocols.sms.udh import Concat
from tests.unit.protocols.codecs import SMPP

BASE = p.SubmitSm("10657", "8613800138000", b"", registered_delivery=1)
GSM7, LATIN1, UCS2 = coding.SMPP


@pytest.mark.parametrize("how", ["udh", "sar", "payload"])
@pytest.mark.parametrize(
    ("text", "chosen", "sizes"),
    [
        ("a" * 160, GSM7, {"udh": [160], "sar": [160], "payload": [160]}),
        ("a" * 161, GSM7, {"udh": [159, 14], "sar": [152, 9], "payload": [161]}),
        ("中" * 70, UCS2, {"udh": [140], "sar": [140], "payload": [140]}),
        ("中" * 71, UCS2, {"udh": [140, 14], "sar": [132, 10], "payload": [142]}),
    ],
)
def test_long_text_three_ways(
    how: content.Long, text: str, chosen: coding.Coding, sizes: dict[str, list[int]]
) -> None:
    pdus = content.submits(BASE, text, chosen, how=how, reference=0x1AB)
    assert [len(content.content_of(pdu)) for pdu in pdus] == sizes[how]
    joiner, shown = Reassembler(), []
    for pdu in reversed(pdus):
        assert (pdu.data_coding, pdu.registered_delivery) == (chosen.code, 1)
        assert SMPP.read(SMPP.write(pdu, 0, 1), 0, None) == pdu
        part, data = content.part_of(pdu)
        if part is None:
            shown.append(content.read(data, pdu.data_coding, coding.SMPP))
            continue
        assert (part.reference, part.wide) == ((0x1AB, True) if how == "sar" else (0xAB, False))
        shown += [
            joined.decoded(lambda b, code: content.read(b, code, coding.SMPP))
            for joined in joiner.add("138", "10657", part, pdu.data_coding, data, now=0)
        ]
    assert shown == [text]


def test_payload_counts_only_behind_an_empty_short_message() -> None:
    payload = (Tlv(MESSAGE_PAYLOAD, b"long"),)
    assert content.content_of(p.DeliverSm("1", "2", b"", tlvs=payload)) == b"long"
    assert content.content_of(p.DeliverSm("1", "2", b"short", tlvs=payload)) == b"short"
    assert content.content_of(p.DataSm("1", "2", tlvs=payload)) == b"long"
    assert content.content_of(p.DataSm("1", "2")) == b""


@pytest.mark.parametrize("sar", [(1, 0, 1), (1, 2, 0), (1, 2, 3), (None, 2, 1)])
def test_unsound_segmentation_is_a_message_of_its_own(sar: tuple[int | None, int, int]) -> None:
    reference, total, number = sar
    tlvs = (Tlv(0x020E, bytes((total,))), Tlv(0x020F, bytes((number,))))
    if reference is not None:
        tlvs = (Tlv(0x020C, b"\0\1"), *tlvs)
    assert content.part_of(p.DeliverSm("1", "2", b"x", tlvs=tlvs)) == (None, b"x")


def test_header_wins_over_segmentation_and_may_be_malformed() -> None:
    pdu = p.DeliverSm("1", "2", b"\5\0\3\7\2\1x", esm_class=0x40)
    assert content.part_of(pdu) == (Concat(7, 2, 1), b"x")
    with pytest.raises(Malformed):
        content.part_of(p.DeliverSm("1", "2", b"\5\0", esm_class=0x40))


@pytest.mark.parametrize(
    ("octets", "data_coding", "expected"),
    [
        (b"\0\x1b\x65", 0, "@€"),
        (b"\0\x1b\x65", 0xC0, "@€"),
        (b"\0\x1b\x65", 0xF1, "@€"),
        (b"\xff", 0xF5, None),
        (b"h\xff", 1, "h\ufffd"),
        (b"\xe9", 3, "é"),
        (b"\x4f\x60\xd8\x3d", 8, "你\ufffd"),
        (b"\x4f\x60", 0xE0, "你"),
        (b"\x4f\x60", 2, None),
        (b"\x4f\x60", 4, None),
    ],
)
def test_data_coding(octets: bytes, data_coding: int, expected: str | None) -> None:
    assert content.read(octets, data_coding, coding.SMPP) == expected


def test_the_default_alphabet_is_the_smscs() -> None:
    for alphabet, expected in (
        (coding.LATIN1, "@é"),
        (coding.ASCII, "@\ufffd"),
        (coding.GSM7, "¡\ufffd"),
    ):
        assert content.read(b"@\xe9", 0, coding.smpp(alphabet)) == expected


def deliver(text: str, tlvs: tuple[Tlv, ...] = ()) -> p.DeliverSm:
    return p.DeliverSm("138", "10657", text.encode("latin-1"), esm_class=4, tlvs=tlvs)


@pytest.mark.parametrize("vector", [v for v in SMPP.vectors if v.report], ids=lambda v: v.name)
def test_vector_receipt(vector: object) -> None:
    assert parse_receipt(vector.pdu) == Receipt(**vector.report)  # type: ignore[attr-defined]
    assert Receipt(**vector.report).encode() == vector.pdu.short_message  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "id:7b sub:001 dlvrd:001 submit date:261121093005 done date:20261121093105 stat:DELIVRD err:0",
            Receipt("7b", "DELIVRD", "0", "2611210930", "2611210931"),
        ),
        ("ID:7 STAT:UNDELIV ERR:a1 TEXT:Hi", Receipt("7", "UNDELIV", "a1", text="Hi")),
        ("stat:EXPIRED id:007\0", Receipt("007", "EXPIRED")),
        (
            "id:7 stat:EXPIRED text:stat:DELIVRD id:9",
            Receipt("7", "EXPIRED", text="stat:DELIVRD id:9"),
        ),
        ("text:hello id:7 stat:REJECTD", Receipt("7", "REJECTD", text="hello id:7 stat:REJECTD")),
        (
            "id:3fa85f64-5717-4562-b3fc-2c963f66afa6 submit_date:2611210930 stat:DELIVRD",
            Receipt("3fa85f64-5717-4562-b3fc-2c963f66afa6", "DELIVRD", "", "2611210930"),
        ),
        ("id:7 submit date: done date:0000000000 stat:", Receipt("7", "")),
        ("id:7,stat:DELIVRD;err:", Receipt("7", "DELIVRD")),
        ("paid:1 invalid:2", Receipt("", "")),
        ("", Receipt("", "")),
    ],
)
def test_receipts_of_every_vendor(text: str, expected: Receipt) -> None:
    assert parse_receipt(deliver(text)) == expected


def test_parameters_win_over_the_text() -> None:
    tlvs = (Tlv(RECEIPTED_MESSAGE_ID, b"abc\0"), Tlv(MESSAGE_STATE, b"\3"))
    assert parse_receipt(deliver("id:7 stat:DELIVRD err:9", tlvs)) == Receipt("abc", "EXPIRED", "9")
    odd = (Tlv(MESSAGE_STATE, b"\x63"),)
    assert parse_receipt(deliver("id:7 stat:DELIVRD", odd)).state == "delivered"
    data = p.DataSm("138", "10657", esm_class=4, tlvs=(*tlvs, Tlv(MESSAGE_PAYLOAD, b"err:5")))
    assert parse_receipt(data) == Receipt("abc", "EXPIRED", "5")


@pytest.mark.parametrize(
    ("esm_class", "expected"),
    [(0, False), (4, True), (0x44, True), (0x20, True), (8, False), (3, False)],
)
def test_what_is_a_receipt(esm_class: int, expected: bool) -> None:
    assert receipt.is_receipt(p.DeliverSm("1", "2", b"", esm_class=esm_class)) is expected


@pytest.mark.parametrize(
    ("one", "other"),
    [("1A2B3C4D", "439041101"), ("0000012", "12"), ("00ff", "255"), ("A-b", "a-B")],
)
def test_ids_in_either_base_meet(one: str, other: str) -> None:
    assert set(same_id(one)) & set(same_id(other))


def test_ids_of_other_messages_do_not_meet() -> None:
    assert same_id("10") == ("10", "a", "16")
    assert same_id("") == ("0",)
    assert not set(same_id("3fa85f64-5717")) & set(same_id("3fa85f64-5718"))


def test_times() -> None:
    china = timezone(timedelta(hours=8))
    at = datetime(2026, 11, 21, 9, 30, 5, 300_000, china)
    assert times.absolute(at) == "261121093005332+"
    assert times.read("261121093005332+") == at
    assert times.read("991231235959000-") == datetime(1999, 12, 31, 23, 59, 59, tzinfo=UTC)
    assert times.relative(3 * 86400 + 3661) == "000003010101000R"
    assert times.read("000003010101000R") == timedelta(days=3, seconds=3661)
    with pytest.raises(ValueError, match="zone"):
        times.absolute(datetime(2026, 1, 1))  # noqa: DTZ001
    with pytest.raises(ValueError, match="100 days"):
        times.relative(100 * 86400)


@pytest.mark.parametrize(
    "bad",
    ["", "2611", "261121093005049+", "261321093005032+", "26112109300503２+", "261121093005032Z"],
)
def test_bad_times(bad: str) -> None:
    with pytest.raises(Malformed):
        times.read(bad)


@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2037, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.integers(-48, 48),
)
def test_round_trip_of_any_time(at: datetime, quarters: int) -> None:
    local = at.replace(microsecond=0).astimezone(timezone(timedelta(minutes=15 * quarters)))
    if 2000 <= local.year < 2038:
        assert times.read(times.absolute(local)) == local
