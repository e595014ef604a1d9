"""The lots that messages hold of counters, in Python: one call's view, over any store of small hashes.

`lua/units.lua` says the same for Redis. A reservation is a list of lots in its message's hash, one lot per reserved pass: open
until a deadline, or spent at a time. Beside the counters lies from when on each series of them is known. Long because it holds
every verb of caps once, and what they share: a lot moves only together with its counters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import msgpack

from msgcenter.state.cells import Cells
from msgcenter.state.tally import SLACK_MS, Lot, Tally, deadline_ms
from msgcenter.state.units import (
    Backfill,
    Counter,
    Denied,
    Per,
    Reserve,
    Reserved,
    Take,
    Unite,
    Unspent,
    Usage,
    checked,
    checked_take,
    from_ticket,
    ticket,
)


@dataclass(slots=True)
class Series:
    """`live`: counted since then without a gap, `keep` far back; `covered`: declared as known since (-1 = not declared)."""

    live: int
    keep: int
    covered: int = -1


class Ledger:
    """One call: each counter and record is read once, `flush` writes what changed. `message_ms`: how long records stay."""

    def __init__(self, cells: Cells, message_ms: int) -> None:
        self._cells = cells
        self._now = cells.now_ms()
        self._message_ms = message_ms
        self._tallies: dict[str, Tally] = {}
        self._records: dict[str, list[Lot]] = {}
        self._changed: set[str] = set()
        self._series: dict[str, Series] = {}

    # -- the verbs ------------------------------------------------------------------------------

    def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        checked(items)
        self._load_series(take.counter for item in items for take in item.takes)
        return [self._reserve(item) for item in items]

    def _reserve(self, item: Reserve) -> Reserved:
        lots = self._record(item.id)
        open_ms = math.ceil(item.open_s * 1000)
        deadline = deadline_ms(self._now, open_ms)
        mine = next((lot for lot in lots if lot.step == item.step and not lot.at), None)
        held = Reserved(ticket(item.id, ()))
        if mine is None and any((o.step, o.attempt) == (item.step, item.attempt) for o in lots):
            return held  # spent already, by this very pass
        paid = {
            name: per
            for lot in lots
            if lot is not mine
            for name, (units, per) in lot.holds.items()
            if units and (per == "message" or (per == "step" and lot.step == item.step))
        }
        wanted = [take for take in item.takes if take.counter.name not in paid]
        holds = {take.counter.name: (take.units, take.per) for take in wanted}
        holds |= {
            take.counter.name: (0, take.per)
            for take in item.takes
            if paid.get(take.counter.name) == "message"
        }
        if mine is not None and (item.attempt < mine.attempt or _same(holds, mine.holds)):
            mine.attempt = max(mine.attempt, item.attempt)
        else:
            if mine is not None:  # it was to go another way
                self._drop(item.id, lots, mine)
            if denied := self._denied(item, wanted):
                return Reserved("", denied)
            mine = Lot(item.step, item.attempt, deadline, open_ms, 0, holds)
            lots.append(mine)
            for take in wanted:
                tally = self._tally(take.counter.name)
                tally.keep = max(tally.keep, self._series[take.counter.series].keep)
                tally.add(mine, take.units)
        self._renew(item.id, lots, deadline)
        return held

    def _denied(self, item: Reserve, wanted: Sequence[Take]) -> tuple[Denied, ...]:
        return tuple(
            Denied(item.takes.index(take), number, use)
            for take in wanted
            if not take.counted_only
            for number, use in enumerate(self._usage(take).uses)
            if use.why
        )

    def confirm(self, text: str, step: int, attempt: int) -> bool:
        """The pass leaves now: its units are spent at this time. False: it holds none (any more)."""
        id_, _ = from_ticket(text)
        lots = self._record(id_)
        mine = next((o for o in lots if o.step == step and not o.at and o.attempt <= attempt), None)
        if mine is None:
            spent = [lot for lot in lots if lot.step == step and lot.at]
            per_attempt = any(per == "attempt" for lot in spent for _, per in lot.holds.values())
            return any(lot.attempt == attempt for lot in spent) or (bool(spent) and not per_attempt)
        self._move(mine, at=self._now)
        mine.attempt = attempt
        for other in lots:
            # What a message pays once is firm as soon as one of the steps that rely on it has left.
            if not other.at:  # so it is not mine
                for name in mine.holds:
                    self._pass_on(name, other, mine)
        self._changed.add(id_)
        return True

    def give_back(
        self, text: str, step: int, attempt: int, what: Unspent, *, next_attempt: bool = True
    ) -> None:
        """The pass surely sent nothing: its units are open again for the next attempt, or gone."""
        id_, _ = from_ticket(text)
        lots = self._record(id_)
        for lot in [lot for lot in lots if lot.step == step and lot.attempt == attempt]:
            if what == "open":
                if lot.at:
                    self._move(lot, at=0)
                lot.attempt += next_attempt
                self._renew(id_, lots, lot.deadline)
            else:
                self._drop(id_, lots, lot)
            self._changed.add(id_)

    def peek(self, takes: Sequence[Take]) -> list[Usage]:
        for take in takes:
            checked_take(take)
        self._load_series((take.counter for take in takes), write=False)
        return [self._usage(take) for take in takes]

    def backfill(self, items: Sequence[Backfill]) -> None:
        self._load_series(item.counter for item in items)
        for item in items:
            series = self._series[item.counter.series]
            tally = self._tally(item.counter.name)
            sent = {at: units for at, units in tally.sent.items() if at >= series.live}
            for at, units in {id_: rest for id_, *rest in item.sends}.values():
                if at < series.live:
                    sent[at] = sent.get(at, 0) + units
            tally.sent, tally.since, tally.cut = sent, item.since_ms, series.live
            # What was united is in the whole list.
            tally.others = {
                name: {at: units for at, units in theirs.items() if at >= series.live}
                for name, theirs in tally.others.items()
            }
            tally.keep = max(tally.keep, series.keep)
            tally.changed = True

    def unite(self, items: Sequence[Unite]) -> list[bool]:
        self._load_series(item.into for item in items)
        return [self._unite(item) for item in items]

    def _unite(self, item: Unite) -> bool:
        name, found = item.into.name, False
        mine = self._tally(name)
        for counter in item.of:
            if counter.name != name:
                other = self._tally(counter.name)
                found = found or bool(other.sent or other.open or other.others)
                mine.take_over(name, counter.name, other)
        if mine.changed:
            mine.keep = max(mine.keep, self._series[item.into.series].keep)
        return found

    def covered(self, names: Sequence[str], since_ms: int) -> None:
        cells = self._cells.load("cv")
        cells.setdefault("born", b"%d" % self._now)
        for name in names:
            live, keep, _ = _series_of(cells.get(f"s:{name}"), self._now)
            cells[f"s:{name}"] = msgpack.packb([live, keep, since_ms])
        self._cells.store("cv", cells, 0)

    def policy_epoch(self) -> int:
        cells = self._cells.load("cv")
        if "born" not in cells:
            cells["born"] = b"%d" % self._now
            self._cells.store("cv", cells, 0)
        return int(cells["born"])

    def flush(self) -> None:
        for id_ in self._changed:
            cells = self._cells.load(f"m:{id_}")
            rows = [
                [o.step, o.attempt, o.deadline, o.open_ms, o.at, o.holds]
                for o in self._records[id_]
            ]
            if rows:
                cells["r"] = msgpack.packb(rows)
            else:
                cells.pop("r", None)
            self._cells.store(f"m:{id_}", cells, self._now + self._message_ms)
        for name, tally in self._tallies.items():
            if tally.changed:
                tally.trim(self._now)
                row = [tally.keep, tally.since, tally.cut, tally.sent, tally.open, tally.others]
                empty = not (tally.sent or tally.open or tally.since or tally.others)
                last = max(tally.open, default=self._now)
                expires = max(self._now + tally.keep, last) + SLACK_MS
                self._cells.store(f"n:{name}", {} if empty else {"c": msgpack.packb(row)}, expires)

    # -- windows --------------------------------------------------------------------------------

    def _usage(self, take: Take) -> Usage:
        tally = self._tally(take.counter.name)
        since = self._since(take.counter, tally)
        uses = (tally.use(window, take.units, since, self._now) for window in take.windows)
        return Usage(tuple(uses), since)

    def _since(self, counter: Counter, tally: Tally) -> int:
        series = self._series[counter.series]
        known = [series.live]
        if series.covered >= 0:
            known.append(series.covered)
        if tally.since:
            # What was kept for a shorter time is not known for a longer one.
            short = tally.keep < series.keep
            known.append(max(tally.since, self._now - tally.keep) if short else tally.since)
        return min(known)

    def _load_series(self, counters: Iterable[Counter], *, write: bool = True) -> None:
        keeps: dict[str, int] = {}
        for counter in counters:
            keeps[counter.series] = max(keeps.get(counter.series, 0), counter.keep_ms)
        cells = self._cells.load("cv")
        changed = "born" not in cells
        cells.setdefault("born", b"%d" % self._now)
        for name, keep in keeps.items():
            live, kept, covered = _series_of(cells.get(f"s:{name}"), self._now)
            if keep > kept:
                if kept:
                    # What was kept for a shorter time is not known for a longer one.
                    live = max(live, self._now - kept)
                    covered = max(covered, self._now - kept) if covered >= 0 else -1
                kept = keep
                changed = True
                cells[f"s:{name}"] = msgpack.packb([live, kept, covered])
            self._series[name] = Series(live, kept, covered)
        if changed and write:
            self._cells.store("cv", cells, 0)

    # -- lots -----------------------------------------------------------------------------------

    def _move(self, lot: Lot, at: int) -> None:
        """Spend an open lot at a time, or (0) reopen a spent one."""
        for name, (units, _) in lot.holds.items():
            self._tally(name).remove(lot, units, self._now)
        lot.at = at
        lot.deadline = deadline_ms(self._now, lot.open_ms)
        for name, (units, _) in lot.holds.items():
            self._tally(name).add(lot, units)

    def _renew(self, id_: str, lots: Iterable[Lot], deadline: int) -> None:
        """No open lot of a message ends before the others: they may rely on what it pays for all."""
        for lot in lots:
            if not lot.at and lot.deadline < deadline:
                for name, (units, _) in lot.holds.items():
                    self._tally(name).remove(lot, units, self._now)
                lot.deadline = deadline
                for name, (units, _) in lot.holds.items():
                    self._tally(name).add(lot, units)
        self._changed.add(id_)

    def _pass_on(self, name: str, lot: Lot, heir: Lot) -> None:
        """What a message pays once passes from one lot to another that relies on it."""
        units, per = lot.holds.get(name, (0, "step"))
        if per == "message" and units:
            self._tally(name).remove(lot, units, self._now)
            lot.holds[name] = (0, per)
            heir.holds[name] = (units, per)
            self._tally(name).add(heir, units)

    def _drop(self, id_: str, lots: list[Lot], lot: Lot) -> None:
        lots.remove(lot)
        for name in list(lot.holds):
            heirs = [other for other in lots if name in other.holds]
            if heirs:
                self._pass_on(name, lot, max(heirs, key=lambda heir: heir.at))
        for name, (units, _) in lot.holds.items():
            self._tally(name).remove(lot, units, self._now)
        self._changed.add(id_)

    def _record(self, id_: str) -> list[Lot]:
        """Its lots, without those that are over (their units are over by themselves)."""
        lots = self._records.get(id_)
        if lots is None:
            blob = self._cells.load(f"m:{id_}").get("r")
            rows: list[list[Any]] = msgpack.unpackb(blob) if blob else []
            lots = [
                Lot(
                    step,
                    attempt,
                    deadline,
                    open_ms,
                    at,
                    {n: (units, per) for n, (units, per) in holds.items()},
                )
                for step, attempt, deadline, open_ms, at, holds in rows
                if at or deadline > self._now
            ]
            self._records[id_] = lots
        return lots

    def _tally(self, name: str) -> Tally:
        tally = self._tallies.get(name)
        if tally is None:
            blob = self._cells.load(f"n:{name}").get("c")
            if blob:
                tally = Tally(*msgpack.unpackb(blob, strict_map_key=False))
                tally.open = {till: n for till, n in tally.open.items() if till > self._now}
            else:
                tally = Tally()
            self._tallies[name] = tally
        return tally


def _series_of(blob: bytes | None, now: int) -> tuple[int, int, int]:
    live, keep, covered = msgpack.unpackb(blob) if blob else (now, 0, -1)
    return live, keep, covered


def _same(wanted: dict[str, tuple[int, Per]], held: dict[str, tuple[int, Per]]) -> bool:
    """Whether they are the same; which lot pays for all is no difference."""
    return wanted.keys() == held.keys() and all(
        per == held[name][1] and (per == "message" or units == held[name][0])
        for name, (units, per) in wanted.items()
    )
