"""The spill journal (torn at every octet, bounded) and the order that `Spilled` keeps through every
failure."""

from __future__ import annotations

import asyncio
import errno
import os
import random
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from msgcenter.archive.journal import Journal, JournalFull
from msgcenter.archive.sink import SinkError, SinkFull
from msgcenter.archive.spill import Spilled
from msgcenter.clock import ManualClock, SystemClock
from protocols.envelope import Record
from protocols.wire import seal
from tests.records import T0, many

# -- journal ------------------------------------------------------------------------------------


def opened(directory: Path, **options: int) -> Journal:
    journal = Journal(directory, **options)
    journal.open()
    return journal


def drained(journal: Journal, batch: int = 7) -> list[bytes]:
    out: list[bytes] = []
    while entries := journal.peek(batch):
        out += entries
        journal.take(len(entries))
    assert (journal.count, journal.bytes, journal.oldest_ms) == (0, 0, None)
    return out


def entries(count: int, start: int = 0) -> list[bytes]:
    return [b"entry %d " % n + b"x" * (n % 50) for n in range(start, start + count)]


def test_first_in_first_out_over_many_files(tmp_path: Path) -> None:
    journal = opened(tmp_path, segment_bytes=300)
    for n in range(0, 100, 5):
        journal.append(entries(5, n), T0 + n)
    assert journal.count == 100 and journal.oldest_ms == T0
    assert len(list(tmp_path.glob("*.log"))) > 5
    assert journal.peek(3) == journal.peek(3) == entries(3)
    journal.take(6)
    assert journal.oldest_ms == T0 + 5
    journal.close()
    journal = opened(tmp_path, segment_bytes=300)
    assert (journal.count, journal.oldest_ms) == (94, T0 + 5)
    assert drained(journal) == entries(94, 6)
    assert len(list(tmp_path.glob("*.log"))) == 1
    journal.append(entries(1), T0)
    assert drained(journal) == entries(1)


@pytest.mark.parametrize("taken", [0, 2])
def test_torn_at_every_octet(tmp_path: Path, taken: int) -> None:
    journal = opened(tmp_path / "a")
    ends = [0]
    for entry in entries(4):
        journal.append([entry], T0)
        ends.append((tmp_path / "a/spill-000001.log").stat().st_size)
    journal.take(taken)
    journal.close()
    data = (tmp_path / "a/spill-000001.log").read_bytes()
    torn = tmp_path / "torn"
    torn.mkdir()
    for cut in range(ends[taken], len(data) + 1):
        for path in torn.iterdir():
            path.unlink()
        (torn / "spill-000001.log").write_bytes(data[:cut])
        if taken:
            (torn / "taken").write_bytes((tmp_path / "a/taken").read_bytes())
        journal = opened(torn)
        whole = max(n for n, end in enumerate(ends) if end <= cut)
        assert journal.count == whole - taken
        journal.append([b"next"], T0)
        assert drained(journal) == [*entries(whole)[taken:], b"next"]
        journal.close()


