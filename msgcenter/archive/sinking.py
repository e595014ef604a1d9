"""Sinking: the handlers behind the record, dead and invalid queues; write, then settle, whole frames at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import msgpack

from msgcenter.store import DeadRow, InvalidRow
from msgcenter.worker import Leased
from protocols import wire
from protocols.envelope import Record, hashed
from protocols.outcome import Rejected, reason_of


class _Plain:
    """A handler without work of its own between leases."""

    async def begin(self) -> None:
        return

    async def between(self) -> None:
        return

    def wait_s(self, longest: float) -> float:
        return longest


class Sinking(_Plain):
    """Hand the records of a lease to a sink in one write; `written` is told how many it took."""

    def __init__(
        self,
        write: Callable[[Sequence[Record]], Awaitable[None]],
        written: Callable[[int], object],
    ) -> None:
        self._write = write
        self._written = written

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        records = [record for one in leased for record in one.records]
        if records:
            await self._write(records)
            self._written(len(records))
        for one in leased:
            one.done = True


def dead_row(record: Record) -> DeadRow:
    """What an operator needs of a message given up on: its cause, and the envelope to replay."""
    envelope, outcome = record.envelope, record.outcome
    return DeadRow(
        id=f"dead_{hashed(record.id)}",
        message=envelope.id,
        caller=envelope.caller,
        channel=envelope.channel,
        code=reason_of(outcome),
        detail=outcome.detail if isinstance(outcome, Rejected) else "",
        at=record.at,
        body=wire.seal(envelope),
    )


class Burying(_Plain):
    """Write dead letters to the Store."""

    def __init__(self, write: Callable[[Sequence[DeadRow]], Awaitable[None]]) -> None:
        self._write = write

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        await self._write([dead_row(record) for one in leased for record in one.records])
        for one in leased:
            one.done = True


class Quarantine(_Plain):
    """Write what could not be read to the Store. Items are `[queue, reason, octets, size, at]` in msgpack, as the worker
    made them; anything else (a broker's own dead-lettering) is kept as it is."""

    def __init__(self, write: Callable[[Sequence[InvalidRow]], Awaitable[None]]) -> None:
        self._write = write

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        await self._write([_invalid_row(one, data) for one in leased for data in one.raw])
        for one in leased:
            one.done = True


def _invalid_row(one: Leased, data: bytes) -> InvalidRow:
    try:
        queue, reason, body, size, at = msgpack.unpackb(data)
    except (ValueError, TypeError, msgpack.UnpackException):
        queue, reason, body, size, at = (
            one.delivery.queue.name,
            "not readable",
            data[: 64 * 1024],
            len(data),
            0,
        )
    return InvalidRow(
        f"inv_{hashed(queue, reason, bytes(body).hex())}",
        str(queue),
        str(reason),
        int(at),
        bytes(body),
        int(size),
    )
