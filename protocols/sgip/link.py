"""One SGIP connection without its socket: the link of `protocols.sms.link` with SGIP's PDUs, its
12-octet sequences and its two directions.

The SP connects to the gateway to submit; the gateway connects to the SP to deliver and report. So
an SP has client links (LoginType 1) and a server whose links are logged in to with LoginType 2.
There is no keep-alive: after `idle` seconds without traffic a client unbinds and a server closes.
Source: SGIP 1.2, chapters 3 and 4.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Several
from dataclasses import dataclass
from typing import cast

from protocols.errors import Malformed
from protocols.sgip import pdu as p
from protocols.sgip.codec import HEADER, HEADER_SIZE, MAX_LENGTH, SUBMIT_RESP, decode, encode, known
from protocols.sgip.sequence import Sequence, pack, to_hex
from protocols.sms import link, terms
from protocols.sms.events import Event, LoggedIn, LoginRefused, LoginRequested, Why
from protocols.sms.fields import BadLength
from protocols.sms.form import Filled, Shape
from protocols.sms.terms import NotOpen, Role, State, WindowFull

_TAKEN = p.SUBMIT | p.RESPONSE
_SUBMITS = {p.SUBMIT}
_DELIVERS = {p.DELIVER, p.REPORT, p.USER_REPORT}
_BY_TYPE = {p.LoginType.SP_TO_SMG: _SUBMITS, p.LoginType.SMG_TO_SP: _DELIVERS}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions(terms.LinkOptions):
    """Contract terms of one connection; seconds. Defaults are the specification's."""

    window: int = 32
    peer_window: int = 32
    response_timeout: float = 30.0
    idle: float = 60.0  #: without traffic, then unbind (client) or close (server); 0 never
    max_length: int = MAX_LENGTH
    max_unknown: int = 1


