"""One connection of the simulated SMSC: an asyncio protocol around a `Link`, with one write per
read unless the switches say otherwise.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Protocol, cast

from adapters.sim.smsc.dialects import Dialect
from adapters.sim.smsc.options import Faults
from adapters.sim.smsc.outbox import Outbox, Outgoing
from adapters.sim.smsc.submits import Submits
from protocols.sms.events import (
    Event,
    LoggedIn,
    LoginRequested,
    MustClose,
    Request,
    Response,
    Unanswered,
)
from protocols.sms.link import RESPONSE, Link
from protocols.sms.terms import Role

_ASKING = (Request, LoginRequested)


class Gateway(Protocol):
    """What a connection asks of its gateway and tells it; `server.Smsc` is it."""

    @property
    def faults(self) -> Faults: ...

    counters: Counter[str]
    dialect: Dialect
    outbox: Outbox
    submits_taken: Submits

    def admit(self, session: Session) -> int:
        """Take it in; its number."""
        ...

    def forget(self, session: Session) -> None: ...

    def logged_in(self, session: Session) -> None: ...

    def login_status(self, login: object) -> int:
        """0 = welcome."""
        ...

    def totals(self) -> dict[str, int]:
        """The statistics some protocols ask for."""
        ...


class Session(asyncio.Protocol):
    """Reads, lets the gateway decide, writes. `number` counts connections from 1."""

    def __init__(self, smsc: Gateway, link: Link) -> None:
        self._smsc = smsc
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._held: list[bytes] = []
        self._repeat = False
        self.writable = True
        self.number = 0
        self.link = link

    # --- asyncio ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none of asyncio's classes, only alike.
        self._transport = cast(asyncio.Transport, transport)
        self.number = self._smsc.admit(self)
        if self._smsc.faults.down:
            self.cut()
        elif self.link.role is Role.CLIENT:
            self._smsc.dialect.call(self.link, self._loop.time())
            self.flush()

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

    @property
    def ready(self) -> bool:
        """Whether a delivery may go out here now."""
        return (
            self.writable and self.link.window_free > 0 and self._smsc.dialect.delivers(self.link)
        )

    def respond(self, sequence: int, answer: object) -> None:
        """Answer later than in the read that brought the request."""
        if self.link.respond(sequence, answer):
            self.flush()

    def repeat(self) -> None:
        """Send the PDU that is queued last once more with the next write."""
        self._repeat = True

    def write(self, octets: bytes) -> bool:
        """Write what no gateway should. False when the connection is gone."""
        if self._transport is None:
            return False
        self._transport.write(octets)
        return True

    def flush(self) -> None:
        """Write what is queued, unless the switches keep it in."""
        faults = self._smsc.faults
        if self._transport is None or faults.half_open:
            return
        data = self.link.data_to_send()
        if not data or faults.silent:
            return
        if faults.short_tail or self._repeat:
            data = self._mangled(data, faults.short_tail)
        step = faults.split_writes or len(data)
        for at in range(0, len(data), step):
            self._transport.write(data[at : at + step])

    def cut(self, flush: bool = False) -> None:
        """End the connection now: in-flight answers are lost, unless `flush`."""
        transport = self._transport
        if transport is None:
            return
        self._smsc.counters["unplugged"] += 1
        if self._smsc.faults.unplug_inside:
            data = self.link.data_to_send()
            transport.write(data[: -len(data) // 2] if len(data) < 24 else data[:-10])
            transport.close()
        elif flush:
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

    def _mangled(self, data: bytes, short: int) -> bytes:
        """Deliveries without their last octets, and the last PDU twice if that was asked for."""
        repeat, self._repeat = self._repeat, False
        out = []
        at = 0
        while at < len(data):
            size = int.from_bytes(data[at : at + 4], "big")
            pdu = data[at : at + size]
            at += size
            if short and not int.from_bytes(pdu[4:8], "big") & RESPONSE and size > 100:
                pdu = (size - short).to_bytes(4, "big") + pdu[4:-short]
            out.append(pdu)
        return b"".join(out + out[-1:] if repeat else out)

    def _handle(self, event: Event, now: float) -> None:
        match event:
            case Request(sequence, pdu):
                self._request(sequence, pdu, now)
            case Response(_, pdu, Outgoing() as outgoing):
                result = self._smsc.dialect.verdict(pdu)
                self._smsc.outbox.acknowledged(outgoing, 1 if result is None else result, now)
            case Unanswered(_, Outgoing() as outgoing, why):
                self._smsc.outbox.unanswered(outgoing, why, now)
            case LoginRequested(sequence, pdu):
                self._login(sequence, pdu, now)
            case LoggedIn():
                self._smsc.logged_in(self)
                self._smsc.outbox.pump(now)
            case MustClose():
                self._end()
            case _:
                self._smsc.counters["oddities"] += 1

    def _request(self, sequence: int, pdu: object, now: float) -> None:
        dialect = self._smsc.dialect
        taken = dialect.taken(pdu)
        if taken is not None:
            self._smsc.submits_taken.take(self, sequence, pdu, taken, now)
            return
        answer = dialect.other(pdu, self._smsc.totals())
        if answer is not None:
            self.link.respond(sequence, answer)

    def _login(self, sequence: int, login: object, now: float) -> None:
        dialect = self._smsc.dialect
        status = self._smsc.login_status(login)
        if status:
            self._smsc.counters[f"login_status_{status}"] += 1
            dialect.refuse(self.link, sequence, status)
            self._end()
            return
        dialect.accept(self.link, sequence)
        self.flush()
        self._smsc.logged_in(self)
        self._smsc.outbox.pump(now)

    def _end(self) -> None:
        if self._transport is not None:
            self.flush()
            self._transport.close()
