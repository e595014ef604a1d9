"""One SMPP 3.4 session without its socket: the link of `protocols.sms.link` with SMPP's PDUs, its
three kinds of bind and generic_nack.

A bind decides who may send what: a transmitter submits, a receiver is delivered to, a transceiver
does both. A generic_nack is the `Response` of the request whose sequence it names. Source: SMPP 3.4,
2.2 to 2.9 and 4.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from protocols.errors import Malformed
from protocols.smpp import pdu as p
from protocols.smpp.codec import HEADER, HEADER_SIZE, MAX_LENGTH, decode, encode, known
from protocols.smpp.receipt import plain
from protocols.smpp.tags import SC_INTERFACE_VERSION
from protocols.sms import link, terms, tlv
from protocols.sms.events import Event, LoggedIn, LoginRefused, LoginRequested, Why
from protocols.sms.fields import BadLength
from protocols.sms.form import Shape
from protocols.sms.terms import NotOpen, Role, State
from protocols.sms.tlv import Tlv

_TAKEN = p.SUBMIT_SM | p.RESPONSE
_LONGEST_TAKEN = HEADER_SIZE + 65
_FROM_ESME = {p.SUBMIT_SM, p.QUERY_SM, p.CANCEL_SM, p.REPLACE_SM, p.DATA_SM}
_FROM_SMSC = {p.DELIVER_SM, p.DATA_SM, p.ALERT_NOTIFICATION}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions(terms.LinkOptions):
    """Contract terms of one session; seconds. The window is the specification's guideline."""

    window: int = 10
    peer_window: int = 10
    idle: float = 30.0
    test_timeout: float = 30.0
    max_length: int = MAX_LENGTH


