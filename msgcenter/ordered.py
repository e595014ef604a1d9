"""Ordered: the handler of conversation lanes; inside one `order_key` messages go strictly one after the other, other keys run on.

A lease becomes *lines*, one per key; each round takes the head of every line through the pipeline together. A head that must
be tried again is tried in place a few times, then its whole line is *parked*: a durable list in the Store that arrivals of
that key join at its end, until its wake-up sends the parked ones in order. One process at a time works a partition (State
lease, single active consumer as the net), so the list has one reader and one writer.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from msgcenter.bus import Queue
from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from msgcenter.store import ParkRow
from msgcenter.worker import Leased, Passage, Ready
from protocols import wire
from protocols.envelope import Envelope, hashed
from protocols.payload import Pull

IN_PLACE_S = (0.05, 0.2, 0.5)
"""Waits before the tries in place; after them the line is parked."""
IN_PLACE_MAX_S = 2.0
"""A far end that asks for a longer wait than this is not tried in place."""
WAKE_KEYS = 200
WAKE_ROWS = 50


class ParkStore(Protocol):
    """The durable list per (queue, key): `msgcenter.store.park`. Every method is one transaction and may be repeated."""

    async def park(self, rows: Sequence[ParkRow]) -> None: ...

    async def parked_wakes(self, queue: str) -> dict[str, int]: ...

    async def parked_rows(
        self, queue: str, keys: Sequence[str], limit: int
    ) -> dict[str, list[ParkRow]]: ...

    async def settle_parked(
        self,
        queue: str,
        *,
        done: Sequence[str],
        changed: Mapping[str, bytes],
        wake: Mapping[str, int],
    ) -> frozenset[str]: ...


@dataclass(slots=True)
class _Entry:
    item: Item
    row: str = ""
    """The parked row it came from; empty = from a frame."""


@dataclass(slots=True)
class _Line:
    key: str
    entries: deque[_Entry] = field(default_factory=deque)
    tries: int = 0


class Ordered:
    """Handler that keeps order; wraps a Passage for the running and settling of each round."""

    def __init__(
        self,
        queue: Queue,
        passage: Passage,
        park: ParkStore,
        *,
        clock: Clock,
        log: Any,
        ready: Ready,
    ) -> None:
        self._queue = queue
        self._passage = passage
        self._store = park
        self._clock = clock
        self._log = log.bind(queue=queue.name)
        self._ready = ready
        self._parked: dict[str, int] = {}

    @property
    def parked_keys(self) -> int:
        return len(self._parked)

    async def begin(self) -> None:
        self._parked = await self._store.parked_wakes(self._queue.name)

    def wait_s(self, longest: float) -> float:
        if not self._parked:
            return longest
        until = (min(self._parked.values()) - self._clock.now_ms()) / 1000
        return max(0.0, min(longest, until))

    async def between(self) -> None:
        """Wake the parked keys whose time has come."""
        now = self._clock.now_ms()
        due = [key for key, at in self._parked.items() if at <= now][:WAKE_KEYS]
        if not due:
            return
        rows = await self._store.parked_rows(self._queue.name, due, WAKE_ROWS)
        lines = [
            _Line(key, deque(_Entry(Item(_open(row.body)), row.id) for row in parked))
            for key, parked in rows.items()
        ]
        rung = [entry.row for line in lines for entry in _one_ring(line)]
        stop = asyncio.Event()
        stop.set()  # parked rows can wait: no patience with a far end that is away
        wake = dict.fromkeys(due, now)
        done, changed, later = await self._rounds(lines, stop)
        wake.update(later)
        gone = await self._store.settle_parked(
            self._queue.name, done=[*rung, *done], changed=changed, wake=wake
        )
        for key in due:
            if key in gone:
                self._parked.pop(key, None)
            else:
                self._parked[key] = wake[key]

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        lines: dict[str, _Line] = {}
        behind: dict[str, list[Item]] = {}
        for one in leased:
            for item in one.items:
                key = item.envelope.order_key
                if key in self._parked:
                    behind.setdefault(key, []).append(item)
                else:
                    lines.setdefault(key, _Line(key)).entries.append(_Entry(item))
        if behind:
            await self._park(
                {key: [item.envelope for item in items] for key, items in behind.items()}, {}
            )
            for items in behind.values():
                for item in items:
                    item.done = True
        for line in lines.values():
            for entry in _one_ring(line):
                entry.item.done = True
        await self._rounds(list(lines.values()), stop)

    async def _rounds(
        self, lines: Sequence[_Line], stop: asyncio.Event
    ) -> tuple[list[str], dict[str, bytes], dict[str, int]]:
        """Run the lines head by head until each is through, parked, or must be given back.

        Returns, for lines that came from parked rows: ids done, rows changed, wake-ups.
        """
        done: list[str] = []
        changed: dict[str, bytes] = {}
        wake: dict[str, int] = {}
        live = [line for line in lines if line.entries]
        while live:
            heads = [line.entries[0] for line in live]
            await self._passage.attempt([head.item for head in heads])
            again = await self._passage.settle([head.item for head in heads])
            further = {envelope.order_key: (envelope, wait) for envelope, wait in again}
            waits: list[float] = []
            to_park: list[tuple[_Line, Envelope, float]] = []
            given_back: list[_Line] = []
            for line in live:
                head = line.entries[0]
                if line.key in further:
                    envelope, wait = further[line.key]
                    if (
                        line.tries < len(IN_PLACE_S)
                        and wait <= IN_PLACE_MAX_S
                        and not stop.is_set()
                    ):
                        waits.append(IN_PLACE_S[line.tries])
                        line.tries += 1
                        # The same item (its frame is done when the message is), and free of charge: the few
                        # tries in place are one try of the category's budget.
                        head.item.renew(replace(envelope, tries=head.item.envelope.tries))
                    else:
                        to_park.append((line, envelope, wait))
                elif not head.item.done:
                    if head.item.retry_in > 0:
                        to_park.append((line, head.item.envelope, head.item.retry_in))
                    else:
                        given_back.append(line)
                else:
                    line.tries = 0
                    line.entries.popleft()
                    if head.row:
                        done.append(head.row)
            await self._park_lines(to_park, changed, wake)
            for line in given_back:
                wake[line.key] = self._clock.now_ms() + 1000
            if given_back and not stop.is_set() and await self._wait_ready(stop):
                given_back = []
            stopped = {id(line) for line, _, _ in to_park} | {id(line) for line in given_back}
            live = [line for line in live if line.entries and id(line) not in stopped]
            if live and len(waits) == len(live):
                await self._clock.sleep(min(waits))
        return done, changed, wake

    async def _wait_ready(self, stop: asyncio.Event) -> bool:
        """Up to a minute for the far end to come back, so that a short break costs no redelivery."""
        for _ in range(60):
            if stop.is_set():
                return False
            if await self._ready():
                return True
        return False

    async def _park_lines(
        self,
        to_park: Sequence[tuple[_Line, Envelope, float]],
        changed: dict[str, bytes],
        wake: dict[str, int],
    ) -> None:
        now = self._clock.now_ms()
        fresh: dict[str, list[Envelope]] = {}
        wakes: dict[str, int] = {}
        for line, head, wait in to_park:
            at = now + round(wait * 1000)
            if line.entries[0].row:
                changed[line.entries[0].row] = wire.seal(head)
                wake[line.key] = at
            else:
                fresh[line.key] = [head, *[entry.item.envelope for entry in list(line.entries)[1:]]]
                wakes[line.key] = at
        if fresh:
            await self._park(fresh, wakes)
            for line, _, _ in to_park:
                if line.key in fresh:
                    for entry in line.entries:
                        entry.item.done = True

    async def _park(self, lines: Mapping[str, Sequence[Envelope]], wake: Mapping[str, int]) -> None:
        rows = [
            ParkRow(
                id=hashed(envelope.id, envelope.step, envelope.attempt, "park"),
                queue=self._queue.name,
                order_key=key,
                body=wire.seal(envelope),
                message=envelope.id,
                wake_at=wake.get(key, 0),
            )
            for key, envelopes in lines.items()
            for envelope in envelopes
        ]
        await self._store.park(rows)
        self._parked.update(wake)
        if wake:
            self._log.info("parked", keys=len(wake), messages=len(rows))


def _one_ring(line: _Line) -> list[_Entry]:
    """Take the doorbells out of a line that a newer one of the same source makes needless: it rings for all of them, since
    none has been answered yet. Returns what was taken out."""
    kept: deque[_Entry] = deque()
    surplus: list[_Entry] = []
    rung: set[str] = set()
    for entry in reversed(line.entries):
        payload = entry.item.envelope.payload
        if isinstance(payload, Pull) and payload.source in rung:
            surplus.append(entry)
            continue
        if isinstance(payload, Pull):
            rung.add(payload.source)
        kept.appendleft(entry)
    line.entries = kept
    return surplus


def _open(body: bytes) -> Envelope:
    item = wire.open_sealed(body)
    assert isinstance(item, Envelope)
    return item
