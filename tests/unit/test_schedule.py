"""Schedule: due rows are on the bus before they are deleted, and stay when they are not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgpack
import pytest

from msgcenter.bus import BusError
from msgcenter.clock import ManualClock
from msgcenter.schedule import Schedule
from msgcenter.store import DueRow, StoreError
from protocols import wire
from protocols.envelope import Envelope, Record
from protocols.outcome import Sent
from tests.unit.rig import LOG, T0, ListBus, message


class Rows:
    """A DueSource that notes what was on the bus when it deleted."""

    def __init__(self, bus: ListBus) -> None:
        self.bus = bus
        self.rows: list[DueRow] = []
        self.deleted_after: list[int] = []
        self.fail = 0

    @asynccontextmanager
    async def take_due(self, now_ms: int, limit: int = 1000) -> AsyncIterator[tuple[DueRow, ...]]:
        if self.fail:
            self.fail -= 1
            raise StoreError("away")
        taken = tuple(row for row in self.rows if row.at_ms <= now_ms)[:limit]
        yield taken
        self.deleted_after.append(len(self.bus.published))
        self.rows = [row for row in self.rows if row not in taken]


def row(envelope: Envelope, at: int = T0) -> DueRow:
    return DueRow(f"row {envelope.id}", at, wire.seal(envelope), envelope.id)


def schedule() -> tuple[Schedule, Rows, ListBus]:
    bus = ListBus()
    rows = Rows(bus)
    return Schedule(bus, rows, clock=ManualClock(T0), partitions=4, log=LOG), rows, bus


async def test_what_is_due_goes_to_its_topic_and_lane_and_the_rest_waits() -> None:
    one, rows, bus = schedule()
    rows.rows = [
        row(message("a")),
        row(message("b", tier=5)),
        row(message("c", order_key="k")),
        row(message("d", inbound=True)),
        row(message("later"), T0 + 1),
    ]
    assert await one.once() == 4
    assert sorted((f.topic, f.lane) for f in bus.published) == [
        ("inbound", "normal"),
        ("submit", "bulk"),
        ("submit", "conv"),
        ("submit", "normal"),
    ]
    assert [r.message for r in rows.rows] == ["later"]
    assert rows.deleted_after == [4]


async def test_a_failing_publish_keeps_the_rows() -> None:
    one, rows, bus = schedule()
    rows.rows = [row(message("a"))]
    bus.failures = [BusError("away")]
    with pytest.raises(BusError):
        await one.once()
    assert (len(rows.rows), rows.deleted_after) == (1, [])
    assert await one.once() == 1
    assert rows.rows == []


async def test_an_unreadable_row_goes_to_invalid_and_does_not_stop_the_others() -> None:
    one, rows, bus = schedule()
    record = Record("r", 1, "channel", message(), Sent())
    rows.rows = [
        DueRow("bad", T0, b"\xc1", "m1"),
        row(message("a")),
        DueRow("odd", T0, wire.seal(record), "m2"),
    ]
    assert await one.once() == 3
    assert [e.id for e in bus.topic("submit")] == ["a"]
    (invalid,) = [frame for frame in bus.published if frame.topic == "invalid"]
    kept = [msgpack.unpackb(data) for data in wire.unpack_frame(invalid.body)]
    assert [(source, data) for source, _, data, _, _ in kept] == [
        ("due", b"\xc1"),
        ("due", wire.seal(record)),
    ]
    assert rows.rows == []


async def test_the_loop_outlives_outages_and_ends_when_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msgcenter.schedule.POLL_S", 0.005)
    one, rows, bus = schedule()
    rows.rows = [row(message("a"))]
    rows.fail = 2
    bus.failures = [BusError("away")]
    stop = asyncio.Event()
    task = asyncio.create_task(one.run(stop))
    async with asyncio.timeout(5):
        while rows.rows:
            await asyncio.sleep(0.005)
    stop.set()
    await task
    assert len(bus.topic("submit")) == 1