class Link(link.Link):
    """One end of one SMPP session; see `protocols.sms.link`."""

    name = "SMPP"
    header_size = HEADER_SIZE
    max_sequence = p.MAX_SEQUENCE
    requests = {  # noqa: RUF012 - ClassVar of the parent
        p.SubmitSm: p.SUBMIT_SM,
        p.DeliverSm: p.DELIVER_SM,
        p.DataSm: p.DATA_SM,
        p.QuerySm: p.QUERY_SM,
        p.CancelSm: p.CANCEL_SM,
        p.ReplaceSm: p.REPLACE_SM,
        p.AlertNotification: p.ALERT_NOTIFICATION,
    }
    responses = {  # noqa: RUF012
        p.SubmitSmResp: p.SUBMIT_SM | p.RESPONSE,
        p.DeliverSmResp: p.DELIVER_SM | p.RESPONSE,
        p.DataSmResp: p.DATA_SM | p.RESPONSE,
        p.QuerySmResp: p.QUERY_SM | p.RESPONSE,
        p.CancelSmResp: p.CANCEL_SM | p.RESPONSE,
        p.ReplaceSmResp: p.REPLACE_SM | p.RESPONSE,
        p.GenericNack: p.GENERIC_NACK,
    }
    one_way = (p.ALERT_NOTIFICATION,)
    test = (p.EnquireLink(), p.EnquireLinkResp(), p.ENQUIRE_LINK)
    end = (p.Unbind(), p.UnbindResp(), p.UNBIND)
    login_command = p.Mode.TRANSCEIVER
    submit_kind = p.SubmitSm
    shape = Shape(
        "destination", "short_message", width=1, most=p.MAX_SHORT_MESSAGE, sequence=slice(12, 16)
    )

    def __init__(self, role: Role, options: LinkOptions = LinkOptions(), now: float = 0.0) -> None:
        super().__init__(role, options, now)
        self.options = options
        self.mode = p.Mode.TRANSCEIVER  #: of the session, known from the bind on
        self.peer_version = 0  #: interface_version of the peer; below 0x34 it takes no TLVs

    # --- what the owner may do ---

    def login(self, bind: p.Bind, now: float) -> None:
        """Client: send the bind. Raises ValueError when a field does not fit; nothing is sent
        then.
        """
        encode(bind, 1)
        self.mode = bind.mode
        self._send(bind, self._start_login(now))

    def accept(self, sequence: int, system_id: str = "") -> None:
        """Server: answer a `LoginRequested` with success, under the name `system_id`."""
        tlvs = (Tlv(SC_INTERFACE_VERSION, bytes((p.V34,))),) if self.peer_version >= p.V34 else ()
        self._answer_login(sequence, p.BindResp(self.mode, system_id, tlvs), p.ROK)

    def refuse(self, sequence: int, status: int) -> None:
        """Server: answer a `LoginRequested` with a status other than 0; the connection is to be
        closed then.
        """
        self._answer_login(sequence, p.BindResp(self.mode, status=status), status)

    # --- what the protocol adds ---

    def _check(self, kind: type) -> None:
        if self.requests[kind] not in self._allowed(self.role is Role.CLIENT):
            raise NotOpen(f"{kind.__name__} is not for a {self.mode.name.lower()}")

    def _allowed(self, from_esme: bool) -> set[int]:
        if from_esme:
            return _FROM_ESME if self.mode is not p.Mode.RECEIVER else set()
        return _FROM_SMSC if self.mode is not p.Mode.TRANSMITTER else set()

    def _head(self, buffer: bytes, at: int) -> tuple[int, int, int, int]:
        length, command, status, sequence = HEADER.unpack_from(buffer, at)
        return length, command, sequence, status

    def _encode(self, pdu: object, sequence: int) -> bytes:
        return encode(cast("p.Pdu", pdu), sequence)

    def _accepts(self, buffer: bytes, at: int, left: int) -> tuple[int, int, str] | None:
        if left <= HEADER_SIZE:
            return None
        length, command, status, sequence = HEADER.unpack_from(buffer, at)
        if command != _TAKEN or status or not HEADER_SIZE < length <= min(left, _LONGEST_TAKEN):
            return None
        stop = at + length - 1
        if buffer.find(b"\0", at + HEADER_SIZE, stop + 1) != stop:
            return None
        return length, sequence, plain(buffer[at + HEADER_SIZE : stop].decode("latin-1"))

    def _decode(self, command: int, status: int, body: bytes) -> object:
        return decode(command, status, body, self._note)

    def _known(self, command: int) -> bool:
        return known(command)

    def _serves(self, command: int) -> bool:
        return command in self._allowed(self.role is Role.SERVER)

    def _answers(self, requested: int, command: int) -> bool:
        return command in (requested | p.RESPONSE, p.GENERIC_NACK)

    def _unreadable(self) -> None:
        self._send(p.GenericNack(p.RINVCMDLEN), 0)

    def _unknown_command(self, command: int, sequence: int, events: list[Event]) -> None:
        self._send(p.GenericNack(p.RINVCMDID), sequence)
        super()._unknown_command(command, sequence, events)

    def _answer_fault(
        self, command: int, sequence: int, body: bytes, error: Malformed | None
    ) -> None:
        status = p.RINVCMDLEN
        if error is None:
            status = p.RINVBNDSTS
        elif isinstance(error, tlv.BadTlv):
            status = p.RINVOPTPARSTREAM
        elif isinstance(error, tlv.BadTlvLength):
            status = p.RINVPARLEN
        elif not isinstance(error, BadLength):
            status = p.RSYSERR
        answer = _ANSWERS.get(command)
        if answer is not None:
            self._send(answer(status=status), sequence)

    def _is_login(self, command: int) -> bool:
        return command in _MODES

    def _refuse_unreadable(self, sequence: int) -> None:
        self._send(p.GenericNack(p.RINVCMDLEN), sequence)

    def _refuse_second(self, sequence: int) -> None:
        self._send(p.BindResp(self.mode, status=p.RALYBND), sequence)

    def _take_before_login(
        self, command: int, status: int, sequence: int, body: bytes, events: list[Event]
    ) -> None:
        if command == p.ENQUIRE_LINK:  # the text allows it only when bound; many ask before
            self._send(p.EnquireLinkResp(), sequence)
        elif command == p.GENERIC_NACK and self.state is State.LOGIN:
            events.append(LoginRefused(status, 0))
            self._close(Why.LOGIN_REFUSED, f"generic_nack {status:#04x}", events)
        else:
            super()._take_before_login(command, status, sequence, body, events)

    def _take_login(self, sequence: int, pdu: object, events: list[Event]) -> None:
        if isinstance(pdu, p.Bind):
            self.mode, self.peer_version = pdu.mode, pdu.interface_version
            events.append(LoginRequested(sequence, pdu))
        elif isinstance(pdu, p.BindResp):
            self._finish_login(pdu, events)

    def _finish_login(self, answer: p.BindResp, events: list[Event]) -> None:
        version = tlv.number(answer.tlvs, SC_INTERFACE_VERSION) or 0
        if answer.status:
            events.append(LoginRefused(answer.status, version))
            self._close(Why.LOGIN_REFUSED, f"status 0x{answer.status:08x}", events)
            return
        if answer.mode is not self.mode:
            self._note("other_bind_resp")
        self.peer_version = version
        self._login_sequence = None
        self.state = State.OPEN
        events.append(LoggedIn(version, trusted=True))


_MODES = frozenset(p.Mode)
_ANSWERS = {
    Link.requests[kind]: answer
    for kind, answer in (
        (p.SubmitSm, p.SubmitSmResp),
        (p.DeliverSm, p.DeliverSmResp),
        (p.DataSm, p.DataSmResp),
        (p.QuerySm, p.QuerySmResp),
        (p.CancelSm, p.CancelSmResp),
        (p.ReplaceSm, p.ReplaceSmResp),
    )
}
