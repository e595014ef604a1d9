"""One SMGP connection without its socket: the link of `protocols.sms.link` with SMGP's PDUs, login
digests and login modes.

Source: SMGP 3.0 chapters 5 and 6.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

from protocols.errors import Malformed
from protocols.smgp import auth
from protocols.smgp import pdu as p
from protocols.smgp.codec import HEADER, HEADER_SIZE, MAX_LENGTH, SUBMIT_RESP, decode, encode, known
from protocols.sms import link, terms
from protocols.sms.events import Event, LoggedIn, LoginRefused, LoginRequested, Why
from protocols.sms.form import Shape
from protocols.sms.terms import NotOpen, Role, State

_TAKEN = p.SUBMIT | p.RESPONSE
_FROM_CLIENT = {p.SUBMIT, p.QUERY}
_FROM_SERVER = {p.DELIVER}


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions(terms.LinkOptions):
    """Contract terms of one connection; seconds. Defaults are the specification's W, T, C and N."""

    version: int = p.V30
    max_length: int = MAX_LENGTH
    strict_auth: bool = False


class Link(link.Link):
    """One end of one SMGP connection; see `protocols.sms.link`."""

    name = "SMGP"
    header_size = HEADER_SIZE
    requests = {p.Submit: p.SUBMIT, p.Deliver: p.DELIVER, p.Query: p.QUERY}  # noqa: RUF012 - ClassVar of the parent
    responses = {  # noqa: RUF012
        p.SubmitResp: p.SUBMIT | p.RESPONSE,
        p.DeliverResp: p.DELIVER | p.RESPONSE,
        p.QueryResp: p.QUERY | p.RESPONSE,
    }
    test = (p.ActiveTest(), p.ActiveTestResp(), p.ACTIVE_TEST)
    end = (p.Exit(), p.ExitResp(), p.EXIT)
    login_command = p.LOGIN
    submit_kind = p.Submit
    shape = Shape("recipients", "content", width=1, most=255, sequence=slice(8, 12))

    def __init__(self, role: Role, options: LinkOptions = LinkOptions(), now: float = 0.0) -> None:
        super().__init__(role, options, now)
        self.options = options
        self.version = options.version
        self.mode: int = p.LoginMode.BOTH  #: of the session, known from the login on
        self._digest = b""  # AuthenticatorClient of the login
        self._secret = ""

    # --- what the owner may do ---

    def login(
        self,
        client_id: str,
        secret: str,
        timestamp: int,
        now: float,
        mode: p.LoginMode = p.LoginMode.BOTH,
    ) -> None:
        """Client: send Login. `timestamp` is the decimal number MMDDHHMMSS of local time. Raises
        ValueError when a field does not fit; nothing is sent then.
        """
        digest = auth.login_digest(client_id, secret, timestamp)
        login = p.Login(client_id, digest, timestamp, mode, self.version)
        encode(login, self.version, 1)
        self._digest, self._secret, self.mode = digest, secret, mode
        self._send(login, self._start_login(now))

    def accept(self, sequence: int, secret: str) -> None:
        """Server: answer a `LoginRequested` with success; the session uses the lower of the two
        versions.
        """
        digest = auth.gateway_digest(p.OK, self._digest, secret)
        answer = p.LoginResp(p.OK, digest, self.options.version)
        self._answer_login(sequence, answer, p.OK)

    def refuse(self, sequence: int, status: int) -> None:
        """Server: answer a `LoginRequested` with a status other than 0; the connection is to be
        closed then.
        """
        answer = p.LoginResp(status, version=self.options.version)
        self._answer_login(sequence, answer, status)

    # --- what the protocol adds ---

    def _check(self, kind: type) -> None:
        if not self._allowed(self.requests[kind], self.role is Role.CLIENT):
            raise NotOpen(f"{kind.__name__} is not for login mode {self.mode}")

    def _allowed(self, command: int, from_client: bool) -> bool:
        if from_client:
            return command in _FROM_CLIENT and self.mode != p.LoginMode.RECEIVE
        return command in _FROM_SERVER and self.mode != p.LoginMode.SEND

    def _head(self, buffer: bytes, at: int) -> tuple[int, int, int, int]:
        length, command, sequence = HEADER.unpack_from(buffer, at)
        return length, command, sequence, 0

    def _encode(self, pdu: object, sequence: int) -> bytes:
        return encode(cast("p.Pdu", pdu), self.version, sequence)

    def _accepts(self, buffer: bytes, at: int, left: int) -> tuple[int, int, str] | None:
        if left < SUBMIT_RESP.size:
            return None
        length, command, sequence, msg_id, status = SUBMIT_RESP.unpack_from(buffer, at)
        if command != _TAKEN or status or length != SUBMIT_RESP.size:
            return None
        return length, sequence, msg_id.hex()

    def _decode(self, command: int, _status: int, body: bytes) -> object:
        return decode(command, body, self.version, self._note)

    def _known(self, command: int) -> bool:
        return known(command)

    def _serves(self, command: int) -> bool:
        return self._allowed(command, self.role is Role.SERVER)

    def _answer_fault(
        self, command: int, sequence: int, body: bytes, error: Malformed | None
    ) -> None:
        status = p.BAD_COMMAND if error is None else p.BAD_STRUCTURE
        if command == p.SUBMIT:
            self._send(p.SubmitResp(status=status), sequence)
        elif command == p.DELIVER:
            self._send(p.DeliverResp(body[:10].ljust(10, b"\0").hex(), status), sequence)
        # Query_Resp has no place for an error; the peer's own timeout tells it.

    def _refuse_unreadable(self, sequence: int) -> None:
        self._send(p.LoginResp(p.BAD_STRUCTURE, version=self.options.version), sequence)

    def _refuse_second(self, sequence: int) -> None:
        self._refuse_unreadable(sequence)

    def _take_login(self, sequence: int, pdu: object, events: list[Event]) -> None:
        if isinstance(pdu, p.Login):
            self.version = min(self.version, pdu.version)
            self._digest, self.mode = pdu.auth, pdu.mode
            events.append(LoginRequested(sequence, pdu))
        elif isinstance(pdu, p.LoginResp):
            self._finish_login(pdu, events)

    def _finish_login(self, answer: p.LoginResp, events: list[Event]) -> None:
        if answer.status:
            events.append(LoginRefused(answer.status, answer.version))
            self._close(Why.LOGIN_REFUSED, f"status {answer.status}", events)
            return
        trusted = auth.gateway_matches(answer.auth, answer.status, self._digest, self._secret)
        if not trusted:
            self._note("server_digest")
            if self.options.strict_auth:
                self._close(Why.LOGIN_AUTH, "AuthenticatorServer does not match", events)
                return
        self._login_sequence = None
        self._secret = ""
        self.state = State.OPEN
        events.append(LoggedIn(answer.version, trusted))
