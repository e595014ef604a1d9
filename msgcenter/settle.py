"""Settle: the only place that decides what follows an outcome; first it is stored (conclude), then what follows is published.

A crash between the two loses nothing: the pass comes again, `replay` finds the stored outcome and the same consequences
are published under the same ids. Everything here is derived from (envelope, outcome) alone for that reason.
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
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Item
from msgcenter.policy.retry import GiveUp, RetryRule, counts, next_try
from msgcenter.state import Conclude, Concluded, Evidence, Mark, State, StateError
from msgcenter.store import DueRow
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
)
from protocols.payload import DeliveryReport, Pull

_RANK = {"submit": 1, "channel": 2, "inbound": 3}
_SETTLED_KEPT = 50_000
_CONCLUDE_PATIENCE_S = 60.0


class DueStore(Protocol):
    """Where messages wait that wait longer than a short retry; published to submit (inbound ones to inbound) at their time."""

    async def hold(self, rows: Sequence[DueRow]) -> None: ...


@dataclass(slots=True)
class Next:
    """What follows the outcomes of one lease."""

    envelopes: list[tuple[str, Envelope, float]] = field(default_factory=list)
    """(topic, envelope, seconds to wait)."""
    records: list[Record] = field(default_factory=list)
    dead: list[Record] = field(default_factory=list)
    due: list[DueRow] = field(default_factory=list)
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
        calls = [self._conclude_of(item.envelope, item.outcome) for item in items]  # type: ignore[arg-type]
        concluded = await self._patiently(calls)
        now = self._clock.now_ms()
        fresh: Counter[tuple[str, str, str]] = Counter()
        for item, call, result in zip(items, calls, concluded, strict=True):
            if result.outcome != call.outcome:
                # An earlier word on this pass stands (a zombie's late one never replaces it): what follows is its.
                item.outcome = wire.open_outcome(result.outcome)
            item.record = self._record(item, result, now)
            if result.fresh:
                fresh[_labels(item.envelope, item.outcome)] += 1  # type: ignore[arg-type]
        for (channel, category, outcome), count in fresh.items():
            self._metrics.messages_total.labels(channel, category, outcome).inc(count)
            if outcome == "unknown":
                self._metrics.unknown_outcome_total.labels(channel).inc(count)

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
        if isinstance(outcome, Retry):
            verdict = next_try(
                self._rules(envelope.category), envelope, outcome, self._clock.now_ms(), self._rng
            )
            if isinstance(verdict, GiveUp):
                return Rejected(outcome.scope, verdict.detail, verdict.code)
        return outcome

    def _conclude_of(self, envelope: Envelope, outcome: Outcome) -> Conclude:
        key = envelope.key(self.pipeline)
        call = Conclude(
            key=key,
            outcome=wire.seal_outcome(outcome),
            view=self._view(envelope, outcome),
            order=envelope.step * 1_000_000 + envelope.attempt * 10 + _RANK[self.pipeline],
            scope=envelope.channel,
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
            case _:
                return call

    def _view(self, envelope: Envelope, outcome: Outcome) -> str:
        match outcome:
            case Sent():
                return "sent"
            case Routed():
                return "received" if self.pipeline == "inbound" else "queued"
            case Suppressed(rule=rule):
                if rule == "receipt_came":
                    return "sent"
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
        if spec is not None and (spec.idempotent or (spec.resolves and envelope.token_of < 0)):
            if envelope.tries + 1 < rule.max_tries:
                return envelope.again(counts=True, token_of=token_of), float(
                    DELAYS[min(envelope.tries, len(DELAYS) - 1)]
                )
            return None
        if rule.on_unknown == "once" and not envelope.possibly_duplicate:
            return envelope.again(counts=True, possibly_duplicate=True), rule.unknown_wait_s
        return None

    def _token_of(self, envelope: Envelope) -> int:
        """Whose token the next pass carries when this one did not send. An idempotent far end may still hold the first
        try, so its token stays; a far end that was asked has said that it does not, and need not be asked again."""
        spec = self._spec_of(envelope.channel)
        asked = self.pipeline == "channel" and not (spec is not None and spec.idempotent)
        return -1 if asked else envelope.token_of

    def _record(self, item: Item, result: Concluded, now: int) -> Record:
        envelope, outcome = item.envelope, item.outcome
        assert outcome is not None
        state = status.derive(result.snapshot)
        spec = self._spec_of(envelope.channel)
        final = status.is_final(state, receipts=bool(spec and spec.receipts))
        record = Record(
            id=envelope.key(self.pipeline).derived("record"),
            at=now,
            pipeline=self.pipeline,
            envelope=envelope,
            outcome=outcome,
            decisions=tuple(item.decisions),
            status=state,
            subject_caller=envelope.caller,
            reference=envelope.reference,
            final=final,
        )
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
                self._follow_one(item.envelope, item.outcome, item.record, out)
        return out

    def _follow_one(self, envelope: Envelope, outcome: Outcome, record: Record, out: Next) -> None:
        match outcome:
            case Sent() | Suppressed():
                return
            case Routed(to=to):
                if self.pipeline == "submit":
                    out.envelopes.append((out_topic(to[0]), replace(envelope, channel=to[0]), 0.0))
            case Held(until=until, rule=reason):
                held = envelope.again(counts=False, token_of=self._token_of(envelope))
                out.due.append(self._due_row(held, until, reason))
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
                    )
                    out.envelopes.append((SUBMIT, step, 0.0))
                elif scope != "recipient":
                    out.dead.append(record)
            case _:
                assert_never(outcome)

    def _again(self, envelope: Envelope, wait: float, out: Next) -> None:
        if envelope.order_key:
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
        inward = replace(envelope, channel="") if not envelope.inbound else envelope
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


def _marks(envelope: Envelope, evidence: Evidence, parts: int, at: int) -> tuple[Mark, ...]:
    return tuple(
        Mark(envelope.id, envelope.step, envelope.attempt, part, evidence, "", at)
        for part in range(parts)
    )


def receipt_to(message: str, step: int, attempt: int, part: int, guessed: bool) -> tuple[str, ...]:
    """A matched receipt's Routed.to; the outcome alone says what the receipt is about, so that a replay knows it too."""
    return (message, str(step), str(attempt), str(part), "guessed" if guessed else "by id")


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
        and envelope.step + 1 < len(envelope.channels)
    )
