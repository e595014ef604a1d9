"""Settle: the only place that decides what follows an outcome; first it is stored (conclude), then what follows is published.

A crash between the two loses nothing: the pass comes again, `replay` finds the stored outcome and the same consequences
are published under the same ids. Everything here is derived from (envelope, outcome) alone for that reason.

One file on purpose, though a long one: what follows an outcome is read in one place or not at all.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, assert_never

from msgcenter import status
from msgcenter.adapter import Spec
from msgcenter.bus import DELAYS, Bus, Frame, Queue, delay_tier
from msgcenter.bus.topology import DEAD, INBOUND, SUBMIT, lane_of, out_topic, place, record_queue
from msgcenter.clock import Clock, Random
from msgcenter.groups import is_command
from msgcenter.metrics import Metrics
from msgcenter.pauses import ASK_AGAIN_S, PAUSED
from msgcenter.pipeline import Item
from msgcenter.plans import NOBODY, REPLIED, Told, leaf_envelope, news, timer_row
from msgcenter.policy.retry import GIVEN_UP, GiveUp, RetryRule, counts, next_try
from msgcenter.state import Conclude, Concluded, Evidence, Mark, Snapshot, State, StateError
from msgcenter.state.units import Unspent
from msgcenter.store import DueRow
from msgcenter.store.pauses import rule_of
from msgcenter.traffic import facts_of
from protocols import wire
from protocols.envelope import Envelope, Record
from protocols.outcome import (
    Held,
    Outcome,
    Rejected,
    Retry,
    Routed,
    Sent,
    Suppressed,
    Unknown,
    reason_of,
)
from protocols.payload import Advance, DeliveryReport, NewsKind, Plan, Pull, Recall, Signal

POISON = "poison"
"""Code of what could not be borne, or would not end."""
SECOND_SOURCE = "second_source"
"""Another channel has read this message: it is passed on once, with both ids."""
OWN_COPY = "own_copy"
"""A channel read what another channel of ours sent: evidence that it arrived."""
RESTORED = "restored"
"""Rule of a pass that waited in a backup that was restored: it may have left since the backup was made, so it ends as unknown."""
_RANK = {"submit": 1, "channel": 2, "inbound": 3}
_SETTLED_KEPT = 50_000
_CONCLUDE_PATIENCE_S = 60.0


class DueStore(Protocol):
    """Where messages wait that wait longer than a short retry; published to submit (inbound ones to inbound) at their time."""

    async def hold(self, rows: Sequence[DueRow]) -> None: ...

    async def retime_due(self, message_ids: Sequence[str], at_ms: int) -> int: ...


@dataclass(slots=True)
class Next:
    """What follows the outcomes of one lease."""

    envelopes: list[tuple[str, Envelope, float]] = field(default_factory=list)
    """(topic, envelope, seconds to wait)."""
    records: list[Record] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)
    due: list[DueRow] = field(default_factory=list)
    awake: list[str] = field(default_factory=list)
    """Messages of which nothing need wait for its time any more."""
    ordered: list[tuple[Envelope, float]] = field(default_factory=list)
    """Further passes of messages with an order_key: the worker runs or parks them itself, so that they keep their place."""


class Settle:
    """Conclude and publish for one pipeline (`submit`, `channel`, `inbound`)."""

    def __init__(
        self,
        pipeline: str,
        *,
        bus: Bus,
        state: State,
        due: DueStore,
        rules: Callable[[str], RetryRule],
        spec_of: Callable[[str], Spec | None],
        in_service: Callable[[str], bool] = lambda _: True,
        clock: Clock,
        rng: Random,
        metrics: Metrics,
        partitions: int,
    ) -> None:
        self.pipeline = pipeline
        self._bus = bus
        self._state = state
        self._due = due
        self._rules = rules
        self._spec_of = spec_of
        self._in_service = in_service
        self._clock = clock
        self._rng = rng
        self._metrics = metrics
        self._partitions = partitions
        self._settled: OrderedDict[tuple[str, int, int], None] = OrderedDict()

    # -- (a) conclude --------------------------------------------------------------------------------------------------

    async def conclude(self, items: Sequence[Item]) -> None:
        """Store the outcomes, learn the status, make the records. Keeps trying while State is away, since bytes may be out;
        raises StateError after a minute (the claim then makes the pass Unknown, never a second send)."""
        items = [item for item in items if item.outcome is not None and item.record is None]
        if not items:
            return
        for item in items:
            if not item.replayed:
                item.outcome = self._final(item.envelope, item.outcome)  # type: ignore[arg-type]
                if isinstance(item.outcome, Routed) and (by := item.amended()) is not None:
                    item.outcome = replace(item.outcome, amended=by)
        calls = [self._conclude_of(item.envelope, item.outcome) for item in items]  # type: ignore[arg-type]
        concluded = await self._patiently(calls)
        now = self._clock.now_ms()
        fresh: Counter[tuple[str, str, str]] = Counter()
        entered: Counter[str] = Counter()
        for item, call, result in zip(items, calls, concluded, strict=True):
            if result.outcome != call.outcome:
                # An earlier word on this pass stands (a zombie's late one never replaces it): what follows is its.
                item.outcome = wire.open_outcome(result.outcome)
            if isinstance(item.outcome, Routed):
                item.envelope = (item.original or item.envelope).amended(item.outcome.amended)
            self._learn(item, result.snapshot)
            item.record = self._record(item, result, now)
            if result.fresh:
                fresh[_labels(item.envelope, item.outcome)] += 1  # type: ignore[arg-type]
                if self.pipeline == "submit" and _first_pass(item.envelope):
                    entered[item.envelope.category] += 1
        for (channel, category, outcome), count in fresh.items():
            self._metrics.messages_total.labels(channel, category, outcome).inc(count)
            if outcome == "unknown":
                self._metrics.unknown_outcome_total.labels(channel).inc(count)
        for category, count in entered.items():
            self._metrics.submitted_total.labels(category).inc(count)

    def _learn(self, item: Item, snapshot: Snapshot) -> None:
        """What the news for a plan is made of: whose evidence this is, and what became of the step."""
        envelope, outcome = item.envelope, item.outcome
        step = envelope.step
        if isinstance(envelope.payload, DeliveryReport) and isinstance(outcome, Routed):
            step = int(outcome.to[1])
        elif outcome is not None and (whose := _belongs_to(outcome)) is not None:
            step = whose[1]
        elif not envelope.leaf:
            return
        item.of_plan = bool(envelope.leaf) or status.of_plan(snapshot)
        item.evidence = status.best_of(status.of_step(snapshot, step)) or ""

    async def _patiently(self, calls: Sequence[Conclude]) -> list[Concluded]:
        give_up = self._clock.monotonic() + _CONCLUDE_PATIENCE_S
        wait = 0.05
        while True:
            try:
                return await self._state.conclude(calls)
            except StateError:
                if self._clock.monotonic() + wait > give_up:
                    raise
                await self._clock.sleep(wait * self._rng.uniform(0.5, 1.5))
                wait = min(wait * 2, 2.0)

    def _final(self, envelope: Envelope, outcome: Outcome) -> Outcome:
        """A Retry without budget is a rejection, and is stored as one. A doorbell says nothing to anybody: whatever became
        of its last run, it is run again (`Unknown` would leave unread what it announced)."""
        if isinstance(outcome, Unknown) and isinstance(envelope.payload, Pull):
            outcome = Retry("message", outcome.detail, code="unknown")
        if isinstance(outcome, Retry) and self._repeats(envelope) and not self._serves(envelope):
            return Unknown(outcome.detail)
        if isinstance(outcome, Retry):
            verdict = next_try(
                self._rules(envelope.category), envelope, outcome, self._clock.now_ms(), self._rng
            )
            if isinstance(verdict, GiveUp):
                if self._may_have_left(envelope):
                    return Unknown(verdict.detail)
                # Given up on this channel, not on the message: the routing slip may go on.
                scope = "channel" if outcome.scope == "message" else outcome.scope
                return Rejected(scope, verdict.detail, verdict.code)
        return outcome

    def _repeats(self, envelope: Envelope) -> bool:
        """Whether it is the repeat of a try whose answer was lost: for the far end that knows its token it is the same message,
        for every other one a second. Not so a group command, whose group lives on one channel."""
        return self._token_of(envelope) >= 0 and not is_command(envelope.payload)

    def _may_have_left(self, envelope: Envelope) -> bool:
        """Whether no other channel may follow this one: where nothing is sent twice, an answer that is lost for good with the
        last repeat ends the message."""
        return self._repeats(envelope) and self._rules(envelope.category).on_unknown == "never"

    def _serves(self, envelope: Envelope) -> bool:
        """Whether the channel that this pass went to takes another one."""
        return self.pipeline != "channel" or self._in_service(envelope.channel)

    def _conclude_of(self, envelope: Envelope, outcome: Outcome) -> Conclude:
        key = envelope.key(self.pipeline)
        call = Conclude(
            key=key,
            outcome=wire.seal_outcome(outcome),
            view=self._view(envelope, outcome),
            order=order_of_pass(envelope.step, envelope.attempt, self.pipeline),
            scope=envelope.channel,
            reservation=envelope.reservation,
            unspent=self._unspent(envelope, outcome),
        )
        now = self._clock.now_ms()
        match outcome:
            case Sent(remote_ids=ids):
                return replace(
                    call,
                    marks=_marks(envelope, "sent", max(1, len(ids)), now),
                    correlate=tuple((remote, part) for part, remote in enumerate(ids)),
                )
            case Unknown(remote_ids=ids):
                rule = self._rules(envelope.category)
                return replace(
                    call,
                    marks=_marks(envelope, "unknown", max(1, len(ids)), now),
                    correlate=tuple((remote, part) for part, remote in enumerate(ids)),
                    unknown_for=str(envelope.to),
                    unknown_until_ms=now + round(max(600.0, 2 * rule.unknown_wait_s) * 1000),
                )
            case Routed(to=to) if isinstance(envelope.payload, DeliveryReport):
                return replace(call, marks=(_receipt_mark(envelope, to),))
            case Suppressed(rule=rule) if rule == OWN_COPY and (whose := _belongs_to(outcome)):
                mark = Mark(*whose, 0, "delivered", OWN_COPY, envelope.created_at)
                return replace(call, marks=(mark,))
            case _:
                return call

    def _unspent(self, envelope: Envelope, outcome: Outcome) -> Unspent:
        """What becomes of the units that the pass holds: a definite non-send gives them back, a short wait keeps them."""
        if not envelope.reservation:
            return ""
        match outcome:
            case Sent() | Unknown() | Routed() | Suppressed(rule="restored"):
                return ""
            case Held(rule=rule) if rule == PAUSED and envelope.order_key:
                return "open"
            case Retry(after=after):
                tried = self._rules(envelope.category).backoff
                wait = max(after, tried[min(envelope.tries, len(tried) - 1)])
                return "open" if wait <= DELAYS[-1] else "refunded"
            case _:
                return "refunded"

    def _view(self, envelope: Envelope, outcome: Outcome) -> str:
        match outcome:
            case Sent():
                return "sent"
            case Routed():
                return "received" if self.pipeline == "inbound" else "queued"
            case Suppressed(rule=rule):
                if rule == "receipt_came":
                    return "sent"
                if rule == RESTORED:
                    return f"unknown:{RESTORED}"
                return (
                    f"{rule}:{rule}" if rule in ("expired", "cancelled") else f"suppressed:{rule}"
                )
            case Held(rule=rule):
                return f"held:{rule}"
            case Retry():
                return "queued"
            case Unknown():
                return "sending" if self._resend(envelope) is not None else "unknown:unknown"
            case Rejected(code=code):
                return "queued" if _has_next_step(envelope, outcome) else f"rejected:{code}"
            case _:
                assert_never(outcome)

    def _resend(self, envelope: Envelope) -> tuple[Envelope, float] | None:
        """How an Unknown is resolved: same token at an idempotent far end, ask where that is possible, else by category."""
        spec = self._spec_of(envelope.channel)
        rule = self._rules(envelope.category)
        token_of = envelope.attempt if envelope.token_of < 0 else envelope.token_of
        asks = spec is not None and (spec.idempotent or (spec.resolves and envelope.token_of < 0))
        command = spec is not None and is_command(envelope.payload)
        if command or (asks and self._serves(envelope)):
            if envelope.tries + 1 < rule.max_tries:
                return envelope.again(counts=True, token_of=token_of), float(
                    DELAYS[min(envelope.tries, len(DELAYS) - 1)]
                )
            return None
        may = spec is None or spec.resend
        if may and rule.on_unknown == "once" and not envelope.possibly_duplicate:
            return envelope.again(counts=True, possibly_duplicate=True), rule.unknown_wait_s
        return None

    def _token_of(self, envelope: Envelope) -> int:
        """Whose token the next pass carries when this one did not send. An idempotent far end may still hold the first
        try, and any far end the group of a command, so its token stays; a far end that was asked has said that it does
        not, and need not be asked again."""
        spec = self._spec_of(envelope.channel)
        keeps = is_command(envelope.payload) or (spec is not None and spec.idempotent)
        asked = self.pipeline == "channel" and not keeps
        return -1 if asked else envelope.token_of

    def _record(self, item: Item, result: Concluded, now: int) -> Record:
        envelope, outcome = item.envelope, item.outcome
        assert outcome is not None
        seen = result.snapshot
        if item.of_plan:
            # The status of a plan's message is its plan's affair; what is told of a step is told of this one.
            seen = status.of_step(seen, _step_of(envelope, outcome))
        state = status.derive(seen)
        spec = self._spec_of(envelope.channel)
        final = status.is_final(state, receipts=bool(spec and spec.receipts))
        final = final and not status.plan_open(seen)
        record = Record(
            id=envelope.key(self.pipeline).derived("record"),
            at=now,
            pipeline=self.pipeline,
            envelope=item.spoken,
            outcome=outcome,
            decisions=tuple(item.decisions),
            status=state,
            subject_caller=envelope.caller,
            reference=envelope.reference,
            final=final,
            facts=facts_of(item) if item.judged is not None else "",
        )
        whose = _belongs_to(outcome)
        if whose is not None:
            # Of an inbound message its second reading says nothing new; of an own one that it arrived.
            copy = isinstance(outcome, Suppressed) and outcome.rule == OWN_COPY
            meta = status.Meta.unpack(result.snapshot.meta) if copy else None
            return replace(
                record,
                envelope=replace(envelope, caller=meta.caller, order_key=meta.order)
                if meta
                else envelope,
                subject=whose[0],
                subject_step=whose[1],
                subject_attempt=whose[2],
                subject_caller=meta.caller if meta else envelope.caller,
                reference=meta.reference if meta else "",
                status=state if copy else "",
                final=final and copy,
            )
        if isinstance(envelope.payload, Advance):
            return _plan_record(record, envelope.payload, item)
        if isinstance(envelope.payload, Signal):
            return replace(record, status="", final=False)
        if isinstance(envelope.payload, Recall):
            # It is no message, but a line in the trace of the one that it takes back.
            subject = envelope.payload.message
            return replace(record, subject=subject, status="", final=False)
        if isinstance(envelope.payload, DeliveryReport) and isinstance(outcome, Routed):
            mark = _receipt_mark(envelope, outcome.to)
            meta = status.Meta.unpack(result.snapshot.meta)
            return replace(
                record,
                subject=mark.message,
                subject_step=mark.step,
                subject_attempt=mark.attempt,
                subject_caller=meta.caller,
                reference=meta.reference,
                envelope=replace(envelope, caller=meta.caller, order_key=meta.order),
            )
        return record

    # -- (b) publish ---------------------------------------------------------------------------------------------------

    def follow(self, items: Sequence[Item]) -> Next:
        """What follows; pure, so that a replay makes the same."""
        out = Next()
        for item in items:
            if item.outcome is not None and item.record is not None:
                out.records.append(item.record)
                # What is not passed on begins its next pass as it came, under the rules of then.
                came = item.envelope if isinstance(item.outcome, Routed) else item.original
                self._follow_one(came or item.envelope, item.outcome, item.record, out)
                self._tell_plan(item, item.outcome, out)
        return out

    def _tell_plan(self, item: Item, outcome: Outcome, out: Next) -> None:
        """What this outcome is to a plan: it moves it, or is news for it."""
        envelope, payload = item.envelope, item.envelope.payload
        if isinstance(payload, Plan | Advance) and isinstance(outcome, Routed) and item.plan:
            said = Told.read(outcome.to)
            starts = (leaf_envelope(item.plan, number) for number in said.starts)
            out.envelopes += ((SUBMIT, leaf, 0.0) for leaf in starts)
            out.due += (timer_row(item.plan, wait) for wait in said.waits)
            if said.result:
                out.awake.append(item.plan.whole.id)
        elif isinstance(payload, Signal) and isinstance(outcome, Routed):
            plans = (to for to in outcome.to if to != NOBODY)
            out.envelopes += (
                (SUBMIT, self._signal(plan, payload.word, item), 0.0) for plan in plans
            )
        elif envelope.leaf:
            word = self._word_of(item, outcome)
            if word:
                told = self._news(envelope.id, "outcome", item, word, reason_of(outcome))
                out.envelopes.append((SUBMIT, told, 0.0))
        elif item.of_plan and item.record is not None:
            told = self._news(
                item.record.subject, "receipt", item, item.evidence, _code_of(envelope)
            )
            out.envelopes.append((SUBMIT, told, 0.0))
        elif envelope.inbound and isinstance(outcome, Routed):
            answered = () if isinstance(payload, DeliveryReport) else outcome.to[1:]
            out.envelopes += ((SUBMIT, self._signal(plan, REPLIED, item), 0.0) for plan in answered)

    def _word_of(self, item: Item, outcome: Outcome) -> str:
        """What became of a leaf for good, "" = nothing yet."""
        match outcome:
            case Sent():
                return "sent"
            case Unknown():
                return "" if self._resend(item.envelope) is not None else "unknown"
            case Suppressed(rule="restored") if item.evidence not in ("sent", "delivered", "read"):
                return "unknown"
            case Rejected() | Suppressed():
                # An earlier pass may have left although this one did not.
                good = item.evidence in ("sent", "delivered", "read")
                return "sent" if good else "unknown" if item.evidence else "failed"
            case _:
                return ""

    def _news(self, plan: str, kind: NewsKind, item: Item, word: str, code: str) -> Envelope:
        envelope, record = item.envelope, item.record
        assert record is not None
        return news(
            plan,
            kind,
            *((envelope.attempt, self.pipeline) if kind == "outcome" else (envelope.id,)),
            caller=record.subject_caller,
            at=record.at,
            leaf=_step_of(envelope, item.outcome),
            word=word,
            code=code,
            person=envelope.person,
            trace=envelope.trace,
        )

    def _signal(self, plan: str, word: str, item: Item) -> Envelope:
        envelope = item.envelope
        return news(
            plan,
            "signal",
            word,
            envelope.id,
            caller=envelope.caller,
            at=envelope.created_at,
            word=word,
            person=envelope.person,
            trace=envelope.trace,
        )

    def _follow_one(self, envelope: Envelope, outcome: Outcome, record: Record, out: Next) -> None:
        match outcome:
            case Sent() | Suppressed():
                return
            case Routed(to=to):
                if self.pipeline == "submit" and not isinstance(
                    envelope.payload, Plan | Advance | Signal
                ):
                    out.envelopes.append((out_topic(to[0]), replace(envelope, channel=to[0]), 0.0))
            case Held(until=until, rule=reason, since=since):
                held = envelope.again(counts=False, token_of=self._token_of(envelope))
                held = replace(held, held_since=held.held_since or since)
                if reason != PAUSED:
                    out.due.append(self._due_row(held, until, reason))
                elif envelope.order_key:  # a conversation keeps its place, and asks again
                    self._again(held, ASK_AGAIN_S, out)
                else:
                    out.due.append(self._due_row(held, until, rule_of(outcome.detail)))
            case Retry():
                rule = self._rules(envelope.category)
                verdict = next_try(rule, envelope, outcome, self._clock.now_ms(), self._rng)
                # A stored Retry had budget when it was concluded; if time ran out since, the next pass will say so.
                wait = outcome.after if isinstance(verdict, GiveUp) else verdict
                again = envelope.again(counts=counts(outcome), token_of=self._token_of(envelope))
                self._again(again, wait, out)
            case Unknown():
                resend = self._resend(envelope)
                if resend is not None:
                    self._again(*resend, out)
            case Rejected(scope=scope):
                if _has_next_step(envelope, outcome):
                    step = replace(
                        envelope,
                        step=envelope.step + 1,
                        attempt=0,
                        tries=0,
                        token_of=-1,
                        channel="",
                        reservation="",
                        possibly_duplicate=envelope.possibly_duplicate
                        or (envelope.token_of >= 0 and outcome.code in GIVEN_UP),
                    )
                    out.envelopes.append((SUBMIT, step, 0.0))
                elif scope != "recipient" and (not envelope.leaf or outcome.code == POISON):
                    # A leaf that was refused is no loss: its plan goes on.
                    out.dead.append(record)
            case _:
                assert_never(outcome)

    def _again(self, envelope: Envelope, wait: float, out: Next) -> None:
        if not self._serves(envelope):
            # The channel was taken out of service meanwhile: submit finds another one, at once.
            out.envelopes.append((SUBMIT, _inward(envelope), 0.0))
        elif envelope.order_key:
            out.ordered.append((envelope, wait))
        elif wait > DELAYS[-1]:
            at = self._clock.now_ms() + round(wait * 1000)
            out.due.append(self._due_row(envelope, at, "retry"))
        else:
            topic = {"submit": SUBMIT, "inbound": INBOUND}.get(self.pipeline) or out_topic(
                envelope.channel
            )
            out.envelopes.append((topic, envelope, wait))

    def _due_row(self, envelope: Envelope, at: int, rule: str) -> DueRow:
        inward = _inward(envelope)
        return DueRow(
            id=inward.key("due").derived(),
            at_ms=at,
            body=wire.seal(inward),
            message=inward.id,
            caller=inward.caller,
            rule=rule,
            lane=lane_of(inward),
            person=inward.person,
        )

    async def publish(self, items: Sequence[Item]) -> list[tuple[Envelope, float]]:
        """Publish what follows; returns the ordered further passes for the worker to run or park.

        Raises BusError or StoreError: the frames then come again and `replay` publishes once more.
        """
        following = self.follow(items)
        if following.due:
            await self._due.hold(following.due)
        await publish_frames(self._bus, self._frames(following))
        for record in following.dead:
            channel = record.envelope.channel
            topic = out_topic(channel) if self.pipeline == "channel" else self.pipeline
            self._metrics.dead_total.labels(topic, reason_of(record.outcome)).inc()
        if following.awake:
            await self._due.retime_due(following.awake, self._clock.now_ms())
        return following.ordered

    def mark_settled(self, items: Sequence[Item]) -> None:
        """Remember that these passes are published: a frame given back for its other items does not publish them again."""
        for item in items:
            if item.outcome is not None:
                envelope = item.envelope
                self._settled[(envelope.id, envelope.step, envelope.attempt)] = None
        while len(self._settled) > _SETTLED_KEPT:
            self._settled.popitem(last=False)

    def is_settled(self, envelope: Envelope) -> bool:
        return (envelope.id, envelope.step, envelope.attempt) in self._settled

    def _frames(self, following: Next) -> list[Frame]:
        groups: dict[tuple[Queue, int], list[bytes]] = {}
        for topic, envelope, wait in following.envelopes:
            queue = place(topic, envelope, self._partitions)
            groups.setdefault((queue, delay_tier(wait)), []).append(wire.seal(envelope))
        for record in following.records:
            order = record.envelope.order_key or record.subject or record.envelope.id
            queue = record_queue(order, self._partitions)
            groups.setdefault((queue, 0), []).append(wire.seal(record))
        for record in following.dead:
            groups.setdefault((Queue(DEAD), 0), []).append(wire.seal(record))
        return [
            frame
            for (queue, delay), sealed in groups.items()
            for frame in frames(queue, sealed, delay)
        ]


def frames(queue: Queue, sealed: Sequence[bytes], delay: int = 0) -> list[Frame]:
    """Cut sealed items into full frames for one queue, keeping their order."""
    out: list[Frame] = []
    chunk: list[bytes] = []
    size = 0
    for data in sealed:
        if chunk and (len(chunk) >= wire.MAX_ITEMS or size + len(data) > wire.MAX_FRAME - 4096):
            out.append(_frame(queue, chunk, delay))
            chunk, size = [], 0
        chunk.append(data)
        size += len(data) + 8
    if chunk:
        out.append(_frame(queue, chunk, delay))
    return out


def _frame(queue: Queue, sealed: Sequence[bytes], delay: int) -> Frame:
    return Frame(
        queue.topic, queue.lane, queue.partition, wire.pack_frame(sealed), len(sealed), delay
    )


async def publish_frames(bus: Bus, out: Sequence[Frame]) -> None:
    """Publish so that two frames of one queue are never in flight together: a lost first and a stored second would turn
    a conversation round. Frames of different queues go together."""
    rest = list(out)
    while rest:
        now: dict[tuple[str, int], Frame] = {}
        later: list[Frame] = []
        for frame in rest:
            slot = (frame.key, frame.delay)
            if slot in now:
                later.append(frame)
            else:
                now[slot] = frame
        await bus.publish(list(now.values()))
        rest = later


def _labels(envelope: Envelope, outcome: Outcome) -> tuple[str, str, str]:
    """(channel, category, outcome) of `messages_total`; the kind asked for while no channel is chosen."""
    kinds, step = envelope.channels, envelope.step
    channel = envelope.channel or (kinds[step] if step < len(kinds) else "")
    return channel, envelope.category, type(outcome).__name__.lower()


def order_of_pass(step: int, attempt: int, pipeline: str) -> int:
    """`Conclude.order` of a pass: it grows over the passes of a message."""
    return step * 1_000_000 + attempt * 10 + _RANK[pipeline]


def _inward(envelope: Envelope) -> Envelope:
    """As it goes back: what is sent finds its channel anew; what came in, takes a message back, or repeats a try whose answer
    was lost belongs to one."""
    bound = envelope.inbound or isinstance(envelope.payload, Recall) or envelope.token_of >= 0
    return envelope if bound else replace(envelope, channel="")


def _first_pass(envelope: Envelope) -> bool:
    """Whether this is where an accepted message comes in: no further step, leaf of a plan or other try of it."""
    return not (envelope.leaf or envelope.step or envelope.attempt)


def _marks(envelope: Envelope, evidence: Evidence, parts: int, at: int) -> tuple[Mark, ...]:
    return tuple(
        Mark(envelope.id, envelope.step, envelope.attempt, part, evidence, "", at)
        for part in range(parts)
    )


def receipt_to(message: str, step: int, attempt: int, part: int, guessed: bool) -> tuple[str, ...]:
    """A matched receipt's Routed.to; the outcome alone says what the receipt is about, so that a replay knows it too."""
    return (message, str(step), str(attempt), str(part), "guessed" if guessed else "by id")


