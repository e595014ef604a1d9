"""The CMPP link, both ends, without a socket: any cut of the octets, window, time, faults of the
peer, clean ends.

Long because each fault of a peer is a short test of one link.
"""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest

from protocols.cmpp import pdu as p
from protocols.cmpp.encode import encode
from protocols.cmpp.events import (
    LateResponse,
    LoggedIn,
    LoginRefused,
    LoginRequested,
    Lost,
    MustClose,
    Oddity,
    PeerTerminating,
    Request,
    Response,
    Unanswered,
    Why,
)
from protocols.cmpp.link import Link
from protocols.cmpp.terms import LinkOptions, NotOpen, Role, State, WindowFull

from .vectors import VECTORS

SECRET = "sharedsecret"
SUBMIT = p.Submit(("13800138000",), b"hi", "1065712345", "901234", msg_fmt=0)
DELIVER = p.Deliver(5, "1065712345", "13800138000", b"R", msg_fmt=0)


def pair(
    version: int = p.V30, server_version: int | None = None, **options: Any
) -> tuple[Link, Link]:
    """A client and a server, logged in."""
    client = Link(Role.CLIENT, LinkOptions(version=version, **options))
    server = Link(Role.SERVER, LinkOptions(version=server_version or version, **options))
    client.login("901234", SECRET, 1121093015, 0)
    [asked] = server.receive_data(client.data_to_send(), 0)
    assert isinstance(asked, LoginRequested) and asked.pdu.source == "901234"
    server.accept(asked.sequence, SECRET)
    [done] = client.receive_data(server.data_to_send(), 0)
    assert done == LoggedIn(server.options.version, trusted=True)
    return client, server


def raw(command: int, sequence: int, body: bytes = b"") -> bytes:
    return struct.pack(">III", 12 + len(body), command, sequence) + body


def fed(link: Link, data: bytes, cuts: list[int], now: float = 1) -> list[Any]:
    events = []
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        events += link.receive_data(data[start:stop], now)
    return events


@pytest.mark.parametrize("version", [p.V20, p.V30])
def test_submit_and_its_answer(version: int) -> None:
    client, server = pair(version)
    sequences = [client.request(SUBMIT, 1, tag=f"m{n}") for n in range(3)]
    assert sequences == [2, 3, 4]
    requests = server.receive_data(client.data_to_send(), 1)
    assert requests == [Request(sequence, SUBMIT) for sequence in sequences]
    for n, request in reversed(list(enumerate(requests))):
        assert server.respond(request.sequence, p.SubmitResp(100 + n, 0))
        assert not server.respond(request.sequence, p.SubmitResp(100 + n, 0))
    assert client.receive_data(server.data_to_send(), 2) == [
        Response(4, p.SubmitResp(102, 0), "m2"),
        Response(3, p.SubmitResp(101, 0), "m1"),
        Response(2, p.SubmitResp(100, 0), "m0"),
    ]
    assert client.in_flight == 0 and server.unanswered_inbound == 0


def test_deliver_is_answered_by_the_owner_only() -> None:
    client, server = pair()
    server.request(DELIVER, 1, tag="mo")
    [asked] = client.receive_data(server.data_to_send(), 1)
    assert asked == Request(1, DELIVER)
    assert client.data_to_send() == b"" and client.unanswered_inbound == 1
    with pytest.raises(TypeError, match="SubmitResp"):
        client.respond(1, p.SubmitResp(5, 0))
    assert client.respond(1, p.DeliverResp(5, 0))
    [done] = server.receive_data(client.data_to_send(), 1)
    assert done == Response(1, p.DeliverResp(5, 0), "mo")


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("version", [p.V20, p.V30])
def test_any_cut_gives_the_same_events(version: int, seed: int) -> None:
    """Whole, octet by octet, and cut at random; with half a PDU after it."""
    stream = b"".join(v.octets for v in VECTORS if v.version == version and v.name != "terminate")
    stream += raw(3, 77, b"unknown") + raw(p.DELIVER, 78, b"short") + raw(p.ACTIVE_TEST, 79)
    trailing = encode(DELIVER, version, 80)[:-1]
    rng = random.Random(seed)
    size = len(stream + trailing)
    whole, octets, random_cuts = (pair(version)[0] for _ in range(3))
    expected = fed(whole, stream + trailing, [])
    assert len(expected) > 5
    assert fed(octets, stream + trailing, list(range(1, size))) == expected
    cuts = sorted(rng.sample(range(1, size), rng.randrange(1, 40)))
    assert fed(random_cuts, stream + trailing, cuts) == expected
    answers = whole.data_to_send()
    assert octets.data_to_send() == random_cuts.data_to_send() == answers
    for link in (whole, octets, random_cuts):
        assert link.receive_data(encode(DELIVER, version, 80)[-1:], 2) == [Request(80, DELIVER)]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v.name)
