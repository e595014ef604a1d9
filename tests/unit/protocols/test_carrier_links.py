"""What holds for the links of SMPP, SGIP and SMGP alike: any cut of the octets, window, time, faults
of the peer, clean ends; CMPP has the same in its own suite.
"""

from __future__ import annotations

import random
from typing import Any

import pytest

from protocols.sms.events import (
    LateResponse,
    LoginRefused,
    Lost,
    MustClose,
    Oddity,
    PeerTerminating,
    Request,
    Response,
    Unanswered,
    Why,
)
from protocols.sms.terms import NotOpen, Role, State, WindowFull

from .links import KINDS, SGIP_REPORT, SGIP_SUBMIT, SMGP_KIND, SMPP_KIND, Kind

each = pytest.mark.parametrize("kind", KINDS, ids=lambda k: f"{k}-{type(k.submit).__name__}")
EACH_VECTOR = [
    pytest.param(kind, v, id=f"{type(kind.submit).__name__}-{kind}-{v.name}")
    for kind in KINDS
    for v in kind.codec.vectors
]


def fed(link: Any, data: bytes, cuts: list[int], now: float = 1) -> list[Any]:
    events = []
    for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
        events += link.receive_data(data[start:stop], now)
    return events


def wire(kind: Kind, pdu: Any, sequence: int) -> bytes:
    return kind.codec.write(pdu, kind.codec.versions[0], sequence)


@each
def test_requests_and_answers_in_any_order(kind: Kind) -> None:
    client, server = kind.pair()
    sequences = [client.request(kind.submit, 1, tag=f"m{n}") for n in range(3)]
    assert len(set(sequences)) == 3 and client.in_flight == 3
    requests = server.receive_data(client.data_to_send(), 1)
    assert requests == [Request(sequence, kind.submit) for sequence in sequences]
    for sequence in reversed(sequences):
        assert server.respond(sequence, kind.submit_resp)
        assert not server.respond(sequence, kind.submit_resp)
    assert client.receive_data(server.data_to_send(), 2) == [
        Response(sequences[n], kind.submit_resp, f"m{n}") for n in (2, 1, 0)
    ]
    assert client.in_flight == 0 and server.unanswered_inbound == 0


@pytest.mark.parametrize("kind", [SMPP_KIND, SMGP_KIND], ids=str)
def test_deliver_on_the_same_connection(kind: Kind) -> None:
    client, server = kind.pair()
    sequence = server.request(kind.deliver, 1, tag="mo")
    [asked] = client.receive_data(server.data_to_send(), 1)
    assert asked == Request(sequence, kind.deliver)
    with pytest.raises(TypeError, match="does not answer"):
        client.respond(sequence, kind.submit_resp)
    assert client.respond(sequence, kind.deliver_resp)
    [done] = server.receive_data(client.data_to_send(), 1)
    assert done == Response(sequence, kind.deliver_resp, "mo")


@pytest.mark.parametrize(("kind", "vector"), EACH_VECTOR)
def test_each_vector_whole_by_octet_and_with_trailing_octets(kind: Kind, vector: Any) -> None:
    options = {"version": vector.version} if vector.version else {}
    for side in (0, 1):
        outcomes = []
        for cuts in ([], list(range(1, len(vector.octets) + 3))):
            link = kind.pair(**options)[side]
            outcomes.append((fed(link, vector.octets + b"\0\0\0", cuts), link.data_to_send()))
        assert outcomes[0] == outcomes[1]


@each
@pytest.mark.parametrize("seed", range(4))
def test_any_cut_gives_the_same_events(kind: Kind, seed: int) -> None:
    ends = {type(kind.end), type(kind.end_resp)}
    stream = b"".join(v.octets for v in kind.codec.vectors if type(v.pdu) not in ends)
    rng = random.Random(seed)
    for side in (0, 1):
        links = [kind.pair()[side] for _ in range(3)]
        whole = fed(links[0], stream, [])
        assert len(whole) > 5
        assert fed(links[1], stream, list(range(1, len(stream)))) == whole
        cuts = sorted(rng.sample(range(1, len(stream)), 30))
        assert fed(links[2], stream, cuts) == whole
        answers = {link.data_to_send() for link in links}
        assert len(answers) == 1


