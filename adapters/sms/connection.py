"""One carrier connection on its socket: bytes in and out with one write a turn, a queue before the
window, no thought of its own.

The protocol is a `protocols.sms.link.Link`; this class feeds it, writes what it has to say and keeps the
queue of messages in order, so that the parts of a message follow one another on one connection.

One file, for every method works on the one queue between the callers and the socket.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Any, Protocol, cast

from adapters.sms.codes import FamilyCodes
from adapters.sms.dialects import Dialect, Use
from adapters.sms.outgoing import Outgoing, Ready
from adapters.sms.pacing import Pace
from adapters.sms.routing import Breaker
from adapters.sms.settings import Endpoint
from msgcenter.clock import Clock
from protocols.outcome import Outcome
from protocols.sms import events as e
from protocols.sms.form import Filled
from protocols.sms.link import Link
from protocols.sms.results import CLASSES, Rule
from protocols.sms.terms import Role, State

CHINA = timezone(timedelta(hours=8))


class Owner(Protocol):
    """What a connection tells its supplier."""

    terms: Endpoint
    codes: FamilyCodes
    dialect: Dialect
    pace: Pace
    breaker: Breaker
    """Told of every answer: the far end lives."""

    def changed(self) -> None:
        """A connection can carry messages now, or no longer."""
        ...

    def heard(self, connection: Connection, sequence: int, pdu: object) -> None:
        """Answer with `Connection.confirm` once it is durable."""
        ...

    def admit(self, connection: Connection, sequence: int, login: object) -> bool:
        """The far end logs in with us; answer it. May give the connection another owner."""
        ...

    def own(self, remote_id: str) -> str:
        """An id that its gateway gave, as the channel knows it."""
        ...

    def named(self, outcome: Outcome | None) -> Outcome | None:
        """An outcome with such ids."""
        ...

    def troubled(self) -> None:
        """A request went unanswered, or the far end says that it is in trouble."""
        ...

    def count(self, what: str) -> None: ...


class Connection(asyncio.Protocol):
    """From connect to close; never reused. `closed` is done when the socket is gone."""

    def __init__(self, owner: Owner, link: Link, use: Use, *, clock: Clock, log: Any) -> None:
        self.owner = owner
        self.link = link
        self.use = use
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ready: dict[object, Ready] = {}
        """What recent texts of one part became for this connection, by keys of its user."""
        self.was_open = False
        self.login_status = 0
        """The status of a refused login, 0 = none."""
        self.why = ""
        self._clock = clock
        self._log = log
        self._transport: asyncio.Transport | None = None
        self._poll: Callable[[int], list[tuple[int, int]]] | None = None
        self._queue: deque[Outgoing] = deque()
        self._stuck = False
        """The socket takes no more for now."""
        self._suspect = False
        """Requests go unanswered: one at a time until an answer comes."""
        self._pause_until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._handlers: dict[type, Callable[[Any], None]] = {
            e.Accepted: self._accepted,
            e.Response: self._response,
            e.Request: self._request,
            e.Unanswered: self._unanswered,
            e.LateResponse: self._late,
            e.LoggedIn: self._logged_in,
            e.LoginRefused: self._login_refused,
            e.LoginRequested: self._login_requested,
            e.Oddity: self._oddity,
            e.PeerTerminating: self._peer_terminating,
            e.MustClose: self._must_close,
        }

    # --- for the adapter ---

    @property
    def usable(self) -> bool:
        """Whether messages may be given to it."""
        return self.link.is_open and self.use in ("both", "send")

    @property
    def answers(self) -> bool:
        """False once a request has gone unanswered, until one is answered again."""
        return not self._suspect

    @property
    def load(self) -> int:
        """Messages before it; a connection that does not answer counts as very long."""
        return len(self._queue) + self.link.in_flight + (1_000_000 if self._suspect else 0)

    def send(self, messages: Iterable[Outgoing]) -> None:
        """Queue messages; their `outcome` is set when it is known."""
        self._queue.extend(messages)
        self.pump()

    def confirm(self, sequence: int, pdu: object, *, taken: bool = True) -> bool:
        """Answer a delivery; `flush` writes it. False when nobody is there to be told."""
        return self.link.respond(sequence, self.owner.dialect.confirm(pdu, taken))

    def tick(self) -> None:
        """Let time pass; about once a second."""
        self._handle(self.link.tick(self._clock.monotonic()))

    def give_back(self, why: str) -> None:
        """Messages of which no byte was written get their outcome now; those begun stay."""
        begun = [message for message in self._queue if not message.give_back(why)]
        self._queue.clear()
        self._queue.extend(begun)

    @property
    def busy(self) -> bool:
        return bool(self._queue or self.link.in_flight)

    def drain(self) -> None:
        """Say goodbye once nothing is in flight."""
        self._handle(self.link.drain(self._clock.monotonic()))

    def abort(self) -> None:
        """Cut the socket; everything written and unanswered is unknown."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    # --- asyncio.Protocol ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast(asyncio.Transport, transport)
        # Pause at the first octet the kernel does not take: what is queued here has not left yet.
        self._transport.set_write_buffer_limits(high=0)
        self._poll = _hang_up_poll(self._transport)
        if self.link.role is Role.CLIENT:
            clock = self._clock
            stamp = stamp_of(clock.now_ms())
            self.owner.dialect.login(self.link, self.use, stamp, clock.monotonic())
            self.flush()

    def data_received(self, data: bytes) -> None:
        self._handle(self.link.receive_data(data, self._clock.monotonic()))

    def pause_writing(self) -> None:
        self._stuck = True

    def resume_writing(self) -> None:
        self._stuck = False
        self.pump()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.closed.done():
            return
        self.why = self.why or (f"connection lost: {type(exc).__name__}" if exc else "closed")
        self._poll = None  # the descriptor will be another's
        if self._timer is not None:
            self._timer.cancel()
        for event in self.link.connection_lost():
            self._handlers[type(event)](event)
        self.give_back(self.why)
        for message in list(self._queue):
            message.lost = message.lost or self.why
            self._settle(message)
        self._queue.clear()
        self.closed.set_result(None)
        self.owner.changed()

    # --- inside ---

    def _handle(self, events: list[e.Event]) -> None:
        handlers = self._handlers
        for event in events:
            handlers[type(event)](event)
        self.pump()
        if self.link.must_close and self._transport is not None:
            if self._transport.get_write_buffer_size():
                self._transport.abort()  # a peer that reads nothing would keep us for ever
            else:
                self._transport.close()

    def flush(self) -> None:
        """Write what the link has to say, in one piece."""
        data = self.link.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    def pump(self) -> None:
        """Fill the window from the queue, then write once."""
        link, queue = self.link, self._queue
        if queue and link.state is State.OPEN and not self._stuck and not self._hung_up():
            now = self._clock.monotonic()
            if now < self._pause_until:
                self._wake(self._pause_until - now)
            else:
                self._fill(now)
        self.flush()

    def _hung_up(self) -> bool:
        """Whether the peer has closed and the loop has yet to tell: nothing must leave now.

        Costs a system call a turn, and saves a window of messages from being Unknown.
        """
        return self._poll is not None and bool(self._poll(0))

    def _fill(self, now: float) -> None:
        link, queue, pace = self.link, self._queue, self.owner.pace
        free = 1 - link.in_flight if self._suspect else link.window_free
        if free <= 0:
            return
        room = pace.room(now)
        most = min(free, room)
        out: list[tuple[Filled, str, object]] = []
        while queue and len(out) < most:
            message = queue[0]
            todo = message.todo
            if todo and message.outcome is None and not (message.written and message.stopped):
                part = (todo & -todo).bit_length() - 1  # the lowest
                out.append((message.ready.submits[part], message.recipient, (message, part)))
                message.todo = todo = todo & (todo - 1)
                message.in_flight += 1
                message.written = True
                if todo:
                    continue
            queue.popleft()
            message.queued = False
        if out:
            link.submit(out, now)
            pace.took(len(out))
        if queue and len(out) == room:
            self._wake(pace.wait)

    def _wake(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        if not self.closed.done():
            self.pump()

    def _settle(self, message: Outgoing) -> None:
        owner = self.owner
        terms = owner.terms
        if message.settle(
            owner.dialect.codes, owner.codes.results, terms.throttle_s, terms.throttle_tries
        ):
            return
        if message.outcome is None and message.todo and not message.stopped and not message.queued:
            message.queued = True
            self._queue.appendleft(message)

    def _accepted(self, event: e.Accepted) -> None:
        _, remote_id, tag = event
        message: Outgoing
        part: int
        message, part = tag  # type: ignore[misc]  # what `_fill` passed
        self._suspect = False
        self.owner.breaker.answered()
        if not message.taken(part, remote_id):
            self._settle(message)

    def _response(self, event: e.Response) -> None:
        sequence, pdu, tag = event
        answer = self.owner.dialect.answer(sequence, pdu)
        if type(answer) is str:
            self._accepted(e.Accepted(sequence, answer, tag))
            return
        message, part = cast("tuple[Outgoing, int]", tag)
        self._suspect = False
        if type(answer) is int:
            self._refused(message, part, answer)
        else:  # an answer of another kind to a submit: nobody can tell what became of it
            message.unanswered("answered by something else")
        self._settle(message)

    def _refused(self, message: Outgoing, part: int, code: int) -> None:
        owner = self.owner
        codes, vendor = owner.dialect.codes, owner.codes.results
        if _in_trouble(codes.rule_of(code, vendor)):
            owner.troubled()
        else:
            owner.breaker.answered()
        if message.refusal(part, code, codes, vendor):
            now = self._clock.monotonic()
            self._pause_until = now + owner.terms.throttle_s
            owner.pace.slow_down(now)
            owner.count("throttled")

    def _request(self, event: e.Request) -> None:
        self.owner.heard(self, event.sequence, event.pdu)

    def _login_requested(self, event: e.LoginRequested) -> None:
        if not self.owner.admit(self, event.sequence, event.pdu):
            self.owner.count("login_refused_here")
            self.why = "its login was refused"
        else:
            self.was_open = True

    def _unanswered(self, event: e.Unanswered) -> None:
        message, _ = cast("tuple[Outgoing, int]", event.tag)
        message.unanswered(f"no answer: {event.why.value}")
        self._settle(message)
        if event.why is e.Lost.TIMEOUT:
            self._suspect = True
            self.owner.troubled()
            self.owner.count("suspect")
            self.give_back("the gateway does not answer")

    def _late(self, _event: e.LateResponse) -> None:
        self.owner.count("late_response")

    def _logged_in(self, event: e.LoggedIn) -> None:
        self.was_open = True
        if not event.trusted:
            self._log.warning("sms_gateway_not_authenticated")
        self.owner.changed()

    def _login_refused(self, event: e.LoginRefused) -> None:
        self.login_status = event.status

    def _oddity(self, event: e.Oddity) -> None:
        self.owner.count(event.what)
        self._log.warning("sms_oddity", what=event.what, detail=event.detail)

    def _peer_terminating(self, _event: e.PeerTerminating) -> None:
        self.give_back("the gateway ends the session")
        self.owner.changed()

    def _must_close(self, event: e.MustClose) -> None:
        self.why = f"{event.why.value} {event.detail}".strip()
        self.owner.changed()


def _hang_up_poll(transport: asyncio.Transport) -> Callable[[int], list[tuple[int, int]]] | None:
    """A poll for hang-up and error alone; None where the system has none."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "POLLRDHUP"):
        return None
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return poll.poll


def _in_trouble(rule: Rule) -> bool:
    """Whether a refusal speaks of the far end rather than of the message; flow control does not."""
    gateway = rule.retry and rule.scope == "channel" and rule.code != "throttled"
    return gateway or rule is CLASSES["channel"]


def stamp_of(now_ms: int) -> int:
    """MMDDHHMMSS of Chinese time as a decimal number."""
    return _stamp(now_ms // 1000)


@lru_cache(maxsize=8)  # SGIP stamps every submit
def _stamp(second: int) -> int:
    return int(datetime.fromtimestamp(second, CHINA).strftime("%m%d%H%M%S"))
