"""The SMS channel: texts in parts over several connections, each message's outcome from its
answers, reports and replies in.

Nothing is ever sent again on a timeout: what was written and not answered is Unknown, what was not
written is given back.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Sequence

from adapters.sms.connection import Connection, Pace
from adapters.sms.inbox import Inbox
from adapters.sms.numbers import sender_digits, to_carrier
from adapters.sms.outgoing import Batch, Outgoing
from adapters.sms.settings import SmsSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Spec,
    Unreachable,
)
from protocols.cmpp import pdu as p
from protocols.cmpp.link import Link
from protocols.cmpp.terms import LinkOptions, Role
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Text
from protocols.sms import text

MAX_REFERENCES = 50_000


class Sms(Adapter):
    """One account at one gateway."""

    spec = Spec(
        kind="sms",
        title="SMS (短信)",
        payloads=frozenset({Text}),
        schemes=frozenset({"tel"}),
        max_batch=100,
        in_flight=4,
        receives=True,
        receipts=frozenset({"delivered", "undelivered"}),
        limits={
            "length": "70 characters (140 ASCII), above that 67 (134) a part; at most 255 parts",
            "repeats": "the gateway does not know them; an unanswered message is not sent again",
        },
    )
    Settings = SmsSettings
    settings: SmsSettings

    def __init__(self, settings: SmsSettings, port: Port) -> None:
        super().__init__(settings, port)
        self.counts: Counter[str] = Counter()
        """Oddities by name, for logs and tests."""
        self._version = p.V30 if settings.protocol == "cmpp3" else p.V20
        self._limits = {text.ASCII: text.SEPTETS} if settings.ascii_septets else {}
        self._pace = Pace(settings.rate)
        self._connections: set[Connection] = set()
        self._references: dict[str, int] = {}
        self._links_up = 0
        self._draining = False
        self._up: Callable[[bool], None] | None = None
        self._inbox = Inbox(port, settings.long_mo_s, self.count)

    @property
    def links_up(self) -> int:
        """Connections that are logged in."""
        return self._links_up

    # --- out ---

    def render(self, envelope: Envelope) -> None:
        """Raises Malformed for another scheme or payload, an empty text, or more than 255 parts."""
        to_carrier(envelope.to, self.settings.country_prefix)
        self._split(envelope, 0)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Write the batch on one connection, in order, and wait for every answer.

        What the loss of a connection left unwritten goes over another, within `queue_s`. Raises
        Unreachable when none is logged in, or when the one chosen was lost before a byte of the
        batch was written.
        """
        connection = self._pick()
        if connection is None:
            raise Unreachable("sms: draining" if self._draining else "sms: no connection is up")
        outcomes: list[Outcome | None] = [None] * len(batch)
        todo: dict[int, Sequence[p.Submit]] = {}
        for index, item in enumerate(batch):
            try:
                todo[index] = self._submits(item)
            except Malformed as error:
                outcomes[index] = Rejected("message", str(error), "malformed")
        until = self.port.clock.monotonic() + self.settings.queue_s
        while todo and connection is not None:
            messages = [Outgoing(index, submits) for index, submits in todo.items()]
            await self._send(connection, messages, until)
            for message in messages:
                outcomes[message.index] = message.outcome
                if not message.given_back:
                    del todo[message.index]
            if len(todo) == len(batch):
                break  # nothing has left: the whole batch can come again
            connection = await self._another(until) if todo else None
        if len(todo) == len(batch):
            raise Unreachable("sms: nothing could be written")
        return [outcome for outcome in outcomes if outcome is not None]

    async def _send(
        self, connection: Connection, messages: Sequence[Outgoing], until: float
    ) -> None:
        """Write and wait for every answer; from `until` on what was not begun is given back."""
        loop = asyncio.get_running_loop()
        work = Batch(messages, loop)
        connection.send(messages)
        left = max(until - self.port.clock.monotonic(), 0.0)
        timer = loop.call_later(left, _give_back, messages, "waited too long to be written")
        try:
            await work.done
        finally:
            timer.cancel()
            _give_back(messages, "cancelled")  # only after a cancellation is there anything left

    async def _another(self, until: float) -> Connection | None:
        """A connection for the rest of a batch whose own was lost: waits for one, but not for
        long.
        """
        clock = self.port.clock
        while not self._draining and clock.monotonic() < until:
            connection = self._pick()
            if connection is not None:
                return connection if connection.answers else None
            await clock.sleep(0.02)
        return None

    def _pick(self) -> Connection | None:
        if self._draining:
            return None
        usable = [one for one in self._connections if one.usable]
        return min(usable, key=lambda one: one.load) if usable else None

    def _split(self, envelope: Envelope, reference: int) -> tuple[int, list[text.Part]]:
        payload = envelope.payload
        if not isinstance(payload, Text):
            raise Malformed(f"a short message holds text, not {type(payload).__name__}")
        words, signature = payload.text, self.settings.signature
        if not words:
            raise Malformed("a short message needs at least one character")
        if signature and signature not in words:
            words = signature + words
        fmt = text.choose(words)
        try:
            limits = self._limits.get(fmt)
            return fmt, text.split(words, fmt, reference=reference, limits=limits)
        except ValueError as error:
            raise Malformed(str(error)[:200]) from error

    def _submits(self, item: Dispatch) -> list[p.Submit]:
        settings, envelope = self.settings, item.envelope
        number = to_carrier(envelope.to, settings.country_prefix)
        fmt, parts = self._split(envelope, 0)
        if len(parts) > 1:
            # Two long messages to one phone must not share a reference: count on from the last one.
            fmt, parts = self._split(envelope, self._reference(number, item.token))
        src = sender_digits(item.sender, settings.src)
        return [
            p.Submit(
                recipients=(number,),
                content=part.content,
                src_id=src,
                msg_src=settings.account,
                msg_fmt=fmt,
                udhi=part.udhi,
                pk_total=part.total,
                pk_number=part.number,
                service_id=settings.service_id,
                fee_user_type=settings.fee_user_type,
                fee_type=settings.fee_type,
                fee_code=settings.fee_code,
            )
            for part in parts
        ]

    def _reference(self, number: str, token: str) -> int:
        references = self._references
        last = references.pop(number, None)
        reference = zlib.crc32(token.encode()) & 0xFF if last is None else (last + 1) & 0xFF
        references[number] = reference
        if len(references) > MAX_REFERENCES:
            del references[next(iter(references))]
        return reference

    # --- the connections ---

    async def session(self, up: Callable[[bool], None]) -> None:
        """Keep every connection, each by itself; up while at least one is logged in."""
        self._up = up
        self._draining = False
        self._links_up = 0
        self._gauges()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self.settings.connections):
                    group.create_task(self._keep())
                group.create_task(self._tick())
                group.create_task(self._inbox.run())
        finally:
            for connection in list(self._connections):
                connection.abort()
            self._connections.clear()
            self._up = None

    async def _keep(self) -> None:
        """One connection, again and again, with growing and jittered pauses; a refused login
        waits long.
        """
        settings, clock = self.settings, self.port.clock
        version, delay = self._version, settings.reconnect_min_s
        while not self._draining:
            connection = await self._connect(version)
            if connection is not None:
                try:
                    await asyncio.shield(connection.closed)
                finally:
                    self._connections.discard(connection)
                    connection.abort()
                if connection.login_status:
                    self.port.log.error("sms_login_refused", status=connection.login_status)
                else:
                    self.port.log.warning("sms_link_down", why=connection.why)
                if connection.was_open:
                    delay = settings.reconnect_min_s
                if connection.login_status == p.STATUS_VERSION and version == p.V30:
                    version = p.V20
                    continue
                if connection.login_status in (p.STATUS_SOURCE, p.STATUS_AUTH):
                    await clock.sleep(settings.login_retry_s)
                    continue
            await clock.sleep(delay * self.port.random.uniform(0.5, 1.0))
            delay = min(delay * 2, settings.reconnect_max_s)

    async def _connect(self, version: int) -> Connection | None:
        settings, clock = self.settings, self.port.clock
        options = LinkOptions(
            version=version,
            window=settings.window,
            response_timeout=settings.response_timeout_s,
            idle=settings.active_test_s,
            test_timeout=settings.active_test_timeout_s,
            tests=settings.active_tests,
            login_timeout=settings.connect_timeout_s,
            strict_auth=settings.strict_auth,
        )

        def make() -> Connection:
            link = Link(Role.CLIENT, options, clock.monotonic())
            one = Connection(
                settings, link, clock=clock, owner=self, log=self.port.log, pace=self._pace
            )
            self._connections.add(one)  # before it can tell us that it is logged in
            made.append(one)
            return one

        made: list[Connection] = []

        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(make, settings.host, settings.port)
        except (OSError, TimeoutError) as error:
            self.port.log.warning("sms_connect_failed", error=type(error).__name__)
            for one in made:  # uvloop makes it before it knows whether there is anybody
                self._connections.discard(one)
                one.abort()
            return None
        return connection

    async def _tick(self) -> None:
        settings = self.settings
        shortest = min(
            settings.response_timeout_s, settings.active_test_s, settings.active_test_timeout_s
        )
        while True:
            await self.port.clock.sleep(min(1.0, shortest / 4))
            for connection in list(self._connections):
                connection.tick()
            self._gauges()

    def _gauges(self) -> None:
        used = sum(connection.link.in_flight for connection in self._connections)
        self.port.gauge("window_in_use", used)
        self.port.gauge("links_up", self._links_up)

    async def drain(self) -> None:
        """Give back what was not begun, let the rest be answered (up to T), say TERMINATE, hand
        on half messages.
        """
        self._draining = True
        clock = self.port.clock
        connections = list(self._connections)
        for connection in connections:
            connection.give_back("draining")
        until = clock.monotonic() + self.settings.response_timeout_s
        while any(one.busy for one in connections) and clock.monotonic() < until:
            await clock.sleep(0.01)
        while self._inbox.busy and clock.monotonic() < until:
            await clock.sleep(0.01)
        for connection in connections:
            connection.drain()
        until = clock.monotonic() + 6.0  # the link waits 5 s for the answer to TERMINATE
        while not all(one.closed.done() for one in connections) and clock.monotonic() < until:
            await clock.sleep(0.01)
        await self._inbox.flush()

    # --- what connections tell (connection.Owner) ---

    def changed(self) -> None:
        links_up = sum(connection.usable for connection in self._connections)
        before, self._links_up = self._links_up, links_up
        if self._up is not None and bool(before) != bool(links_up):
            self._up(bool(links_up))
        self._gauges()

    def heard(self, connection: Connection, sequence: int, pdu: p.Deliver) -> None:
        self._inbox.put(connection, sequence, pdu)

    def count(self, what: str) -> None:
        self.counts[what] += 1


def _give_back(messages: Sequence[Outgoing], why: str) -> None:
    for message in messages:
        message.give_back(why)
