"""One counter of caps, in Python: its sends (time -> units), its open units (deadline -> units), and what a window says of them.

`lua/units.lua` says the same for Redis. A counter is exact while it has at most `EXACT` send times. Beyond that (limits in the
hundreds, or traffic that is counted without limit) older times are rounded up to the end of a slot of a second, later up to
1/16 of their age and at most 15 minutes: a rolling window may refuse that much longer, a calendar one stays exact (no zone's
midnight lies inside a slot), none ever allows too early, and memory stays bounded.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from msgcenter.state.units import NEVER, Per, Use, Window

EXACT = 300
SLOTS_MS = (1_000, 5_000, 15_000, 60_000, 300_000, 900_000)
"""Each divides the next, and the last the offset of every time zone."""
AGE = 16
SLACK_MS = 60_000


def deadline_ms(now: int, open_ms: int) -> int:
    """When a reservation made now is over: whole seconds, so that a busy counter has few different ones."""
    return -(-(now + open_ms) // 1000) * 1000


@dataclass(slots=True)
class Lot:
    """What one pass holds. Open until `deadline` when `at` is 0, else spent at `at`. `holds`: counter name -> (units, per);
    0 units: it relies on what another lot of the message paid for all."""

    step: int
    attempt: int
    deadline: int
    open_ms: int
    at: int
    holds: dict[str, tuple[int, Per]]


@dataclass(slots=True)
class Tally:
    """One counter. `since`: from when a backfill knows it (0 = none), and `cut`: until when. `others`: sends of counters that
    were united with it, by their names."""

    keep: int = 0
    since: int = 0
    cut: int = 0
    sent: dict[int, int] = field(default_factory=dict)
    open: dict[int, int] = field(default_factory=dict)
    others: dict[str, dict[int, int]] = field(default_factory=dict)
    changed: bool = False
    _sums: dict[int, int] = field(default_factory=dict)

    def sent_after(self, after: int) -> int:
        """Units sent later than `after`; within one call the same windows are asked for many messages."""
        units = self._sums.get(after)
        if units is None:
            units = self._sums[after] = sum(
                n for sent in self._all() for at, n in sent.items() if at > after
            )
        return units

    def _all(self) -> list[dict[int, int]]:
        return [self.sent, *self.others.values()]

    def take_over(self, name: str, whose: str, other: Tally) -> None:
        """Count the sends of another one, `whose`, and of those it was united with; `name`: this one's own. A send that is here
        already is not counted again."""
        for of, sent in ((whose, other.sent), *other.others.items()):
            if of != name and sent:
                mine = self.others.setdefault(of, {})
                for at, units in sent.items():
                    mine[at] = max(units, mine.get(at, 0))
                self._sums.clear()
                self.changed = True

    def add(self, lot: Lot, units: int) -> None:
        if not units:
            return
        where, when = (self.sent, lot.at) if lot.at else (self.open, lot.deadline)
        where[when] = where.get(when, 0) + units
        if lot.at:
            self._sums.clear()
        self.changed = True

    def remove(self, lot: Lot, units: int, now: int) -> None:
        """Sent units may have been rounded up: they are in the first slot from their time on."""
        if not units:
            return
        where, when = (self.sent, lot.at) if lot.at else (self.open, lot.deadline)
        if lot.at and when not in where:
            if when <= now - self.keep:
                return  # forgotten meanwhile
            when = min((at for at in where if at >= when), default=when)
        left = where.get(when, 0) - units
        if left > 0:
            where[when] = left
        else:
            where.pop(when, None)
        if lot.at:
            self._sums.clear()
        self.changed = True

    def trim(self, now: int) -> None:
        self.sent = self._trimmed(self.sent, now)
        if self.others:
            kept = {name: self._trimmed(sent, now) for name, sent in self.others.items()}
            self.others = {name: sent for name, sent in kept.items() if sent}

    def _trimmed(self, sent: dict[int, int], now: int) -> dict[int, int]:
        if sent and min(sent) <= now - self.keep:
            sent = {at: n for at, n in sent.items() if at > now - self.keep}
        if len(sent) <= EXACT:
            return sent
        rounded: dict[int, int] = {}
        for at, units in sent.items():
            end = self._slot_end(at, now)
            rounded[end] = rounded.get(end, 0) + units
        return rounded

    def _slot_end(self, at: int, now: int) -> int:
        end = at
        for slot in SLOTS_MS:
            if slot > SLOTS_MS[0] and slot * AGE > now - at:
                break
            end = (at // slot + 1) * slot - 1
        return min(end, self.cut - 1) if at < self.cut else end

    def use(self, window: Window, units: int, since: int, now: int) -> Use:
        """What a window says of `units` more; `since`: from when all sends are known."""
        held = sum(self.open.values())
        if window.kind == "calendar":
            start, end = _period(window.edges, now)
            after = start - 1
        else:
            after, end = now - window.span_ms, 0
            units = 1 if window.kind == "gap" else units
        used = self.sent_after(after) + held
        over = used + units - window.limit
        if over > 0:
            if units > window.limit:
                return Use(used, held, window.limit, NEVER, "limit")
            free = end or self._room(after, over, window.span_ms, now)
            return Use(used, held, window.limit, free, "limit")
        if window.must_know and since > after + 1:
            return Use(used, held, window.limit, end or since + window.span_ms, "history")
        return Use(used, held, window.limit, now)

    def _room(self, after: int, over: int, span: int, now: int) -> int:
        """When `over` units have left a rolling window."""
        sends = ((at, n) for sent in self._all() for at, n in sent.items() if at > after)
        for at, units in sorted(sends):
            over -= units
            if over <= 0:
                return at + span
        return now + span


def _period(edges: tuple[int, int, int, int], now: int) -> tuple[int, int]:
    """Start and end of the period that `now` lies in. The asker's clock may be a period off; if it is more, what is asked is
    all since the last edge it knows, and it may ask again soon."""
    number = max((n for n in range(4) if edges[n] <= now), default=0)
    return edges[number], edges[number + 1] if number < 3 else now + 1000
