"""Ordered: the handler of conversation lanes; inside one `order_key` messages go strictly one after the other, other keys run on.

A lease becomes *lines*, one per key; each round takes the head of every line through the pipeline together. A head that must
be tried again is tried in place a few times, then its whole line is *parked*: a durable list in the Store that arrivals of
that key join at its end, until its wake-up sends the parked ones in order. One process at a time works a partition (State
lease, single active consumer as the net), so the list has one reader and one writer.

Frames that kill their process again and again are parked whole, which keeps their order, and then worked one message at a
time (`suspects`): the culprit alone is given up, and nothing passes it before that.

One file, for a lease, a wake-up and a suspect all go through the same rounds.
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
from msgcenter.suspects import KILLS, Memory, Suspects
from msgcenter.worker import SPLIT_FROM, Leased, Passage, Ready
from protocols import wire
from protocols.envelope import Envelope, hashed
from protocols.outcome import Rejected
from protocols.payload import Pull

IN_PLACE_S = (0.05, 0.2, 0.5)
"""Waits before the tries in place; after them the line is parked."""
IN_PLACE_MAX_S = 2.0
"""A far end that asks for a longer wait than this is not tried in place."""
WAKE_KEYS = 200
WAKE_ROWS = 50
ALONE_ROWS = 50
"""Worked one by one in a turn of the loop; each costs two calls of State."""


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
        memory: Memory,
        eager: bool = False,
    ) -> None:
        """`memory`: where it is counted what killed the processes before. `eager`: what is parked at the start is woken at
        once."""
        self._eager = eager
        self._queue = queue
        self._passage = passage
        self._store = park
        self._clock = clock
        self._log = log.bind(queue=queue.name)
        self._ready = ready
        self._parked: dict[str, int] = {}
        self._suspects = Suspects(queue.name, memory)

    @property
    def parked_keys(self) -> int:
        return len(self._parked)

    async def begin(self) -> None:
        self._parked = await self._store.parked_wakes(self._queue.name)
        if self._eager:
            self._parked = dict.fromkeys(self._parked, 0)
        await self._suspects.begin(self._parked)

    def wait_s(self, longest: float) -> float:
        if not self._parked:
            return longest
        until = (min(self._parked.values()) - self._clock.now_ms()) / 1000
        return max(0.0, min(longest, until))

    async def between(self) -> None:
        """Wake the parked keys whose time has come."""
        now = self._clock.now_ms()
        due = [key for key, at in self._parked.items() if at <= now][:WAKE_KEYS]
        suspects = self._suspects
        unproven = [key for key in due if key in suspects.unproven]
        if unproven and suspects.careful:
            await self._wake_alone(unproven)
            due = [key for key in due if key not in suspects.unproven and key in self._parked]
        if due and unproven and not suspects.careful:
            async with suspects.together(due):
                await self._wake(due)
        elif due:
            await self._wake(due)

    async def _wake(self, due: Sequence[str]) -> None:
        now = self._clock.now_ms()
        rows = await self._store.parked_rows(self._queue.name, due, WAKE_ROWS)
        lines = [
            _Line(key, deque(_Entry(Item(_open(row.body), again=True), row.id) for row in parked))
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

    async def _wake_alone(self, keys: Sequence[str]) -> None:
        """Work the rows of these keys one after the other, each on its own, a few of them in a turn."""
        queue, left = self._queue.name, ALONE_ROWS
        for key, rows in (await self._store.parked_rows(queue, keys, ALONE_ROWS)).items():
            line = _Line(key, deque(_Entry(Item(_open(row.body)), row.id) for row in rows))
            if surplus := [entry.row for entry in _one_ring(line)]:
                await self._settle_row(key, surplus, {}, {})
            elif not rows:
                await self._settle_row(key, [], {}, {})
            for entry in line.entries:
                async with self._suspects.alone(entry.row) as given_up:
                    if given_up:
                        entry.item.outcome = Rejected("message", KILLS, "poison")
                        self._log.error("poison", msg_id=entry.item.envelope.id, detail=KILLS)
                    stop = asyncio.Event()
                    stop.set()
                    done, changed, wake = await self._rounds([_Line(key, deque([entry]))], stop)
                    await self._settle_row(key, done, changed, wake)
                left -= 1
                if not done or left <= 0:
                    break
            if left <= 0:
                return

    async def _settle_row(
        self, key: str, done: Sequence[str], changed: Mapping[str, bytes], wake: Mapping[str, int]
    ) -> None:
        wakes = {key: wake.get(key, self._clock.now_ms())}
        if await self._store.settle_parked(
            self._queue.name, done=done, changed=changed, wake=wakes
        ):
            self._parked.pop(key, None)
            await self._suspects.gone(key)
        else:
            self._parked[key] = wakes[key]

    async def _put_aside(self, leased: Sequence[Leased]) -> None:
        """Park all of a lease whose frames killed their process time and again: any of its messages may have."""
        items = [item for one in leased for item in one.items]
        lines: dict[str, list[Envelope]] = {}
        for item in items:
            lines.setdefault(item.envelope.order_key, []).append(item.envelope)
        await self._suspects.accuse(lines)
        now = self._clock.now_ms()
        await self._park(lines, {key: now for key in lines if key not in self._parked})
        for item in items:
            item.done = True
        self._log.warning("frames_put_aside", messages=len(items), keys=len(lines))

    async def __call__(self, leased: Sequence[Leased], stop: asyncio.Event) -> None:
        if any(one.number >= SPLIT_FROM and one.items for one in leased):
            await self._put_aside(leased)
            return
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
            for line in live:
                line.entries[0].item.behind = len(line.entries) - 1
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