def test_each_vector_whole_by_octet_and_with_trailing_octets(vector: Any) -> None:
    for role in Role:
        outcomes = []
        for cuts in ([], list(range(1, len(vector.octets) + 3))):
            link = pair(vector.version)[role is Role.SERVER]
            outcomes.append((fed(link, vector.octets + b"\0\0\0", cuts), link.data_to_send()))
        assert outcomes[0] == outcomes[1]


def test_what_follows_a_terminate_is_not_read_in_any_cut() -> None:
    stream = raw(p.TERMINATE, 5) + encode(DELIVER, p.V30, 6)
    for cuts in ([], list(range(1, len(stream)))):
        client, _ = pair()
        assert fed(client, stream, cuts) == [PeerTerminating(), MustClose(Why.PEER_TERMINATED)]


def test_garbage_never_raises() -> None:
    rng = random.Random(7)
    closed = 0
    for _ in range(3000):
        link = pair(rng.choice((p.V20, p.V30)))[rng.randrange(2)]
        stream = bytearray(b"".join(v.octets for v in rng.sample(VECTORS, 4)))
        for _ in range(rng.randrange(6)):
            stream[rng.randrange(len(stream))] = rng.randrange(256)
        fed(link, bytes(stream), sorted(rng.sample(range(1, len(stream)), 2)))
        closed += link.must_close
    assert 100 < closed < 2900


def test_window() -> None:
    client, server = pair(window=2, peer_window=2)
    assert client.window_free == 2
    client.request(SUBMIT, 1)
    client.request(SUBMIT, 1)
    before = client.data_to_send()
    with pytest.raises(WindowFull):
        client.request(SUBMIT, 1)
    assert client.data_to_send() == b""
    server.receive_data(before, 1)
    assert server.counters["window_exceeded"] == 0
    server.receive_data(encode(SUBMIT, p.V30, 99), 1)
    assert server.counters["window_exceeded"] == 1
    server.respond(3, p.SubmitResp(1, 0))
    client.receive_data(server.data_to_send(), 1)
    assert client.window_free == 1
    assert client.request(SUBMIT, 1) == 4


def test_a_value_that_does_not_fit_takes_nothing() -> None:
    client, _ = pair()
    with pytest.raises(ValueError, match="src_id"):
        client.request(p.Submit(("138",), b"", "1" * 22, "901234"), 1)
    assert client.in_flight == 0 and client.data_to_send() == b""
    client.request(SUBMIT, 1)
    assert client.in_flight == 1


def test_sequence_wraps_past_those_in_flight() -> None:
    client, _ = pair()
    assert client.request(SUBMIT, 1) == 2
    client._sequence = p.MAX_SEQUENCE - 1
    assert [client.request(SUBMIT, 1) for _ in range(3)] == [p.MAX_SEQUENCE, 1, 3]


def test_no_answer_in_time_is_unknown_and_a_late_one_is_told() -> None:
    client, server = pair(response_timeout=10)
    client.request(SUBMIT, 1, tag="a")
    client.request(SUBMIT, 5, tag="b")
    assert client.tick(10.9) == []
    assert client.tick(11) == [Unanswered(2, "a", Lost.TIMEOUT)]
    assert client.window_free == 15
    server.receive_data(client.data_to_send(), 11)
    server.respond(2, p.SubmitResp(7, 0))
    assert client.receive_data(server.data_to_send(), 12) == [LateResponse(2, p.SubmitResp(7, 0))]
    assert client.counters["late_response"] == 1