class Link(link.Link):
    """One end of one SGIP connection; see `protocols.sms.link`. Sequences are 96-bit numbers.

    `node` is our node number, `stamp` tells the local time as the decimal number MMDDhhmmss.
    """

    name = "SGIP"
    header_size = HEADER_SIZE
    requests = {  # noqa: RUF012 - ClassVar of the parent
        p.Submit: p.SUBMIT,
        p.Deliver: p.DELIVER,
        p.Report: p.REPORT,
        p.UserReport: p.USER_REPORT,
    }
    responses = {  # noqa: RUF012
        p.SubmitResp: p.SUBMIT | p.RESPONSE,
        p.DeliverResp: p.DELIVER | p.RESPONSE,
        p.ReportResp: p.REPORT | p.RESPONSE,
        p.UserReportResp: p.USER_REPORT | p.RESPONSE,
    }
    test = None
    end = (p.Unbind(), p.UnbindResp(), p.UNBIND)
    login_command = p.BIND
    submit_kind = p.Submit
    shape = Shape("recipients", "content", width=4, most=p.MAX_CONTENT, sequence=slice(8, 20))

    def __init__(
        self,
        role: Role,
        node: int,
        stamp: Callable[[], int],
        options: LinkOptions = LinkOptions(),
        now: float = 0.0,
    ) -> None:
        super().__init__(role, options, now)
        self.options = options
        self.login_type: int = p.LoginType.SP_TO_SMG  #: of the session, known from the bind on
        pack(Sequence(node, 0, 0))  # or it does not fit
        self._node = node
        self._stamp = stamp
        self._used = now  # when we last wrote a request

    # --- what the owner may do ---

    def login(self, bind: p.Bind, now: float) -> None:
        """Client: send the bind. Raises ValueError when a field does not fit; nothing is sent
        then.
        """
        encode(bind, 0)
        self.login_type = bind.login_type
        self._send(bind, self._start_login(now))

    def accept(self, sequence: int) -> None:
        """Server: answer a `LoginRequested` with success."""
        self._answer_login(sequence, p.BindResp(p.OK), p.OK)

    def refuse(self, sequence: int, result: int) -> None:
        """Server: answer a `LoginRequested` with a result other than 0; the connection is to be
        closed then.
        """
        self._answer_login(sequence, p.BindResp(result), result)

    def request(self, pdu: object, now: float, tag: object = None) -> int:
        """As `Link.request`; NotOpen too when the login type does not allow this request."""
        self._used = now
        return super().request(pdu, now, tag)

    def submit(self, messages: Several[tuple[Filled, str, object]], now: float) -> None:
        """As `Link.submit`; NotOpen too when the login type does not allow it."""
        self._used = now
        super().submit(messages, now)

    def again(self, pdu: object, sequence: int, now: float, tag: object = None) -> int:
        """Send a request with the sequence it had before, on this connection or another: the way to
        repeat one without making it two. Raises as `request`, and ValueError while it is in flight.
        """
        if self.state is not State.OPEN:
            raise NotOpen(f"link is {self.state.value}")
        self._check(type(pdu))
        if sequence in self._in_flight:
            raise ValueError(f"sequence {sequence:024x} is in flight")
        if self.in_flight >= self.options.window:
            raise WindowFull(f"{self.in_flight} requests unanswered")
        self._used = now
        command = self.requests[type(pdu)]
        self._out.append(self._encode(pdu, sequence))
        self._in_flight[sequence] = (command, now + self.options.response_timeout, tag, False)
        return sequence

    # --- what the protocol adds ---

    def _check(self, kind: type) -> None:
        if not self._allowed(self.requests[kind], self.role is Role.CLIENT):
            raise NotOpen(f"{kind.__name__} is not for login type {self.login_type}")

    def _allowed(self, command: int, from_client: bool) -> bool:
        """The client asks, the server answers; types that are neither 1 nor 2 may ask anything."""
        return from_client and command in _BY_TYPE.get(
            cast("p.LoginType", self.login_type), _SUBMITS | _DELIVERS
        )

    def _next_sequence(self) -> int:
        high = self._node << 64 | self._stamp() << 32
        while True:
            self._sequence = self._sequence + 1 & 0xFFFFFFFF
            sequence = high | self._sequence
            if sequence not in self._in_flight:
                return sequence

    def _head(self, buffer: bytes, at: int) -> tuple[int, int, int, int]:
        length, command, high, low = HEADER.unpack_from(buffer, at)
        return length, command, high << 32 | low, 0

    def _encode(self, pdu: object, sequence: int) -> bytes:
        return encode(cast("p.Pdu", pdu), sequence)

    def _accepts(self, buffer: bytes, at: int, left: int) -> tuple[int, int, str] | None:
        if left < SUBMIT_RESP.size:
            return None
        length, command, high, low, result = SUBMIT_RESP.unpack_from(buffer, at)
        if command != _TAKEN or result or length != SUBMIT_RESP.size:
            return None
        sequence = high << 32 | low
        return length, sequence, to_hex(sequence)

    def _decode(self, command: int, _status: int, body: bytes) -> object:
        return decode(command, body, self._note)

    def _known(self, command: int) -> bool:
        return known(command)

    def _serves(self, command: int) -> bool:
        return self._allowed(command, self.role is Role.SERVER)

    def _answer_fault(
        self, command: int, sequence: int, _body: bytes, error: Malformed | None
    ) -> None:
        result = p.BAD_OPERATION
        if error is not None:
            result = p.BAD_LENGTH if isinstance(error, BadLength) else p.BAD_FORMAT
        self._send(_ANSWERS[command](result), sequence)

    def _take_again(self, command: int, sequence: int, body: bytes, same: bool) -> None:
        super()._take_again(command, sequence, body, same)
        if not same:
            self._note("sequence_reused")
            self._send(_ANSWERS[command](p.BAD_SEQUENCE), sequence)

    def _refuse_unreadable(self, sequence: int) -> None:
        self._send(p.BindResp(p.BAD_FORMAT), sequence)

    def _refuse_second(self, sequence: int) -> None:
        self._send(p.BindResp(p.ALREADY_BOUND), sequence)

    def _keep_alive(self, now: float, events: list[Event]) -> None:
        idle = self.options.idle
        busy = self._in_flight or self._inbound or self.state is not State.OPEN
        if not idle or busy or now - max(self._heard, self._used) < idle:
            return
        if self.role is Role.CLIENT:
            events += self.drain(now)
        else:
            self._close(Why.IDLE, "", events)

    def _take_login(self, sequence: int, pdu: object, events: list[Event]) -> None:
        if isinstance(pdu, p.Bind):
            self.login_type = pdu.login_type
            events.append(LoginRequested(sequence, pdu))
        elif isinstance(pdu, p.BindResp):
            self._finish_login(pdu, events)

    def _finish_login(self, answer: p.BindResp, events: list[Event]) -> None:
        if answer.result not in (p.OK, p.ALREADY_BOUND):
            events.append(LoginRefused(answer.result, 0))
            self._close(Why.LOGIN_REFUSED, f"result {answer.result}", events)
            return
        self._login_sequence = None
        self.state = State.OPEN
        events.append(LoggedIn(0, trusted=True))


_ANSWERS = {
    p.SUBMIT: p.SubmitResp,
    p.DELIVER: p.DeliverResp,
    p.REPORT: p.ReportResp,
    p.USER_REPORT: p.UserReportResp,
}
