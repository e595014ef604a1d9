"""One CMPP connection on its socket: bytes in and out with one write a turn, a queue before the
window, no thought of its own.

The protocol is `protocols.cmpp.link`; this class feeds it, writes what it has to say and keeps the
queue of messages in order, so that the parts of a message follow one another on one connection.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol, cast

from adapters.sms.outgoing import Outgoing
from adapters.sms.settings import SmsSettings
from msgcenter.clock import Clock
from protocols.cmpp import events as e
from protocols.cmpp import pdu as p
from protocols.cmpp.link import Link
from protocols.cmpp.terms import State

CHINA = timezone(timedelta(hours=8))


class Owner(Protocol):
    """What a connection tells the adapter."""

    def changed(self) -> None:
        """A connection can carry messages now, or no longer."""
        ...

    def heard(self, connection: Connection, sequence: int, pdu: p.Deliver) -> None:
        """Answer with `Connection.confirm` once it is durable."""
        ...

    def count(self, what: str) -> None: ...


class Pace:
    """Parts a second, shared by the connections of one channel; a burst of a tenth of a second
    is allowed.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._burst = max(1.0, rate / 10)
        self._tokens = self._burst
        self._then = 0.0

    def take(self, now: float) -> float:
        """Take one; else the seconds until there may be one."""
        if not self._rate:
            return 0.0
        self._tokens = min(self._burst, self._tokens + (now - self._then) * self._rate)
        self._then = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._rate


class Connection(asyncio.Protocol):
    """From connect to close; never reused. `closed` is done when the socket is gone."""

    def __init__(
        self,
        settings: SmsSettings,
        link: Link,
        *,
        clock: Clock,
        owner: Owner,
        log: Any,
        pace: Pace,
    ) -> None:
        self.link = link
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.was_open = False
        self.login_status = 0
        """The status of a refused login, 0 = none."""
        self.why = ""
        self._settings = settings
        self._vendor = settings.results
        self._clock = clock
        self._owner = owner
        self._log = log
        self._pace = pace
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
            e.Response: self._response,
            e.Request: self._request,
            e.Unanswered: self._unanswered,
            e.LateResponse: self._late,
            e.LoggedIn: self._logged_in,
            e.LoginRefused: self._login_refused,
            e.Oddity: self._oddity,
            e.PeerTerminating: self._peer_terminating,
            e.MustClose: self._must_close,
        }

    # --- for the adapter ---

    @property
    def usable(self) -> bool:
        return self.link.is_open

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
        for message in messages:
            message.queued = True
            self._queue.append(message)
        self.pump()

    def confirm(self, sequence: int, msg_id: int, result: int = p.RESULT_OK) -> None:
        """Answer a DELIVER; `flush` writes it."""
        self.link.respond(sequence, p.DeliverResp(msg_id, result))

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
        """Say goodbye: TERMINATE once nothing is in flight."""
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
        clock, settings = self._clock, self._settings
        self.link.login(
            settings.account,
            settings.secret.reveal(),
            _timestamp(clock.now_ms()),
            clock.monotonic(),
        )
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
        self._owner.changed()

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
        link, queue = self.link, self._queue
        free = 1 - link.in_flight if self._suspect else link.window_free
        while free > 0 and queue:
            message = queue[0]
            if message.outcome is not None or not message.todo or message.stopped:
                queue.popleft()
                message.queued = False
                continue
            wait = self._pace.take(now)
            if wait:
                self._wake(wait)
                return
            part = message.todo[-1]
            try:
                link.submit(message.submits[part], now, (message, part))
            except ValueError as error:  # a field that does not fit; nothing was queued
                message.unwritable(error)
                self._settle(message)
                continue
            message.todo.pop()
            message.in_flight += 1
            message.written = True
            free -= 1

    def _wake(self, seconds: float) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(seconds, self._woken)

    def _woken(self) -> None:
        self._timer = None
        if not self.closed.done():
            self.pump()

    def _settle(self, message: Outgoing) -> None:
        settings = self._settings
        if message.settle(self._vendor, settings.throttle_s, settings.throttle_tries) is not None:
            return
        if message.outcome is None and message.todo and not message.stopped and not message.queued:
            message.queued = True
            self._queue.appendleft(message)

    def _response(self, event: e.Response) -> None:
        message, part = cast("tuple[Outgoing, int]", event.tag)  # what `_fill` passed
        self._suspect = False
        assert isinstance(event.pdu, p.SubmitResp)
        if message.answered(part, event.pdu, self._vendor):
            self._pause_until = self._clock.monotonic() + self._settings.throttle_s
            self._owner.count("throttled")
        self._settle(message)

    def _request(self, event: e.Request) -> None:
        if isinstance(event.pdu, p.Deliver):
            self._owner.heard(self, event.sequence, event.pdu)

    def _unanswered(self, event: e.Unanswered) -> None:
        message, _ = cast("tuple[Outgoing, int]", event.tag)
        message.unanswered(f"no answer: {event.why.value}")
        self._settle(message)
        if event.why is e.Lost.TIMEOUT:
            self._suspect = True
            self._owner.count("suspect")
            self.give_back("the gateway does not answer")

    def _late(self, _event: e.LateResponse) -> None:
        self._owner.count("late_response")

    def _logged_in(self, event: e.LoggedIn) -> None:
        self.was_open = True
        if not event.trusted:
            self._log.warning("sms_gateway_not_authenticated")
        self._owner.changed()

    def _login_refused(self, event: e.LoginRefused) -> None:
        self.login_status = event.status

    def _oddity(self, event: e.Oddity) -> None:
        self._owner.count(event.what)
        self._log.warning("sms_oddity", what=event.what, detail=event.detail)

    def _peer_terminating(self, _event: e.PeerTerminating) -> None:
        self.give_back("the gateway ends the session")
        self._owner.changed()

    def _must_close(self, event: e.MustClose) -> None:
        self.why = f"{event.why.value} {event.detail}".strip()
        self._owner.changed()


def _hang_up_poll(transport: asyncio.Transport) -> Callable[[int], list[tuple[int, int]]] | None:
    """A poll for hang-up and error alone; None where the system has none."""
    sock = transport.get_extra_info("socket")
    if sock is None or not hasattr(select, "POLLRDHUP"):
        return None
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLRDHUP)
    return poll.poll


def _timestamp(now_ms: int) -> int:
    """MMDDHHMMSS of Chinese time as a decimal number."""
    return int(datetime.fromtimestamp(now_ms / 1000, CHINA).strftime("%m%d%H%M%S"))