def test_a_lost_or_broken_position_repeats_and_loses_nothing(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(entries(5), T0)
    journal.take(3)
    journal.close()
    for content in (None, b"", b"1 9", b"1 40 123", b"\xff\xfe"):
        (tmp_path / "taken").unlink(missing_ok=True)
        if content is not None:
            (tmp_path / "taken").write_bytes(content)
        journal = opened(tmp_path)
        assert journal.peek(10) == entries(5)
        journal.close()


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    journal = opened(tmp_path)
    journal.append(entries(2), T0)
    journal.close()
    path = tmp_path / "spill-000001.log"
    data = path.read_bytes()
    for place in range(len(data)):
        broken = bytearray(data)
        broken[place] ^= 0x10
        path.write_bytes(broken)
        journal = opened(tmp_path)
        assert journal.peek(10) in ([], entries(1))
        journal.close()


def test_it_is_bounded(tmp_path: Path) -> None:
    journal = opened(tmp_path, max_bytes=200)
    journal.append([b"x" * 100], T0)
    before = journal.bytes
    with pytest.raises(JournalFull):
        journal.append([b"y" * 50, b"z" * 50], T0)
    assert (journal.count, journal.bytes) == (1, before)
    journal.take(1)
    journal.append([b"y" * 50, b"z" * 50], T0)
    assert drained(journal) == [b"y" * 50, b"z" * 50]


def test_a_full_disk_leaves_no_half_batch(tmp_path: Path) -> None:
    room = 10_000

    def write(fd: int, data: bytes) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(fd, data[:room])
        room -= written
        return written

    journal = Journal(tmp_path, write=write)
    journal.open()
    journal.append(entries(2), T0)
    room = 30
    with pytest.raises(OSError, match="No space"):
        journal.append(entries(2, 2), T0)
    room = 10_000
    journal.append(entries(2, 4), T0)
    assert drained(journal) == entries(2) + entries(2, 4)


# -- spilled ------------------------------------------------------------------------------------


class Moody:
    """A sink that works, fails or hangs as told, and writes down what it took."""

    name = "moody"

    def __init__(self, mood: str = "works") -> None:
        self.mood = mood
        self.took: list[str] = []
        self.calls = 0

    async def open(self) -> None:
        if self.mood == "closed":
            raise SinkError("cannot be opened")

    async def write(self, records: Sequence[Record]) -> None:
        self.calls += 1
        if self.mood == "hangs":
            await asyncio.sleep(60)
        if self.mood == "fails":
            raise SinkError("away")
        await asyncio.sleep(0)
        self.took += [record.envelope.id for record in records]

    async def close(self) -> None:
        pass


def ids(count: int, start: int = 0) -> list[str]:
    return [f"msg_{n:08d}" for n in range(start, start + count)]


async def until(condition: object, seconds: float = 5.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


async def test_a_working_sink_gets_everything_directly(tmp_path: Path) -> None:
    sink = Moody()
    spilled = Spilled(sink, Journal(tmp_path), ManualClock(T0))
    await spilled.open()
    await spilled.write(many(3))
    assert sink.took == ids(3) and spilled.spill.count == 0
    await spilled.close()


@pytest.mark.parametrize("mood", ["fails", "hangs"])
async def test_what_the_sink_does_not_take_waits_and_comes_first(tmp_path: Path, mood: str) -> None:
    sink, clock = Moody(mood), ManualClock(T0)
    spilled = Spilled(sink, Journal(tmp_path), clock, deadline_s=0.05, drain_deadline_s=0.05)
    await spilled.open()
    drain = asyncio.create_task(spilled.drain())
    for n in range(5):
        await spilled.write(many(4, n * 4))
    assert spilled.spill.count == 20 and spilled.spill.bytes > 20 * 100
    assert spilled.spill.oldest_ms == T0
    calls = sink.calls
    assert calls <= 3  # one direct, then only the drain asks
    sink.mood = "works"
    await spilled.write(many(4, 20))  # newer: may not overtake

    async def tick() -> None:
        while spilled.spill.count:
            await clock.advance(1)
            await asyncio.sleep(0.01)

    await asyncio.wait_for(tick(), 5)
    await until(lambda: not spilled._spilling)
    assert sink.took == ids(24)
    await spilled.write(many(1, 24))
    assert sink.took == ids(25) and spilled.spill.oldest_ms is None
    drain.cancel()
    with suppress(asyncio.CancelledError):
        await drain
    await spilled.close()


async def test_what_waits_survives_a_restart(tmp_path: Path) -> None:
    first = Spilled(Moody("closed"), Journal(tmp_path), ManualClock(T0))
    await first.open()
    await first.write(many(5))
    del first  # killed: never closed
    sink = Moody()
    second = Spilled(sink, Journal(tmp_path), SystemClock())
    await second.open()
    assert second.spill.count == 5
    drain = asyncio.create_task(second.drain())
    await second.write(many(5, 5))
    await until(lambda: len(sink.took) == 10)
    assert sink.took == ids(10)
    drain.cancel()
    with suppress(asyncio.CancelledError):
        await drain
    await second.close()


async def test_a_full_journal_is_backpressure(tmp_path: Path) -> None:
    size = len(seal(many(1)[0])) + 16
    spilled = Spilled(Moody("fails"), Journal(tmp_path, max_bytes=3 * size), ManualClock(T0))
    await spilled.open()
    await spilled.write(many(3))
    with pytest.raises(SinkFull):
        await spilled.write(many(1, 3))
    assert spilled.spill.count == 3
    await spilled.close()


@pytest.mark.parametrize("seed", range(4))
async def test_order_of_each_writer_through_changing_moods(tmp_path: Path, seed: int) -> None:
    """Several writers, a sink whose mood changes, cancelled writes: each writer's records arrive in
    order, none is lost; repeats (which a sink knows by id) aside."""
    rng = random.Random(seed)
    sink, clock = Moody(), ManualClock(T0)
    spilled = Spilled(
        sink, Journal(tmp_path, segment_bytes=20_000), clock, deadline_s=0.02, drain_deadline_s=0.02
    )
    await spilled.open()
    drain = asyncio.create_task(spilled.drain())
    stop = asyncio.Event()

    async def moods() -> None:
        while not stop.is_set():
            sink.mood = rng.choice(["works", "fails", "works", "hangs"])
            await asyncio.sleep(rng.random() / 50)
            await clock.advance(5)
        sink.mood = "works"

    async def writer(base: int) -> None:
        for n in range(base, base + 60, 3):
            batch = many(3, n)
            if rng.random() < 0.1:  # given up and redelivered, as a worker that is stopped does
                task = asyncio.create_task(spilled.write(batch))
                await asyncio.sleep(rng.random() / 100)
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            await spilled.write(batch)
            await asyncio.sleep(rng.random() / 100)

    mood = asyncio.create_task(moods())
    await asyncio.gather(*(writer(base) for base in (0, 1000, 2000)))
    stop.set()
    await mood

    async def tick() -> None:
        while spilled._spilling:
            await clock.advance(30)
            await asyncio.sleep(0.005)

    await asyncio.wait_for(tick(), 10)
    drain.cancel()
    with suppress(asyncio.CancelledError):
        await drain
    await spilled.close()
    first = list(dict.fromkeys(sink.took))
    for base in (0, 1000, 2000):
        mine = [key for key in first if base <= int(key[4:]) < base + 1000]
        assert mine == ids(60, base)
