"""The SMS channel: texts by their rules and in parts, over the supplier that suits the number, each
message's outcome from its answers; reports and replies in.

Nothing is ever sent again on a timeout: what was written and not answered is Unknown, what was not
written is given back. One file for the life of a message, for each step decides the next.
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from adapters.sms.carriers import Ported, carrier_of
from adapters.sms.connection import Connection
from adapters.sms.dialects import ALONE, Called, Told, Written
from adapters.sms.inbox import Inbox
from adapters.sms.listener import Listener
from adapters.sms.numbers import CHINA, national, sender_digits, to_carrier
from adapters.sms.outgoing import Batch, Outgoing, Ready
from adapters.sms.routing import Health, choose
from adapters.sms.settings import SmsSettings
from adapters.sms.supplier import Supplier
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Retry,
    Spec,
    Unreachable,
)
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome, Sent
from protocols.payload import Text
from protocols.sms.content import Fitted, Unfit, fit
from protocols.sms.form import Filled
from protocols.sms.text import divide

MAX_REFERENCES = 50_000
MAX_FITTED = 2_000


class Sms(Adapter):
    """One channel: one account at one gateway, or several suppliers."""

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
            "length": "70 characters (140 ASCII, SMPP 160), above that 67 (134, 153) a part; at "
            "most 255 parts",
            "repeats": "the gateway does not know them; an unanswered message is not sent again",
        },
    )
    Settings = SmsSettings
    settings: SmsSettings

    def __init__(self, settings: SmsSettings, port: Port) -> None:
        super().__init__(settings, port)
        self.counts: Counter[str] = Counter()
        """Oddities by name, for logs and tests."""
        province = settings.province
        self.suppliers = {
            name: Supplier(name, terms, province.of(terms.protocol), port=port, channel=self)
            for name, terms in settings.endpoints.items()
        }
        self._references: dict[str, int] = {}
        self._links_up = 0
        self._draining = False
        self._up: Callable[[bool], None] | None = None
        self._inbox = Inbox(port, settings.long_mo_s, self)
        self._ported = Ported(port, settings.ported_days * 86400)
        called = [
            (one, one.dialect) for one in self.suppliers.values() if isinstance(one.dialect, Called)
        ]
        self.listener: Listener | None = None
        if settings.listen is not None and called:
            self.listener = Listener(settings.listen, called, port, self.count)
        self._adopted()

    def _adopted(self) -> None:
        self._rules = self.settings.rules
        for supplier in self.suppliers.values():
            supplier.fitted.clear()  # by other rules, perhaps
            for connection in supplier.connections:
                connection.ready.clear()
        self._options = [supplier.option for supplier in self.suppliers.values()]
        self._by_carrier = len(self._options) > 1 and any(one.carriers for one in self._options)

    def adopt(self, settings: SmsSettings) -> bool:
        """Weights, backups, carriers, rates, content rules, codes and ranges change while the links
        stay; anything else needs new links.
        """
        old, new = self.settings.endpoints, settings.endpoints
        lasting = ("listen", "long_mo_s", "ported_days")
        if old.keys() != new.keys() or not all(new[name].same_wire(old[name]) for name in old):
            return False
        if any(getattr(settings, name) != getattr(self.settings, name) for name in lasting):
            return False
        province = settings.province
        for name, supplier in self.suppliers.items():
            supplier.adopt(new[name], province.of(new[name].protocol))
        self.settings = settings
        self._adopted()
        return True

    @property
    def links_up(self) -> int:
        """Connections that are logged in and can carry messages."""
        return self._links_up

    # --- a message ---

    def render(self, envelope: Envelope) -> None:
        """Raises Malformed for another scheme or payload, an empty text, or too many parts, whatever
        supplier it may go by.
        """
        errors = []
        for supplier in self.suppliers.values():
            try:
                to_carrier(envelope.to, supplier.country_prefix)
                self._fit(envelope, supplier)
            except Malformed as error:
                errors.append(error)
        if len(errors) == len(self.suppliers):
            raise errors[0]

    def _fit(self, envelope: Envelope, supplier: Supplier) -> Fitted:
        """The text as `supplier` takes it; the last few thousand are kept, for a campaign has one
        text and `render` has looked at each already.
        """
        payload = envelope.payload
        if not isinstance(payload, Text):
            raise Malformed(f"a short message holds text, not {type(payload).__name__}")
        marketing = envelope.category in self.settings.opt_out_categories
        key = payload.text, marketing
        found = supplier.fitted.get(key)
        if found is not None:
            return found
        dialect = supplier.dialect
        try:
            found = fit(
                payload.text, self._rules, dialect.codings, marketing=marketing, wide=dialect.wide
            )
        except Unfit as error:
            raise Malformed(f"{error.rule}: {error}"[:200]) from error
        if len(supplier.fitted) >= MAX_FITTED:
            supplier.fitted.clear()
        supplier.fitted[key] = found
        return found

    def _ready(
        self, item: Dispatch, number: str, connection: Connection, supplier: Supplier
    ) -> Ready:
        """The text as it goes to this number. Raises Malformed."""
        fitted, dialect = self._fit(item.envelope, supplier), supplier.dialect
        sender = item.sender
        sender = sender_digits(sender, supplier.terms.src) if sender else supplier.terms.src
        link, coding, digits = connection.link, fitted.coding, len(number)
        submits: Sequence[Filled]
        try:
            if fitted.parts == 1:
                form = dialect.form(link, sender, digits, coding.code, ALONE)
                submits = (form.fill(fitted.data),)
            else:
                # Two long messages to one phone must not share a reference: count on from the last.
                reference = self._reference(number, item.token)
                cut = coding.alphabet.cut
                parts = divide(fitted.data, cut, coding.limits, reference, dialect.wide)
                submits = dialect.submits(link, Written(sender, digits, fitted.text, coding, parts))
        except ValueError as error:  # a field that does not fit
            raise Malformed(str(error)[:200]) from error
        detail = fitted.cost
        if len(self.suppliers) > 1:
            detail += f", by {supplier.name}"
        return Ready(submits, detail)

    def _reference(self, number: str, token: str) -> int:
        references = self._references
        last = references.pop(number, None)
        reference = zlib.crc32(token.encode()) & 0xFF if last is None else (last + 1) & 0xFF
        references[number] = reference
        if len(references) > MAX_REFERENCES:
            del references[next(iter(references))]
        return reference

    # --- out ---

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Write each message by its supplier, in order, on one connection of each, and wait for
        every answer.

        What the loss of a connection left unwritten goes over another, within `queue_s`. Raises
        Unreachable when none is logged in, or when those chosen were lost before a byte of the
        batch was written.
        """
        if self._draining or not any(one.links_up for one in self.suppliers.values()):
            raise Unreachable("sms: draining" if self._draining else "sms: no connection is up")
        outcomes: list[Outcome | None] = [None] * len(batch)
        todo = list(range(len(batch)))
        carriers = await self._carriers(batch)
        until = self.port.clock.monotonic() + self.settings.queue_s
        moved: set[int] = set()
        first = True
        while todo and (first or await self._another(until)):
            placed, todo = self._place(batch, todo, carriers, outcomes, answering=not first)
            first = False
            if not placed:
                break
            await self._written(placed, until)
            for connection, messages in placed.items():
                for message in messages:
                    outcome = outcomes[message.index] = connection.owner.named(message.outcome)
                    if type(outcome) is not Sent and (
                        message.given_back
                        or await self._moved(connection, message, batch, carriers, moved)
                    ):
                        todo.append(message.index)
            todo.sort()
            if len(todo) == len(batch):
                break  # nothing has left: the whole batch can come again
        if len(todo) == len(batch):
            raise Unreachable("sms: nothing could be written")
        waits = Retry("channel", "no supplier can carry it now", 0.0, "not_handed_over")
        return [waits if outcome is None else outcome for outcome in outcomes]

    def _place(
        self,
        batch: Sequence[Dispatch],
        todo: list[int],
        carriers: Mapping[int, str],
        outcomes: list[Outcome | None],
        *,
        answering: bool,
    ) -> tuple[dict[Connection, list[Outgoing]], list[int]]:
        """The messages of `todo`, each for the connection of its supplier, and the indexes of those
        that nobody can carry now; what cannot be a message of its supplier gets its outcome.
        """
        picked: dict[str, Connection] = {}
        health: dict[str, Health] = {}
        for key, supplier in self.suppliers.items():
            health[key] = supplier.health(answering=answering)
            connection = supplier.pick()
            if connection is not None:
                picked[key] = connection
        routes = dict.fromkeys(self.suppliers, todo)
        if len(routes) > 1:
            routes = self._routes(batch, todo, carriers, dict(health))
        placed: dict[Connection, list[Outgoing]] = {}
        left: list[int] = []
        together = Batch()
        for name, indexes in routes.items():
            if health.get(name, Health.DOWN) is Health.DOWN:
                left += indexes
                continue
            supplier, connection = self.suppliers[name], picked[name]
            messages = self._outgoing(batch, indexes, connection, supplier, outcomes, together)
            if messages:
                placed[connection] = messages
                if health[name] is Health.PROBE:
                    supplier.breaker.chosen(self.port.clock.monotonic())
        return placed, left

    def _routes(
        self,
        batch: Sequence[Dispatch],
        todo: Sequence[int],
        carriers: Mapping[int, str],
        health: dict[str, Health],
    ) -> dict[str, list[int]]:
        """Indexes by the name of the supplier that shall carry them; "" = nobody can."""
        routes: dict[str, list[int]] = {}
        for index in todo:
            dice = zlib.crc32(batch[index].envelope.to.value.encode()) / 2**32
            name = choose(self._options, carriers.get(index, ""), health, dice) or ""
            if name and health[name] is Health.PROBE:  # one message may try
                health[name] = Health.OPEN
            routes.setdefault(name, []).append(index)
        return routes

    def _outgoing(
        self,
        batch: Sequence[Dispatch],
        indexes: Sequence[int],
        connection: Connection,
        supplier: Supplier,
        outcomes: list[Outcome | None],
        together: Batch,
    ) -> list[Outgoing]:
        """The messages as this supplier takes them; what cannot be one gets its outcome."""
        kept, prefix, abroad = connection.ready, supplier.country_prefix, supplier.abroad
        out: list[Outgoing] = []
        for index in indexes:
            item = batch[index]
            try:
                number = to_carrier(item.envelope.to, prefix, abroad)
                key = _key(item, number)
                ready = kept.get(key)
                if ready is None:
                    ready = self._ready(item, number, connection, supplier)
                    if len(ready.submits) == 1:  # parts bear a reference, each message its own
                        if len(kept) >= MAX_FITTED:
                            kept.clear()
                        kept[key] = ready
            except Malformed as error:
                outcomes[index] = Rejected("message", str(error), "malformed")
                continue
            out.append(Outgoing(index, number, ready, together))
        return out

    async def _written(self, placed: Mapping[Connection, Sequence[Outgoing]], until: float) -> None:
        """Hand them over, in this turn of the loop, for the next may bring the end of a connection;
        wait for every answer. From `until` on what was not begun is given back.
        """
        messages = [message for one in placed.values() for message in one]
        batch = messages[0].batch
        batch.left = len(messages)
        for connection, its in placed.items():
            connection.send(its)
        loop = asyncio.get_running_loop()
        left = max(until - self.port.clock.monotonic(), 0.0)
        timer = loop.call_later(left, _give_back, messages, "waited too long to be written")
        try:
            await batch.done
        finally:
            timer.cancel()
            if batch.left:
                _give_back(messages, "cancelled")

    async def _another(self, until: float) -> bool:
        """Whether there is a connection for the rest of a batch whose own was lost: waits for one,
        but not for long, and not for one that does not answer.
        """
        clock = self.port.clock
        while not self._draining and clock.monotonic() < until:
            if any(one.links_up for one in self.suppliers.values()):
                return any(
                    one.health(answering=True) is not Health.DOWN for one in self.suppliers.values()
                )
            await clock.sleep(0.02)
        return False

    # --- whose network a number is in ---

    async def _carriers(self, batch: Sequence[Dispatch]) -> dict[int, str]:
        """Index -> carrier, where suppliers differ in what they reach."""
        if not self._by_carrier:
            return {}
        numbers = [_chinese(item.envelope.to) for item in batch]
        moved = await self._ported.lookup(number for number in numbers if number)
        ranges = self.settings.ranges
        return {
            index: moved.get(number) or carrier_of(number, ranges)
            for index, number in enumerate(numbers)
            if number
        }

    async def _moved(
        self,
        connection: Connection,
        message: Outgoing,
        batch: Sequence[Dispatch],
        carriers: dict[int, str],
        moved: set[int],
    ) -> bool:
        """Whether a refusal told us that the number has moved, and another supplier may be tried:
        once for each message.
        """
        supplier = connection.owner
        if not message.refused or message.accepted or message.index in moved:
            return False
        carrier = await self._learn(
            supplier.codes.ported_to(str(message.refused)),
            supplier,
            _chinese(batch[message.index].envelope.to),
        )
        if not carrier or not self._by_carrier:
            return False
        moved.add(message.index)
        carriers[message.index] = carrier
        return True

    async def _learn(self, to: str, supplier: object, number: str) -> str:
        """Remember where a number is, when that can be told; the carrier, else ""."""
        assert isinstance(supplier, Supplier)
        if not to or not number:
            return ""
        if to == "!":
            if len(supplier.terms.carriers) != 1:
                return ""
            to += next(iter(supplier.terms.carriers))
        await self._ported.learn(number, to)
        return to

    async def told(self, connection: Connection, told: Told) -> None:
        """A receipt may say that the number has moved."""
        to = connection.owner.codes.ported_to(told.code)
        if to:
            await self._learn(to, connection.owner, national(told.recipient))

    # --- the connections ---

    async def session(self, up: Callable[[bool], None]) -> None:
        """Keep every connection, each by itself; up while at least one is logged in."""
        self._up = up
        self._draining = False
        self._links_up = 0
        for supplier in self.suppliers.values():
            supplier.draining = False
        self._gauges()
        try:
            async with asyncio.TaskGroup() as group:
                for supplier in self.suppliers.values():
                    group.create_task(supplier.run())
                if self.listener is not None:
                    group.create_task(self.listener.run())
                group.create_task(self._tick())
                group.create_task(self._inbox.run())
        finally:
            for connection in self._connections():
                connection.abort()
            for supplier in self.suppliers.values():
                supplier.connections.clear()
            self._up = None

    def _connections(self) -> list[Connection]:
        found = [one for supplier in self.suppliers.values() for one in supplier.connections]
        return found + (list(self.listener.connections) if self.listener else [])

    async def _tick(self) -> None:
        every = [
            min(one.response_timeout_s, one.active_test_s, one.active_test_timeout_s)
            for one in self.settings.endpoints.values()
        ]
        while True:
            await self.port.clock.sleep(min(1.0, min(every) / 4))
            for connection in self._connections():
                connection.tick()
            self._gauges()

    def _gauges(self) -> None:
        used = sum(connection.link.in_flight for connection in self._connections())
        self.port.gauge("window_in_use", used)
        self.port.gauge("links_up", self._links_up)

    async def drain(self) -> None:
        """Give back what was not begun, let the rest be answered (up to T), say goodbye, hand on
        half messages.
        """
        self._draining = True
        for supplier in self.suppliers.values():
            supplier.draining = True
        clock = self.port.clock
        connections = self._connections()
        for connection in connections:
            connection.give_back("draining")
        longest = max(one.response_timeout_s for one in self.settings.endpoints.values())
        until = clock.monotonic() + longest
        while any(one.busy for one in connections) and clock.monotonic() < until:
            await clock.sleep(0.01)
        while self._inbox.busy and clock.monotonic() < until:
            await clock.sleep(0.01)
        for connection in connections:
            connection.drain()
        until = clock.monotonic() + 6.0  # the link waits 5 s for the answer to its goodbye
        while not all(one.closed.done() for one in connections) and clock.monotonic() < until:
            await clock.sleep(0.01)
        await self._inbox.flush()

    # --- what suppliers tell ---

    def changed(self) -> None:
        links_up = sum(supplier.links_up for supplier in self.suppliers.values())
        before, self._links_up = self._links_up, links_up
        if self._up is not None and bool(before) != bool(links_up):
            self._up(bool(links_up))
        self._gauges()

    def heard(self, connection: Connection, sequence: int, pdu: object) -> None:
        self._inbox.put(connection, sequence, pdu)

    def admit(self, connection: Connection, sequence: int, login: object) -> bool:
        assert self.listener is not None
        return self.listener.admit(connection, sequence, login)

    def count(self, what: str) -> None:
        self.counts[what] += 1


def _give_back(messages: Sequence[Outgoing], why: str) -> None:
    for message in messages:
        message.give_back(why)


def _key(item: Dispatch, number: str) -> object:
    """What decides how a text is written, on one connection."""
    envelope = item.envelope
    payload = envelope.payload
    if type(payload) is not Text:
        return None
    return payload.text, envelope.category, item.sender, len(number)


def _chinese(address: Address) -> str:
    """13… of +8613…, "" for numbers of other countries."""
    number = address.value
    return number[len(CHINA) :] if number.startswith(CHINA) else ""
