"""The caps of `RedisState`: counters and reservations, in one script call on one server, per shard on a Cluster.

A reservation's record lies with its message, a person's counters in the person's shard (the same one, unless the person was
linked later), a wide counter (account, caller, organisation, group) in the shard of its own name. What lies in one shard is
one step. Else the shards beside the message's own come first and keep a record of their part: reserving, a refusal anywhere
gives back what others gave; admitting, they are spent before the claim. A crash between leaves units open, which their
deadline ends, or spent, which counts too much and never too little.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

from msgcenter.clock import SHARDS, shard_of, shard_of_id
from msgcenter.state.scripts import NOBODY, Call, Calls, Scripts
from msgcenter.state.units import (
    PERS,
    Backfill,
    Counter,
    Denied,
    Reserve,
    Reserved,
    Take,
    Unite,
    Usage,
    Use,
    Window,
    checked,
    checked_take,
    from_ticket,
    ticket,
)
from protocols.envelope import Key

What: TypeAlias = Literal["confirm", "open", "reopen", "refunded", "undo"]
WHY: tuple[Literal["", "limit", "history"], ...] = ("", "limit", "history")


class _Packing:
    """The takes of one call: every list of windows once, and how far back each series is asked."""

    def __init__(self, call: Call, series_key: str) -> None:
        self._call = call
        self._keeps: dict[str, int] = {}
        self._windows: list[list[list[object]]] = []
        self._at: dict[tuple[Window, ...], int] = {}
        call.constants = [call.key(series_key), self._keeps, self._windows]

    def take(self, take: Take, counter_key: str) -> list[object]:
        counter = take.counter
        self._keeps[counter.series] = max(self._keeps.get(counter.series, 0), counter.keep_ms)
        at = self._at.get(take.windows)
        if at is None:
            self._windows.append(
                [[w.kind, w.limit, w.span_ms, w.must_know, w.edges] for w in take.windows]
            )
            at = self._at[take.windows] = len(self._windows)
        per, counted = PERS.index(take.per), take.counted_only
        return [self._call.key(counter_key), counter.series, take.units, per, counted, at]


class RedisUnits:
    """`tags`: what the keys of each shard begin with; `spread`: each shard is a call of its own."""

    def __init__(
        self, scripts: Scripts, tags: Sequence[str], *, spread: bool, message_ms: int
    ) -> None:
        self._scripts = scripts
        self._tags = tags
        self._spread = spread
        self._message_ms = message_ms

    # -- the verbs --------------------------------------------------------------------------------

    async def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        checked(items)
        away: list[tuple[int, int, list[int]]] = []
        home: list[tuple[int, int, list[int]]] = []
        for position, item in enumerate(items):
            own = shard_of_id(item.id)
            parts: dict[int, list[int]] = {own: []}
            for number, take in enumerate(item.takes):
                shard = self._shard(take.counter) if self._spread else own
                parts.setdefault(shard, []).append(number)
            home.append((position, own, parts.pop(own)))
            away += [(position, shard, numbers) for shard, numbers in parts.items()]
        denied: dict[int, list[Denied]] = {}
        if away:
            await self._reserve(items, away, denied, probe=frozenset())
        refused_away = frozenset(denied)
        await self._reserve(items, home, denied, probe=refused_away)
        undo = [(shard, items[position]) for position, shard, _ in away if position in denied]
        await self.away("undo", [(shard, item.id, item.step, item.attempt) for shard, item in undo])
        beside: dict[int, list[int]] = {}
        for position, shard, _ in away:
            beside.setdefault(position, []).append(shard)
        return [
            Reserved("", tuple(sorted(found, key=lambda one: (one.take, one.window))))
            if (found := denied.get(position))
            else Reserved(ticket(item.id, beside.get(position, ())))
            for position, item in enumerate(items)
        ]

    async def _reserve(
        self,
        items: Sequence[Reserve],
        parts: Sequence[tuple[int, int, list[int]]],
        denied: dict[int, list[Denied]],
        probe: frozenset[int],
    ) -> None:
        """`parts`: (position of the item, shard, its takes there); `probe`: positions where only to look."""
        calls = Calls(self._spread)
        packings: dict[int, _Packing] = {}
        for row, (position, shard, numbers) in enumerate(parts):
            item = items[position]
            call, packing = self._packing(calls, packings, shard)
            takes = [
                packing.take(item.takes[number], self._counter(item.takes[number].counter))
                for number in numbers
            ]
            record = call.key(self._record(shard, item.id))
            open_ms = math.ceil(item.open_s * 1000)
            call.add(row, [record, item.step, item.attempt, open_ms, takes, position in probe])
        for row, found in await self._scripts.run("reserve", calls, self._message_ms):
            position, _, numbers = parts[row]
            for number, window, *use in found:
                one = Denied(numbers[number], window, _use(*use))
                denied.setdefault(position, []).append(one)

    async def peek(self, takes: Sequence[Take]) -> list[Usage]:
        calls = Calls(self._spread)
        packings: dict[int, _Packing] = {}
        for position, take in enumerate(takes):
            checked_take(take)
            call, packing = self._packing(calls, packings, self._shard(take.counter))
            call.add(position, packing.take(take, self._counter(take.counter)))
        found = dict(await self._scripts.run("peek", calls))
        return [
            Usage(tuple(_use(*use) for use in uses), since)
            for uses, since in (found[n] for n in range(len(takes)))
        ]

    async def backfill(self, items: Sequence[Backfill]) -> None:
        calls = Calls(self._spread)
        for item in items:
            counter = item.counter
            shard = self._shard(counter)
            call = calls.at(shard)
            if not call.constants:
                call.constants = [call.key(self._series(shard)), {}]
            keeps: dict[str, int] = call.constants[1]  # type: ignore[assignment]
            keeps[counter.series] = max(keeps.get(counter.series, 0), counter.keep_ms)
            sends = list({id_: [at, units] for id_, at, units in item.sends}.values())
            row = [call.key(self._counter(counter)), counter.series, item.since_ms, sends]
            call.add(NOBODY, row)
        await self._scripts.run("backfill", calls)

    async def unite(self, items: Sequence[Unite]) -> list[bool]:
        """Read what the others have, where they lie; then add it, where it is to lie."""
        calls = Calls(self._spread)
        others = [
            (position, counter)
            for position, item in enumerate(items)
            for counter in item.of
            if counter.name != item.into.name
        ]
        for row, (_, counter) in enumerate(others):
            call = calls.at(self._shard(counter))
            call.add(row, [call.key(self._counter(counter)), counter.name])
        pieces: dict[int, list[object]] = {}
        found = [False] * len(items)
        for row, (held, sends) in await self._scripts.run("counted", calls):
            position = others[row][0]
            found[position] = found[position] or bool(held) or bool(sends)
            pieces.setdefault(position, []).extend(sends)
        calls = Calls(self._spread)
        for position, some in pieces.items():
            if not some:
                continue
            counter = items[position].into
            shard = self._shard(counter)
            call = calls.at(shard)
            if not call.constants:
                call.constants = [call.key(self._series(shard)), {}]
            keeps: dict[str, int] = call.constants[1]  # type: ignore[assignment]
            keeps[counter.series] = max(keeps.get(counter.series, 0), counter.keep_ms)
            row_of = [call.key(self._counter(counter)), counter.series, counter.name, some]
            call.add(NOBODY, row_of)
        await self._scripts.run("unite", calls)
        return found

    async def covered(self, series: Sequence[str], since_ms: int) -> tuple[int, ...]:
        """Declares; since when each shard remembers."""
        calls = Calls(self._spread)
        for shard in range(SHARDS) if self._spread else (0,):
            call = calls.at(shard)
            call.add(shard, call.key(self._series(shard)))
        born = await self._scripts.run("covered", calls, since_ms, list(series))
        return tuple(since for _, since in sorted(born))

    # -- what lies in other shards than its message -----------------------------------------------

    async def away(
        self, what: What, rows: Sequence[tuple[int, str, int, int]]
    ) -> list[tuple[int, bool]]:
        """Do `what` to the parts (shard, reservation, step, attempt); (row, answer) of each, in any order."""
        calls = Calls(self._spread)
        for number, (shard, id_, step, attempt) in enumerate(rows):
            call = calls.at(shard)
            call.add(number, [call.key(self._record(shard, id_)), step, attempt])
        return await self._scripts.run("units_away", calls, self._message_ms, what)

    async def held(self, what: What, passes: Mapping[int, tuple[Key, str]]) -> set[int]:
        """Do `what` to the away parts of passes with tickets; those (of the mapping's keys) where a part is not held."""
        parts = [
            (position, (shard, id_, key.step, key.attempt))
            for position, (key, text) in passes.items()
            for id_, shards in (from_ticket(text),)
            for shard in shards
        ]
        if not parts:
            return set()
        answers = await self.away(what, [row for _, row in parts])
        return {parts[number][0] for number, answer in answers if not answer}

    def record(self, key: Key, text: str) -> str:
        """The key of the record a ticket speaks of. Raises ValueError when it lies in another shard than the pass."""
        id_, _ = from_ticket(text)
        shard = shard_of_id(key.message)
        if shard_of_id(id_) != shard:
            raise ValueError(f"{key.message}: the reservation {id_} lies in another shard")
        return self._record(shard, id_)

    # -- where things lie -------------------------------------------------------------------------

    def _packing(
        self, calls: Calls, packings: dict[int, _Packing], shard: int
    ) -> tuple[Call, _Packing]:
        call = calls.at(shard)
        packing = packings.get(id(call))
        if packing is None:
            packing = packings[id(call)] = _Packing(call, self._series(shard))
        return call, packing

    def _shard(self, counter: Counter) -> int:
        return shard_of(counter.home or counter.name)

    def _counter(self, counter: Counter) -> str:
        return f"{self._tags[self._shard(counter)]}n:{counter.name}"

    def _record(self, shard: int, id_: str) -> str:
        return f"{self._tags[shard]}m:{id_}"

    def _series(self, shard: int) -> str:
        return f"{self._tags[shard if self._spread else 0]}cv"


def _use(used: int, open_: int, limit: int, next_ms: int, why: int) -> Use:
    return Use(used, open_, limit, next_ms, WHY[why])