def test_answer_of_the_wrong_type_is_not_an_answer() -> None:
    client, _ = pair()
    client.request(SUBMIT, 1, tag="a")
    [late] = client.receive_data(encode(p.DeliverResp(1, 0), p.V30, 2), 1)
    assert late == LateResponse(2, p.DeliverResp(1, 0))
    assert client.in_flight == 1


def test_malformed_answer_fails_its_request() -> None:
    client, _ = pair()
    client.request(SUBMIT, 1, tag="a")
    odd, failed = client.receive_data(raw(p.SUBMIT | p.RESPONSE, 2, b"\0" * 8), 1)
    assert isinstance(odd, Oddity) and odd.what == "malformed_response"
    assert failed == Unanswered(2, "a", Lost.MALFORMED)


@pytest.mark.parametrize(
    ("command", "body", "answer"),
    [
        (p.SUBMIT, b"\0" * 20, p.SubmitResp(0, p.RESULT_LENGTH)),
        (p.CANCEL, b"", p.CancelResp(1)),
        (p.DELIVER, b"\0" * 7 + b"\5", p.DeliverResp(5, p.RESULT_COMMAND)),
    ],
)
def test_server_answers_what_it_cannot_read(command: int, body: bytes, answer: p.Pdu) -> None:
    _, server = pair()
    [odd] = server.receive_data(raw(command, 9, body), 1)
    assert isinstance(odd, Oddity)
    assert server.data_to_send() == encode(answer, p.V30, 9)
    assert not server.must_close


def test_client_answers_a_short_deliver_and_stays() -> None:
    client, _ = pair(p.V20)
    [odd] = client.receive_data(raw(p.DELIVER, 9, b"\0" * 7 + b"\5" + b"x" * 10), 1)
    assert isinstance(odd, Oddity) and odd.what == "malformed_request"
    assert client.data_to_send() == encode(p.DeliverResp(5, p.RESULT_LENGTH), p.V20, 9)


def test_bad_structure_has_its_own_result() -> None:
    _, server = pair(p.V20)
    body = bytearray(encode(SUBMIT, p.V20, 9)[12:])
    body[body.index(b"13800138000") - 1] = 0
    server.receive_data(raw(p.SUBMIT, 9, bytes(body)), 1)
    assert server.data_to_send() == encode(p.SubmitResp(0, p.RESULT_STRUCTURE), p.V20, 9)


def test_request_sent_again_before_the_answer_gets_one_answer() -> None:
    client, server = pair()
    server.request(DELIVER, 1)
    octets = server.data_to_send()
    assert len(client.receive_data(octets + octets, 1)) == 1
    assert client.counters["duplicate_request"] == 1
    client.respond(1, p.DeliverResp(5, 0))
    assert len(client.receive_data(octets, 2)) == 1  # after the answer it is a new request


@pytest.mark.parametrize(
    ("octets", "detail"),
    [
        (b"\0\0\0\x0b", "length 11"),
        (b"\0\0\x10\x01", "length 4097"),
        (b"GET / HTTP/1.1\r\n", "text, not CMPP"),
        (b"SSH-2.0", "text, not CMPP"),
    ],
)
def test_framing_cannot_be_recovered(octets: bytes, detail: str) -> None:
    for cuts in ([], list(range(1, len(octets)))):
        client, _ = pair()
        assert fed(client, octets, cuts) == [MustClose(Why.FRAMING, detail)]
        assert client.must_close and client.receive_data(b"more", 1) == []
        with pytest.raises(NotOpen):
            client.request(SUBMIT, 1)


def test_a_peer_whose_active_test_answer_is_longer_than_it_says() -> None:
    client, _ = pair()
    octets = raw(p.ACTIVE_TEST | p.RESPONSE, 1, b"\0") + b"\0\0\0" + raw(p.ACTIVE_TEST, 2)
    assert fed(client, octets, []) == [MustClose(Why.FRAMING, "length 0")]


def test_the_largest_submit_of_all_passes() -> None:
    client, server = pair()
    most = p.Submit(("1" * 32,) * 99, bytes(255), "1065", "901234")
    client.request(most, 1)
    data = client.data_to_send()
    assert len(data) == 163 + 32 * 99 + 255
    assert server.receive_data(data, 1) == [Request(2, most)]


