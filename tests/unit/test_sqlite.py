"""The writer thread: many callers share a commit, a failing job is undone alone, a failing commit fails all."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from msgcenter.sqlite import Writer

SCHEMA = "CREATE TABLE IF NOT EXISTS t (n INTEGER PRIMARY KEY)"


def insert(n: int):
    def work(db: sqlite3.Connection) -> int:
        db.execute("INSERT INTO t VALUES (?)", (n,))
        return n

    return work


def stored(path: Path) -> list[int]:
    db = sqlite3.connect(path)
    try:
        return [n for (n,) in db.execute("SELECT n FROM t ORDER BY n")]
    finally:
        db.close()


async def blocked(writer: Writer) -> tuple[threading.Event, asyncio.Task[None]]:
    """The thread busy with a job, until the event is set: what comes meanwhile forms one commit."""
    inside, go = threading.Event(), threading.Event()

    def work(_: sqlite3.Connection) -> None:
        inside.set()
        go.wait(10)

    task = asyncio.create_task(writer.run(work))
    await asyncio.to_thread(inside.wait, 10)
    return go, task


async def test_work_that_waits_shares_one_commit(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "f.db", SCHEMA)
    begun: list[str] = []
    writer._db.set_trace_callback(
        lambda sql: begun.append(sql) if sql.startswith("BEGIN") else None
    )
    go, first = await blocked(writer)
    rest = [asyncio.create_task(writer.run(insert(n))) for n in range(100)]
    await asyncio.sleep(0.01)
    go.set()
    assert await asyncio.gather(*rest) == list(range(100))
    await first
    assert len(begun) == 2
    assert stored(tmp_path / "f.db") == list(range(100))  # durable when answered, before any close
    await writer.close()


async def test_a_failing_job_is_undone_alone(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "f.db", SCHEMA)

    def half(db: sqlite3.Connection) -> None:
        db.execute("INSERT INTO t VALUES (50)")
        raise ZeroDivisionError

    go, first = await blocked(writer)
    tasks = [asyncio.create_task(writer.run(w)) for w in (insert(1), half, insert(1), insert(2))]
    await asyncio.sleep(0.01)
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await first
    assert [type(r) for r in results] == [int, ZeroDivisionError, sqlite3.IntegrityError, int]
    assert stored(tmp_path / "f.db") == [1, 2]
    await writer.close()


async def test_a_failing_commit_fails_everybody_and_stores_nothing(tmp_path: Path) -> None:
    schema = (
        SCHEMA + ";PRAGMA foreign_keys=ON;CREATE TABLE IF NOT EXISTS c (n INTEGER REFERENCES t(n)"
    )
    writer = Writer(tmp_path / "f.db", schema + " DEFERRABLE INITIALLY DEFERRED)")
    go, first = await blocked(writer)
    tasks = [
        asyncio.create_task(writer.run(insert(1))),
        asyncio.create_task(writer.run(lambda db: db.execute("INSERT INTO c VALUES (99)"))),
    ]
    await asyncio.sleep(0.01)
    go.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(r, sqlite3.IntegrityError) for r in results)
    await first
    assert stored(tmp_path / "f.db") == []
    assert await writer.run(insert(3)) == 3  # and the thread works on
    assert stored(tmp_path / "f.db") == [3]
    await writer.close()


async def test_a_cancelled_caller_undoes_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "f.db", SCHEMA)
    go, first = await blocked(writer)
    gone = asyncio.create_task(writer.run(insert(1)))
    kept = asyncio.create_task(writer.run(insert(2)))
    await asyncio.sleep(0.01)
    gone.cancel()
    go.set()
    assert await kept == 2
    await first
    await writer.close()
    assert stored(tmp_path / "f.db") == [1, 2]


async def test_close_finishes_what_is_queued_and_may_be_repeated(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "f.db", SCHEMA)
    tasks = [
        asyncio.create_task(writer.run(insert(n))) for n in range(700)
    ]  # more than a commit takes
    await asyncio.sleep(0)
    await writer.close()
    await writer.close()
    assert len(await asyncio.gather(*tasks)) == 700
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        await writer.run(insert(1000))
    assert len(stored(tmp_path / "f.db")) == 700
    assert not (tmp_path / "f.db-wal").exists() or not (tmp_path / "f.db-wal").stat().st_size


def test_a_closed_loop_does_not_end_the_thread(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "f.db", SCHEMA)

    async def leave() -> threading.Event:
        go, task = await blocked(writer)
        asyncio.create_task(writer.run(insert(1)))  # noqa: RUF006 - left behind on purpose
        await asyncio.sleep(0)
        task.cancel()
        return go

    go = asyncio.run(leave())
    go.set()

    async def later() -> None:
        assert await writer.run(insert(2)) == 2
        await writer.close()

    asyncio.run(later())
    assert stored(tmp_path / "f.db") == [1, 2]


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f.db").write_bytes(b"no database at all" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        Writer(tmp_path / "f.db", SCHEMA)