@each
def test_garbage_never_raises(kind: Kind) -> None:
    rng = random.Random(7)
    closed = 0
    for _ in range(500):
        link = kind.pair()[rng.randrange(2)]
        stream = bytearray(b"".join(v.octets for v in rng.choices(kind.codec.vectors, k=4)))
        for _ in range(rng.randrange(6)):
            stream[rng.randrange(len(stream))] = rng.randrange(256)
        fed(link, bytes(stream), sorted(rng.sample(range(1, len(stream)), 2)))
        link.tick(1000)
        closed += link.must_close
    assert closed > 100


@each
def test_window(kind: Kind) -> None:
    client, server = kind.pair(window=2, peer_window=2)
    first, second = client.request(kind.submit, 1), client.request(kind.submit, 1)
    with pytest.raises(WindowFull):
        client.request(kind.submit, 1)
    server.receive_data(client.data_to_send(), 1)
    assert server.counters["window_exceeded"] == 0
    server.receive_data(wire(kind, kind.submit, 99), 1)
    assert server.counters["window_exceeded"] == 1
    server.respond(second, kind.submit_resp)
    client.receive_data(server.data_to_send(), 1)
    assert client.window_free == 1
    assert client.request(kind.submit, 1) not in (first, second)


@each
def test_no_answer_in_time_is_unknown_and_a_late_one_is_told(kind: Kind) -> None:
    client, server = kind.pair(response_timeout=10)
    first = client.request(kind.submit, 1, tag="a")
    client.request(kind.submit, 5, tag="b")
    assert client.tick(10.9) == []
    assert client.tick(11) == [Unanswered(first, "a", Lost.TIMEOUT)]
    server.receive_data(client.data_to_send(), 11)
    server.respond(first, kind.submit_resp)
    late = client.receive_data(server.data_to_send(), 12)
    assert late == [LateResponse(first, kind.submit_resp)]


@each
def test_lost_connection_returns_what_was_in_flight(kind: Kind) -> None:
    client, _ = kind.pair()
    first = client.request(kind.submit, 1, tag="a")
    assert client.connection_lost() == [
        MustClose(Why.CONNECTION),
        Unanswered(first, "a", Lost.CONNECTION),
    ]
    assert client.data_to_send() == b""


@each
def test_framing_cannot_be_recovered(kind: Kind) -> None:
    size = kind.codec.header
    name = type(kind.pair()[0]).name
    for octets, detail in (
        ((size - 1).to_bytes(4, "big"), f"length {size - 1}"),
        (b"\x7f\0\0\0", "length 2130706432"),
        (b"GET / HTTP/1.1\r\n", f"text, not {name}"),
    ):
        for cuts in ([], list(range(1, len(octets)))):
            client, _ = kind.pair()
            assert fed(client, octets, cuts) == [MustClose(Why.FRAMING, detail)]
            with pytest.raises(NotOpen):
                client.request(kind.submit, 1)


@each
def test_half_a_pdu_and_then_nothing(kind: Kind) -> None:
    _, server = kind.pair(partial_timeout=20)
    server.receive_data(wire(kind, kind.submit, 1)[:30], 3)
    assert server.tick(22.9) == []
    assert server.tick(23) == [MustClose(Why.PARTIAL, "30 octets of a PDU")]


@each
def test_login_takes_too_long_on_either_side(kind: Kind) -> None:
    server = kind.fresh(Role.SERVER, login_timeout=5)
    assert server.tick(4.9) == []
    assert server.tick(5) == [MustClose(Why.LOGIN_TIMEOUT)]
    client = kind.fresh(Role.CLIENT, login_timeout=5)
    assert client.tick(200) == []  # the socket may take as long as it likes
    kind.login(client)
    assert client.tick(5) == [MustClose(Why.LOGIN_TIMEOUT)]


@each
def test_login_refused(kind: Kind) -> None:
    client, server = kind.fresh(Role.CLIENT), kind.fresh(Role.SERVER)
    kind.login(client)
    [asked] = server.receive_data(client.data_to_send(), 0)
    with pytest.raises(NotOpen):
        server.refuse(asked.sequence + 1, 1)
    server.refuse(asked.sequence, 3)
    assert server.must_close
    refused, closed = client.receive_data(server.data_to_send(), 0)
    assert isinstance(refused, LoginRefused) and refused.status == 3
    assert closed.why is Why.LOGIN_REFUSED
    with pytest.raises(NotOpen):
        kind.login(client)


