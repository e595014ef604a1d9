"""plan: what moves plans: the one place where their progress is read, taken on and written, and where signals and replies find them.

`LoadPlans` runs before `replay`, so that a replayed pass has the plan whose leaves it publishes again. `Plans` decides every pass
of a plan; what it lets through are the leaves, which go on as any message does. `Hear` and `Replies` find the plans that wait
for a signal: they note it with the plan before anything follows from it, so that no step starts that had not looked.

One file, for these stages share how a plan's progress is loaded, advanced and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from msgcenter.clock import Clock
from msgcenter.customers import Person
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.plans import (
    GONE,
    KEPT_S,
    NOBODY,
    REPLIED,
    STOPPED,
    PlanCell,
    heard_name,
    listings,
    told,
)
from msgcenter.policy.plan import News, Progress, actions_of, advance
from msgcenter.rulebook import People
from msgcenter.state import Listing, PlanStep, State, StateError
from msgcenter.status import Meta
from protocols.envelope import Decision, Envelope, hashed
from protocols.outcome import Routed, Suppressed
from protocols.payload import Advance, DeliveryReport, Happening, Notice, Plan, Signal

ROUNDS = 64


def _plan_of(envelope: Envelope) -> str:
    """The message whose plan this pass belongs to, "" = none."""
    if isinstance(envelope.payload, Advance):
        return envelope.payload.plan
    return envelope.id if envelope.leaf or isinstance(envelope.payload, Plan) else ""


class LoadPlans:
    name = "load_plans"

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, items: Sequence[Item]) -> None:
        ours = [(item, plan) for item in items if (plan := _plan_of(item.envelope))]
        if not ours:
            return
        cells = await self._state.plans([plan for _, plan in ours])
        for (item, _), (version, value) in zip(ours, cells, strict=True):
            item.plan_version = version
            item.plan = PlanCell.unpack(value) if version else None


@dataclass(slots=True)
class _Work:
    """One piece of news on its way into one plan."""

    item: Item
    cell: PlanCell
    version: int
    news: News
    heard: tuple[str, ...] = ()
    halts: dict[int, str] = field(default_factory=dict)
    """What State said to the stops of this news."""


class Plans:
    name = "plan"

    def __init__(self, state: State, clock: Clock, metrics: Metrics) -> None:
        self._state = state
        self._clock = clock
        self._metrics = metrics

    async def __call__(self, items: Sequence[Item]) -> None:
        now = self._clock.now_ms()
        works: list[_Work] = []
        for item in items:
            payload = item.envelope.payload
            if item.envelope.leaf:
                self._leaf(item)
            elif isinstance(payload, Plan | Advance):
                early = item.envelope.not_before > now
                if early and not (item.plan and item.plan.progress.closed):
                    continue  # wait_until holds it
                if (work := self._work(item)) is not None:
                    works.append(work)
        if works:
            await self._hear(works)
            await self._take_on(works, now)

    def _leaf(self, item: Item) -> None:
        """A leaf that was called back ends here, if it comes by; the gate at admit is what stops it for sure."""
        cell = item.plan
        if cell is None:
            return
        progress = cell.progress
        if progress.closed or progress.leaf(item.envelope.step).word in ("stopping", "stopped"):
            item.decide(
                Suppressed(STOPPED, progress.result or "the plan went on without it"),
                Decision(self.name, STOPPED, "suppressed", "called back by its plan"),
            )

    def _work(self, item: Item) -> _Work | None:
        envelope = item.envelope
        if isinstance(envelope.payload, Plan):
            cell = item.plan or PlanCell(envelope, Progress.of(envelope.payload))
            news = News(hashed(envelope.id, "begin"), "begin")
            return _Work(item, cell, item.plan_version, news)
        payload = envelope.payload
        assert isinstance(payload, Advance)
        if item.plan is None:
            item.decide(
                Suppressed(GONE, "nothing is known of the plan"),
                Decision(self.name, GONE, "suppressed", "over long ago, or State was lost"),
            )
            return None
        news = News(envelope.id, payload.news, payload.leaf, payload.word, payload.code)
        return _Work(item, item.plan, item.plan_version, news)

    async def _hear(self, works: Sequence[_Work]) -> None:
        """The signals whose own news is still on its way here."""
        lists = await self._state.listed([heard_name(work.cell.whole.id) for work in works])
        for work, heard in zip(works, lists, strict=True):
            work.heard = tuple(sorted(heard))

    # -- taking on -----------------------------------------------------------------------------------------------------

    async def _take_on(self, works: Sequence[_Work], now: int) -> None:
        """Evaluate and write, until every piece of news is in its plan and every stop has its answer."""
        new = [work for work in works if not work.version]
        await self._enlist(new, now)
        rest = list(works)
        for _ in range(ROUNDS):
            steps: list[tuple[_Work, PlanCell, PlanStep]] = []
            for work in rest:
                progress = self._evaluate(work, now)
                stops = tuple(
                    number
                    for number, leaf in enumerate(progress.leaves, 1)
                    if leaf.stopped_by == work.news.id
                    and leaf.word == "stopping"
                    and number not in work.halts
                )
                if progress != work.cell.progress or stops or not work.version:
                    cell = replace(work.cell, progress=progress)
                    steps.append((work, cell, self._step(work, cell, stops, now)))
            if not steps:
                break
            rest = await self._write(steps)
        else:
            raise StateError(f"{len(rest)} plans were changed by others {ROUNDS} times in a row")
        await self._delist([work for work in works if work.cell.progress.closed])
        for work in works:
            self._decide(work)

    def _evaluate(self, work: _Work, now: int) -> Progress:
        cell, progress = work.cell, work.cell.progress
        answers = [News(work.news.id, "halted", leaf, word) for leaf, word in work.halts.items()]
        signals = [News(work.news.id, "signal", word=word) for word in work.heard]
        for one in (*answers, *signals, work.news):
            expires = cell.whole.expires_at
            progress, _ = advance(cell.plan, progress, one, now, expires)
        return progress

    def _step(self, work: _Work, cell: PlanCell, stops: tuple[int, ...], now: int) -> PlanStep:
        return PlanStep(
            message=cell.whole.id,
            version=work.version,
            value=cell.pack(),
            ttl_s=_left_s(cell.whole, now),
            view=cell.view(),
            meta=Meta.packed(cell.whole),
            stop=stops,
            rule=STOPPED,
        )

    async def _write(self, steps: Sequence[tuple[_Work, PlanCell, PlanStep]]) -> list[_Work]:
        """Those to be looked at once more."""
        again: list[_Work] = []
        answers = await self._state.plan_step([step for _, _, step in steps])
        for (work, cell, step), answer in zip(steps, answers, strict=True):
            work.version = answer.version
            if not answer.taken:
                work.cell, work.halts = PlanCell.unpack(answer.value), {}
                again.append(work)
                continue
            self._count(work.cell.progress, cell.progress)
            work.cell = cell
            if step.stop:
                work.halts.update(zip(step.stop, answer.halts, strict=True))
                again.append(work)
        return again

    def _count(self, before: Progress, after: Progress) -> None:
        if after.overlap and not before.overlap:
            self._metrics.plan_overlap_total.inc()
        if after.result and not before.result:
            self._metrics.plans_total.labels(after.result).inc()

    async def _enlist(self, works: Iterable[_Work], now: int) -> None:
        """Before the first step can be answered."""
        wanted = [
            listing
            for work in works
            for listing in listings(work.cell.whole, _left_s(work.cell.whole, now))
        ]
        if wanted:
            await self._state.enlist(wanted)

    async def _delist(self, works: Iterable[_Work]) -> None:
        gone = [listing for work in works for listing in listings(work.cell.whole, 0.0)]
        if gone:
            await self._state.enlist(gone)

    def _decide(self, work: _Work) -> None:
        cell, item = work.cell, work.item
        progress = cell.progress
        item.plan, item.plan_version = cell, work.version
        actions = actions_of(progress, work.news.id, cell.whole.expires_at)
        to = told(cell, actions)
        news = work.news
        facts = [("leaf", str(news.leaf))] if news.leaf else []
        facts += [
            (name, value) for name, value in (("word", news.word), ("code", news.code)) if value
        ]
        facts += [("overlap", "true")] if progress.overlap else []
        item.decide(
            Routed(to),
            Decision(
                self.name,
                news.kind,
                progress.result or "open",
                ", ".join(to),
                min((leaf.due for leaf in progress.leaves if leaf.due), default=0),
                tuple(facts),
            ),
        )


def _left_s(whole: Envelope, now: int) -> float:
    return max(0.0, whole.expires_at - now) / 1000 + KEPT_S


# -- signals and replies ------------------------------------------------------------------------------------------------


async def _find(
    state: State, wanted: Sequence[tuple[str, Sequence[str], str]]
) -> list[tuple[str, ...]]:
    """For each (word, names, id of its cause) the plans that wait for the word. That they have heard it is noted with them."""
    names = list(dict.fromkeys(name for _, names, _ in wanted for name in names))
    lists: Mapping[str, Mapping[str, str]] = dict(
        zip(names, await state.listed(names), strict=True)
    )
    found: list[tuple[str, ...]] = []
    noted: list[Listing] = []
    for word, asked, cause in wanted:
        plans = sorted(
            {
                plan
                for name in asked
                for plan, note in lists[name].items()
                if word in note.split(" ")
            }
        )
        noted += [Listing(heard_name(plan), word, cause, KEPT_S) for plan in plans]
        found.append(tuple(plans))
    if noted:
        await state.enlist(noted)
    return found


class Hear:
    """hear: a signal from outside, in the submit pipeline: which plans wait for it."""

    name = "hear"

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, items: Sequence[Item]) -> None:
        signals = [(i, i.envelope.payload) for i in items if isinstance(i.envelope.payload, Signal)]
        if not signals:
            return
        wanted = [(said.word, said.names, item.envelope.id) for item, said in signals]
        for (item, said), plans in zip(signals, await _find(self._state, wanted), strict=True):
            item.decide(
                Routed(plans or (NOBODY,)),
                Decision(self.name, said.word, "routed", f"{len(plans)} plans wait for it"),
            )


class Replies:
    """replies: what somebody wrote, in the inbound pipeline: which plans of theirs wait for an answer, on whatever channel and to
    whichever address of theirs it went."""

    name = "replies"

    def __init__(self, state: State, people: People, clock: Clock) -> None:
        self._state = state
        self._people = people
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StateError, StoreError."""
        wrote = [
            item
            for item in items
            if not item.envelope.typed_by_us
            and not item.envelope.chat
            and not isinstance(item.envelope.payload, DeliveryReport | Happening | Notice)
        ]
        if not wrote:
            return
        now = self._clock.now_ms()
        senders = {str(one) for item in wrote if (one := item.envelope.sender) is not None}
        known = await self._people.many(senders, now) if senders else {}
        wanted = [(REPLIED, _names(item.envelope, known, now), item.envelope.id) for item in wrote]
        for item, plans in zip(wrote, await _find(self._state, wanted), strict=True):
            item.answered = plans


def _names(envelope: Envelope, known: Mapping[str, Person], now: int) -> list[str]:
    """Under which a plan for the writer is listed: its recipient, as the caller wrote it or as the directory has it."""
    sender = str(envelope.sender or "")
    names = {envelope.person, sender}
    if (who := known.get(sender)) is not None:
        # Not its aliases: among them are numbers that are somebody else's by now.
        names |= {who.key, *who.members}
        names |= {f"customer:{member}" for member in who.members}
        names |= {held.address for held in who.holdings if held.covers(now)}
    return sorted(names - {""})