def test_unknown_commands_are_skipped_until_there_are_too_many() -> None:
    client, _ = pair(max_unknown=3)
    for _ in range(2):
        [odd] = client.receive_data(raw(0x10, 1), 1)
        assert odd == Oddity("unknown_command", "0x00000010")
    assert client.receive_data(raw(9, 1), 1)[-1] == MustClose(Why.UNKNOWN_COMMANDS, "3 of them")


def test_active_test_is_answered_and_bypasses_the_window() -> None:
    client, server = pair(window=1, idle=10, test_timeout=5)
    client.request(SUBMIT, 1)
    client.data_to_send()
    assert client.tick(9.9) == [] and client.data_to_send() == b""
    assert client.tick(10) == []
    octets = client.data_to_send()
    assert octets == raw(p.ACTIVE_TEST, 3)
    assert server.receive_data(octets, 10) == []
    assert server.data_to_send() == raw(p.ACTIVE_TEST | p.RESPONSE, 3, b"\0")
    assert client.receive_data(raw(p.ACTIVE_TEST | p.RESPONSE, 3), 11) == []  # 12 octets will do
    assert client.tick(20.9) == [] and client.data_to_send() == b""


def test_silence_ends_after_n_tests_and_half_a_pdu_does_not_save_it() -> None:
    client, _ = pair(idle=10, test_timeout=5, tests=3, partial_timeout=100)
    sent = []
    for now in range(10, 25, 5):
        assert client.tick(now) == []
        sent.append(client.data_to_send())
        client.receive_data(b"\0" if now == 10 else b"", now + 1)
    assert [len(data) for data in sent] == [12, 12, 12]
    assert client.tick(24.9) == []
    assert client.tick(25) == [MustClose(Why.SILENT, "3 active tests unanswered")]


def test_half_a_pdu_and_then_nothing() -> None:
    client, _ = pair(partial_timeout=20)
    whole = encode(DELIVER, p.V30, 1)
    client.receive_data(whole + whole[:30], 3)
    client.receive_data(whole[30:31], 15)
    assert client.tick(22.9) == []
    assert client.tick(23) == [MustClose(Why.PARTIAL, "31 octets of a PDU")]


def test_lost_connection_returns_what_was_in_flight() -> None:
    client, server = pair()
    client.request(SUBMIT, 1, tag="a")
    client.request(SUBMIT, 1, tag="b")
    server.receive_data(client.data_to_send(), 1)
    assert client.connection_lost() == [
        MustClose(Why.CONNECTION),
        Unanswered(2, "a", Lost.CONNECTION),
        Unanswered(3, "b", Lost.CONNECTION),
    ]
    server.connection_lost()
    assert not server.respond(2, p.SubmitResp(1, 0)) and server.data_to_send() == b""


@pytest.mark.parametrize("status", [1, 2, 3, 4, 5, 99])
@pytest.mark.parametrize("version", [p.V20, p.V30])
def test_login_refused(version: int, status: int) -> None:
    client = Link(Role.CLIENT, LinkOptions(version=version))
    server = Link(Role.SERVER, LinkOptions(version=version))
    client.login("901234", "wrong", 1121093015, 0)
    [asked] = server.receive_data(client.data_to_send(), 0)
    server.refuse(asked.sequence, status)
    assert server.must_close
    events = client.receive_data(server.data_to_send(), 0)
    assert events[0] == LoginRefused(status, version)
    assert events[1] == MustClose(Why.LOGIN_REFUSED, f"status {status}")


def test_lower_version_of_the_client_is_spoken() -> None:
    client, server = pair(p.V20, server_version=p.V30)
    assert server.version == p.V20
    client.request(SUBMIT, 1)
    [asked] = server.receive_data(client.data_to_send(), 1)
    server.respond(asked.sequence, p.SubmitResp(1, 0))
    assert len(server.data_to_send()) == 21


