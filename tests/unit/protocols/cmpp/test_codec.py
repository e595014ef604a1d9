"""CMPP octets against the hand-worked vectors, round trips of any value, faults of real peers,
and garbage.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.cmpp import auth, msgid
from protocols.cmpp import pdu as p
from protocols.cmpp.decode import BadLength, decode, known
from protocols.cmpp.encode import encode
from protocols.cmpp.report import Report, parse_report
from protocols.errors import Malformed

from .vectors import VECTORS

BY_NAME = {vector.name: vector for vector in VECTORS}
HEADER = struct.Struct(">III")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_vector_declares_its_own_length(vector: Any) -> None:
    assert HEADER.unpack_from(vector.octets)[0] == len(vector.octets)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_vector_decodes(vector: Any) -> None:
    _, command, sequence = HEADER.unpack_from(vector.octets)
    assert sequence == vector.sequence
    assert decode(command, vector.octets[12:], vector.version) == vector.pdu


@pytest.mark.parametrize("vector", [v for v in VECTORS if not v.decode_only], ids=lambda v: v.name)
def test_vector_encodes(vector: Any) -> None:
    assert encode(vector.pdu, vector.version, vector.sequence).hex() == vector.octets.hex()


@pytest.mark.parametrize("vector", [v for v in VECTORS if v.report], ids=lambda v: v.name)
def test_vector_report(vector: Any) -> None:
    report = Report(**vector.report)
    assert parse_report(vector.pdu.content) == report
    assert report.encode(vector.version) == vector.pdu.content


def test_every_pdu_has_a_vector_in_each_layout_that_differs() -> None:
    seen = Counter((type(v.pdu), v.version) for v in VECTORS)
    for kind in p.Pdu.__args__:
        assert any(k is kind for k, _ in seen), kind
    for kind in (p.Submit, p.Deliver, p.SubmitResp, p.DeliverResp, p.ConnectResp, p.CancelResp):
        assert seen[kind, p.V20] and seen[kind, p.V30], kind


def test_login_digests_against_hashlib() -> None:
    source = hashlib.md5(b"901234" + bytes(9) + b"sharedsecret" + b"0102030405").digest()
    assert auth.source_digest("901234", "sharedsecret", 102030405) == source
    assert BY_NAME["connect-30"].pdu.auth == source
    for name, status in (("connect-resp-30", bytes(4)), ("connect-resp-20", bytes(1))):
        digest = hashlib.md5(status + source + b"sharedsecret").digest()
        assert BY_NAME[name].pdu.auth == digest
        assert auth.ismg_digest(0, len(status), source, "sharedsecret") == digest
        assert auth.ismg_matches(digest, 0, source, "sharedsecret")
        assert not auth.ismg_matches(digest, 0, source, "othersecret")


def test_short_account_may_be_hashed_bare_or_padded() -> None:
    for form in (b"9012", b"9012\0\0"):
        digest = hashlib.md5(form + bytes(9) + b"s" + b"1231235959").digest()
        assert auth.source_matches(digest, "9012", "s", 1231235959)
        assert not auth.source_matches(digest, "9012", "t", 1231235959)


@pytest.mark.parametrize("width", [39, 45, 60, 71, 80])
def test_report_destination_takes_what_its_length_leaves(width: int) -> None:
    recipient = b"13800138000"[: width - 39].ljust(width - 39, b"\0")
    content = (5).to_bytes(8, "big") + b"mk:1 \0\0" + b"2611210930" * 2 + recipient + b"\0\0\0\7"
    report = parse_report(content)
    assert (report.msg_id, report.stat, report.smsc_sequence) == (5, "mk:1", 7)
    assert report.recipient == "13800138000"[: width - 39]


def test_short_report_is_malformed() -> None:
    with pytest.raises(Malformed, match="38 octets"):
        parse_report(bytes(38))


def notes_of(command: int, body: bytes, version: int) -> list[str]:
    notes: list[str] = []
    decode(command, body, version, notes.append)
    return notes


@pytest.mark.parametrize("version", [p.V20, p.V30])
def test_tolerated_faults_are_named(version: int) -> None:
    deliver = encode(p.Deliver(1, "1065", "138", b"x"), version, 1)[12:]
    tail = 20 if version == p.V30 else 8
    assert notes_of(p.DELIVER, deliver, version) == []
    assert notes_of(p.DELIVER, deliver[:-1], version) == ["short_tail"]
    assert notes_of(p.DELIVER, deliver + b"??", version) == ["stray_tail"]
    assert notes_of(p.DELIVER, deliver[: -min(11, tail)], version) == ["short_tail"]
    with pytest.raises(BadLength):
        decode(p.DELIVER, deliver[: -min(11, tail) - 1], version)
    other = p.V30 if version == p.V20 else p.V20
    for pdu, command in (
        (p.SubmitResp(1, 2), p.SUBMIT),
        (p.CancelResp(1), p.CANCEL),
        (p.ConnectResp(0), p.CONNECT),
    ):
        body = encode(pdu, other, 1)[12:]
        assert decode(command | p.RESPONSE, body, version) == pdu
        assert notes_of(command | p.RESPONSE, body, version) == ["other_version_width"]
    assert notes_of(p.ACTIVE_TEST | p.RESPONSE, b"", version) == ["active_test_width"]
    assert notes_of(p.ACTIVE_TEST | p.RESPONSE, b"\0\0\0", version) == ["active_test_width"]


@pytest.mark.parametrize("version", [p.V20, p.V30])
def test_recipient_count_outside_its_range(version: int) -> None:
    body = bytearray(encode(p.Submit(("138",), b"", "1065", "901234"), version, 1)[12:])
    at = body.index(b"138") - 1
    for count in (0, 100, 255):
        body[at] = count
        with pytest.raises(Malformed, match="DestUsr_tl"):
            decode(p.SUBMIT, bytes(body), version)
    body[at] = 3
    with pytest.raises(BadLength):
        decode(p.SUBMIT, bytes(body), version)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"recipients": ()}, "recipients"),
        ({"recipients": ("1" * 33,)}, "recipient"),
        ({"recipients": ("1",) * 100}, "recipients"),
        ({"content": bytes(256)}, "content"),
        ({"src_id": "1" * 22}, "src_id"),
        ({"service_id": "1" * 11}, "service_id"),
        ({"link_id": "1" * 21}, "link_id"),
        ({"msg_level": 256}, "Submit"),
        ({"src_id": "短信"}, "latin-1"),
    ],
)
def test_nothing_is_cut_silently(change: dict[str, Any], named: str) -> None:
    fields: dict[str, Any] = {
        "recipients": ("138",),
        "content": b"",
        "src_id": "1065",
        "msg_src": "901234",
    }
    with pytest.raises(ValueError, match=named):
        encode(p.Submit(**(fields | change)), p.V30, 1)


octet = st.integers(0, 255)
u32 = st.integers(0, 0xFFFFFFFF)
u64 = st.integers(0, 0xFFFFFFFFFFFFFFFF)


def chars(width: int) -> st.SearchStrategy[str]:
    return st.text(st.characters(min_codepoint=1, max_codepoint=255), max_size=width)


def submits(wide: bool) -> st.SearchStrategy[p.Submit]:
    terminal = chars(32 if wide else 21)
    kind = octet if wide else st.just(0)
    return st.builds(
        p.Submit,
        recipients=st.lists(terminal, min_size=1, max_size=99).map(tuple)
        if wide
        else st.lists(terminal, min_size=1, max_size=3).map(tuple),
        content=st.binary(max_size=255), src_id=chars(21), msg_src=chars(6), msg_fmt=octet,
        udhi=octet, pk_total=octet, pk_number=octet, registered_delivery=octet, msg_level=octet,
        service_id=chars(10), fee_user_type=octet, fee_terminal_id=terminal, fee_terminal_type=kind,
        tp_pid=octet, fee_type=chars(2), fee_code=chars(6), valid_time=chars(17), at_time=chars(17),
        dest_type=kind, link_id=chars(20 if wide else 8), msg_id=u64,
    )  # fmt: skip


def delivers(wide: bool) -> st.SearchStrategy[p.Deliver]:
    return st.builds(
        p.Deliver, msg_id=u64, dest_id=chars(21), source=chars(32 if wide else 21),
        content=st.binary(max_size=255), registered_delivery=octet, msg_fmt=octet, udhi=octet,
        service_id=chars(10), tp_pid=octet, source_type=octet if wide else st.just(0),
        link_id=chars(20 if wide else 8),
    )  # fmt: skip


def any_pdu(wide: bool) -> st.SearchStrategy[p.Pdu]:
    result = u32 if wide else octet
    return st.one_of(
        submits(wide),
        delivers(wide),
        st.builds(p.SubmitResp, u64, result),
        st.builds(p.DeliverResp, u64, result),
        st.builds(p.CancelResp, result),
        st.builds(p.Cancel, u64),
        st.builds(p.Connect, chars(6), st.binary(min_size=16, max_size=16), octet, u32),
        st.builds(p.ConnectResp, result, st.binary(min_size=16, max_size=16), octet),
        st.builds(p.Query, chars(8), octet, chars(10), chars(8)),
        st.builds(p.QueryResp, chars(8), octet, chars(10), u32, u32, u32, u32, u32, u32, u32, u32),
        st.builds(p.ActiveTestResp, octet),
        st.sampled_from([p.Terminate(), p.TerminateResp(), p.ActiveTest()]),
    )


@pytest.mark.parametrize("version", [p.V20, p.V30])
@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_round_trip_of_any_value(version: int, data: st.DataObject) -> None:
    pdu = data.draw(any_pdu(version == p.V30))
    sequence = data.draw(u32)
    wire = encode(pdu, version, sequence)
    length, command, echoed = HEADER.unpack_from(wire)
    assert (length, echoed) == (len(wire), sequence)
    notes: list[str] = []
    assert decode(command, wire[12:], version, notes.append) == pdu
    assert notes == []


@settings(max_examples=100, deadline=None)
@given(
    st.builds(
        Report,
        u64,
        chars(7).map(lambda s: s.rstrip(" ")),
        chars(10),
        chars(10),
        chars(21).map(lambda s: s.rstrip(" ")),
        u32,
    ),
    st.sampled_from([p.V20, p.V30]),
)
def test_round_trip_of_any_report(report: Report, version: int) -> None:
    content = report.encode(version)
    assert len(content) == (71 if version == p.V30 else 60)
    assert parse_report(content) == report


def test_garbage_raises_only_malformed() -> None:
    rng = random.Random(20)
    commands = [c for base in range(1, 10) for c in (base, base | p.RESPONSE)]
    seeds = [v.octets[12:] for v in VECTORS]
    outcomes: Counter[str] = Counter()
    for _ in range(20_000):
        if rng.random() < 0.5:
            body = rng.randbytes(rng.choice((0, 1, 8, 9, 12, 21, 60, 97, 150, 200, 400)))
        else:
            mutated = bytearray(rng.choice(seeds))
            for _ in range(rng.randrange(1, 4)):
                if mutated:
                    mutated[rng.randrange(len(mutated))] = rng.randrange(256)
            body = bytes(mutated[: rng.randrange(len(mutated) + 1)]) + rng.randbytes(
                rng.choice((0, 0, 5))
            )
        try:
            pdu = decode(rng.choice(commands), body, rng.choice((p.V20, p.V30)))
            outcomes["read"] += 1
            if isinstance(pdu, p.Deliver):
                parse_report(pdu.content)
        except Malformed:
            outcomes["malformed"] += 1
    assert outcomes["read"] > 1000 and outcomes["malformed"] > 1000


def test_unknown_command() -> None:
    assert not known(3)
    with pytest.raises(Malformed, match="unknown command"):
        decode(3, b"", p.V30)


def test_msg_id_bits() -> None:
    parts = msgid.MsgId(11, 21, 9, 30, 15, 106001, 7)
    assert msgid.pack(parts) == 0xBAA5E3C19E110007
    assert msgid.unpack(0xBAA5E3C19E110007) == parts
    assert msgid.to_hex(0xBAA5E3C19E110007) == "baa5e3c19e110007"
    assert msgid.pack(msgid.MsgId(8, 0, 0, 0, 0, 0, 0)) == 1 << 63
    with pytest.raises(ValueError, match="gateway 4194304"):
        msgid.pack(parts._replace(gateway=4194304))
    with pytest.raises(ValueError, match="2\\^64"):
        msgid.unpack(1 << 64)


@given(u64)
def test_msg_id_round_trip(number: int) -> None:
    assert msgid.pack(msgid.unpack(number)) == number


def test_a_run_of_ids_wraps_without_a_carry() -> None:
    assert msgid.run(0x1_0000_FFFE, 4) == [
        0x1_0000_FFFE,
        0x1_0000_FFFF,
        0x1_0000_0000,
        0x1_0000_0001,
    ]


@pytest.mark.parametrize(
    ("octet_", "expected"), [(0, p.V20), (1, p.V20), (0x20, p.V20), (0x21, p.V20), (0x30, p.V30)]
)
def test_version_octets(octet_: int, expected: int) -> None:
    assert p.layout(octet_) == expected
