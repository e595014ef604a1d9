"""What only SGIP has: the 12-octet sequence, two directions, idle links, sequences used again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.sgip import pdu as p
from protocols.sgip import sequence as seq
from protocols.sgip.codec import encode
from protocols.sgip.link import Link, LinkOptions
from protocols.sms.events import LoggedIn, MustClose, PeerTerminating, Request, Response, Why
from protocols.sms.terms import NotOpen, Role, State, WindowFull
from tests.unit.protocols.links import NODE, SGIP_REPORT, SGIP_SUBMIT, STAMP

SUBMIT = SGIP_SUBMIT.submit


def test_sequence_number_of_the_reference() -> None:
    number = seq.pack(seq.Sequence(3010000001, 1121093015, 7))
    assert seq.to_hex(number) == "b368f48142d2859700000007"
    assert seq.unpack(number) == (3010000001, 1121093015, 7)
    assert seq.sp_node("010", "1") == 3010000001
    assert seq.sp_node("0755", "12345") == 3075512345
    for bad in (("01000", "1"), ("010", "123456"), ("x", "1")):
        with pytest.raises(ValueError, match="area"):
            seq.sp_node(*bad)
    with pytest.raises(ValueError, match="node 4294967296"):
        seq.pack(seq.Sequence(1 << 32, 0, 0))
    with pytest.raises(ValueError, match=r"2\^96"):
        seq.unpack(1 << 96)


@given(st.integers(0, (1 << 96) - 1))
def test_sequence_round_trip(number: int) -> None:
    assert seq.pack(seq.unpack(number)) == number


def test_requests_carry_node_time_and_counter() -> None:
    client, _ = SGIP_SUBMIT.pair()
    numbers = [client.request(SUBMIT, 1) for _ in range(2)]
    assert [seq.unpack(number) for number in numbers] == [(NODE, STAMP, 2), (NODE, STAMP, 3)]
    client._sequence = 0xFFFFFFFF
    assert seq.unpack(client.request(SUBMIT, 1)).counter == 0


@pytest.mark.parametrize(
    "pdu", [p.Deliver("861", "1065", b"R"), p.Report(1, "861", 0), p.UserReport("1", "2", 1)]
)
def test_deliveries_come_on_the_gateways_connection(pdu: p.Pdu) -> None:
    gateway, sp = SGIP_REPORT.pair()
    sequence = gateway.request(pdu, 1, tag="x")
    assert sp.receive_data(gateway.data_to_send(), 1) == [Request(sequence, pdu)]
    answers = {p.Deliver: p.DeliverResp, p.Report: p.ReportResp, p.UserReport: p.UserReportResp}
    answer = answers[type(pdu)](p.OK)
    assert sp.respond(sequence, answer)
    assert gateway.receive_data(sp.data_to_send(), 1) == [Response(sequence, answer, "x")]
    with pytest.raises(NotOpen, match="login type 2"):
        gateway.request(SUBMIT, 1)


def test_other_login_types_may_ask_anything() -> None:
    client, server = Link(Role.CLIENT, NODE, lambda: STAMP), Link(Role.SERVER, 1, lambda: STAMP)
    client.login(p.Bind("t", "p", p.LoginType.TEST), 0)
    [asked] = server.receive_data(client.data_to_send(), 0)
    server.accept(asked.sequence)
    assert client.receive_data(server.data_to_send(), 0) == [LoggedIn(0, trusted=True)]
    for pdu in (SUBMIT, p.Report(1, "861", 0)):
        client.request(pdu, 1)
    assert len(server.receive_data(client.data_to_send(), 1)) == 2


def test_already_bound_is_bound() -> None:
    client = Link(Role.CLIENT, NODE, lambda: STAMP)
    client.login(p.Bind("333", "0555"), 0)
    octets = client.data_to_send()
    number = int.from_bytes(octets[8:20], "big")
    assert client.receive_data(encode(p.BindResp(p.ALREADY_BOUND), number), 0) == [
        LoggedIn(0, trusted=True)
    ]


def test_an_idle_client_unbinds_and_an_idle_server_closes() -> None:
    client, server = SGIP_SUBMIT.pair(idle=60)
    client.request(SUBMIT, 30)
    [asked] = server.receive_data(client.data_to_send(), 30)
    server.respond(asked.sequence, p.SubmitResp())
    client.receive_data(server.data_to_send(), 31)
    assert client.tick(90.9) == [] and client.is_open
    assert client.tick(91) == [] and client.state is State.TERMINATING
    assert client.data_to_send()[4:8] == b"\0\0\0\2"
    assert server.tick(89.9) == []
    assert server.tick(90) == [MustClose(Why.IDLE)]


def test_a_busy_link_is_not_idle() -> None:
    client, server = SGIP_SUBMIT.pair(idle=60, response_timeout=500)
    client.request(SUBMIT, 1)
    server.receive_data(client.data_to_send(), 1)
    assert client.tick(400) == [] and client.is_open
    assert server.tick(400) == [] and server.is_open


def test_unbind_of_the_peer() -> None:
    client, server = SGIP_SUBMIT.pair()
    client.drain(1)
    assert server.receive_data(client.data_to_send(), 1) == [
        PeerTerminating(),
        MustClose(Why.PEER_TERMINATED),
    ]


def test_repeating_keeps_the_sequence() -> None:
    client, _ = SGIP_SUBMIT.pair(response_timeout=10, window=1)
    number = client.request(SUBMIT, 1, tag="a")
    first = client.data_to_send()
    with pytest.raises(ValueError, match="in flight"):
        client.again(SUBMIT, number, 2)
    client.tick(11)
    client.again(SUBMIT, number, 12, tag="b")
    assert client.data_to_send() == first
    with pytest.raises(WindowFull):
        client.again(SUBMIT, number + 1, 12)
    [done] = client.receive_data(encode(p.SubmitResp(), number), 13)
    assert done == Response(number, p.SubmitResp(), "b")
    client.drain(13)
    with pytest.raises(NotOpen):
        client.again(SUBMIT, number, 14)


def test_sequence_with_other_content_is_refused_and_with_the_same_dropped() -> None:
    _, server = SGIP_SUBMIT.pair()
    assert len(server.receive_data(encode(SUBMIT, 77), 1)) == 1
    assert server.receive_data(encode(SUBMIT, 77), 1) == []
    assert server.data_to_send() == b"" and server.counters["duplicate_request"] == 1
    other = p.Submit("1065512345", ("8613000130000",), b"ho", "00001")
    assert server.receive_data(encode(other, 77), 1) == []
    assert server.data_to_send() == encode(p.SubmitResp(p.BAD_SEQUENCE), 77)


def test_unknown_command_closes() -> None:
    _, server = SGIP_SUBMIT.pair()
    octets = (20).to_bytes(4, "big") + b"\0\0\x10\0" + bytes(12)
    assert server.receive_data(octets, 1)[-1] == MustClose(Why.UNKNOWN_COMMANDS, "1 of them")


def test_the_largest_submit_passes() -> None:
    client, server = SGIP_SUBMIT.pair()
    most = p.Submit("1" * 21, ("1" * 21,) * 100, bytes(255), "00001")
    number = client.request(most, 1)
    assert server.receive_data(client.data_to_send(), 1) == [Request(number, most)]
    assert LinkOptions().max_length == 4096


def test_the_password_is_not_shown() -> None:
    assert "hunter2" not in repr(p.Bind("333", "hunter2"))
