"""Simulate: recorded traffic decided again by other rules, by the very stages that decide live, with a State of its own in memory.

What is compared is what each message came to: sent (the rules let it go), held (they made it wait), dropped. Caps count what the
simulation lets go, from the beginning of the traffic on; what it holds comes back at its time and is decided again.

Memory is bounded by the people, not by the messages: counters are theirs and live as long as their windows; of messages are
kept the last hour's reservations, the last RECENT ids, and of those that are held the nearest (the rest waits in a file).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field

from msgcenter.backlog import Backlog
from msgcenter.config import Config
from msgcenter.customers import Person
from msgcenter.pipeline import Item, run
from msgcenter.rulebook import Rulebook
from msgcenter.stages.expire import Expire
from msgcenter.stages.policy import Policy
from msgcenter.stages.reserve import Reserve
from msgcenter.state import Admit, Conclude, Snapshot
from msgcenter.state.cells import Retention
from msgcenter.state.memory import MemoryState
from msgcenter.traffic import Asked, Failed, Verdict
from protocols.envelope import Envelope, Key
from protocols.outcome import Held

VERDICTS: tuple[Verdict, ...] = ("sent", "held", "dropped")
NOWHERE = "-"
RECENT = 100_000
"""Messages remembered as let go: a failure of one that comes later than this many gives no credit back."""
OWNER = "simulation"


class ReplayClock:
    """Stands at the moment of the traffic that is being decided."""

    def __init__(self) -> None:
        self._ms = 0

    def now_ms(self) -> int:
        return self._ms

    def monotonic(self) -> float:
        return self._ms / 1000

    async def sleep(self, seconds: float) -> None:
        raise AssertionError("nothing waits in a simulation: a stage that slept would never wake")

    def reach(self, ms: int) -> int:
        self._ms = max(self._ms, ms)
        return self._ms


@dataclass(frozen=True, slots=True)
class Said:
    """What the rules said of one message, once."""

    verdict: Verdict
    rule: str = ""
    until: int = 0
    detail: str = ""


@dataclass(slots=True)
class Row:
    """How many messages, by verdict: as recorded, and as simulated."""

    before: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))
    after: dict[Verdict, int] = field(default_factory=lambda: dict.fromkeys(VERDICTS, 0))


@dataclass(frozen=True, slots=True)
class Example:
    """A message that came to something else."""

    message: str
    at: int
    category: str
    city: str
    before: Said
    after: Said


@dataclass(slots=True)
class Report:
    """What a simulation came to. `changed`: messages whose first decision is another one (verdict or rule)."""

    messages: int = 0
    changed: int = 0
    first_at: int = 0
    last_at: int = 0
    rules: dict[str, Row] = field(default_factory=dict)
    categories: dict[str, Row] = field(default_factory=dict)
    cities: dict[str, Row] = field(default_factory=dict)
    total: Row = field(default_factory=Row)
    examples: dict[str, list[Example]] = field(default_factory=dict)
    """By kind of change, like `sent -> dropped by daily`."""


@dataclass(frozen=True, slots=True)
class _Whose:
    category: str
    city: str


@dataclass(frozen=True, slots=True)
class _Waiting:
    envelope: Envelope
    who: Person | None
    whose: _Whose


class _Counting:
    """Stands for State where the stages reserve: its counters and lists, and of a message what the simulation made of it.
    `views`: message -> `sent` or `held`."""

    def __init__(self, state: MemoryState, views: Mapping[str, str]) -> None:
        self._views = views
        self.reserve = state.reserve
        self.listed = state.listed
        self.enlist = state.enlist

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        return [Snapshot(one in self._views, view=self._views.get(one, "")) for one in messages]


class Simulation:
    """One set of rules over one stream of traffic. `reach`: the address schemes of a channel kind; `examples`: kept of each kind
    of change."""

    def __init__(
        self,
        config: Config,
        *,
        reach: Callable[[str], Collection[str]],
        internal: Collection[str] = (),
        examples: int = 3,
    ) -> None:
        self._clock = ReplayClock()
        self._book = Rulebook(config, frozenset(internal), reach)
        # What is concluded is not asked for again; counters live as long as their windows.
        self._state = MemoryState(self._clock, retention=Retention(message_s=3600.0))
        policy = Policy(lambda: self._book, self._clock)
        self._views: OrderedDict[str, str] = OrderedDict()
        counting = _Counting(self._state, self._views)
        reserve = Reserve(counting, policy, lambda: self._book, self._clock, lambda: False)
        self._stages = (Expire(self._clock), policy, reserve)
        self._waiting: Backlog[_Waiting] = Backlog()
        self._gone: OrderedDict[tuple[str, int], tuple[int, str]] = OrderedDict()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._examples = examples
        self.report = Report()

    async def run(self, traffic: Iterable[Asked | Failed]) -> Report:
        """Decide all of it, once; the report, which may also be read meanwhile."""
        await self._state.covered(list(self._book.capbook.all.keeps), 0)
        with closing(self._waiting):
            for batch in _batches(traffic):
                at = batch[0].at
                await self._wake(at)
                self._clock.reach(at)
                await self._failed([one for one in batch if isinstance(one, Failed)])
                await self._arrive([one for one in batch if isinstance(one, Asked)])
        return self.report

    @property
    def waiting(self) -> int:
        """Messages that the simulation holds."""
        return len(self._waiting)

    async def _arrive(self, asked: Sequence[Asked]) -> None:
        came: list[Asked] = []
        for one in asked:
            if not one.first or not self._new(one.envelope.id):
                self._later(one)
            else:
                came.append(one)
        if not came:
            return
        said = await self._decide([(one.envelope, one.who) for one in came])
        for one, after in zip(came, said, strict=True):
            whose = self._whose(one.envelope, one.who)
            before = Said(one.verdict, one.rule, one.until)
            for row in self._rows(whose):
                row.before[before.verdict] += 1
                row.after[after.verdict] += 1
            _row(self.report.rules, before.rule or NOWHERE).before[before.verdict] += 1
            _row(self.report.rules, after.rule or NOWHERE).after[after.verdict] += 1
            self._compare(one, whose, before, after)
            if after.verdict == "held":
                self._hold(one.envelope, one.who, whose, after)

    def _later(self, one: Asked) -> None:
        """What became live of a message that the live rules had held: it is counted as held unless it was dropped in the end."""
        if one.verdict == "dropped" and one.envelope.held_since:
            whose = self._whose(one.envelope, one.who)
            # By which rule it was held is not known any more: it moves in the sums of its category and city.
            for row in self._rows(whose):
                row.before["held"] -= 1
                row.before["dropped"] += 1
            _row(self.report.rules, one.rule or NOWHERE).before["dropped"] += 1

    async def _wake(self, until: int) -> None:
        """Decide again what the simulation held until before now."""
        while (at := self._waiting.next_at) is not None and at <= until:
            back = self._waiting.take()
            self._clock.reach(at)
            said = await self._decide([(one.envelope, one.who) for one in back])
            for one, after in zip(back, said, strict=True):
                if after.verdict == "held":
                    self._hold(one.envelope, one.who, one.whose, after)
                elif after.verdict == "dropped":
                    self._views.pop(one.envelope.id, None)
                    for row in self._rows(one.whose):
                        row.after["held"] -= 1
                        row.after["dropped"] += 1
                    _row(self.report.rules, after.rule or NOWHERE).after["dropped"] += 1

    async def _decide(self, asked: Sequence[tuple[Envelope, Person | None]]) -> list[Said]:
        items = [Item(envelope, who=who) for envelope, who in asked]
        await run(self._stages, items, monotonic=self._clock.monotonic)
        await self._leave([item for item in items if item.outcome is None])
        return [_said(item) for item in items]

    async def _leave(self, items: Sequence[Item]) -> None:
        """What the rules let go is sent: its units are spent."""
        paying = [item.envelope for item in items if item.envelope.reservation]
        if not paying:
            return
        await self._state.admit(
            [Admit(one.key("channel"), (), OWNER, 1.0, one.reservation) for one in paying]
        )
        for one in paying:
            self._gone[one.id, one.step] = (one.attempt, one.reservation)
            self._view(one.id, "sent")
        while len(self._gone) > RECENT:
            self._gone.popitem(last=False)

    async def _failed(self, failed: Sequence[Failed]) -> None:
        """A definite non-send gives its units back, as live."""
        calls = []
        for one in failed:
            self._views.pop(one.message, None)
            gone = self._gone.pop((one.message, one.step), None)
            if gone is not None:
                attempt, ticket = gone
                key = Key(one.message, one.step, attempt, "channel")
                calls.append(Conclude(key, b"", reservation=ticket, unspent="refunded"))
        if calls:
            await self._state.conclude(calls)

    def _view(self, message: str, view: str) -> None:
        """For those that wait for what becomes of it."""
        self._views[message] = view
        self._views.move_to_end(message)
        while len(self._views) > RECENT:
            self._views.popitem(last=False)

    def _hold(self, envelope: Envelope, who: Person | None, whose: _Whose, said: Said) -> None:
        self._view(envelope.id, "held")
        held = envelope.changed(
            attempt=envelope.attempt + 1,
            held_since=envelope.held_since or self._clock.now_ms(),
        )
        until = max(said.until, self._clock.now_ms() + 1)
        self._waiting.push(until, _Waiting(held, who, whose))

    def _new(self, message: str) -> bool:
        """Whether it has not come before: one that lost its units right before its send is asked about twice."""
        if message in self._seen:
            return False
        self._seen[message] = None
        while len(self._seen) > RECENT:
            self._seen.popitem(last=False)
        return True

    # -- counting -----------------------------------------------------------------------------------

    def _whose(self, envelope: Envelope, who: Person | None) -> _Whose:
        path = self._book.organisation(envelope, who)
        city = path[1] if len(path) > 1 else (who.city if who is not None else "")
        return _Whose(envelope.category, city or NOWHERE)

    def _rows(self, whose: _Whose) -> tuple[Row, ...]:
        report = self.report
        return (
            report.total,
            _row(report.categories, whose.category),
            _row(report.cities, whose.city),
        )

    def _compare(self, one: Asked, whose: _Whose, before: Said, after: Said) -> None:
        report = self.report
        report.messages += 1
        report.first_at = report.first_at or one.at
        report.last_at = one.at
        if (before.verdict, before.rule) == (after.verdict, after.rule):
            return
        report.changed += 1
        kind = f"{_words(before)} -> {_words(after)}"
        kept = report.examples.setdefault(kind, [])
        if len(kept) < self._examples:
            kept.append(Example(one.envelope.id, one.at, whose.category, whose.city, before, after))


def _row(rows: dict[str, Row], name: str) -> Row:
    found = rows.get(name)
    if found is None:
        found = rows[name] = Row()
    return found


def _said(item: Item) -> Said:
    if item.outcome is None:
        return Said("sent")
    rule = item.decisions[-1].rule if item.decisions else ""
    detail = getattr(item.outcome, "detail", "")
    if isinstance(item.outcome, Held):
        return Said("held", rule, item.outcome.until, detail)
    return Said("dropped", rule, 0, detail)


def _words(said: Said) -> str:
    return f"{said.verdict} by {said.rule}" if said.rule else said.verdict


def _batches(traffic: Iterable[Asked | Failed]) -> Iterator[list[Asked | Failed]]:
    """What was decided at one moment, together, as it was live."""
    batch: list[Asked | Failed] = []
    for one in traffic:
        if batch and (one.at != batch[0].at or len(batch) >= 1000):
            yield batch
            batch = []
        batch.append(one)
    if batch:
        yield batch
