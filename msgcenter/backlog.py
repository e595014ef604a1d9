"""Backlog: values that wait for their time, of which only the nearest are in memory and the rest in a nameless temporary file."""

from __future__ import annotations

import heapq
import math
import pickle
import sqlite3
from typing import Generic, TypeVar

NEAR = 20_000
"""In memory at most: all that a small simulation needs."""
CACHE_KIB = 8192

T = TypeVar("T")


class Backlog(Generic[T]):
    """What is pushed comes back in order of time, and at the same time in order of coming. Memory is bounded by `near` values,
    whatever their number: the values beyond them are pickled to SQLite's own temporary file, gone with this object."""

    def __init__(self, near: int = NEAR) -> None:
        self._most = near
        self._near: list[tuple[int, int, T]] = []
        self._horizon: tuple[float, int] = _NO_HORIZON
        """(time, number): from here on values are in the file."""
        self._number = 0
        self._length = 0
        self._file = sqlite3.connect("", isolation_level=None)
        self._file.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._file.execute("PRAGMA journal_mode = OFF")
        self._file.execute(
            "CREATE TABLE far (at INTEGER, number INTEGER, value BLOB, PRIMARY KEY (at, number))"
            " WITHOUT ROWID"
        )

    def __len__(self) -> int:
        return self._length

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    @property
    def next_at(self) -> int | None:
        """The time of the first; None: nothing waits."""
        if not self._near and self._length:
            self._approach()
        return self._near[0][0] if self._near else None

    def push(self, at: int, value: T) -> None:
        self._number += 1
        self._length += 1
        if (at, self._number) >= self._horizon:
            self._store([(at, self._number, value)])
            return
        heapq.heappush(self._near, (at, self._number, value))
        if len(self._near) > self._most:
            self._near.sort()
            kept = self._most // 2
            self._horizon = self._near[kept][:2]
            self._store(self._near[kept:])
            del self._near[kept:]

    def take(self) -> list[T]:
        """All values of the first time, which are gone then. Empty: nothing waits."""
        first, out = self.next_at, list[T]()
        while first is not None and self.next_at == first:
            out.append(heapq.heappop(self._near)[2])
            self._length -= 1
        return out

    def _store(self, rows: list[tuple[int, int, T]]) -> None:
        packed = [(at, number, pickle.dumps(value, 5)) for at, number, value in rows]
        self._file.execute("BEGIN")
        self._file.executemany("INSERT INTO far VALUES (?, ?, ?)", packed)
        self._file.execute("COMMIT")

    def _approach(self) -> None:
        """Bring the first values of the file near."""
        half = self._most // 2 or 1
        query = "SELECT at, number, value FROM far ORDER BY at, number LIMIT ?"
        rows = self._file.execute(query, (half + 1,)).fetchall()
        self._horizon = rows[half][:2] if len(rows) > half else _NO_HORIZON
        # What is read was written here, to a file that nobody else can open.
        self._near = [(at, n, pickle.loads(value)) for at, n, value in rows[:half]]  # noqa: S301
        at, number, _ = rows[:half][-1]
        self._file.execute("DELETE FROM far WHERE (at, number) <= (?, ?)", (at, number))


_NO_HORIZON = (math.inf, 0)
