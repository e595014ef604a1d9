"""A form of each protocol writes the octets that its codec writes, and refuses what the codec refuses;
`Link.submit` sends them and hears the usual answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from protocols.cmpp import link as cmpp_link
from protocols.cmpp import pdu as cmpp
from protocols.errors import Malformed
from protocols.sgip import link as sgip_link
from protocols.sgip import pdu as sgip
from protocols.sgip.sequence import to_hex
from protocols.smgp import link as smgp_link
from protocols.smgp import pdu as smgp
from protocols.smgp.tags import PK_NUMBER, PK_TOTAL, TP_UDHI
from protocols.smpp import link as smpp_link
from protocols.smpp import pdu as smpp
from protocols.smpp.codec import optional
from protocols.smpp.tags import MESSAGE_PAYLOAD
from protocols.sms.events import Accepted, LateResponse, Lost, Response, Unanswered
from protocols.sms.link import Link
from protocols.sms.terms import NotOpen, Role, State, WindowFull
from protocols.sms.tlv import Tlv


@dataclass(frozen=True)
class Kind:
    """`link(role)` is an end without login; `model` a SUBMIT with every field set; `taken(n)` the
    answer that accepts, and the id in it for a sequence; `refused` one that does not.
    """

    name: str
    link: Callable[[Role], Link]
    model: Any
    taken: Any
    remote_id: Callable[[int], str]
    refused: Any
    longest: int = 255

    def __str__(self) -> str:
        return self.name

    def open(self, role: Role = Role.CLIENT) -> Link:
        link = self.link(role)
        link.state = State.OPEN
        return link

    def filled(self, number: str, content: bytes) -> Any:
        """The model as a plain PDU with these."""
        shape = self.link(Role.CLIENT).shape
        many = isinstance(getattr(self.model, shape.recipient), tuple)
        to = (number,) if many else number
        return replace(self.model, **{shape.recipient: to, shape.content: content})


_CMPP = cmpp.Submit(
    ("",), b"", "9" * 21, "901234", 8, 1, 3, 2, registered_delivery=1, msg_level=3,
    service_id="SVC1234567", fee_user_type=3, fee_terminal_id="1" * 21, tp_pid=7, fee_type="02",
    fee_code="000123", valid_time="260101120000032+", at_time="260101110000032+", link_id="L" * 8,
)  # fmt: skip


def _cmpp(version: int) -> Kind:
    options = cmpp_link.LinkOptions(version=version)
    return Kind(
        f"cmpp{version:x}", lambda role: cmpp_link.Link(role, options), _CMPP,
        cmpp.SubmitResp(0xFEDCBA9876543210, 0), lambda _: "fedcba9876543210",
        cmpp.SubmitResp(0, cmpp.RESULT_FLOW),
    )  # fmt: skip


_UDHI = (Tlv(TP_UDHI, b"\1"), Tlv(PK_TOTAL, b"\3"), Tlv(PK_NUMBER, b"\2"))
KINDS = (
    _cmpp(cmpp.V20),
    _cmpp(cmpp.V30),
    Kind(
        "smpp", smpp_link.Link,
        smpp.SubmitSm("10657", "", b"", 8, smpp.ESM_UDHI, "SVC", source_ton=255, dest_npi=255,
                      dest_ton=254, validity_period="000002000000000R", registered_delivery=1),
        smpp.SubmitSmResp("00AB12"), lambda _: "ab12", smpp.SubmitSmResp(status=smpp.RTHROTTLED),
        254,
    ),
    Kind(
        "sgip", lambda role: sgip_link.Link(role, 3010000001, lambda: 1121093015),
        sgip.Submit("10655", ("",), b"", "12345", service_type="SVC", fee_value="10", udhi=1),
        sgip.SubmitResp(), to_hex, sgip.SubmitResp(sgip.BUSY), sgip.MAX_CONTENT,
    ),
    Kind(
        "smgp", smgp_link.Link,
        smgp.Submit(("",), b"", "1189012345", service_id="SVC", fee_code="000100", tlvs=_UDHI),
        smgp.SubmitResp("0123456789abcdef0123"), lambda _: "0123456789abcdef0123",
        smgp.SubmitResp(status=smgp.BUSY),
    ),
)  # fmt: skip
each = pytest.mark.parametrize("kind", KINDS, ids=str)


@each
def test_it_writes_what_the_codec_writes(kind: Kind) -> None:
    rng = random.Random(5)
    for size in (0, 1, 140, kind.longest):
        for digits in (1, 2, 5, 11, 13, 20):
            client, plain = kind.open(), kind.open()
            number = "".join(rng.choices("0123456789", k=digits))
            content = rng.randbytes(size)
            form = client.form(kind.model, digits)
            client.submit([(form.fill(content), number, n) for n in range(3)], 1.0)
            for n in range(3):
                plain.request(kind.filled(number, content), 1.0, n)
            assert client.data_to_send() == plain.data_to_send()


@each
def test_what_does_not_fit_is_named(kind: Kind) -> None:
    client = kind.open()
    with pytest.raises(ValueError, match=rf"{client.shape.content}.*at most {kind.longest} fit"):
        client.form(kind.model, 11).fill(bytes(kind.longest + 1))
    with pytest.raises(ValueError, match=r"recipient|destination"):
        client.form(kind.model, 33)
    sender = "source" if hasattr(kind.model, "source") else "src_id"
    sender = "sp_number" if kind.name == "sgip" else sender
    with pytest.raises(ValueError, match=sender):
        client.form(replace(kind.model, **{sender: "9" * 22}), 11)
    with pytest.raises(ValueError, match="11 digits got a number of 13"):
        client.submit([(client.form(kind.model, 11).fill(b""), "8613800138000", None)], 1.0)
    assert not client.data_to_send() and not client.in_flight


@each
def test_state_and_window_are_kept(kind: Kind) -> None:
    client = kind.link(Role.CLIENT)
    one = (client.form(kind.model, 11).fill(b"hi"), "13800138000", None)
    with pytest.raises(NotOpen):
        client.submit([one], 1.0)
    client.state = State.OPEN
    client.submit([one] * (client.window_free - 1), 1.0)
    with pytest.raises(WindowFull):
        client.submit([one] * 2, 1.0)
    client.submit([one], 1.0)
    assert client.window_free == 0


@pytest.mark.parametrize(
    "kind", [kind for kind in KINDS if not kind.name.startswith("cmpp")], ids=str
)
def test_the_kind_of_login_decides(kind: Kind) -> None:
    client: Any = kind.open()
    if kind.name == "sgip":
        client.login_type = sgip.LoginType.SMG_TO_SP
    else:
        client.mode = {"smpp": smpp.Mode.RECEIVER, "smgp": smgp.LoginMode.RECEIVE}[kind.name]
    with pytest.raises(NotOpen, match="is not for"):
        client.submit([(client.form(kind.model, 11).fill(b""), "13800138000", None)], 1.0)


def _answers(kind: Kind, client: Link, *pdus: Any) -> bytes:
    """What a far end says to the first requests in flight, one PDU each."""
    server = kind.open(Role.SERVER)
    out = b""
    for sequence, pdu in zip(list(client._in_flight), pdus, strict=False):
        out += server._encode(pdu, sequence)
    return out


@each
@pytest.mark.parametrize("cut", [None, 1, 7])
def test_answers_whole_and_in_pieces(kind: Kind, cut: int | None) -> None:
    client = kind.open()
    filled = client.form(kind.model, 11).fill(b"hi")
    client.submit([(filled, "13800138000", tag) for tag in "abcd"], 1.0)
    sequences = list(client._in_flight)
    data = _answers(kind, client, kind.taken, kind.refused, kind.taken)
    step = cut or len(data)
    events = []
    for at in range(0, len(data), step):
        events += client.receive_data(data[at : at + step], 2.0)
    first, second, third, fourth = sequences
    assert events == [
        Accepted(first, kind.remote_id(first), "a"),
        Response(second, kind.refused, "b"),
        Accepted(third, kind.remote_id(third), "c"),
    ]
    assert client.in_flight == 1
    again = client.receive_data(data, 2.0)
    assert [type(event) for event in again] == [LateResponse] * 3, "nobody waits for them"
    assert client.connection_lost()[-1] == Unanswered(fourth, "d", Lost.CONNECTION)


@each
def test_an_answer_to_another_request_is_no_acceptance(kind: Kind) -> None:
    client = kind.open()
    client.submit([(client.form(kind.model, 11).fill(b""), "13800138000", "a")], 1.0)
    [sequence] = client._in_flight
    data = kind.open(Role.SERVER)._encode(kind.taken, sequence)
    client._in_flight[sequence] = (0x7F, 9.0, "a", False)
    assert not any(type(event) is Accepted for event in client.receive_data(data, 2.0))
    sequence = client.request(kind.filled("13800138000", b""), 1.0, "b")
    data = kind.open(Role.SERVER)._encode(kind.taken, sequence)
    assert client.receive_data(data, 2.0) == [Response(sequence, kind.taken, "b")], "its whole PDU"


@each
def test_bent_answers_take_the_long_way(kind: Kind) -> None:
    """Any octet of an answer changed, or some more behind it: never an exception, and an acceptance
    only of what the codec reads as one.
    """
    rng = random.Random(3)
    accepted = 0
    for _ in range(2000):
        client = kind.open()
        client.submit([(client.form(kind.model, 11).fill(b""), "13800138000", "a")], 1.0)
        [sequence] = client._in_flight
        data = bytearray(_answers(kind, client, kind.taken))
        where = rng.randrange(len(data))
        data[where] = rng.randrange(256)
        for event in client.receive_data(bytes(data), 2.0):
            if type(event) is Accepted:
                accepted += 1
                command, status = client._head(bytes(data), 0)[1::2]
                try:
                    pdu: Any = client._decode(command, status, bytes(data[client.header_size :]))
                except Malformed:
                    raise AssertionError(f"{data.hex()} was taken for an acceptance") from None
                assert type(pdu) is type(kind.taken) and event.sequence == sequence
                assert not getattr(pdu, "result", 0) and not getattr(pdu, "status", 0)
    assert accepted > 20


def test_optional_parameters_stand_behind_all_fields() -> None:
    kind = KINDS[2]
    client, plain = kind.open(), kind.open()
    tlvs = (Tlv(MESSAGE_PAYLOAD, bytes(300)),)
    form = client.form(kind.model, 11)
    client.submit([(form.fill(b"", optional(tlvs)), "13800138000", None)], 1.0)
    plain.request(replace(kind.filled("13800138000", b""), tlvs=tlvs), 1.0)
    assert client.data_to_send() == plain.data_to_send()
