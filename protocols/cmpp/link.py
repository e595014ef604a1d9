"""One CMPP connection without its socket: the link of `protocols.sms.link` with CMPP's PDUs, login
digests and versions.

Source: CMPP 3.0 (QB-GF-028-2003) chapters 5 and 7.
"""

from __future__ import annotations

from typing import cast

from protocols.cmpp import auth
from protocols.cmpp import pdu as p
from protocols.cmpp.decode import BadLength, decode, known
from protocols.cmpp.encode import encode
from protocols.cmpp.layouts import HEADER, HEADER_SIZE, TAKEN_20, TAKEN_30
from protocols.cmpp.msgid import to_hex
from protocols.cmpp.terms import LinkOptions, Role
from protocols.errors import Malformed
from protocols.sms import link
from protocols.sms.events import Event, LoggedIn, LoginRefused, LoginRequested, Why
from protocols.sms.form import Shape
from protocols.sms.terms import State

_TAKEN = p.SUBMIT | p.RESPONSE
_SERVED = {Role.SERVER: (p.SUBMIT, p.QUERY, p.CANCEL), Role.CLIENT: (p.DELIVER,)}


class Link(link.Link):
    """One end of one CMPP connection; see `protocols.sms.link`."""

    name = "CMPP"
    header_size = HEADER_SIZE
    requests = {  # noqa: RUF012 - ClassVar of the parent
        p.Submit: p.SUBMIT,
        p.Deliver: p.DELIVER,
        p.Query: p.QUERY,
        p.Cancel: p.CANCEL,
    }
    responses = {  # noqa: RUF012
        p.SubmitResp: p.SUBMIT | p.RESPONSE,
        p.DeliverResp: p.DELIVER | p.RESPONSE,
        p.QueryResp: p.QUERY | p.RESPONSE,
        p.CancelResp: p.CANCEL | p.RESPONSE,
    }
    test = (p.ActiveTest(), p.ActiveTestResp(), p.ACTIVE_TEST)
    end = (p.Terminate(), p.TerminateResp(), p.TERMINATE)
    login_command = p.CONNECT
    submit_kind = p.Submit
    shape = Shape("recipients", "content", width=1, most=255, sequence=slice(8, 12))

    def __init__(self, role: Role, options: LinkOptions = LinkOptions(), now: float = 0.0) -> None:  # noqa: B008 - frozen value
        super().__init__(role, options, now)
        self.options = options
        self.version = p.layout(options.version)
        self._digest = b""  # AuthenticatorSource of the login
        self._secret = ""

    # --- what the owner may do ---

    def login(self, source: str, secret: str, timestamp: int, now: float) -> None:
        """Client: send CONNECT. `timestamp` is the decimal number MMDDHHMMSS of local time."""
        sequence = self._start_login(now)
        self._digest, self._secret = auth.source_digest(source, secret, timestamp), secret
        self._send(p.Connect(source, self._digest, self.options.version, timestamp), sequence)

    def accept(self, sequence: int, secret: str) -> None:
        """Server: answer a `LoginRequested` with success; the session uses the lower of the two
        versions.
        """
        width = 4 if self.version == p.V30 else 1
        digest = auth.ismg_digest(p.STATUS_OK, width, self._digest, secret)
        answer = p.ConnectResp(p.STATUS_OK, digest, self.options.version)
        self._answer_login(sequence, answer, p.STATUS_OK)

    def refuse(self, sequence: int, status: int) -> None:
        """Server: answer a `LoginRequested` with a status other than 0; the connection is to be
        closed then.
        """
        answer = p.ConnectResp(status, bytes(16), self.options.version)
        self._answer_login(sequence, answer, status)

    # --- what the protocol adds ---

    def _head(self, buffer: bytes, at: int) -> tuple[int, int, int, int]:
        length, command, sequence = HEADER.unpack_from(buffer, at)
        return length, command, sequence, 0

    def _encode(self, pdu: object, sequence: int) -> bytes:
        return encode(cast("p.Pdu", pdu), self.version, sequence)

    def _accepts(self, buffer: bytes, at: int, left: int) -> tuple[int, int, str] | None:
        form = TAKEN_30 if self.version == p.V30 else TAKEN_20
        if left < form.size:
            return None
        length, command, sequence, msg_id, result = form.unpack_from(buffer, at)
        if command != _TAKEN or result or length != form.size:
            return None
        return length, sequence, to_hex(msg_id)

    def _decode(self, command: int, _status: int, body: bytes) -> object:
        return decode(command, body, self.version, self._note)

    def _known(self, command: int) -> bool:
        return known(command)

    def _serves(self, command: int) -> bool:
        return command in _SERVED[self.role]

    def _answer_fault(
        self, command: int, sequence: int, body: bytes, error: Malformed | None
    ) -> None:
        code = p.RESULT_STRUCTURE
        if error is None:
            code = p.RESULT_COMMAND
        elif isinstance(error, BadLength):
            code = p.RESULT_LENGTH
        if command == p.SUBMIT:
            self._send(p.SubmitResp(0, code), sequence)
        elif command == p.DELIVER:
            msg_id = int.from_bytes(body[:8].ljust(8, b"\0"), "big")
            self._send(p.DeliverResp(msg_id, code), sequence)
        elif command == p.CANCEL:
            self._send(p.CancelResp(1), sequence)
        # QUERY_RESP has no place for an error; the peer's own timeout tells it.

    def _refuse_unreadable(self, sequence: int) -> None:
        self._send(p.ConnectResp(p.STATUS_STRUCTURE, bytes(16), self.options.version), sequence)

    def _refuse_second(self, sequence: int) -> None:
        self._refuse_unreadable(sequence)

    def _take_login(self, sequence: int, pdu: object, events: list[Event]) -> None:
        if isinstance(pdu, p.Connect):
            self.version = min(self.version, p.layout(pdu.version))
            self._digest = pdu.auth
            events.append(LoginRequested(sequence, pdu))
        elif isinstance(pdu, p.ConnectResp):
            self._finish_login(pdu, events)

    def _finish_login(self, answer: p.ConnectResp, events: list[Event]) -> None:
        if answer.status != p.STATUS_OK:
            events.append(LoginRefused(answer.status, answer.version))
            self._close(Why.LOGIN_REFUSED, f"status {answer.status}", events)
            return
        trusted = auth.ismg_matches(answer.auth, answer.status, self._digest, self._secret)
        if not trusted:
            self._note("ismg_digest")
            if self.options.strict_auth:
                self._close(Why.LOGIN_AUTH, "AuthenticatorISMG does not match", events)
                return
        self._login_sequence = None
        self._secret = ""
        self.state = State.OPEN
        events.append(LoggedIn(answer.version, trusted))
