"""What only SMPP's link does: binds and their directions, generic_nack, what may come before a
bind.
"""

from __future__ import annotations

import struct

import pytest

from protocols.smpp import pdu as p
from protocols.smpp.codec import encode
from protocols.smpp.link import Link, LinkOptions
from protocols.sms.events import (
    LateResponse,
    LoggedIn,
    LoginRefused,
    MustClose,
    Oddity,
    Request,
    Response,
    Why,
)
from protocols.sms.terms import NotOpen, Role, State

SUBMIT = p.SubmitSm("10657", "8613800138000", b"hi")
DELIVER = p.DeliverSm("8613800138000", "10657", b"R")
DATA = p.DataSm("10657", "8613800138000")
ALERT = p.AlertNotification("8613800138000", "10657")


def raw(command: int, sequence: int, body: bytes = b"", status: int = 0) -> bytes:
    return struct.pack(">IIII", 16 + len(body), command, status, sequence) + body


def pair(mode: p.Mode = p.Mode.TRANSCEIVER, version: int = p.V34) -> tuple[Link, Link]:
    client, server = Link(Role.CLIENT), Link(Role.SERVER)
    client.login(p.Bind(mode, "esme", "pw", interface_version=version), 0)
    [asked] = server.receive_data(client.data_to_send(), 0)
    server.accept(asked.sequence, "SMSC")
    assert server.mode is mode
    [done] = client.receive_data(server.data_to_send(), 0)
    assert done == LoggedIn(p.V34 if version >= p.V34 else 0, trusted=True)
    return client, server


@pytest.mark.parametrize(
    ("mode", "from_esme", "from_smsc"),
    [
        (p.Mode.TRANSMITTER, True, False),
        (p.Mode.RECEIVER, False, True),
        (p.Mode.TRANSCEIVER, True, True),
    ],
)
def test_a_bind_decides_who_may_send(mode: p.Mode, from_esme: bool, from_smsc: bool) -> None:
    for side, allowed, pdus in (
        (0, from_esme, (SUBMIT, DATA)),
        (1, from_smsc, (DELIVER, DATA, ALERT)),
    ):
        for pdu in pdus:
            ends = pair(mode)
            mine, other = ends[side], ends[1 - side]
            if allowed:
                sequence = mine.request(pdu, 1)
                assert other.receive_data(mine.data_to_send(), 1) == [Request(sequence, pdu)]
                continue
            with pytest.raises(NotOpen, match=mode.name.lower()):
                mine.request(pdu, 1)
            [odd] = other.receive_data(encode(pdu, 5), 1)
            assert odd.what == "wrong_direction"
            answer = other.data_to_send()
            if pdu is not ALERT:
                assert answer[8:12] == b"\0\0\0\4"  # ESME_RINVBNDSTS


def test_an_alert_has_no_answer() -> None:
    client, server = pair()
    sequence = server.request(ALERT, 1)
    assert server.in_flight == 0
    assert client.receive_data(server.data_to_send(), 1) == [Request(sequence, ALERT)]
    assert client.unanswered_inbound == 0


def test_version_below_34_gets_no_parameters() -> None:
    client, server = pair(version=0x33)
    assert (server.peer_version, client.peer_version) == (0x33, 0)


def test_generic_nack_answers_the_request_it_names() -> None:
    client, _ = pair()
    sequence = client.request(SUBMIT, 1, tag="a")
    nack = p.GenericNack(p.RINVCMDID)
    assert client.receive_data(encode(nack, sequence), 1) == [Response(sequence, nack, "a")]
    assert client.receive_data(encode(nack, 0), 1) == [LateResponse(0, nack)]


def test_unknown_command_gets_a_generic_nack_and_the_link_stays() -> None:
    _, server = pair()
    for sequence in (7, 0x80000001):  # sequences outside the range are echoed
        assert server.receive_data(raw(0x21, sequence, b"submit_multi"), 1) == [
            Oddity("unknown_command", "0x00000021")
        ]
        assert server.data_to_send() == raw(p.GENERIC_NACK, sequence, b"", p.RINVCMDID)
    assert server.is_open


def test_unusable_length_gets_a_generic_nack_with_sequence_0() -> None:
    _, server = pair()
    [closed] = server.receive_data(b"\0\0\0\5", 1)
    assert closed.why is Why.FRAMING
    assert server.data_to_send() == raw(p.GENERIC_NACK, 0, b"", p.RINVCMDLEN)


@pytest.mark.parametrize(
    ("tail", "status"),
    [
        (b"\x02\x04\x00\x02\x00", p.RINVOPTPARSTREAM),
        (b"\x02\x04\x00\x01\x00", p.RINVPARLEN),
    ],
)
def test_bad_parameters_have_their_own_status(tail: bytes, status: int) -> None:
    _, server = pair()
    body = encode(SUBMIT, 9)[16:] + tail
    [odd] = server.receive_data(raw(p.SUBMIT_SM, 9, body), 1)
    assert odd.what == "malformed_request"
    assert server.data_to_send() == encode(p.SubmitSmResp(status=status), 9)


def test_enquire_link_is_answered_before_a_bind() -> None:
    server = Link(Role.SERVER)
    assert server.receive_data(encode(p.EnquireLink(), 5), 0) == []
    assert server.data_to_send() == encode(p.EnquireLinkResp(), 5)
    assert server.state is State.NEW


@pytest.mark.parametrize("answer", [p.GenericNack(3), p.BindResp(p.Mode.TRANSCEIVER, status=3)])
def test_either_answer_refuses_a_bind(answer: p.Pdu) -> None:
    client = Link(Role.CLIENT)
    client.login(p.Bind(p.Mode.TRANSCEIVER, "esme", "pw"), 0)
    refused, closed = client.receive_data(encode(answer, 1), 0)
    assert refused == LoginRefused(3, 0) and closed.why is Why.LOGIN_REFUSED


def test_a_bind_that_does_not_fit_sends_nothing() -> None:
    client = Link(Role.CLIENT)
    with pytest.raises(ValueError, match="system_id"):
        client.login(p.Bind(p.Mode.TRANSCEIVER, "e" * 16, "pw"), 0)
    assert client.state is State.NEW and client.data_to_send() == b""


def test_the_password_is_not_shown() -> None:
    assert "hunter2" not in repr(p.Bind(p.Mode.TRANSCEIVER, "esme", "hunter2"))


def test_sequence_wraps_at_31_bits() -> None:
    client, _ = pair()
    client._sequence = p.MAX_SEQUENCE - 1
    assert [client.request(SUBMIT, 1) for _ in range(3)] == [p.MAX_SEQUENCE, 1, 2]


def test_a_full_message_payload_passes() -> None:
    from protocols.smpp.tags import MESSAGE_PAYLOAD
    from protocols.sms.tlv import Tlv

    client, server = pair()
    most = p.SubmitSm("10657", "138", b"", tlvs=(Tlv(MESSAGE_PAYLOAD, bytes(0xFFFF)),))
    sequence = client.request(most, 1)
    assert server.receive_data(client.data_to_send(), 1) == [Request(sequence, most)]


def test_smaller_maximum() -> None:
    server = Link(Role.SERVER, LinkOptions(max_length=8192))
    assert server.receive_data(b"\0\0\x20\x01", 0) == [MustClose(Why.FRAMING, "length 8193")]
