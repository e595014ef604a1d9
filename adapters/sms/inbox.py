"""What a carrier delivers: status reports and messages from phones, made durable in small batches
and only then confirmed.

A part of a long message is confirmed with the whole, or after `HOLD_S` when parts are missing: from
then on memory alone holds it, until the rest comes or its time is up and what there is goes out.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import cast

from adapters.sms.connection import CHINA, Connection
from adapters.sms.numbers import from_carrier
from msgcenter.adapter import Port, Received, Report
from protocols.cmpp import pdu as p
from protocols.cmpp.report import parse_report
from protocols.cmpp.results import state_of
from protocols.errors import Malformed
from protocols.payload import DeliveryReport, Text
from protocols.sms import text
from protocols.sms.joining import Joined, Reassembler
from protocols.sms.udh import strip

HOLD_S = 5.0
MAX_WAITING = 5_000
MAX_BATCH = 100

Item = tuple[Connection, int, p.Deliver]
Ack = tuple[Connection, int, int]


class Inbox:
    """`put` from the connections, `run` as a task: converts, emits until it is durable,
    confirms.
    """

    def __init__(self, port: Port, long_s: float, count: Callable[[str], None]) -> None:
        self._port = port
        self._count = count
        self._waiting: deque[Item] = deque()
        self._emitting = False
        self._more = asyncio.Event()
        self._joiner = Reassembler(timeout=long_s, remember=long_s)
        self._held: deque[tuple[float, Ack]] = deque()

    def put(self, connection: Connection, sequence: int, pdu: p.Deliver) -> None:
        """Take one DELIVER. When too many wait already, the gateway is asked to come again."""
        if len(self._waiting) >= MAX_WAITING:
            self._count("inbox_full")
            connection.confirm(sequence, pdu.msg_id, p.RESULT_FLOW)
            return
        self._waiting.append((connection, sequence, pdu))
        self._more.set()

    @property
    def busy(self) -> bool:
        """Whether something waits to be made durable."""
        return bool(self._waiting) or self._emitting

    async def run(self) -> None:
        """Until cancelled; whatever `emit` raises, what it was given is kept and comes again."""
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
            while self._waiting and len(items) < MAX_BATCH:
                self._convert(self._waiting.popleft(), now, items, acks)
            await self._emit(items)
            while self._held and self._held[0][0] <= now:
                acks.append(self._held.popleft()[1])
            _confirm(acks)

    async def flush(self) -> None:
        """Emit what there is of unfinished long messages: nobody will be here to join the rest."""
        items: list[Received | Report] = []
        acks: list[Ack] = []
        for joined in self._joiner.expire(float("inf")):
            self._whole(joined, items, acks)
        await self._emit(items)
        _confirm(acks)

    async def _emit(self, items: list[Received | Report]) -> None:
        delay = 0.1
        while items:
            self._emitting = True
            try:
                await self._port.emit(items)
            except Exception as error:  # noqa: BLE001 - kept and tried again; the gateway waits
                self._count("emit_failed")
                name = type(error).__name__
                self._port.log.warning("sms_not_durable", error=name, items=len(items))
                await self._port.clock.sleep(delay)
                delay = min(delay * 2, 5.0)
            else:
                self._emitting = False
                return

    def _convert(
        self, item: Item, now: float, items: list[Received | Report], acks: list[Ack]
    ) -> None:
        connection, sequence, pdu = item
        ack = (connection, sequence, pdu.msg_id)
        try:
            if pdu.registered_delivery:
                report = self._report(pdu)
                if report is not None:
                    items.append(report)
            elif not self._message(pdu, ack, now, items, acks):
                return
        except Malformed as error:
            # Sending it again would not mend it, so it is confirmed; there is nothing to hand on.
            self._count("unreadable_deliver")
            self._port.log.warning("sms_unreadable", error=str(error))
        acks.append(ack)

    def _report(self, pdu: p.Deliver) -> Report | None:
        found = parse_report(pdu.content)
        state = state_of(found.stat)
        if state is None:
            self._count("intermediate_report")
            return None
        receipt = DeliveryReport(f"{found.msg_id:016x}", state, found.stat, _when(found.done_time))
        return Report(receipt, from_carrier(found.recipient or pdu.source))

    def _message(
        self,
        pdu: p.Deliver,
        ack: Ack,
        now: float,
        items: list[Received | Report],
        acks: list[Ack],
    ) -> bool:
        """Whether to confirm it with this batch; False for a part that waits for others."""
        concat, data = strip(pdu.content, pdu.udhi)
        if concat is None or concat.total == 1:
            words = text.decode(data, pdu.msg_fmt)
            shown = data.hex() if words is None else words
            self._add(pdu.source, pdu.dest_id, shown, pdu.msg_id, items)
            return True
        self._held.append((now + HOLD_S, ack))
        for joined in self._joiner.add(
            pdu.source, pdu.dest_id, concat, pdu.msg_fmt, data, now=now, tag=ack
        ):
            self._whole(joined, items, acks)
        return False

    def _whole(self, joined: Joined, items: list[Received | Report], acks: list[Ack]) -> None:
        if not joined.complete:
            self._count("incomplete_long_message")
        tags = [cast(Ack, piece.tag) for piece in joined.pieces]
        acks += tags
        self._add(joined.source, joined.destination, joined.text, tags[0][2], items)

    def _add(
        self, source: str, number: str, words: str, msg_id: int, items: list[Received | Report]
    ) -> None:
        sender = from_carrier(source)
        if sender is None:
            self._count("sender_not_a_number")
            self._port.log.warning("sms_sender_not_a_number", characters=len(source))
            return
        now = self._port.clock.now_ms()
        items.append(Received(sender, number, Text(words), f"{msg_id:016x}", now))


def _confirm(acks: list[Ack]) -> None:
    touched = set()
    for connection, sequence, msg_id in acks:
        connection.confirm(sequence, msg_id)
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