def test_server_that_does_not_know_the_secret() -> None:
    for strict in (False, True):
        client = Link(Role.CLIENT, LinkOptions(strict_auth=strict))
        client.login("901234", SECRET, 1, 0)
        answer = encode(p.ConnectResp(0, b"?" * 16, p.V30), p.V30, 1)
        [event] = client.receive_data(answer, 0)
        if strict:
            assert isinstance(event, MustClose) and event.why is Why.LOGIN_AUTH
        else:
            assert event == LoggedIn(p.V30, trusted=False)


def test_nothing_before_login() -> None:
    server = Link(Role.SERVER)
    [closed] = server.receive_data(encode(SUBMIT, p.V30, 1), 0)
    assert closed == MustClose(Why.NOT_CONNECT, "command 0x00000004")
    client = Link(Role.CLIENT)
    with pytest.raises(NotOpen):
        client.request(SUBMIT, 0)
    assert client.window_free == 0


def test_unreadable_connect_is_refused() -> None:
    server = Link(Role.SERVER)
    [closed] = server.receive_data(raw(p.CONNECT, 1, b"short"), 0)
    assert closed.why is Why.LOGIN_REFUSED
    assert server.data_to_send() == encode(p.ConnectResp(1), p.V30, 1)


def test_login_takes_too_long_on_either_side() -> None:
    server = Link(Role.SERVER, LinkOptions(login_timeout=5), now=100)
    assert server.tick(104.9) == []
    assert server.tick(105) == [MustClose(Why.LOGIN_TIMEOUT)]
    client = Link(Role.CLIENT, LinkOptions(login_timeout=5), now=100)
    assert client.tick(200) == []  # the socket may take as long as it likes
    client.login("901234", SECRET, 1, 200)
    assert client.tick(204) == []
    assert client.tick(205) == [MustClose(Why.LOGIN_TIMEOUT)]


def test_drain_waits_for_both_directions_then_terminates() -> None:
    client, server = pair()
    client.request(SUBMIT, 1)
    server.receive_data(client.data_to_send(), 1)
    server.request(DELIVER, 1)
    assert client.drain(2) == [] and client.state is State.DRAINING
    with pytest.raises(NotOpen):
        client.request(SUBMIT, 2)
    [asked] = client.receive_data(server.data_to_send(), 2)
    server.respond(2, p.SubmitResp(1, 0))
    assert len(client.receive_data(server.data_to_send(), 2)) == 1
    assert client.data_to_send() == b""
    client.respond(asked.sequence, p.DeliverResp(5, 0))
    assert client.tick(3) == [] and client.state is State.TERMINATING
    events = server.receive_data(client.data_to_send(), 3)
    assert events[1:] == [PeerTerminating(), MustClose(Why.PEER_TERMINATED)]
    assert client.receive_data(server.data_to_send(), 3) == [MustClose(Why.DRAINED)]


def test_drain_does_not_wait_for_ever() -> None:
    client, _ = pair(response_timeout=10, terminate_timeout=5)
    client.receive_data(encode(DELIVER, p.V30, 1), 1)
    client.drain(2)
    assert client.tick(11.9) == [] and client.state is State.DRAINING
    assert client.tick(12) == [] and client.state is State.TERMINATING
    assert client.tick(17) == [MustClose(Why.DRAINED, "TERMINATE unanswered")]


def test_peer_that_terminates_lets_us_finish() -> None:
    client, server = pair()
    client.request(SUBMIT, 1, tag="a")
    server.receive_data(client.data_to_send(), 1)
    assert client.receive_data(raw(p.TERMINATE, 50), 2) == [PeerTerminating()]
    assert client.data_to_send() == b"" and not client.is_open
    server.respond(2, p.SubmitResp(1, 0))
    answered, closed = client.receive_data(server.data_to_send(), 3)
    assert answered == Response(2, p.SubmitResp(1, 0), "a")
    assert closed == MustClose(Why.PEER_TERMINATED)
    assert client.data_to_send() == raw(p.TERMINATE | p.RESPONSE, 50)


def test_both_terminate_at_once() -> None:
    client, server = pair()
    client.drain(1)
    server.drain(1)
    to_server, to_client = client.data_to_send(), server.data_to_send()
    assert server.receive_data(to_server, 1)[-1].why is Why.PEER_TERMINATED
    assert client.receive_data(to_client, 1)[-1].why is Why.PEER_TERMINATED
