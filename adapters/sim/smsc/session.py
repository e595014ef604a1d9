"""One client connection of the simulated SMSC: an asyncio protocol around a server `Link`, with
one write per read.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from adapters.sim.smsc.outbox import Outgoing
from protocols.cmpp import pdu as p
from protocols.cmpp.auth import source_matches
from protocols.cmpp.events import (
    Event,
    LoginRequested,
    MustClose,
    Request,
    Response,
    Unanswered,
)
from protocols.cmpp.link import Link
from protocols.cmpp.terms import LinkOptions, Role

if TYPE_CHECKING:
    from adapters.sim.smsc.server import Smsc


_ASKING = (Request, LoginRequested)


class Session(asyncio.Protocol):
    """Reads, lets the `Smsc` decide, writes. `number` counts connections from 1."""

    def __init__(self, smsc: Smsc) -> None:
        options = smsc.options
        self._smsc = smsc
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held: list[bytes] = []
        self.writable = True
        self.number = 0
        self.link = Link(
            Role.SERVER,
            LinkOptions(
                version=options.version,
                window=options.window,
                peer_window=options.window,
                response_timeout=options.deliver_timeout,
                idle=options.idle,
            ),
            self._loop.time(),
        )

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast(asyncio.Transport, transport)
        self.number = self._smsc.admit(self)
        if self._smsc.faults.down:
            self.cut()

    def data_received(self, data: bytes) -> None:
        faults = self._smsc.faults
        if faults.half_open:
            self._held.append(data)
            if self._transport is not None:
                self._transport.pause_reading()
            return
        now = self._loop.time()
        for event in self.link.receive_data(data, now):
            if (faults.silent or self._transport is None) and isinstance(event, _ASKING):
                continue  # never reached the gateway; answers of the client still count
            self._handle(event, now)
        self.flush()
        self._smsc.outbox.pump(now)

    def pause_writing(self) -> None:
        self.writable = False

    def resume_writing(self) -> None:
        self.writable = True
        self._smsc.outbox.pump(self._loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._smsc.forget(self)
        now = self._loop.time()
        for event in self.link.connection_lost():
            self._handle(event, now)
        self._smsc.outbox.pump(now)

    # --- for the Smsc ---

    def respond(self, sequence: int, answer: p.SubmitResp) -> None:
        """Answer later than in the read that brought the request."""
        if self.link.respond(sequence, answer):
            self.flush()

    def flush(self) -> None:
        """Write what is queued, unless the switches keep it in."""
        faults = self._smsc.faults
        if self._transport is None or faults.half_open:
            return
        data = self.link.data_to_send()
        if data and not faults.silent:
            self._transport.write(data)

    def cut(self, flush: bool = False) -> None:
        """End the connection now: in-flight answers are lost, unless `flush`."""
        transport = self._transport
        if transport is None:
            return
        self._smsc.counters["unplugged"] += 1
        if flush:
            self.flush()
            transport.close()
        else:
            transport.abort()
        self._transport = None
        self.writable = False

    def terminate(self) -> None:
        """End the session as a gateway under maintenance does: TERMINATE, and what is in flight is
        answered first.
        """
        now = self._loop.time()
        for event in self.link.drain(now):
            self._handle(event, now)
        self.flush()

    def tick(self, now: float) -> None:
        """Let time pass, and take up reading again after a half-open spell."""
        if self._smsc.faults.half_open or self._transport is None:
            return
        if self._held:
            held, self._held = self._held, []
            self._transport.resume_reading()
            self.data_received(b"".join(held))
        for event in self.link.tick(now):
            self._handle(event, now)
        self.flush()

    # --- inside ---

    def _handle(self, event: Event, now: float) -> None:
        match event:
            case Request(sequence, p.Submit() as pdu):
                self._smsc.submits_taken.take(self, sequence, pdu, now)
            case Response(_, p.DeliverResp(_, result), Outgoing() as outgoing):
                self._smsc.outbox.acknowledged(outgoing, result, now)
            case Unanswered(_, Outgoing() as outgoing, why):
                self._smsc.outbox.unanswered(outgoing, why, now)
            case Request(sequence, p.Query() as query):
                totals = self._smsc.totals(query)
                self.link.respond(sequence, totals)
            case Request(sequence, p.Cancel()):
                self.link.respond(sequence, p.CancelResp(1))  # already with the handset
            case LoginRequested(sequence, connect):
                self._login(sequence, connect, now)
            case MustClose():
                self._end()
            case _:
                self._smsc.counters["oddities"] += 1

    def _login(self, sequence: int, connect: p.Connect, now: float) -> None:
        status = self._smsc.login_status(connect)
        if status:
            self._smsc.counters[f"login_status_{status}"] += 1
            self.link.refuse(sequence, status)
            self._end()
            return
        self.link.accept(sequence, self._smsc.options.secret)
        self.flush()
        self._smsc.logged_in(self)
        self._smsc.outbox.pump(now)

    def _end(self) -> None:
        if self._transport is not None:
            self.flush()
            self._transport.close()


def login_status(connect: p.Connect, account: str, secret: str, version: int) -> int:
    """The CONNECT_RESP status an honest gateway gives, apart from the count of connections."""
    if connect.source != account:
        return p.STATUS_SOURCE
    if not source_matches(connect.auth, connect.source, secret, connect.timestamp):
        return p.STATUS_AUTH
    if p.layout(connect.version) > version:
        return p.STATUS_VERSION
    return p.STATUS_OK
