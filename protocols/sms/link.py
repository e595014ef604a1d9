"""One carrier connection without its socket: sequences, window, keep-alive, timeouts and the way
to a clean end, for both roles; what a protocol adds is its PDUs and its login.

The owner holds the socket and the clock. It feeds what it reads to `receive_data`, calls `tick`
about once a second, writes `data_to_send()` after every batch of calls, and closes when a
`MustClose` event comes or `must_close` is true. Time is a float of seconds on any clock that does
not go back. The link itself answers what needs no thought (tests, the wish to end, unreadable
requests); the owner answers each `Request` with `respond`, and a login with `accept` or `refuse`.

Requests are never sent again by the link: a timeout means that the outcome is unknown, and what to
do about that is the owner's policy.

One state machine, one file: splitting it would part transitions from the states they leave. It is
one for CMPP, SMPP, SGIP and SMGP because their specifications agree on all of it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import ClassVar

from protocols.errors import Malformed
from protocols.sms.events import (
    Accepted,
    Event,
    LateResponse,
    Lost,
    MustClose,
    Oddity,
    PeerTerminating,
    Request,
    Response,
    Unanswered,
    Why,
)
from protocols.sms.form import Filled, Form, Shape
from protocols.sms.terms import LIVE, LinkOptions, NotOpen, Role, State, WindowFull

_accepted = tuple.__new__  # makes an `Accepted` in half the time of calling it
RESPONSE = 0x80000000  #: bit 31: the answer to the request with the same low bits


class Link(ABC):
    """One end of one connection. Not thread-safe; one instance per connection, never reused."""

    name: ClassVar[str]  #: of the protocol, as people say it
    header_size: ClassVar[int]
    max_sequence: ClassVar[int] = 0xFFFFFFFF
    #: Requests that owners exchange, with their commands; and their answers, with theirs.
    requests: ClassVar[Mapping[type, int]]
    responses: ClassVar[Mapping[type, int]]
    one_way: ClassVar[Collection[int]] = ()  #: requests that have no answer
    #: Request, answer and command of the keep-alive test (None: the protocol has none) and of the
    #: wish to end.
    test: ClassVar[tuple[object, object, int] | None]
    end: ClassVar[tuple[object, object, int]]
    login_command: ClassVar[int]
    submit_kind: ClassVar[type]  #: the PDU that carries a message to a phone
    shape: ClassVar[Shape]  #: of that PDU

    def __init__(self, role: Role, options: LinkOptions, now: float = 0.0) -> None:
        self.role = role
        self.terms = options
        self.state = State.NEW
        #: Tolerated and survived faults by name, for metrics.
        self.counters: Counter[str] = Counter()
        self._sequence = 0
        self._out: list[bytes] = []
        self._partial = b""
        self._partial_since = 0.0
        #: Command, deadline, tag, whether queued by `submit`.
        self._in_flight: dict[int, tuple[int, float, object, bool]] = {}
        self._inbound: dict[int, tuple[int, bytes]] = {}  # command, body; not yet answered
        self._deadline = now + options.login_timeout  # of the state, where it has one
        self._login_sequence: int | None = None  # of the login in progress
        self._end_sequence = 0  # of the wish to end, ours or the peer's
        self._heard = now
        self._tests = 0
        self._test_due = 0.0
        self._unknown = 0
        #: What its owner keeps of `form`, by keys of its own.
        self.forms: dict[object, Form] = {}

    # --- what a protocol adds ---

    @abstractmethod
    def _head(self, buffer: bytes, at: int) -> tuple[int, int, int, int]:
        """Length, command, sequence and status (0 where headers have none) of the PDU at `at`."""

    @abstractmethod
    def _encode(self, pdu: object, sequence: int) -> bytes:
        """The PDU with its header. Raises ValueError naming what does not fit."""

    @abstractmethod
    def _decode(self, command: int, status: int, body: bytes) -> object:
        """The value of one body; raises Malformed."""

    @abstractmethod
    def _accepts(self, buffer: bytes, at: int, left: int) -> tuple[int, int, str] | None:
        """Length, sequence and the far end's id, if a whole PDU of the usual form that accepts a
        SUBMIT stands at `at`; `left` octets are there. Anything else: None.
        """

    @abstractmethod
    def _known(self, command: int) -> bool: ...

    @abstractmethod
    def _serves(self, command: int) -> bool:
        """Whether the peer may send this request to us on this connection."""

    @abstractmethod
    def _answer_fault(
        self, command: int, sequence: int, body: bytes, error: Malformed | None
    ) -> None:
        """Answer a request that is unreadable, or (`error` None) that this end does not serve."""

    @abstractmethod
    def _take_login(self, sequence: int, pdu: object, events: list[Event]) -> None:
        """Server: take the login; client: take its answer."""

    @abstractmethod
    def _refuse_unreadable(self, sequence: int) -> None:
        """Server: answer a login that cannot be read."""

    @abstractmethod
    def _refuse_second(self, sequence: int) -> None:
        """Answer a login on a link that is logged in."""

    def _check(self, kind: type) -> None:  # noqa: B027 - CMPP knows one kind of login
        """Raises NotOpen when the login does not allow us to request this."""

    def _answers(self, requested: int, command: int) -> bool:
        """Whether `command` answers the request `requested`."""
        return requested | RESPONSE == command

    def _unreadable(self) -> None:  # noqa: B027 - most protocols have nothing to say
        """Last words after a length that cannot be true."""

    def _unknown_command(self, command: int, sequence: int, events: list[Event]) -> None:
        """Skip it, until there are too many."""
        self._unknown += 1
        self._odd("unknown_command", f"0x{command:08x}", events)
        if self._unknown >= self.terms.max_unknown:
            self._close(Why.UNKNOWN_COMMANDS, f"{self._unknown} of them", events)

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
        return self.terms.window - len(self._in_flight) if self.state is State.OPEN else 0

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

    def request(self, pdu: object, now: float, tag: object = None) -> int:
        """Queue one request and return its sequence, which comes back with `tag` in `Response` or
        `Unanswered`.

        Raises NotOpen, WindowFull, or ValueError when a field does not fit; nothing is queued or
        counted then.
        """
        if self.state is not State.OPEN:
            raise NotOpen(f"link is {self.state.value}")
        self._check(type(pdu))
        if len(self._in_flight) >= self.terms.window:
            raise WindowFull(f"{len(self._in_flight)} requests unanswered")
        sequence = self._next_sequence()
        command = self.requests[type(pdu)]
        self._out.append(self._encode(pdu, sequence))
        if command not in self.one_way:
            self._in_flight[sequence] = (command, now + self.terms.response_timeout, tag, False)
        return sequence

    def form(self, model: object, digits: int) -> Form:
        """What SUBMITs like `model` to numbers of `digits` digits have in common on this link, for
        `submit`. Raises ValueError when a field does not fit.
        """
        return Form(self.shape, model, digits, self._encode)

    def submit(self, messages: Sequence[tuple[Filled, str, object]], now: float) -> None:
        """Queue SUBMITs, each a filled form, its recipient and its tag; as `request`, all at once.
        What is taken comes back as `Accepted`, all else as with `request`.

        Raises NotOpen, WindowFull, or ValueError for a recipient of another length than its form's;
        nothing is queued then.
        """
        if self.state is not State.OPEN:
            raise NotOpen(f"link is {self.state.value}")
        self._check(self.submit_kind)
        in_flight, terms = self._in_flight, self.terms
        if len(in_flight) + len(messages) > terms.window:
            raise WindowFull(f"{len(in_flight)} requests unanswered, {len(messages)} more asked")
        command, deadline = self.requests[self.submit_kind], now + terms.response_timeout
        at = self.shape.sequence
        width, following = at.stop - at.start, self._next_sequence
        out: list[bytes] = []
        waiting = {}
        for (head, middle, tail, digits), recipient, tag in messages:
            if len(recipient) != digits:
                raise ValueError(f"a form for {digits} digits got a number of {len(recipient)}")
            sequence = following()
            waiting[sequence] = (command, deadline, tag, True)
            out += (head, sequence.to_bytes(width, "big"), middle, recipient.encode(), tail)
        in_flight |= waiting
        self._out += out

    def again(self, pdu: object, sequence: int, now: float, tag: object = None) -> int:
        """Send a request that went unanswered once more, on this connection or another; its new
        sequence. Raises as `request`. Only SGIP keeps the old one: there it is the message's id.
        """
        return self.request(pdu, now, tag)

    def respond(self, sequence: int, pdu: object) -> bool:
        """Answer a `Request`. False when it is no longer possible (answered already, or the
        connection is over).
        """
        inbound = self._inbound.get(sequence)
        if inbound is None or self.state is State.CLOSED:
            return False
        if not self._answers(inbound[0], self.responses.get(type(pdu), 0)):
            raise TypeError(f"{type(pdu).__name__} does not answer command {inbound[0]}")
        self._out.append(self._encode(pdu, sequence))
        del self._inbound[sequence]
        return True

    def drain(self, now: float) -> list[Event]:
        """Start a clean end: no new requests, wait for those in flight (up to T), say so, then
        `MustClose(DRAINED)`.
        """
        events: list[Event] = []
        if self.state in (State.NEW, State.LOGIN):
            self._close(Why.DRAINED, "before login", events)
        elif self.state is State.OPEN:
            self.state = State.DRAINING
            self._deadline = now + self.terms.response_timeout
            self._proceed(now, events)
        return events

    def connection_lost(self) -> list[Event]:
        """The connection is gone: every request in flight comes back as `Unanswered`; nothing more
        will be sent.
        """
        events: list[Event] = []
        if self.state is not State.CLOSED:
            self._close(Why.CONNECTION, "", events)
        for sequence, (_, _, tag, _) in self._in_flight.items():
            events.append(Unanswered(sequence, tag, Lost.CONNECTION))
        self._in_flight.clear()
        self._inbound.clear()
        self._out.clear()
        return events

    def tick(self, now: float) -> list[Event]:
        """Let time pass: timeouts of requests, keep-alive, half-received PDUs, login and
        ending.
        """
        events: list[Event] = []
        state = self.state
        if state is State.CLOSED:
            return events
        if self._partial and now - self._partial_since >= self.terms.partial_timeout:
            self._close(Why.PARTIAL, f"{len(self._partial)} octets of a PDU", events)
            return events
        if state in (State.NEW, State.LOGIN):
            waiting = self.role is Role.SERVER or state is State.LOGIN
            if waiting and now >= self._deadline:
                self._close(Why.LOGIN_TIMEOUT, "", events)
            return events
        while self._in_flight:  # deadlines rise in insertion order: T is one number
            sequence, (_, deadline, tag, _) = next(iter(self._in_flight.items()))
            if deadline > now:
                break
            del self._in_flight[sequence]
            events.append(Unanswered(sequence, tag, Lost.TIMEOUT))
        self._keep_alive(now, events)
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
        head, header_size, longest = self._head, self.header_size, self.terms.max_length
        usual = self._usual if self.role is Role.CLIENT and self.state is State.OPEN else None
        size = len(buffer)
        at = 0
        while (left := size - at) >= 4:
            if usual is not None and (accepted := usual(buffer, at, left)) is not None:
                length, event = accepted
                at += length
                events.append(event)
                continue
            if left >= header_size:
                length, command, sequence, status = head(buffer, at)
            else:  # the rest is on its way, but what cannot be is told at once
                length = int.from_bytes(buffer[at : at + 4], "big")
            if not header_size <= length <= longest:
                self._misframed(buffer[at : at + 4], events)
                return events
            if left < length:
                break
            body = buffer[at + header_size : at + length]
            at += length
            self._tests = 0
            self._take(command, status, sequence, body, now, events)
            if self.state is not State.OPEN:
                usual = None
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

    # --- inside, for protocols too ---

    def _next_sequence(self) -> int:
        sequence, taken, last = self._sequence, self._in_flight, self.max_sequence
        while True:
            sequence = sequence + 1 if sequence < last else 1
            if sequence not in taken:
                self._sequence = sequence
                return sequence

    def _send(self, pdu: object, sequence: int) -> None:
        self._out.append(self._encode(pdu, sequence))

    def _start_login(self, now: float) -> int:
        """Client: the sequence for the login, and the state after it is sent."""
        if self.role is not Role.CLIENT or self.state is not State.NEW:
            raise NotOpen("login is the first act of a client")
        self._login_sequence = self._next_sequence()
        self._deadline = now + self.terms.login_timeout
        self.state = State.LOGIN
        return self._login_sequence

    def _answer_login(self, sequence: int, pdu: object, status: int) -> None:
        """Server: send the answer to a `LoginRequested`; success opens, the rest closes."""
        if self.state is not State.LOGIN or self._login_sequence != sequence:
            raise NotOpen("no login to accept" if status == 0 else "no login to refuse")
        self._send(pdu, sequence)
        self._login_sequence = None
        self.state = State.OPEN if status == 0 else State.CLOSED

    def _close(self, why: Why, detail: str, events: list[Event]) -> None:
        self.state = State.CLOSED
        self._partial = b""
        events.append(MustClose(why, detail))

    def _usual(self, buffer: bytes, at: int, left: int) -> tuple[int, Accepted] | None:
        """If the PDU at `at` is the usual answer to what `submit` sent, as nearly all that a client
        hears are: its length, and what it says. None: it takes the long way.
        """
        found = self._accepts(buffer, at, left)
        if found is None:
            return None
        length, sequence, remote_id = found
        waiting = self._in_flight.get(sequence)
        if waiting is None or not waiting[3]:
            return None
        del self._in_flight[sequence]
        self._tests = 0
        return length, _accepted(Accepted, (sequence, remote_id, waiting[2]))

    def _misframed(self, word: bytes, events: list[Event]) -> None:
        """The first four octets of a PDU are a length that cannot be."""
        text = word.isascii() and word[:3].isalpha()
        self._unreadable()
        what = f"text, not {self.name}" if text else f"length {int.from_bytes(word, 'big')}"
        self._close(Why.FRAMING, what, events)

    def _note(self, what: str) -> None:
        self.counters[what] += 1

    def _odd(self, what: str, detail: str, events: list[Event]) -> None:
        self.counters[what] += 1
        events.append(Oddity(what, detail))

    def _late(self, sequence: int, pdu: object, events: list[Event]) -> None:
        self._note("late_response")
        events.append(LateResponse(sequence, pdu))

    def _keep_alive(self, now: float, events: list[Event]) -> None:
        """After `idle` of silence up to `tests` tests, `test_timeout` apart, past the window."""
        terms = self.terms
        if not terms.idle or self.test is None or self.state is State.TERMINATING:
            return
        if self._tests:
            if now < self._test_due:
                return
            if self._tests >= terms.tests:
                self._close(Why.SILENT, f"{self._tests} active tests unanswered", events)
                return
        elif now - self._heard < terms.idle:
            return
        self._tests += 1
        self._test_due = now + terms.test_timeout
        self._send(self.test[0], self._next_sequence())

    def _proceed(self, now: float, events: list[Event]) -> None:
        """Take the next step of an ending, when there is nothing left to wait for or it has taken
        too long.
        """
        state = self.state
        if state is State.OPEN or state not in LIVE:
            return
        late = now >= self._deadline
        if state is State.TERMINATING:
            if late:
                word = type(self.end[0]).__name__.upper()
                self._close(Why.DRAINED, f"{word} unanswered", events)
            return
        if (self._in_flight or self._inbound) and not late:
            return
        if state is State.DRAINING:
            self._end_sequence = self._next_sequence()
            self._send(self.end[0], self._end_sequence)
            self._deadline = now + self.terms.terminate_timeout
            self.state = State.TERMINATING
        else:
            self._send(self.end[1], self._end_sequence)
            self._close(Why.PEER_TERMINATED, "", events)

    def _take(
        self, command: int, status: int, sequence: int, body: bytes, now: float, events: list[Event]
    ) -> None:
        if self.state not in LIVE:
            self._take_before_login(command, status, sequence, body, events)
        elif command & RESPONSE:
            self._take_response(command, status, sequence, body, events)
        elif not self._known(command):
            self._unknown_command(command, sequence, events)
        elif self.test is not None and command == self.test[2]:
            self._send(self.test[1], sequence)
        elif command == self.end[2]:
            self._take_end(sequence, now, events)
        elif self._is_login(command):
            self._odd("second_connect", "", events)
            self._refuse_second(sequence)
        else:
            self._take_request(command, sequence, body, events)

    def _is_login(self, command: int) -> bool:
        return command == self.login_command

    def _take_end(self, sequence: int, now: float, events: list[Event]) -> None:
        self._end_sequence = sequence
        if self.state is State.TERMINATING:
            self._send(self.end[1], sequence)
            self._close(Why.PEER_TERMINATED, "both sides asked", events)
            return
        events.append(PeerTerminating())
        self.state = State.PEER_ENDING
        self._deadline = now + self.terms.terminate_timeout

    def _take_request(self, command: int, sequence: int, body: bytes, events: list[Event]) -> None:
        if not self._serves(command):
            self._odd("wrong_direction", f"command {command}", events)
            self._answer_fault(command, sequence, body, None)
            return
        try:
            pdu = self._decode(command, 0, body)
        except Malformed as error:
            self._odd("malformed_request", str(error), events)
            self._answer_fault(command, sequence, body, error)
            return
        if command not in self.one_way:
            held = self._inbound.get(sequence)
            if held is not None:  # sent again before we answered: one answer will do for both
                self._take_again(command, sequence, body, held == (command, body))
                return
            self._inbound[sequence] = (command, body)
            if len(self._inbound) > self.terms.peer_window:
                self._note("window_exceeded")
        events.append(Request(sequence, pdu))

    def _take_again(self, _command: int, _sequence: int, _body: bytes, _same: bool) -> None:
        """A request with the sequence of one that is not answered yet."""
        self._note("duplicate_request")

    def _take_response(
        self, command: int, status: int, sequence: int, body: bytes, events: list[Event]
    ) -> None:
        waiting = self._in_flight.get(sequence)
        if waiting is not None:
            requested, _, tag, _ = waiting
            if requested | RESPONSE == command or self._answers(requested, command):
                del self._in_flight[sequence]
            else:
                waiting = None
        try:
            pdu = self._decode(command, status, body)
        except Malformed as error:
            self._odd("malformed_response", str(error), events)
            if waiting is not None:
                events.append(Unanswered(sequence, tag, Lost.MALFORMED))
            return
        if waiting is not None:
            events.append(Response(sequence, pdu, tag))
        elif self.test is not None and command == self.test[2] | RESPONSE:
            return  # any complete PDU has reset the count of failures already
        elif command == self.end[2] | RESPONSE and self.state is State.TERMINATING:
            self._close(Why.DRAINED, "", events)
        else:
            self._late(sequence, pdu, events)

    def _take_before_login(
        self, command: int, status: int, sequence: int, body: bytes, events: list[Event]
    ) -> None:
        """A server takes one login and nothing else, a client waits for the answer to its own."""
        if command == self.end[2]:
            self._send(self.end[1], sequence)
            self._close(Why.PEER_TERMINATED, "before login", events)
            return
        server = self.role is Role.SERVER
        wanted = self._is_login(command if server else command & ~RESPONSE) and (
            server is not bool(command & RESPONSE)
        )
        if not wanted or self.state is not (State.NEW if server else State.LOGIN):
            self._close(Why.NOT_CONNECT, f"command 0x{command:08x}", events)
            return
        try:
            pdu = self._decode(command, status, body)
        except Malformed as error:
            if server:
                self._refuse_unreadable(sequence)
            self._close(Why.LOGIN_REFUSED, str(error), events)
            return
        if server:
            self._login_sequence = sequence
            self.state = State.LOGIN
        elif sequence != self._login_sequence:
            self._late(sequence, pdu, events)
            return
        self._take_login(sequence, pdu, events)
