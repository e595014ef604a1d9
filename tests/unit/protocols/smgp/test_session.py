"""What only SMGP has: login digests, login modes, two versions, BCD ids, its status report."""

from __future__ import annotations

import hashlib

import pytest

from protocols.errors import Malformed
from protocols.smgp import auth, msgid
from protocols.smgp import pdu as p
from protocols.smgp.codec import encode
from protocols.smgp.link import Link, LinkOptions
from protocols.smgp.report import Report, parse_report
from protocols.smgp.tags import TP_UDHI
from protocols.sms.events import LoggedIn, LoginRequested, MustClose, Request, Why
from protocols.sms.terms import NotOpen, Role
from protocols.sms.tlv import Tlv
from tests.unit.protocols.codecs import SMGP
from tests.unit.protocols.links import SMGP_KIND, STAMP

BY_NAME = {vector.name: vector for vector in SMGP.vectors}
SUBMIT, DELIVER = SMGP_KIND.submit, SMGP_KIND.deliver


def test_login_digests_against_hashlib() -> None:
    client = hashlib.md5(b"12345678" + bytes(7) + b"shared" + b"0102030405").digest()
    assert auth.login_digest("12345678", "shared", 102030405) == client
    assert BY_NAME["login"].pdu.auth == client
    server = hashlib.md5(bytes(4) + client + b"shared").digest()
    assert BY_NAME["login-resp"].pdu.auth == server == auth.gateway_digest(0, client, "shared")
    for width in (1, 4):
        digest = hashlib.md5(bytes(width) + client + b"shared").digest()
        assert auth.gateway_matches(digest, 0, client, "shared")
        assert not auth.gateway_matches(digest, 0, client, "other")
    for form in (b"123", b"123\0\0\0\0\0"):
        digest = hashlib.md5(form + bytes(7) + b"s" + b"1231235959").digest()
        assert auth.login_matches(digest, "123", "s", 1231235959)
        assert not auth.login_matches(digest, "123", "t", 1231235959)


def logged_in(mode: p.LoginMode) -> tuple[Link, Link]:
    client, server = Link(Role.CLIENT), Link(Role.SERVER)
    client.login("12345678", "shared", STAMP, 0, mode)
    [asked] = server.receive_data(client.data_to_send(), 0)
    assert isinstance(asked, LoginRequested)
    server.accept(asked.sequence, "shared")
    client.receive_data(server.data_to_send(), 0)
    return client, server


@pytest.mark.parametrize(
    ("mode", "sends", "receives"),
    [
        (p.LoginMode.SEND, True, False),
        (p.LoginMode.RECEIVE, False, True),
        (p.LoginMode.BOTH, True, True),
    ],
)
def test_a_login_mode_decides_the_direction(mode: p.LoginMode, sends: bool, receives: bool) -> None:
    for side, allowed, pdu in ((0, sends, SUBMIT), (1, receives, DELIVER)):
        ends = logged_in(mode)
        mine, other = ends[side], ends[1 - side]
        if allowed:
            sequence = mine.request(pdu, 1)
            assert other.receive_data(mine.data_to_send(), 1) == [Request(sequence, pdu)]
        else:
            with pytest.raises(NotOpen, match=f"login mode {mode}"):
                mine.request(pdu, 1)
            [odd] = other.receive_data(encode(pdu, p.V30, 9), 1)
            assert odd.what == "wrong_direction"


def test_a_refused_deliver_echoes_its_id() -> None:
    client, _ = logged_in(p.LoginMode.SEND)
    client.receive_data(encode(DELIVER, p.V30, 9), 1)
    assert client.data_to_send() == encode(p.DeliverResp(DELIVER.msg_id, p.BAD_COMMAND), p.V30, 9)


def test_lower_version_of_the_client_is_spoken() -> None:
    client, server = Link(Role.CLIENT, LinkOptions(version=p.V13)), Link(Role.SERVER)
    client.login("12345678", "shared", STAMP, 0)
    [asked] = server.receive_data(client.data_to_send(), 0)
    server.accept(asked.sequence, "shared")
    assert client.receive_data(server.data_to_send(), 0) == [LoggedIn(p.V30, trusted=True)]
    client.request(SUBMIT, 1)
    octets = client.data_to_send()
    assert len(octets) == len(encode(SUBMIT, p.V30, 2)) - 6
    [request] = server.receive_data(octets, 1)
    assert request.pdu == SUBMIT


def test_server_that_does_not_know_the_secret() -> None:
    for strict in (False, True):
        client = Link(Role.CLIENT, LinkOptions(strict_auth=strict))
        client.login("12345678", "shared", STAMP, 0)
        [event] = client.receive_data(encode(p.LoginResp(0, b"?" * 16), p.V30, 1), 0)
        if strict:
            assert isinstance(event, MustClose) and event.why is Why.LOGIN_AUTH
        else:
            assert event == LoggedIn(p.V30, trusted=False)


def test_a_login_that_does_not_fit_sends_nothing() -> None:
    client = Link(Role.CLIENT)
    with pytest.raises(ValueError, match=r"Login\.client_id"):
        client.login("123456789", "shared", STAMP, 0)
    assert client.data_to_send() == b""


def test_msg_id() -> None:
    text = msgid.pack(10101, 11, 21, 9, 30, 7)
    assert text == "01010111210930000007"
    assert msgid.unpack(text) == ("010101", "11210930", "000007")
    with pytest.raises(ValueError, match="serial 1000000"):
        msgid.pack(1, 1, 1, 1, 1, 1_000_000)
    with pytest.raises(ValueError, match="20 digits"):
        msgid.unpack("1")


def test_header_flag_is_a_parameter() -> None:
    assert BY_NAME["submit-part-with-parameters"].pdu.udhi == 1
    assert SUBMIT.udhi == 0
    assert p.Deliver("0" * 20, "1", "2", b"", tlvs=(Tlv(TP_UDHI, b"\1"),)).udhi == 1


def test_vector_report() -> None:
    vector = BY_NAME["deliver-report"]
    report = Report(**vector.report)  # type: ignore[arg-type]
    assert parse_report(vector.pdu.content) == report
    assert report.encode() == vector.pdu.content and len(report.encode()) == 122
    assert report.state == "delivered"


ID = bytes.fromhex("01010111210930000007")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"id:" + ID + b"sub:001 dlvrd:001 stat:UNDELIV err:003",
            Report(ID.hex(), "UNDELIV", "003"),
        ),
        (
            b"ID:"
            + ID
            + b" SUB:1 DLVRD:1 SUBMIT_DATE:2611210930 DONE_DATE:2611210931 STAT:delivrd ERR:0 TXT:x",
            Report(ID.hex(), "delivrd", "0", "2611210930", "2611210931", "x"),
        ),
        (b"id:" + b"stat:EXPIR" + b" stat:EXPIRED", Report(b"stat:EXPIR".hex(), "EXPIRED")),
        (b" id:" + bytes(10), Report("0" * 20, "")),
    ],
)
def test_reports_of_every_vendor(content: bytes, expected: Report) -> None:
    assert parse_report(content) == expected


@pytest.mark.parametrize("content", [b"", b"id:123", b"stat:DELIVRD", b"x" * 200])
def test_report_without_an_id(content: bytes) -> None:
    with pytest.raises(Malformed, match="id:"):
        parse_report(content)


@pytest.mark.parametrize(
    "change", [{"stat": "12345678"}, {"err": "1234"}, {"msg_id": "00"}, {"text": "x" * 21}]
)
def test_a_report_that_does_not_fit(change: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="status report"):
        Report(**({"msg_id": "0" * 20, "stat": "DELIVRD"} | change)).encode()