def read_again(message: str, step: int, attempt: int) -> str:
    """The detail of a Suppressed reading (`SECOND_SOURCE`, `OWN_COPY`): which message, and which pass of it, it belongs to."""
    return f"{message} {step} {attempt}"


def _belongs_to(outcome: Outcome) -> tuple[str, int, int] | None:
    """(message, step, attempt) of a reading that is no message of its own."""
    if not isinstance(outcome, Suppressed) or outcome.rule not in (SECOND_SOURCE, OWN_COPY):
        return None
    message, step, attempt = outcome.detail.split(" ")
    return message, int(step), int(attempt)


def _step_of(envelope: Envelope, outcome: Outcome | None) -> int:
    """The step of a message that an outcome speaks of."""
    if isinstance(envelope.payload, DeliveryReport) and isinstance(outcome, Routed):
        return int(outcome.to[1])
    whose = _belongs_to(outcome) if outcome is not None else None
    return whose[1] if whose is not None else envelope.step


def _code_of(envelope: Envelope) -> str:
    return envelope.payload.code if isinstance(envelope.payload, DeliveryReport) else ""


def _plan_record(record: Record, payload: Advance, item: Item) -> Record:
    """A piece of news is no message, but a line in the trace of the one whose plan it moves; the last one ends it."""
    whole = item.plan.whole if item.plan else None
    record = replace(
        record,
        subject=payload.plan,
        subject_step=payload.leaf,
        status="",
        final=False,
        reference=whole.reference if whole else "",
    )
    said = Told.read(record.outcome.to) if isinstance(record.outcome, Routed) else Told()
    if not said.result or item.plan is None:
        return record
    return replace(
        record,
        subject_step=len(item.plan.plan.leaves) + 1,
        status=said.status,
        final=True,
    )


def _receipt_mark(envelope: Envelope, to: Sequence[str]) -> Mark:
    report = envelope.payload
    assert isinstance(report, DeliveryReport)
    return Mark(
        to[0],
        int(to[1]),
        int(to[2]),
        int(to[3]),
        report.state,
        report.code,
        report.at or envelope.created_at,
    )


def _has_next_step(envelope: Envelope, outcome: Rejected) -> bool:
    """The routing slip goes on after a refusal, unless the message itself is at fault: then no channel would take it."""
    return (
        outcome.scope != "message"
        and not envelope.inbound
        and not envelope.leaf
        and envelope.step + 1 < len(envelope.channels)
    )
