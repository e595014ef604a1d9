"""What a carrier delivers: status reports and messages from phones, made durable in small batches
and only then confirmed.

A part of a long message is confirmed with the whole, or after `HOLD_S` when parts are missing: from
then on memory alone holds it, until the rest comes or its time is up and what there is goes out.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Protocol, cast

from adapters.sms.connection import CHINA, Connection
from adapters.sms.connection import Owner as ItsOwner
from adapters.sms.dialects import Said, Told
from adapters.sms.numbers import from_carrier
from msgcenter.adapter import Port, Received, Report, Unavailable
from protocols.errors import Malformed
from protocols.payload import DeliveryReport, Text
from protocols.sms.joining import Joined, Reassembler

HOLD_S = 5.0
MAX_WAITING = 5_000
MAX_BATCH = 100
REPEAT_S = 600.0
MAX_REPEATS = 10_000

#: A delivery as it came, what it tells, and for what a phone wrote its name here and its key.
Item = tuple[Connection, int, object, Told | Said | None, str, bytes]
#: What is to be confirmed; for what a phone wrote also its name here and its content's key.
Ack = tuple[Connection, int, object, str, bytes]


class Owner(Protocol):
    """Who counts oddities and learns from receipts."""

    def count(self, what: str) -> None: ...

    async def told(self, connection: Connection, told: Told) -> None:
        """A final receipt came on a connection."""
        ...


class Inbox:
    """`put` from the connections, `run` as a task: converts, emits until it is durable,
    confirms.
    """

    def __init__(self, port: Port, long_s: float, owner: Owner) -> None:
        self._port = port
        self._owner = owner
        self._waiting: deque[Item] = deque()
        self._emitting = False
        self._more = asyncio.Event()
        self._joiner = Reassembler(timeout=long_s, remember=long_s)
        self._held: deque[tuple[float, Ack]] = deque()
        self._repeats: OrderedDict[bytes, tuple[str, float]] = OrderedDict()
        """Content that the far end may send again, for it was not told that it is kept: key -> its
        name here, and until when."""
        self._names = 0

    def put(self, connection: Connection, sequence: int, pdu: object) -> None:
        """Take one delivery. When too many wait already, the gateway is asked to come again."""
        if len(self._waiting) >= MAX_WAITING:
            self._owner.count("inbox_full")
            connection.confirm(sequence, pdu, taken=False)
            return
        name, key = "", b""
        try:
            heard = connection.owner.dialect.heard(sequence, pdu)
        except Malformed as error:
            # Sending it again would not mend it, so it is confirmed; there is nothing to hand on.
            self._owner.count("unreadable_deliver")
            self._port.log.warning("sms_unreadable", error=error)
            heard = None
        if isinstance(heard, Said):  # now, not when it is its turn: a repeat may come meanwhile
            name, key = self._name(connection.owner, heard)
        self._waiting.append((connection, sequence, pdu, heard, name, key))
        self._more.set()

    @property
    def busy(self) -> bool:
        """Whether something waits to be made durable."""
        return bool(self._waiting) or self._emitting

    async def run(self) -> None:
        """Until cancelled. While the bus is away, what was to be emitted is kept and comes again."""
        clock = self._port.clock
        while True:
            if not self._waiting:
                self._more.clear()
                # Not `wait_for`: before Python 3.12 it may swallow the cancellation.
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.5):
                        await self._more.wait()
            now = clock.monotonic()
            items: list[Received | Report] = []
            acks: list[Ack] = []
            for joined in self._joiner.expire(now):
                self._whole(joined, items, acks)
            told: list[tuple[Connection, Told]] = []
            while self._waiting and len(items) < MAX_BATCH:
                self._convert(self._waiting.popleft(), now, items, acks, told)
            await self._emit(items)
            for connection, one in told:
                await self._owner.told(connection, one)
            while self._held and self._held[0][0] <= now:
                acks.append(self._held.popleft()[1])
            self._confirm(acks)

    async def flush(self) -> None:
        """Emit what there is of unfinished long messages: nobody will be here to join the rest."""
        items: list[Received | Report] = []
        acks: list[Ack] = []
        for joined in self._joiner.expire(float("inf")):
            self._whole(joined, items, acks)
        await self._emit(items)
        self._confirm(acks)

    async def _emit(self, items: list[Received | Report]) -> None:
        self._emitting = True
        try:
            await self._durable(items)
        finally:
            self._emitting = False

    async def _durable(self, items: list[Received | Report]) -> None:
        """Returns when all are durable. What cannot be is found among the others and set aside, for it would come again for
        ever, and everything behind it with it; operators find it under `invalid`.
        """
        if not items:
            return
        try:
            await self._patiently(lambda: self._port.emit(items))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one of them
            self._owner.count("emit_failed")
            if len(items) > 1:
                for item in items:
                    await self._durable([item])
                return
            await self._set_aside(items, f"{type(error).__name__}: {error}")

    async def _set_aside(self, items: list[Received | Report], why: str) -> None:
        self._owner.count("set_aside")
        try:
            await self._patiently(lambda: self._port.set_aside(items, why))
        except Exception as error:  # noqa: BLE001 - the log is the last place there is
            self._owner.count("inbound_lost")
            name = type(error).__name__
            self._port.log.error("sms_inbound_lost", why=why.partition(":")[0], error=name)

    async def _patiently(self, work: Callable[[], Awaitable[None]]) -> None:
        """Until the bus is back: it stays here meanwhile, and the gateway waits. Raises what is not Unavailable."""
        delay = 0.1
        while True:
            try:
                return await work()
            except Unavailable as error:
                self._owner.count("emit_failed")
                self._port.log.warning("sms_not_durable", error=error)
                await self._port.clock.sleep(delay)
                delay = min(delay * 2, 5.0)

    def _convert(
        self,
        item: Item,
        now: float,
        items: list[Received | Report],
        acks: list[Ack],
        told: list[tuple[Connection, Told]],
    ) -> None:
        connection, sequence, pdu, heard, _, _ = item
        if isinstance(heard, Said):
            self._message(item, heard, now, items, acks)
            return
        if isinstance(heard, Told):
            report = self._report(connection, heard)
            if report is not None:
                items.append(report)
                told.append((connection, heard))
        acks.append((connection, sequence, pdu, "", b""))

    def _report(self, connection: Connection, told: Told) -> Report | None:
        state = connection.owner.codes.state(told.code, told.state)
        if state is None:
            self._owner.count("intermediate_report")
            return None
        remote_id = connection.owner.own(told.remote_id)
        receipt = DeliveryReport(remote_id, state, told.code, _when(told.at))
        return Report(receipt, from_carrier(told.recipient))

    def _message(
        self, item: Item, said: Said, now: float, items: list[Received | Report], acks: list[Ack]
    ) -> None:
        """A part that waits for others is confirmed later."""
        connection, sequence, pdu, _, name, key = item
        ack = (connection, sequence, pdu, name, key)
        concat, data = said.concat, said.data
        if concat is None or concat.total == 1:
            words = connection.owner.dialect.read(data, said.code)
            self._add(said.source, said.number, data.hex() if words is None else words, name, items)
            acks.append(ack)
            return
        self._held.append((now + HOLD_S, ack))
        for joined in self._joiner.add(
            said.source, said.number, concat, said.code, data, now=now, tag=ack
        ):
            self._whole(joined, items, acks)

    def _name(self, owner: ItsOwner, said: Said) -> tuple[str, bytes]:
        """The id of what a phone wrote, and its content's key where the protocol gives no id.

        A gateway that was not told that we have it sends it again. Where nothing but its content
        could tell that, the same content has the same name until the gateway is told.
        """
        if said.remote_id:
            return owner.own(said.remote_id), b""
        content = repr((said.source, said.number, said.concat, said.code, said.data))
        key = hashlib.blake2b(content.encode(), digest_size=16).digest()
        repeats, now = self._repeats, self._port.clock.monotonic()
        while repeats and next(iter(repeats.values()))[1] <= now:
            repeats.popitem(last=False)
        known = repeats.get(key)
        if known is not None:
            self._owner.count("repeated_deliver")
            return known[0], key
        self._names += 1
        name = f"{self._port.clock.now_ms():x}-{self._names:x}-{key.hex()[:12]}"
        repeats[key] = (name, now + REPEAT_S)
        if len(repeats) > MAX_REPEATS:
            repeats.popitem(last=False)
        return name, key

    def _whole(self, joined: Joined, items: list[Received | Report], acks: list[Ack]) -> None:
        if not joined.complete:
            self._owner.count("incomplete_long_message")
        tags = [cast(Ack, piece.tag) for piece in joined.pieces]
        acks += tags
        connection, _, _, name, _ = tags[0]
        words = joined.decoded(connection.owner.dialect.read)
        self._add(joined.source, joined.destination, words, name, items)

    def _add(
        self, source: str, number: str, words: str, name: str, items: list[Received | Report]
    ) -> None:
        sender = from_carrier(source)
        if sender is None:
            self._owner.count("sender_not_a_number")
            self._port.log.warning("sms_sender_not_a_number", characters=len(source))
            return
        now = self._port.clock.now_ms()
        items.append(Received(sender, number, Text(words), name, now))

    def _confirm(self, acks: list[Ack]) -> None:
        touched = set()
        for connection, sequence, pdu, _, key in acks:
            if connection.confirm(sequence, pdu) and key:
                self._repeats.pop(key, None)  # the same once more is another message
            touched.add(connection)
        for connection in touched:
            connection.flush()


@lru_cache(maxsize=1024)
def _when(stamp: str) -> int:
    """Epoch milliseconds of YYMMDDHHMM in Chinese time; 0 when empty, all zero or no date."""
    try:
        return int(datetime.strptime(stamp, "%y%m%d%H%M").replace(tzinfo=CHINA).timestamp()) * 1000
    except ValueError:
        return 0
