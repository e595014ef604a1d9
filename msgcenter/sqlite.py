"""One SQLite file with one writer thread that commits many callers' work in one transaction (group commit); durable, kill -9 safe.

A caller hands over a function of the connection and awaits its result, which comes after the commit's fsync. Work that
arrives while a commit runs forms the next transaction, so a lone caller waits for one fsync and a hundred callers share it.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_Job = tuple[Work, asyncio.AbstractEventLoop, "asyncio.Future[Any]"]

MAX_JOBS = 500


def connect(path: Path | str) -> sqlite3.Connection:
    """Open with WAL and `synchronous=FULL`: a commit that returned survives kill -9 and a power cut."""
    db = sqlite3.connect(str(path), isolation_level=None, check_same_thread=False, timeout=10.0)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("PRAGMA temp_store=MEMORY")
    db.execute("PRAGMA cache_size=-16000")
    return db


class Writer:
    """The writer thread of one file. `await run(work)` raises what `work` raised (its changes alone are undone) or
    sqlite3.Error when the commit failed (then nothing of that transaction is stored)."""

    def __init__(self, path: Path | str, schema: str) -> None:
        self.path = str(path)
        self._schema = schema
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closed = False
        db = connect(path)
        problem = db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if problem != "ok":
            raise sqlite3.DatabaseError(f"{path}: {problem}; restore this file from a backup")
        db.executescript(schema)
        self._db = db
        self._thread = threading.Thread(
            target=self._loop, name=f"sqlite {Path(self.path).name}", daemon=True
        )
        self._thread.start()

    async def run(self, work: Callable[[sqlite3.Connection], T]) -> T:
        if self._closed:
            raise sqlite3.ProgrammingError(f"{self.path}: closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._jobs.put((work, loop, future))
        # A caller that is cancelled must not undo work others share: the thread answers into a dead future.
        return cast(T, await future)

    async def close(self) -> None:
        """Finish what is queued, checkpoint, close. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _loop(self) -> None:
        last = False
        while not last:
            batch: list[_Job] = []
            job = self._jobs.get()
            while True:
                if job is None:
                    last = True
                    break
                batch.append(job)
                if len(batch) >= MAX_JOBS:
                    break
                try:
                    job = self._jobs.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(batch)
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._db.close()

    def _commit(self, batch: list[_Job]) -> None:
        done: list[tuple[_Job, Any, BaseException | None]] = []
        db = self._db
        try:
            db.execute("BEGIN IMMEDIATE")
            for job in batch:
                db.execute("SAVEPOINT job")
                try:
                    done.append((job, job[0](db), None))
                except Exception as error:  # noqa: BLE001 - handed to the caller whose work it was
                    db.execute("ROLLBACK TO job")
                    done.append((job, None, error))
                db.execute("RELEASE job")
            db.execute("COMMIT")
        except sqlite3.Error as error:
            with suppress(sqlite3.Error):
                db.execute("ROLLBACK")
            done = [(job, None, error) for job in batch]
        by_loop: dict[
            asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any, BaseException | None]]
        ] = {}
        for (_, loop, future), result, failure in done:
            by_loop.setdefault(loop, []).append((future, result, failure))
        for loop, answers in by_loop.items():
            with suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                loop.call_soon_threadsafe(_answer, answers)


def _answer(answers: list[tuple[asyncio.Future[Any], Any, BaseException | None]]) -> None:
    for future, result, failure in answers:
        if future.done():
            continue
        if failure is not None:
            future.set_exception(failure)
        else:
            future.set_result(result)
