"""One CMPP connection without its socket: login, sequences, window, active test, timeouts and the
way to a clean end, for both roles.

The owner holds the socket and the clock. It feeds what it reads to `receive_data`, calls `tick`
about once a second, writes `data_to_send()` after every batch of calls, and closes when a
`MustClose` event comes or `must_close` is true. Time is a float of seconds on any clock that does
not go back. The link itself answers what needs no thought (ACTIVE_TEST, TERMINATE, unreadable
requests); the owner answers each `Request` with `respond`, and a login with `accept` or `refuse`.

Source: CMPP 3.0 (QB-GF-028-2003) chapters 5 and 7. Requests are never sent again by the link: a
timeout means that the outcome is unknown, and what to do about that is the owner's policy. (One
state machine, one file: it is longer than most because its states share their tables.)

One state machine, one file: splitting it would part transitions from the states they leave.
"""

from __future__ import annotations

from collections import Counter

from protocols.cmpp import auth
from protocols.cmpp import pdu as p
from protocols.cmpp.decode import BadLength, decode, known
from protocols.cmpp.encode import encode
from protocols.cmpp.events import (
    Event,
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
from protocols.cmpp.layouts import HEADER, HEADER_SIZE
from protocols.cmpp.terms import LinkOptions, NotOpen, Role, State, WindowFull
from protocols.errors import Malformed

_ANSWERS: dict[type, type] = {
    p.Submit: p.SubmitResp,
    p.Deliver: p.DeliverResp,
    p.Query: p.QueryResp,
    p.Cancel: p.CancelResp,
}
_COMMANDS = {p.Submit: p.SUBMIT, p.Deliver: p.DELIVER, p.Query: p.QUERY, p.Cancel: p.CANCEL}
_SERVED = {Role.SERVER: (p.SUBMIT, p.QUERY, p.CANCEL), Role.CLIENT: (p.DELIVER,)}
_LIVE = (State.OPEN, State.DRAINING, State.TERMINATING, State.PEER_ENDING)


class Link:
    """One end of one connection. Not thread-safe; one instance per connection, never reused."""

    def __init__(self, role: Role, options: LinkOptions = LinkOptions(), now: float = 0.0) -> None:  # noqa: B008 - frozen value
        self.role = role
        self.options = options
        self.version = p.layout(options.version)
        self.state = State.NEW
        #: Tolerated and survived faults by name, for metrics.
        self.counters: Counter[str] = Counter()
        self._sequence = 0
        self._out: list[bytes] = []
        self._partial = b""
        self._partial_since = 0.0
        self._in_flight: dict[int, tuple[int, float, object]] = {}  # command, deadline, tag
        self._inbound: dict[int, int] = {}  # sequence -> command, not yet answered by the owner
        self._deadline = now + options.login_timeout  # of the state, where it has one
        self._login: tuple[int, bytes, str] | None = None  # sequence, AuthenticatorSource, secret
        self._terminate = 0  # sequence of the TERMINATE to send or to answer
        self._heard = now
        self._tests = 0
        self._test_due = 0.0
        self._unknown = 0

    # --- what the owner may ask ---

    @property
    def must_close(self) -> bool:
        """Whether the connection is over: write `data_to_send()`, then close."""
        return self.state is State.CLOSED

    @property
    def is_open(self) -> bool:
        """Whether requests may start, window aside."""
        return self.state is State.OPEN

    @property
    def window_free(self) -> int:
        """How many requests may start now."""
        return self.options.window - len(self._in_flight) if self.state is State.OPEN else 0

    @property
    def in_flight(self) -> int:
        """How many of our requests wait for an answer."""
        return len(self._in_flight)

    @property
    def unanswered_inbound(self) -> int:
        """How many of the peer's requests wait for `respond`."""
        return len(self._inbound)

    # --- what the owner may do ---

    def data_to_send(self) -> bytes:
        """Everything queued since the last call, in one piece for one write."""
        if not self._out:
            return b""
        data = b"".join(self._out)
        self._out.clear()
        return data

    def login(self, source: str, secret: str, timestamp: int, now: float) -> None:
        """Client: send CONNECT. `timestamp` is the decimal number MMDDHHMMSS of local time."""
        if self.role is not Role.CLIENT or self.state is not State.NEW:
            raise NotOpen("login is the first act of a client")
        digest = auth.source_digest(source, secret, timestamp)
        sequence = self._next_sequence()
        connect = p.Connect(source, digest, self.options.version, timestamp)
        self._out.append(encode(connect, self.version, sequence))
        self._login = (sequence, digest, secret)
        self._deadline = now + self.options.login_timeout
        self.state = State.LOGIN

    def accept(self, sequence: int, secret: str) -> None:
        """Server: answer a `LoginRequested` with success; the session uses the lower of the two
        versions.
        """
        login = self._login
        if self.state is not State.LOGIN or login is None or login[0] != sequence:
            raise NotOpen("no login to accept")
        width = 4 if self.version == p.V30 else 1
        digest = auth.ismg_digest(p.STATUS_OK, width, login[1], secret)
        self._send(p.ConnectResp(p.STATUS_OK, digest, self.options.version), sequence)
        self.state = State.OPEN

    def refuse(self, sequence: int, status: int) -> None:
        """Server: answer a `LoginRequested` with a status other than 0; the connection is to be
        closed then.
        """
        if self.state is not State.LOGIN or self._login is None or self._login[0] != sequence:
            raise NotOpen("no login to refuse")
        self._send(p.ConnectResp(status, bytes(16), self.options.version), sequence)
        self.state = State.CLOSED

    def submit(self, pdu: p.Submit, now: float, tag: object = None) -> int:
        """Client: queue one SUBMIT and return its sequence; see `request`."""
        return self.request(pdu, now, tag)

    def request(
        self, pdu: p.Submit | p.Deliver | p.Query | p.Cancel, now: float, tag: object = None
    ) -> int:
        """Queue one request and return its sequence, which comes back with `tag` in `Response` or
        `Unanswered`.

        Raises NotOpen, WindowFull, or ValueError when a field does not fit; nothing is queued or
        counted then.
        """
        if self.state is not State.OPEN:
            raise NotOpen(f"link is {self.state.value}")
        if len(self._in_flight) >= self.options.window:
            raise WindowFull(f"{len(self._in_flight)} requests unanswered")
        sequence = self._next_sequence()
        self._out.append(encode(pdu, self.version, sequence))
        self._in_flight[sequence] = (
            _COMMANDS[type(pdu)],
            now + self.options.response_timeout,
            tag,
        )
        return sequence

    def respond(
        self, sequence: int, pdu: p.SubmitResp | p.DeliverResp | p.QueryResp | p.CancelResp
    ) -> bool:
        """Answer a `Request`. False when it is no longer possible (answered already, or the
        connection is over).
        """
        command = self._inbound.get(sequence)
        if command is None or self.state is State.CLOSED:
            return False
        if _RESPONSE_COMMANDS[type(pdu)] != command | p.RESPONSE:
            raise TypeError(f"{type(pdu).__name__} does not answer command {command}")
        self._out.append(encode(pdu, self.version, sequence))
        del self._inbound[sequence]
        return True

    def drain(self, now: float) -> list[Event]:
        """Start a clean end: no new requests, wait for those in flight (up to T), TERMINATE, then
        `MustClose(DRAINED)`.
        """
        events: list[Event] = []
        if self.state in (State.NEW, State.LOGIN):
            self._close(Why.DRAINED, "before login", events)
        elif self.state is State.OPEN:
            self.state = State.DRAINING
            self._deadline = now + self.options.response_timeout
            self._proceed(now, events)
        return events

    def connection_lost(self) -> list[Event]:
        """The connection is gone: every request in flight comes back as `Unanswered`; nothing more
        will be sent.
        """
        events: list[Event] = []
        if self.state is not State.CLOSED:
            self._close(Why.CONNECTION, "", events)
        for sequence, (_, _, tag) in self._in_flight.items():
            events.append(Unanswered(sequence, tag, Lost.CONNECTION))
        self._in_flight.clear()
        self._inbound.clear()
        self._out.clear()
        return events

    def tick(self, now: float) -> list[Event]:
        """Let time pass: timeouts of requests, active tests, half-received PDUs, login and
        ending.
        """
        events: list[Event] = []
        state = self.state
        if state is State.CLOSED:
            return events
        if self._partial and now - self._partial_since >= self.options.partial_timeout:
            self._close(Why.PARTIAL, f"{len(self._partial)} octets of a PDU", events)
            return events
        if state in (State.NEW, State.LOGIN):
            waiting = self.role is Role.SERVER or state is State.LOGIN
            if waiting and now >= self._deadline:
                self._close(Why.LOGIN_TIMEOUT, "", events)
            return events
        while self._in_flight:  # deadlines rise in insertion order: T is one number
            sequence, (_, deadline, tag) = next(iter(self._in_flight.items()))
            if deadline > now:
                break
            del self._in_flight[sequence]
            events.append(Unanswered(sequence, tag, Lost.TIMEOUT))
        self._test_peer(now, events)
        self._proceed(now, events)
        return events

    def receive_data(self, data: bytes, now: float) -> list[Event]:
        """Take octets as they come, in any cut, and return what they mean. Never raises on account
        of the peer.
        """
        events: list[Event] = []
        if self.state is State.CLOSED or not data:
            return events
        self._heard = now
        buffer = self._partial + data if self._partial else data
        had_partial = bool(self._partial)
        size = len(buffer)
        at = 0
        while size - at >= 4:
            length = int.from_bytes(buffer[at : at + 4], "big")
            if not HEADER_SIZE <= length <= self.options.max_length:
                word = buffer[at : at + 4]
                kind = (
                    "text, not CMPP"
                    if word.isascii() and word[:3].isalpha()
                    else f"length {length}"
                )
                self._close(Why.FRAMING, kind, events)
                return events
            if size - at < length:
                break
            _, command, sequence = HEADER.unpack_from(buffer, at)
            body = buffer[at + HEADER_SIZE : at + length]
            at += length
            self._tests = 0
            self._take(command, sequence, body, now, events)
            if self.state is not State.OPEN:
                self._proceed(now, events)
                if self.must_close:
                    return events
        if at < size:
            if at or not had_partial:
                self._partial_since = now
            self._partial = buffer[at:]
        else:
            self._partial = b""
        return events

    # --- inside ---

    def _next_sequence(self) -> int:
        sequence = self._sequence
        while True:
            sequence = sequence + 1 if sequence < p.MAX_SEQUENCE else 1
            if sequence not in self._in_flight:
                self._sequence = sequence
                return sequence

    def _send(self, pdu: p.Pdu, sequence: int) -> None:
        self._out.append(encode(pdu, self.version, sequence))

    def _close(self, why: Why, detail: str, events: list[Event]) -> None:
        self.state = State.CLOSED
        self._partial = b""
        events.append(MustClose(why, detail))

    def _note(self, what: str) -> None:
        self.counters[what] += 1

    def _odd(self, what: str, detail: str, events: list[Event]) -> None:
        self.counters[what] += 1
        events.append(Oddity(what, detail))

    def _test_peer(self, now: float, events: list[Event]) -> None:
        """Active test: after `idle` of silence up to `tests` of them, `test_timeout` apart, past
        the window.
        """
        options = self.options
        if not options.idle or self.state is State.TERMINATING:
            return
        if self._tests:
            if now < self._test_due:
                return
            if self._tests >= options.tests:
                self._close(Why.SILENT, f"{self._tests} active tests unanswered", events)
                return
        elif now - self._heard < options.idle:
            return
        self._tests += 1
        self._test_due = now + options.test_timeout
        self._send(p.ActiveTest(), self._next_sequence())

    def _proceed(self, now: float, events: list[Event]) -> None:
        """Take the next step of an ending, when there is nothing left to wait for or it has taken
        too long.
        """
        state = self.state
        if state is State.OPEN or state not in _LIVE:
            return
        late = now >= self._deadline
        if state is State.TERMINATING:
            if late:
                self._close(Why.DRAINED, "TERMINATE unanswered", events)
            return
        if (self._in_flight or self._inbound) and not late:
            return
        if state is State.DRAINING:
            self._terminate = self._next_sequence()
            self._send(p.Terminate(), self._terminate)
            self._deadline = now + self.options.terminate_timeout
            self.state = State.TERMINATING
        else:
            self._send(p.TerminateResp(), self._terminate)
            self._close(Why.PEER_TERMINATED, "", events)

    def _take(
        self, command: int, sequence: int, body: bytes, now: float, events: list[Event]
    ) -> None:
        if self.state not in _LIVE:
            self._take_login(command, sequence, body, events)
            return
        if command & p.RESPONSE:
            self._take_response(command, sequence, body, events)
            return
        if not known(command):
            self._unknown += 1
            self._odd("unknown_command", f"0x{command:08x}", events)
            if self._unknown >= self.options.max_unknown:
                self._close(Why.UNKNOWN_COMMANDS, f"{self._unknown} of them", events)
            return
        if command in _COMMANDS.values():
            self._take_request(command, sequence, body, events)
        elif command == p.ACTIVE_TEST:
            self._send(p.ActiveTestResp(), sequence)
        elif command == p.TERMINATE:
            self._terminate = sequence
            if self.state is State.TERMINATING:
                self._send(p.TerminateResp(), sequence)
                self._close(Why.PEER_TERMINATED, "both sides asked", events)
                return
            events.append(PeerTerminating())
            self.state = State.PEER_ENDING
            self._deadline = now + self.options.terminate_timeout
        else:  # a second CONNECT
            self._odd("second_connect", "", events)
            self._send(p.ConnectResp(p.STATUS_STRUCTURE, bytes(16), self.options.version), sequence)

    def _take_request(self, command: int, sequence: int, body: bytes, events: list[Event]) -> None:
        if command not in _SERVED[self.role]:
            self._odd("wrong_direction", f"command {command}", events)
            self._answer_fault(command, sequence, body, p.RESULT_COMMAND)
            return
        try:
            pdu = decode(command, body, self.version, self._note)
        except Malformed as error:
            self._odd("malformed_request", str(error), events)
            code = p.RESULT_LENGTH if isinstance(error, BadLength) else p.RESULT_STRUCTURE
            self._answer_fault(command, sequence, body, code)
            return
        if sequence in self._inbound:  # sent again before we answered: one answer will do for both
            self._note("duplicate_request")
            return
        self._inbound[sequence] = command
        if len(self._inbound) > self.options.peer_window:
            self._note("window_exceeded")
        events.append(Request(sequence, pdu))  # type: ignore[arg-type]  # command picked the type

    def _answer_fault(self, command: int, sequence: int, body: bytes, code: int) -> None:
        if command == p.SUBMIT:
            self._send(p.SubmitResp(0, code), sequence)
        elif command == p.DELIVER:
            self._send(
                p.DeliverResp(int.from_bytes(body[:8].ljust(8, b"\0"), "big"), code), sequence
            )
        elif command == p.CANCEL:
            self._send(p.CancelResp(1), sequence)
        # QUERY_RESP has no place for an error; the peer's own timeout tells it.

    def _take_response(self, command: int, sequence: int, body: bytes, events: list[Event]) -> None:
        waiting = self._in_flight.get(sequence)
        expected = waiting is not None and waiting[0] | p.RESPONSE == command
        try:
            pdu = decode(command, body, self.version, self._note)
        except Malformed as error:
            self._odd("malformed_response", str(error), events)
            if expected and waiting is not None:
                del self._in_flight[sequence]
                events.append(Unanswered(sequence, waiting[2], Lost.MALFORMED))
            return
        if expected and waiting is not None:
            del self._in_flight[sequence]
            events.append(Response(sequence, pdu, waiting[2]))  # type: ignore[arg-type]
        elif command == p.ACTIVE_TEST | p.RESPONSE:
            return  # any complete PDU has reset the count of failures already
        elif command == p.TERMINATE | p.RESPONSE and self.state is State.TERMINATING:
            self._close(Why.DRAINED, "", events)
        else:
            self._note("late_response")
            events.append(LateResponse(sequence, pdu))  # type: ignore[arg-type]

    def _take_login(self, command: int, sequence: int, body: bytes, events: list[Event]) -> None:
        """Before login: a server takes one CONNECT and nothing else, a client waits for the answer
        to its own.
        """
        if command == p.TERMINATE:
            self._send(p.TerminateResp(), sequence)
            self._close(Why.PEER_TERMINATED, "before login", events)
            return
        wanted = p.CONNECT if self.role is Role.SERVER else p.CONNECT | p.RESPONSE
        expected_state = State.NEW if self.role is Role.SERVER else State.LOGIN
        if command != wanted or self.state is not expected_state:
            self._close(Why.NOT_CONNECT, f"command 0x{command:08x}", events)
            return
        try:
            pdu = decode(command, body, self.version, self._note)
        except Malformed as error:
            if self.role is Role.SERVER:
                self._send(
                    p.ConnectResp(p.STATUS_STRUCTURE, bytes(16), self.options.version), sequence
                )
            self._close(Why.LOGIN_REFUSED, str(error), events)
            return
        if isinstance(pdu, p.Connect):
            self.version = min(self.version, p.layout(pdu.version))
            self._login = (sequence, pdu.auth, "")
            self.state = State.LOGIN
            events.append(LoginRequested(sequence, pdu))
        elif isinstance(pdu, p.ConnectResp) and self._login is not None:
            self._finish_login(sequence, pdu, self._login, events)

    def _finish_login(
        self,
        sequence: int,
        answer: p.ConnectResp,
        login: tuple[int, bytes, str],
        events: list[Event],
    ) -> None:
        if sequence != login[0]:
            self._note("late_response")
            events.append(LateResponse(sequence, answer))
            return
        if answer.status != p.STATUS_OK:
            events.append(LoginRefused(answer.status, answer.version))
            self._close(Why.LOGIN_REFUSED, f"status {answer.status}", events)
            return
        trusted = auth.ismg_matches(answer.auth, answer.status, login[1], login[2])
        if not trusted:
            self._note("ismg_digest")
            if self.options.strict_auth:
                self._close(Why.LOGIN_AUTH, "AuthenticatorISMG does not match", events)
                return
        self._login = None
        self.state = State.OPEN
        events.append(LoggedIn(answer.version, trusted))


_RESPONSE_COMMANDS = {_ANSWERS[kind]: command | p.RESPONSE for kind, command in _COMMANDS.items()}
