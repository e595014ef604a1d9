"""State in one SQLite file, the embedded default: a verb is a savepoint of a group commit.

A verb that returned is durable. One row holds one hash (as msgpack), so a batch reads and writes
each message once. Expired rows are never read; a walk over all rows, in short steps and in step
with writing, deletes them, in place of an index on the expiry that every write would have to keep.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgpack

from msgcenter.clock import Clock, Random, base32, system_random
from msgcenter.sqlite import Writer
from msgcenter.state import (
    Accepted,
    Admit,
    Admitted,
    Begin,
    Begun,
    Conclude,
    Concluded,
    Grant,
    Leases,
    Listing,
    Match,
    PlanStep,
    PlanStepped,
    Receipt,
    Snapshot,
    StateError,
    Suppressed,
    Suppression,
)
from msgcenter.state.cells import Hash, Retention
from msgcenter.state.units import Backfill, Reserve, Reserved, Take, Unite, Usage
from msgcenter.state.verbs import Verbs
from protocols.envelope import Key

T = TypeVar("T")

SCHEMA = """
CREATE TABLE IF NOT EXISTS cells (
    key TEXT PRIMARY KEY, expires INTEGER NOT NULL, value BLOB NOT NULL
) WITHOUT ROWID;
"""
SWEEP_EVERY = 200
"""Rows written between two steps of the sweep."""
SWEEP_ROWS = 4
"""Rows looked at for each one written: what has expired stays below a third of what has not."""


class SqliteCells:
    """The hashes of one verb: each is read once, and `flush` writes all that changed."""

    def __init__(self, db: sqlite3.Connection, now_ms: int) -> None:
        self._db = db
        self._now_ms = now_ms
        self._hashes: dict[str, Hash] = {}
        self._changed: dict[str, int] = {}

    def now_ms(self) -> int:
        return self._now_ms

    def load(self, key: str) -> Hash:
        cells = self._hashes.get(key)
        if cells is None:
            row = self._db.execute(
                "SELECT value FROM cells WHERE key = ? AND (expires = 0 OR expires > ?)",
                (key, self._now_ms),
            ).fetchone()
            cells = self._hashes[key] = msgpack.unpackb(row[0]) if row else {}
        return dict(cells)

    def store(self, key: str, cells: Hash, expires_ms: int) -> None:
        self._hashes[key] = dict(cells)
        self._changed[key] = expires_ms

    def flush(self) -> int:
        """Write; the number of hashes written."""
        gone = [(key,) for key in self._changed if not self._hashes[key]]
        kept = [
            (key, expires, msgpack.packb(self._hashes[key]))
            for key, expires in self._changed.items()
            if self._hashes[key]
        ]
        self._db.executemany("DELETE FROM cells WHERE key = ?", gone)
        self._db.executemany(
            "INSERT INTO cells VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET"
            " expires = excluded.expires, value = excluded.value",
            kept,
        )
        return len(self._changed)


class SqliteState:
    """`State` for the tasks of one process, kept in `path`.

    The constructor opens the file and raises sqlite3.Error when it cannot be used; every verb
    raises StateError when its commit failed (then nothing of it is stored).
    """

    def __init__(
        self,
        path: Path | str,
        clock: Clock,
        *,
        retention: Retention | None = None,
        rng: Random | None = None,
    ) -> None:
        self._writer = Writer(path, SCHEMA)
        self._clock = clock
        self._retention = retention or Retention()
        self._rng = rng or system_random()
        self._held: dict[tuple[str, str], frozenset[str]] = {}
        self._written = 0
        self._sweep_from = ""

    async def _run(self, verb: Callable[[Verbs], T]) -> T:
        def work(db: sqlite3.Connection) -> T:
            cells = SqliteCells(db, self._clock.now_ms())
            result = verb(Verbs(cells, self._retention))
            self._written += cells.flush()
            self._sweep(db, cells.now_ms())
            return result

        try:
            return await self._writer.run(work)
        except sqlite3.Error as error:
            raise StateError(f"state file: {error}") from error

    def _sweep(self, db: sqlite3.Connection, now_ms: int) -> None:
        """Runs in the writer thread alone, so its two counters need no lock."""
        if self._written < SWEEP_EVERY:
            return
        limit = SWEEP_ROWS * self._written
        self._written = 0
        rows = db.execute(
            "SELECT key, expires FROM cells WHERE key > ? ORDER BY key LIMIT ?",
            (self._sweep_from, limit),
        ).fetchall()
        self._sweep_from = rows[-1][0] if len(rows) == limit else ""
        db.executemany(
            "DELETE FROM cells WHERE key = ?",
            [(key,) for key, expires in rows if expires and expires <= now_ms],
        )

    async def begin(self, items: Sequence[Begin]) -> list[Begun]:
        return await self._run(lambda verbs: verbs.begin(items))

    async def accepted(self, items: Sequence[Accepted]) -> None:
        await self._run(lambda verbs: verbs.accepted(items))

    async def replay(self, keys: Sequence[Key]) -> list[bytes | None]:
        return await self._run(lambda verbs: verbs.replay(keys))

    async def admit(self, items: Sequence[Admit]) -> list[Admitted]:
        return await self._run(lambda verbs: verbs.admit(items))

    async def conclude(self, items: Sequence[Conclude]) -> list[Concluded]:
        return await self._run(lambda verbs: verbs.conclude(items))

    async def release(self, keys: Sequence[Key], reservations: Sequence[str] = ()) -> None:
        await self._run(lambda verbs: verbs.release(keys, reservations))

    async def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        return await self._run(lambda verbs: verbs.reserve(items))

    async def peek(self, takes: Sequence[Take]) -> list[Usage]:
        return await self._run(lambda verbs: verbs.peek(takes))

    async def backfill(self, items: Sequence[Backfill]) -> None:
        await self._run(lambda verbs: verbs.backfill(items))

    async def unite(self, items: Sequence[Unite]) -> list[bool]:
        return await self._run(lambda verbs: verbs.unite(items))

    async def covered(self, series: Sequence[str], since_ms: int) -> None:
        await self._run(lambda verbs: verbs.covered(series, since_ms))

    async def policy_epoch(self) -> tuple[int, ...]:
        return await self._run(lambda verbs: verbs.policy_epoch())

    async def correlate(self, receipts: Sequence[Receipt]) -> list[Match | None]:
        return await self._run(lambda verbs: verbs.correlate(receipts))

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        return await self._run(lambda verbs: verbs.get_many(messages))

    async def plan_step(self, items: Sequence[PlanStep]) -> list[PlanStepped]:
        return await self._run(lambda verbs: verbs.plan_step(items))

    async def plans(self, messages: Sequence[str]) -> list[tuple[int, bytes]]:
        return await self._run(lambda verbs: verbs.plans(messages))

    async def enlist(self, items: Sequence[Listing]) -> None:
        await self._run(lambda verbs: verbs.enlist(items))

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        return await self._run(lambda verbs: verbs.listed(names))

    async def suppress(self, items: Sequence[Suppression]) -> Suppressed:
        return await self._run(lambda verbs: verbs.suppress(items))

    async def unsuppress(self, gates: Sequence[str]) -> None:
        await self._run(lambda verbs: verbs.unsuppress(gates))

    async def tokens(
        self, bucket: str, *, want: int, rate: float, burst: float, lasts_s: float = 0.0
    ) -> Grant:
        return await self._run(lambda verbs: verbs.tokens(bucket, want, rate, burst, lasts_s))

    async def lease(self, group: str, owner: str, names: Sequence[str], ttl_s: float) -> Leases:
        believed = self._held.get((group, owner), frozenset())
        leases = await self._run(lambda verbs: verbs.lease(group, owner, names, ttl_s, believed))
        self._held[group, owner] = leases.held
        return leases

    async def lock(self, name: str, owner: str, ttl_s: float) -> float:
        return await self._run(lambda verbs: verbs.lock(name, owner, ttl_s))

    async def memo(self, keys: Sequence[str]) -> list[bytes | None]:
        return await self._run(lambda verbs: verbs.memo(keys))

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._run(lambda verbs: verbs.remember(key, value, ttl_s))

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        return await self._run(lambda verbs: verbs.allow(keys, limits))

    async def epoch(self) -> str:
        fresh = base32(self._rng.getrandbits(80), 16)
        return await self._run(lambda verbs: verbs.epoch(fresh))

    async def ping(self) -> None:
        await self._run(lambda verbs: verbs.get_many(()))

    async def close(self) -> None:
        """Write what is queued and close the file. Idempotent."""
        await self._writer.close()