@each
def test_nothing_before_login(kind: Kind) -> None:
    server = kind.fresh(Role.SERVER)
    [closed] = server.receive_data(wire(kind, kind.submit, 1), 0)
    assert closed.why is Why.NOT_CONNECT
    client = kind.fresh(Role.CLIENT)
    with pytest.raises(NotOpen):
        client.request(kind.submit, 0)


@each
def test_a_second_login_is_answered_and_changes_nothing(kind: Kind) -> None:
    client, server = kind.fresh(Role.CLIENT), kind.fresh(Role.SERVER)
    kind.login(client)
    octets = client.data_to_send()
    [asked] = server.receive_data(octets, 0)
    kind.accept(server, asked.sequence)
    server.data_to_send()
    assert server.receive_data(octets, 1) == [Oddity("second_connect", "")]
    assert server.data_to_send() and server.is_open


@each
def test_unreadable_login_is_refused(kind: Kind) -> None:
    client, server = kind.fresh(Role.CLIENT), kind.fresh(Role.SERVER)
    kind.login(client)
    octets = client.data_to_send()
    size = kind.codec.header + 2
    [closed] = server.receive_data(size.to_bytes(4, "big") + octets[4:size], 0)
    assert closed.why is Why.LOGIN_REFUSED and server.data_to_send()


@each
def test_drain_waits_for_the_answer_then_ends(kind: Kind) -> None:
    client, server = kind.pair()
    sequence = client.request(kind.submit, 1)
    server.receive_data(client.data_to_send(), 1)
    assert client.drain(2) == [] and client.state is State.DRAINING
    server.respond(sequence, kind.submit_resp)
    assert len(client.receive_data(server.data_to_send(), 2)) == 1
    assert client.state is State.TERMINATING
    events = server.receive_data(client.data_to_send(), 3)
    assert events == [PeerTerminating(), MustClose(Why.PEER_TERMINATED)]
    assert client.receive_data(server.data_to_send(), 3) == [MustClose(Why.DRAINED)]


@each
def test_drain_does_not_wait_for_ever(kind: Kind) -> None:
    client, _ = kind.pair(response_timeout=10, terminate_timeout=5, idle=0)
    client.request(kind.submit, 2)
    client.drain(2)
    assert [type(event) for event in client.tick(12)] == [Unanswered]
    word = type(kind.end).__name__.upper()
    assert client.tick(17) == [MustClose(Why.DRAINED, f"{word} unanswered")]


@each
def test_unreadable_request_is_answered_and_survived(kind: Kind) -> None:
    _, server = kind.pair()
    octets = wire(kind, kind.submit, 9)
    size = kind.codec.header + 10
    [odd] = server.receive_data(size.to_bytes(4, "big") + octets[4:size], 1)
    assert isinstance(odd, Oddity) and odd.what == "malformed_request"
    answer = kind.codec.read(server.data_to_send(), kind.codec.versions[0], None)
    assert type(answer) is type(kind.submit_resp)
    code = getattr(answer, "status", None) or getattr(answer, "result", None)
    assert code == {"smpp": 2, "sgip": 8, "smgp": 10}[str(kind)]
    assert not server.must_close


@each
def test_request_in_the_wrong_direction(kind: Kind) -> None:
    client, server = kind.pair()
    [odd] = client.receive_data(wire(kind, kind.submit, 9), 1)
    assert odd.what == "wrong_direction"
    answer = kind.codec.read(client.data_to_send(), kind.codec.versions[0], None)
    code = getattr(answer, "status", None) or getattr(answer, "result", None)
    assert code == {"smpp": 4, "sgip": 10, "smgp": 11}[str(kind)]
    if kind in (SGIP_SUBMIT, SGIP_REPORT):
        with pytest.raises(NotOpen, match="login type"):
            server.request(kind.submit, 1)


@pytest.mark.parametrize("kind", [SMPP_KIND, SMGP_KIND], ids=str)
def test_keep_alive(kind: Kind) -> None:
    client, server = kind.pair(window=1, idle=10, test_timeout=5, tests=2)
    client.request(kind.submit, 1)
    client.data_to_send()
    assert client.tick(9.9) == [] and client.data_to_send() == b""
    client.tick(10)
    octets = client.data_to_send()
    assert type(kind.codec.read(octets, kind.codec.versions[0], None)) is type(kind.test)
    assert server.receive_data(octets, 10) == []
    assert client.receive_data(server.data_to_send(), 11) == []
    for now in (21, 26):
        assert client.tick(now) == []
    assert client.tick(31) == [MustClose(Why.SILENT, "2 active tests unanswered")]
