"""Rows of the embedded bus: its tables, lock file and every statement of the writer thread.

A frame is one row per queue that takes it; its id, given in commit order, is its place in the
queue. Delayed frames lie in a table of their own and join the tail of their queue when they are
due, as they do on RabbitMQ. Times are integer milliseconds.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from msgcenter.bus import BusError, Queue

SCHEMA = """
CREATE TABLE IF NOT EXISTS queue (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, key TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS frame (
    id INTEGER PRIMARY KEY, queue INTEGER NOT NULL, stored_at INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS frame_queue ON frame (queue);
CREATE TABLE IF NOT EXISTS later (
    id INTEGER PRIMARY KEY, due INTEGER NOT NULL, queue INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS later_due ON later (due);
CREATE TABLE IF NOT EXISTS delivered (frame INTEGER PRIMARY KEY, number INTEGER NOT NULL);
"""

#: Delayed frames moved to their queues in one piece of a transaction: others are not kept waiting.
PROMOTE = 500

QueueRow = tuple[int, str, str]
"""id, name, key."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What a file holds when it is opened: queues, frames by queue id, the first due time."""

    queues: list[QueueRow]
    counts: list[tuple[int, int]]
    next_due: int | None


class Rows:
    """The statements, and the three numbers they need: the next frame id, how far each queue was
    read, how often each leased or returned frame was delivered. Writer thread only."""

    def __init__(self) -> None:
        self._next_id = 1
        self._cursor: dict[int, int] = {}
        self._numbers: dict[int, int] = {}

    def load(self, db: sqlite3.Connection) -> Stored:
        self._numbers = dict(db.execute("SELECT frame, number FROM delivered").fetchall())
        self._next_id = 1 + (db.execute("SELECT max(id) FROM frame").fetchone()[0] or 0)
        return Stored(
            self.queues(db),
            db.execute("SELECT queue, count(*) FROM frame GROUP BY queue").fetchall(),
            db.execute("SELECT min(due) FROM later").fetchone()[0],
        )

    def queues(self, db: sqlite3.Connection) -> list[QueueRow]:
        return db.execute("SELECT id, name, key FROM queue").fetchall()

    def declare(self, db: sqlite3.Connection, queues: Iterable[Queue]) -> list[QueueRow]:
        db.executemany(
            "INSERT OR IGNORE INTO queue (name, key) VALUES (?, ?)",
            [(queue.name, queue.key) for queue in queues],
        )
        return self.queues(db)

    def insert(
        self,
        db: sqlite3.Connection,
        ready: Sequence[tuple[int, bytes]],
        later: Sequence[tuple[int, int, bytes]],
        stored_at: int,
    ) -> None:
        """`ready`: queue id, body. `later`: due, queue id, body."""
        first = self._next_id
        self._next_id += len(ready)
        db.executemany(
            "INSERT INTO frame VALUES (?, ?, ?, ?)",
            [(first + i, queue, stored_at, body) for i, (queue, body) in enumerate(ready)],
        )
        db.executemany("INSERT INTO later (due, queue, body) VALUES (?, ?, ?)", later)

    def take(
        self,
        db: sqlite3.Connection,
        queue: int,
        again: Sequence[int],
        fresh: int,
        got: list[int],
    ) -> list[tuple[int, bytes, int]]:
        """Frames for a lease as (id, body, delivery number): those of `again`, then `fresh`
        never read. `got` gets the ids at once: they count as read even if the commit fails.
        """
        rows: list[tuple[int, bytes]] = []
        for number in again:
            rows += db.execute("SELECT id, body FROM frame WHERE id = ?", (number,)).fetchall()
        if fresh > 0:
            unread = db.execute(
                "SELECT id, body FROM frame WHERE queue = ? AND id > ? ORDER BY id LIMIT ?",
                (queue, self._cursor.get(queue, 0), fresh),
            ).fetchall()
            if unread:
                self._cursor[queue] = unread[-1][0]
                rows += unread
        got.extend(row[0] for row in rows)
        out = [(number, body, self._numbers.get(number, 0) + 1) for number, body in rows]
        counts = [(number, times) for number, _, times in out]
        self._numbers.update(counts)
        db.executemany("INSERT OR REPLACE INTO delivered VALUES (?, ?)", counts)
        return out

    def delete(self, db: sqlite3.Connection, ids: Sequence[int]) -> None:
        rows = [(number,) for number in ids]
        db.executemany("DELETE FROM frame WHERE id = ?", rows)
        db.executemany("DELETE FROM delivered WHERE frame = ?", rows)
        for number in ids:
            self._numbers.pop(number, None)

    def purge(self, db: sqlite3.Connection, queue: int, returned: Sequence[int]) -> int:
        unread = db.execute(
            "SELECT id FROM frame WHERE queue = ? AND id > ?", (queue, self._cursor.get(queue, 0))
        )
        ids = [*returned, *(row[0] for row in unread.fetchall())]
        self.delete(db, ids)
        return len(ids)

    def oldest(self, db: sqlite3.Connection, heads: Mapping[int, int]) -> dict[int, int]:
        """When the oldest ready frame of each queue was stored. `heads`: the lowest returned frame
        of each queue, 0 when none came back (returned frames are older than unread ones)."""
        out = {}
        for queue, head in heads.items():
            row = db.execute(
                "SELECT stored_at FROM frame WHERE queue = ? AND id >= ? ORDER BY id LIMIT 1",
                (queue, head or self._cursor.get(queue, 0) + 1),
            ).fetchone()
            if row is not None:
                out[queue] = row[0]
        return out

    def promote(
        self, db: sqlite3.Connection, now: int, stored_at: int
    ) -> tuple[list[int], int | None]:
        """Move up to PROMOTE delayed frames due by `now` to the tails of their queues.

        Returns their queues, one entry a frame, and when the next is due.
        """
        rows = db.execute(
            "SELECT id, queue FROM later WHERE due <= ? ORDER BY due, id LIMIT ?", (now, PROMOTE)
        ).fetchall()
        for number, _ in rows:
            db.execute(
                "INSERT INTO frame SELECT ?, queue, ?, body FROM later WHERE id = ?",
                (self._next_id, stored_at, number),
            )
            self._next_id += 1
        db.executemany("DELETE FROM later WHERE id = ?", [(number,) for number, _ in rows])
        due = db.execute("SELECT min(due) FROM later").fetchone()[0]
        return [queue for _, queue in rows], due


def lock_file(path: Path) -> int:
    """Hold `path.lock` until the descriptor returned is closed or the process dies.

    Raises BusError naming the process that holds it.
    """
    lock = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.read(lock, 32).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise BusError(
            f"{path} is in use by process {owner}: stop it first, or talk to it over HTTP"
        ) from None
    os.ftruncate(lock, 0)
    os.write(lock, str(os.getpid()).encode())
    return lock
