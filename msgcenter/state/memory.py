"""State in this process's memory: for simulation and unit tests; shared by nobody, gone at exit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

from msgcenter.clock import Clock, Random, base32, system_random
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
    Suppressed,
    Suppression,
)
from msgcenter.state.cells import Hash, Retention
from msgcenter.state.units import Backfill, Reserve, Reserved, Take, Unite, Usage
from msgcenter.state.verbs import Verbs
from protocols.envelope import Key

SWEEP_EVERY, SWEEP = 64, 128
"""After so many stores so many hashes are looked at: all of them within as many stores as half of them."""


class MemoryCells:
    """Hashes in a dict; now and then a store looks at some others and drops those that have expired: so what is expired is never
    more than a part of what is not."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._hashes: dict[str, tuple[int, Hash]] = {}
        self._walk: Iterator[str] = iter(())
        self._stores = 0

    def now_ms(self) -> int:
        return self._clock.now_ms()

    def load(self, key: str) -> Hash:
        expires, cells = self._hashes.get(key, (0, {}))
        if expires and expires <= self.now_ms():
            return {}
        return dict(cells)

    def store(self, key: str, cells: Hash, expires_ms: int) -> None:
        if cells:
            self._hashes[key] = (expires_ms, dict(cells))
        else:
            self._hashes.pop(key, None)
        self._stores += 1
        if not self._stores % SWEEP_EVERY:
            self._sweep()

    def __len__(self) -> int:
        return len(self._hashes)

    def _sweep(self) -> None:
        now, looked = self.now_ms(), 0
        for key in islice(self._walk, SWEEP):
            looked += 1
            found = self._hashes.get(key)
            if found is not None and 0 < found[0] <= now:
                del self._hashes[key]
        if looked < SWEEP:
            self._walk = iter(list(self._hashes))


class MemoryState:
    """`State` for one event loop: a verb never awaits in its middle, which makes it atomic."""

    def __init__(
        self, clock: Clock, *, retention: Retention | None = None, rng: Random | None = None
    ) -> None:
        self.cells = MemoryCells(clock)
        self._verbs = Verbs(self.cells, retention or Retention())
        self._rng = rng or system_random()
        self._held: dict[tuple[str, str], frozenset[str]] = {}

    async def begin(self, items: Sequence[Begin]) -> list[Begun]:
        return self._verbs.begin(items)

    async def accepted(self, items: Sequence[Accepted]) -> None:
        self._verbs.accepted(items)

    async def replay(self, keys: Sequence[Key]) -> list[bytes | None]:
        return self._verbs.replay(keys)

    async def admit(self, items: Sequence[Admit]) -> list[Admitted]:
        return self._verbs.admit(items)

    async def conclude(self, items: Sequence[Conclude]) -> list[Concluded]:
        return self._verbs.conclude(items)

    async def release(self, keys: Sequence[Key], reservations: Sequence[str] = ()) -> None:
        self._verbs.release(keys, reservations)

    async def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        return self._verbs.reserve(items)

    async def peek(self, takes: Sequence[Take]) -> list[Usage]:
        return self._verbs.peek(takes)

    async def backfill(self, items: Sequence[Backfill]) -> None:
        self._verbs.backfill(items)

    async def unite(self, items: Sequence[Unite]) -> list[bool]:
        return self._verbs.unite(items)

    async def covered(self, series: Sequence[str], since_ms: int) -> None:
        self._verbs.covered(series, since_ms)

    async def policy_epoch(self) -> tuple[int, ...]:
        return self._verbs.policy_epoch()

    async def correlate(self, receipts: Sequence[Receipt]) -> list[Match | None]:
        return self._verbs.correlate(receipts)

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        return self._verbs.get_many(messages)

    async def plan_step(self, items: Sequence[PlanStep]) -> list[PlanStepped]:
        return self._verbs.plan_step(items)

    async def plans(self, messages: Sequence[str]) -> list[tuple[int, bytes]]:
        return self._verbs.plans(messages)

    async def enlist(self, items: Sequence[Listing]) -> None:
        self._verbs.enlist(items)

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        return self._verbs.listed(names)

    async def suppress(self, items: Sequence[Suppression]) -> Suppressed:
        return self._verbs.suppress(items)

    async def unsuppress(self, gates: Sequence[str]) -> None:
        self._verbs.unsuppress(gates)

    async def tokens(
        self, bucket: str, *, want: int, rate: float, burst: float, lasts_s: float = 0.0
    ) -> Grant:
        return self._verbs.tokens(bucket, want, rate, burst, lasts_s)

    async def lease(self, group: str, owner: str, names: Sequence[str], ttl_s: float) -> Leases:
        believed = self._held.get((group, owner), frozenset())
        leases = self._verbs.lease(group, owner, names, ttl_s, believed)
        self._held[group, owner] = leases.held
        return leases

    async def lock(self, name: str, owner: str, ttl_s: float) -> float:
        return self._verbs.lock(name, owner, ttl_s)

    async def memo(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._verbs.memo(keys)

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        self._verbs.remember(key, value, ttl_s)

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        return self._verbs.allow(keys, limits)

    async def epoch(self) -> str:
        return self._verbs.epoch(base32(self._rng.getrandbits(80), 16))

    async def ping(self) -> None:
        return

    async def close(self) -> None:
        return
