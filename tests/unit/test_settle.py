"""Settle: what follows every outcome in every pipeline, and that it is the same when it is done again.

Long because each outcome in each pipeline is a short test.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest

from msgcenter.bus import BusError, Queue
from msgcenter.pipeline import Item
from msgcenter.policy.retry import RetryRule
from msgcenter.settle import Settle, frames, publish_frames, receipt_to
from msgcenter.stages.replay import Replay
from msgcenter.state import Accepted, Receipt, StateError
from msgcenter.status import Meta, derive
from protocols import wire
from protocols.envelope import Envelope
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
from protocols.payload import DeliveryReport, Pull, Recall
from tests.unit.rig import SPEC, T0, Failing, Rig, item, message

ONE_STEP, TWO_STEPS = message(), message(channels=("fake", "other"))
INWARD = message(inbound=True, channels=(), category="inbound")
ORDERED = message(order_key="c1")


@dataclass(frozen=True)
class Expect:
    """`view` as State keeps it; `topic` of the one further envelope; `due`, `dead`, `ordered`: how many; `final`: of the record."""

    status: str
    view: str
    topic: str = ""
    due: int = 0
    dead: int = 0
    ordered: int = 0
    final: bool = True


GONE = Rejected("recipient", "no such number", "refused")
TABLE: list[tuple[str, Envelope, Outcome, Expect]] = [
    ("submit", ONE_STEP, Routed(("east",)), Expect("queued", "queued", "out.east", final=False)),
    (
        "submit",
        ONE_STEP,
        Held(T0 + 9, "send_at"),
        Expect("held", "held:send_at", due=1, final=False),
    ),
    ("submit", ONE_STEP, Suppressed("expired"), Expect("expired", "expired:expired")),
    ("submit", ONE_STEP, Suppressed("opt_out"), Expect("suppressed", "suppressed:opt_out")),
    (
        "submit",
        ONE_STEP,
        Rejected("channel", "none", "no_route"),
        Expect("rejected", "rejected:no_route", dead=1),
    ),
    (
        "submit",
        TWO_STEPS,
        Rejected("channel", "none", "no_route"),
        Expect("queued", "queued", "submit", final=False),
    ),
    (
        "submit",
        ORDERED,
        Retry("message", "later"),
        Expect("queued", "queued", ordered=1, final=False),
    ),
    (
        "submit",
        ONE_STEP,
        Retry("channel", "out of service", code="no_route"),
        Expect("queued", "queued", "submit", final=False),
    ),
    ("channel", ONE_STEP, Sent(("f1", "f2")), Expect("sent", "sent")),
    ("channel", ONE_STEP, Sent(), Expect("sent", "sent")),
    ("channel", ONE_STEP, Suppressed("cancelled"), Expect("cancelled", "cancelled:cancelled")),
    ("channel", ONE_STEP, Suppressed("receipt_came"), Expect("sent", "sent")),
    ("channel", ONE_STEP, Held(T0 + 9, "quiet"), Expect("held", "held:quiet", due=1, final=False)),
    (
        "channel",
        ONE_STEP,
        Retry("message", "busy"),
        Expect("queued", "queued", "out.east", final=False),
    ),
    (
        "channel",
        ONE_STEP,
        Retry("message", "busy", 3600.0),
        Expect("queued", "queued", due=1, final=False),
    ),
    (
        "channel",
        ORDERED,
        Retry("message", "busy"),
        Expect("queued", "queued", ordered=1, final=False),
    ),
    (
        "channel",
        ORDERED,
        Retry("message", "busy", 3600.0),
        Expect("queued", "queued", ordered=1, final=False),
    ),
    ("channel", ONE_STEP, Unknown("lost"), Expect("unknown", "unknown:unknown")),
    ("channel", ONE_STEP, Unknown("lost", ("f1",)), Expect("unknown", "unknown:unknown")),
    ("channel", ONE_STEP, GONE, Expect("rejected", "rejected:refused")),
    ("channel", TWO_STEPS, GONE, Expect("queued", "queued", "submit", final=False)),
    (
        "channel",
        TWO_STEPS,
        Rejected("message", "bad text", "content"),
        Expect("rejected", "rejected:content", dead=1),
    ),
    (
        "channel",
        ONE_STEP,
        Rejected("account", "closed", "account"),
        Expect("rejected", "rejected:account", dead=1),
    ),
    (
        "channel",
        replace(TWO_STEPS, step=1),
        GONE,
        Expect("rejected", "rejected:refused"),
    ),
    ("inbound", INWARD, Routed(("crm",)), Expect("received", "received")),
    ("inbound", INWARD, Suppressed("flood"), Expect("suppressed", "suppressed:flood")),
    ("inbound", INWARD, Held(T0 + 9, "quiet"), Expect("held", "held:quiet", due=1, final=False)),
    (
        "inbound",
        INWARD,
        Retry("message", "early"),
        Expect("queued", "queued", "inbound", final=False),
    ),
    (
        "inbound",
        replace(INWARD, channels=("a", "b")),
        Rejected("account", "x", "poison"),
        Expect("rejected", "rejected:poison", dead=1),
    ),
]


async def settled(settle: Settle, envelope: Envelope, outcome: Outcome) -> tuple[Item, Any]:
    one = item(envelope, outcome)
    await settle.conclude([one])
    return one, await settle.publish([one])


@pytest.mark.parametrize(
    ("pipeline", "envelope", "outcome", "expect"),
    TABLE,
    ids=[f"{p}-{type(o).__name__}-{e.view}-{e.topic or n}" for n, (p, _, o, e) in enumerate(TABLE)],
)
async def test_what_follows_an_outcome(
    pipeline: str, envelope: Envelope, outcome: Outcome, expect: Expect
) -> None:
    rig = Rig()
    settle = rig.settle(pipeline)
    _, ordered = await settled(settle, envelope, outcome)
    snapshot = (await rig.state.get_many([envelope.id]))[0]
    assert snapshot.view == expect.view
    assert derive(snapshot) == expect.status
    record = rig.bus.records()[0]
    assert (record.status, record.final) == (expect.status, expect.final)
    assert (record.outcome, record.envelope, record.pipeline) == (outcome, envelope, pipeline)
    assert (record.subject_caller, record.reference, record.at) == ("crm", "", T0)
    onward = [
        (frame.topic, opened)
        for frame in rig.bus.published
        for data in wire.unpack_frame(frame.body)
        if isinstance(opened := wire.open_sealed(data), Envelope)
    ]
    assert [topic for topic, _ in onward] == ([expect.topic] if expect.topic else [])
    assert len(rig.due.rows) == expect.due
    assert len(rig.bus.topic("dead")) == expect.dead
    assert len(ordered) == expect.ordered
    # Every further pass has a key of its own.
    further = [e for _, e in onward] + [e for e, _ in ordered]
    further += [wire.open_sealed(row.body) for row in rig.due.rows.values()]
    for each in further:
        if pipeline != "submit" or each.attempt:
            assert each.key(pipeline) != envelope.key(pipeline) or expect.topic.startswith("out.")

    # Done again, by another process that finds the stored outcome: the same ids, nothing else.
    before = {(type(x).__name__, x.id) for x in rig.bus.topic("record") + rig.bus.topic("dead")}
    rows = dict(rig.due.rows)
    again = Rig(clock=rig.clock, bus=rig.bus, due=rig.due)
    again.state = rig.state
    fresh = item(envelope)
    await Replay(rig.state, pipeline)([fresh])
    assert (fresh.outcome, fresh.replayed) == (outcome, True)
    await again.settle(pipeline).conclude([fresh])
    await again.settle(pipeline).publish([fresh])
    assert {
        (type(x).__name__, x.id) for x in rig.bus.topic("record") + rig.bus.topic("dead")
    } == before
    assert set(rig.due.rows) == set(rows)
    assert (await rig.state.get_many([envelope.id]))[0] == snapshot


def test_the_table_has_every_outcome_in_the_channel_pipeline() -> None:
    kinds = {type(outcome) for pipeline, _, outcome, _ in TABLE if pipeline == "channel"}
    assert kinds == {Sent, Suppressed, Held, Retry, Unknown, Rejected}
    assert Routed in {type(outcome) for _, _, outcome, _ in TABLE}


async def test_a_routed_message_goes_to_its_lane_with_its_channel() -> None:
    rig = Rig()
    for number, (tier, key) in enumerate([(0, ""), (3, ""), (5, ""), (5, "c1")]):
        await settled(
            rig.settle("submit"),
            message(f"m{number}", tier=tier, order_key=key, channel=""),
            Routed(("west",)),
        )
    out = [frame for frame in rig.bus.published if frame.topic == "out.west"]
    assert [frame.lane for frame in out] == ["urgent", "normal", "bulk", "conv"]
    assert {e.channel for e in rig.bus.topic("out.west")} == {"west"}


async def test_the_next_step_of_the_slip_begins_afresh() -> None:
    rig = Rig()
    tried = replace(TWO_STEPS, attempt=4, tries=3, token_of=1)
    await settled(rig.settle(), tried, GONE)
    (onward,) = rig.bus.topic("submit")
    assert onward == replace(TWO_STEPS, step=1, channel="")


async def test_a_held_message_is_a_due_row_that_goes_through_submit_again() -> None:
    rig = Rig()
    await settled(rig.settle(), message(tries=2), Held(T0 + 5000, "quiet"))
    (row,) = rig.due.rows.values()
    envelope = wire.open_sealed(row.body)
    assert (row.at_ms, row.rule, row.message, row.lane) == (T0 + 5000, "quiet", "msg_1", "normal")
    assert (envelope.attempt, envelope.tries, envelope.channel) == (1, 2, "")


async def test_a_retry_counts_only_if_it_is_the_messages_own() -> None:
    rig = Rig()
    await settled(rig.settle(), message("a"), Retry("recipient", "busy"))
    await settled(rig.settle(), message("b"), Retry("channel", "throttled"))
    a, b = rig.bus.topic("out.east")
    assert (a.attempt, a.tries, b.attempt, b.tries) == (1, 1, 1, 0)
    delays = [frame.delay for frame in rig.bus.published if frame.topic == "out.east"]
    assert set(delays) <= {1, 5}


async def test_a_retry_without_budget_is_stored_as_a_rejection() -> None:
    rig = Rig(rule=RetryRule(max_tries=2))
    one, _ = await settled(rig.settle(), message(tries=1), Retry("recipient", "busy"))
    assert isinstance(one.outcome, Rejected)
    assert (one.outcome.scope, one.outcome.code) == ("recipient", "retries_exhausted")
    stored = (await rig.state.replay([one.envelope.key("channel")]))[0]
    assert wire.open_outcome(stored) == one.outcome
    assert rig.bus.records()[0].status == "rejected"
    late, _ = await settled(rig.settle(), message("m2", expires_at=T0 + 1), Retry("channel", "x"))
    assert isinstance(late.outcome, Rejected)
    assert late.outcome.code == "expired_in_retry"


async def test_a_stored_retry_is_tried_again_though_its_time_ran_out_since() -> None:
    rig = Rig()
    envelope = message(expires_at=T0 + 60_000)
    one, _ = await settled(rig.settle(), envelope, Retry("message", "busy"))
    await rig.clock.advance(120)
    again = item(envelope, one.outcome)
    again.replayed = True
    await rig.settle().conclude([again])
    await rig.settle().publish([again])
    assert again.outcome == one.outcome
    assert len(rig.bus.topic("out.east")) == 2


# -- unknown -------------------------------------------------------------------------------------


def resend(rig: Rig) -> tuple[Envelope, int] | None:
    frames_ = [frame for frame in rig.bus.published if frame.topic == "out.east"]
    if not frames_:
        return None
    return rig.bus.topic("out.east")[-1], frames_[-1].delay


@pytest.mark.parametrize(
    ("spec", "on_unknown", "envelope", "expect"),
    [
        ({}, "never", {}, None),
        ({}, "once", {}, ("marked", -1, 120)),
        ({}, "once", {"possibly_duplicate": True}, None),
        ({"idempotent": True}, "never", {}, ("same token", 0, 1)),
        (
            {"idempotent": True},
            "never",
            {"attempt": 3, "token_of": 1, "tries": 2},
            ("same token", 1, 30),
        ),
        ({"idempotent": True}, "once", {"tries": 9}, None),
        ({"resolves": True}, "never", {}, ("same token", 0, 1)),
        ({"resolves": True}, "never", {"attempt": 1, "token_of": 0, "tries": 1}, None),
        (
            {"resolves": True},
            "once",
            {"attempt": 1, "token_of": 0, "tries": 1},
            ("marked", -1, 120),
        ),
    ],
)
async def test_how_an_unknown_is_resolved(
    spec: dict[str, bool], on_unknown: Any, envelope: dict[str, Any], expect: Any
) -> None:
    rig = Rig(rule=RetryRule(max_tries=10, on_unknown=on_unknown, unknown_wait_s=90.0))
    rig.adapter.spec = replace(SPEC, **spec)  # type: ignore[misc]
    first = message(**envelope)
    await settled(rig.settle(), first, Unknown("lost"))
    status = rig.bus.records()[0].status
    found = resend(rig)
    if expect is None:
        assert (found, status) == (None, "unknown")
        return
    assert found is not None
    again, delay = found
    kind, token_of, tier = expect
    assert (again.token_of, delay, status) == (token_of, tier, "sending")
    assert (again.attempt, again.tries) == (first.attempt + 1, first.tries + 1)
    assert again.possibly_duplicate == (kind == "marked")
    assert (again.token() == first.token()) == (kind == "same token")


@pytest.mark.parametrize("outcome", [Retry("recipient", "busy"), Held(T0 + 60_000, "quiet")])
@pytest.mark.parametrize(("ability", "kept"), [("idempotent", 1), ("resolves", -1)])
async def test_a_resend_that_was_put_off_keeps_its_token_where_that_matters(
    outcome: Outcome, ability: str, kept: int
) -> None:
    """Else the far end would take the next try for another message, while it may have the first."""
    rig = Rig()
    rig.adapter.spec = replace(SPEC, **{ability: True})  # type: ignore[misc,arg-type]
    await settled(rig.settle(), message(attempt=2, token_of=1, tries=1), outcome)
    further = rig.bus.topic("out.east") + [wire.open_sealed(r.body) for r in rig.due.rows.values()]
    assert [(e.attempt, e.token_of) for e in further] == [(3, kept)]
    await settled(rig.settle("submit"), message(attempt=3, token_of=1, channel=""), outcome)
    (held,) = rig.bus.topic("submit") or [
        wire.open_sealed(r.body) for r in list(rig.due.rows.values())[1:]
    ]
    assert held.token_of == 1


async def test_an_unknown_is_found_by_its_recipient_until_its_deadline() -> None:
    rig = Rig(rule=RetryRule(unknown_wait_s=400.0))
    await settled(rig.settle(), message(), Unknown("lost", ("f9",)))
    by_id, by_recipient = await rig.state.correlate(
        [Receipt("east", "f9"), Receipt("east", "other", "tel:+8613800138000")]
    )
    assert (by_id.message, by_id.guessed) == ("msg_1", False)
    assert (by_recipient.message, by_recipient.guessed) == ("msg_1", True)
    for seconds, found in ((799, True), (2, False)):  # twice the wait for a receipt
        await rig.clock.advance(seconds)
        (late,) = await rig.state.correlate([Receipt("east", "other", "tel:+8613800138000")])
        assert (late is not None) == found


async def test_an_unknown_is_found_for_ten_minutes_at_least() -> None:
    rig = Rig(rule=RetryRule(unknown_wait_s=5.0))
    await settled(rig.settle(), message(), Unknown("lost", ("f9",)))
    for seconds, found in ((599, True), (2, False)):
        await rig.clock.advance(seconds)
        (late,) = await rig.state.correlate([Receipt("east", "other", "tel:+8613800138000")])
        assert (late is not None) == found


@pytest.mark.parametrize("on_unknown", ["never", "once"])
async def test_a_doorbell_whose_run_is_unknown_rings_again(on_unknown: Any) -> None:
    rig = Rig(rule=RetryRule(on_unknown=on_unknown))
    bell = message(payload=Pull("kf:wk1"), tier=1)
    rung, _ = await settled(rig.settle(), bell, Unknown("the process ended"))
    assert isinstance(rung.outcome, Retry)
    (again,) = rig.bus.topic("out.east")
    assert (again.payload, again.attempt, again.possibly_duplicate) == (bell.payload, 1, False)


async def test_what_waits_for_a_channel_that_was_taken_out_of_service_finds_another() -> None:
    rig = Rig()
    settle = rig.settle(in_service=lambda channel: channel != "east")
    await settled(settle, message("m1"), Retry("channel", "link down", 30.0))
    await settled(settle, message("m2", order_key="c1"), Retry("channel", "link down", 30.0))
    await settled(settle, message("m3", channel="west"), Retry("channel", "link down"))
    assert [(e.id, e.channel, e.attempt) for e in rig.bus.topic("submit")] == [
        ("m1", "", 1),
        ("m2", "", 1),
    ]
    assert [frame.delay for frame in rig.bus.published if frame.topic == "submit"] == [0, 0]
    assert [e.id for e in rig.bus.topic("out.west")] == ["m3"]
    assert rig.bus.topic("out.east") == []


# -- receipts ------------------------------------------------------------------------------------


async def test_a_receipts_record_speaks_of_its_message() -> None:
    rig = Rig()
    original = message(reference="ref-7", order_key="c1")
    await rig.state.accepted([Accepted(original.id, Meta.packed(original))])
    await settled(rig.settle(), original, Sent(("f0", "f1")))
    rig.adapter.spec = replace(SPEC, receipts=frozenset({"delivered"}))  # type: ignore[misc]
    for part, remote in enumerate(["f0", "f1"]):
        receipt = message(
            f"rcp_{part}",
            caller="",
            inbound=True,
            payload=DeliveryReport(remote, "delivered", "DELIVRD", T0 + 500),
        )
        (match,) = await rig.state.correlate([Receipt("east", remote)])
        to = receipt_to(match.message, match.step, match.attempt, match.part, match.guessed)
        await settled(rig.settle("inbound"), receipt, Routed(to))
    first, second = rig.bus.records()[-2:]
    assert (first.status, first.final, second.status, second.final) == (
        "sent",
        False,
        "delivered",
        True,
    )
    assert (second.subject, second.subject_step, second.subject_attempt) == ("msg_1", 0, 0)
    assert (second.subject_caller, second.reference) == ("crm", "ref-7")
    assert (second.envelope.caller, second.envelope.order_key) == ("crm", "c1")
    record_frames = {frame.key for frame in rig.bus.published if frame.topic == "record"}
    assert len(record_frames) == 1  # all of one conversation in one partition
    (snapshot,) = await rig.state.get_many(["msg_1"])
    assert snapshot.deliveries[0, 0][1] == ("delivered", "DELIVRD", T0 + 500)


# -- crashes, zombies, outages -------------------------------------------------------------------


async def test_a_zombies_late_word_loses() -> None:
    rig = Rig(rule=RetryRule(on_unknown="once"))
    first, _ = await settled(rig.settle(), message(), Unknown("given up on"))
    zombie = item(message(), Sent(("far-late",)))
    await rig.settle().conclude([zombie])
    assert zombie.outcome == first.outcome
    assert zombie.record is not None
    assert zombie.record.id == first.record.id  # type: ignore[union-attr]
    assert rig.metrics.unknown_outcome_total.labels("east")._value.get() == 1
    (match,) = await rig.state.correlate([Receipt("east", "far-late")])
    assert match is None


async def test_conclude_keeps_trying_while_state_is_away() -> None:
    rig = Rig()
    state = rig.state = Failing(rig.state)
    state.broken["conclude"] = (StateError("away"), 5)
    one = item(message(), Sent(("f",)))
    task = asyncio.create_task(rig.settle().conclude([one]))
    await rig.clock.advance(30)
    await task
    assert state.calls == ["conclude"] * 6
    assert one.record is not None


async def test_conclude_gives_up_after_a_minute() -> None:
    rig = Rig()
    state = rig.state = Failing(rig.state)
    state.broken["conclude"] = (StateError("away"), 1_000_000)
    task = asyncio.create_task(rig.settle().conclude([item(message(), Sent())]))
    await rig.clock.advance(55)
    assert not task.done()
    await rig.clock.advance(10)
    with pytest.raises(StateError):
        await task


async def test_concluding_twice_in_one_run_asks_state_once_and_counts_once() -> None:
    rig = Rig()
    state = rig.state = Failing(rig.state)
    settle, one = rig.settle(), item(message(), Sent())
    await settle.conclude([one])
    await settle.conclude([one, item(message("undecided"))])
    assert state.calls == ["conclude"]
    labels = ("east", "transactional", "sent")
    assert rig.metrics.messages_total.labels(*labels)._value.get() == 1


async def test_a_failed_publish_is_told_and_due_rows_come_first() -> None:
    rig = Rig()
    rig.bus.failures = [BusError("away")]
    settle, one = rig.settle("submit"), item(message(), Held(T0 + 5, "send_at"))
    await settle.conclude([one])
    with pytest.raises(BusError):
        await settle.publish([one])
    assert len(rig.due.rows) == 1


async def test_settled_passes_are_remembered_but_not_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("msgcenter.settle._SETTLED_KEPT", 10)
    settle = Rig().settle()
    settle.mark_settled(
        [item(message(f"m{n}"), Sent()) for n in range(12)] + [item(message("open"))]
    )
    assert [settle.is_settled(message(f"m{n}")) for n in range(12)] == [False] * 2 + [True] * 10
    assert not settle.is_settled(message("m11", attempt=1))
    assert not settle.is_settled(message("open"))


def test_frames_are_full_and_keep_the_order() -> None:
    sealed = [wire.seal(message(f"m{n}")) for n in range(250)]
    cut = frames(Queue("t", "bulk", 3), sealed, 5)
    assert [frame.count for frame in cut] == [100, 100, 50]
    assert {(f.key, f.delay) for f in cut} == {("t.bulk.3", 5)}
    assert [data for frame in cut for data in wire.unpack_frame(frame.body)] == sealed
    large = frames(Queue("t"), [b"x" * wire.MAX_ITEM] * 10)
    assert [frame.count for frame in large] == [3, 3, 3, 1]
    assert frames(Queue("t"), []) == []


async def test_two_frames_of_one_queue_are_never_in_flight_together() -> None:
    calls: list[list[str]] = []

    class Watching:
        async def publish(self, batch: Any) -> None:
            calls.append([frame.key for frame in batch])

    sealed = [wire.seal(message(f"m{n}")) for n in range(150)]
    out = frames(Queue("a"), sealed) + frames(Queue("b"), sealed) + frames(Queue("a"), sealed, 5)
    await publish_frames(Watching(), out)  # type: ignore[arg-type]
    assert [sorted(call) for call in calls] == [["a.normal.0", "a.normal.0", "b.normal.0"]] * 2


def counted(rig: Rig, name: str, **labels: str) -> float:
    return rig.metrics.registry.get_sample_value(f"msgcenter_{name}", labels) or 0.0


async def test_an_accepted_message_is_counted_in_once_whatever_comes_after() -> None:
    rig = Rig()
    submit = rig.settle("submit")
    first = message()
    for envelope in (first, first, first.again(counts=True), replace(first, step=1)):
        await submit.conclude([item(envelope, Routed(("east",)))])
    await rig.settle("channel").conclude([item(first, Sent(("1",)))])
    await submit.conclude([item(message("msg_2", leaf=3), Routed(("east",)))])
    assert counted(rig, "submitted_total", category=first.category) == 1


async def test_what_is_given_up_is_counted_where_it_was_and_why() -> None:
    rig = Rig()
    settle = rig.settle("channel")
    given_up = item(message(channel="east"), Rejected("account", "login lost", "login_lost"))
    await settle.conclude([given_up])
    await settle.publish([given_up])
    assert counted(rig, "dead_total", topic="out.east", reason="login_lost") == 1


@pytest.mark.parametrize("on_unknown", ["never", "once"])
async def test_no_other_channel_is_tried_while_the_first_may_have_sent_it(on_unknown: Any) -> None:
    """The first try was lost, then the far end was too busy to be asked the same again until the budget was used up."""
    rig = Rig(rule=RetryRule(max_tries=2, on_unknown=on_unknown))
    rig.adapter.spec = replace(SPEC, idempotent=True)
    settle = rig.settle()
    lost, _ = await settled(settle, TWO_STEPS, Unknown("no answer"))
    (again,) = rig.bus.topic("out.east")
    assert again.token_of == lost.envelope.attempt
    last, _ = await settled(settle, again, Retry("message", "busy"))
    slip = rig.bus.topic("submit")
    assert isinstance(last.outcome, Unknown if on_unknown == "never" else Rejected)
    assert [one.possibly_duplicate for one in slip] == ([] if on_unknown == "never" else [True])
    assert last.record is not None
    assert last.record.status == ("unknown" if on_unknown == "never" else "queued")


@pytest.mark.parametrize("on_unknown", ["never", "once"])
@pytest.mark.parametrize("repeated", [False, True])
async def test_a_lost_answer_of_a_channel_that_is_taken_away_is_no_send_by_another(
    on_unknown: Any, repeated: bool
) -> None:
    rig = Rig(rule=RetryRule(on_unknown=on_unknown))
    rig.adapter.spec = replace(SPEC, idempotent=True)
    envelope, outcome = message(), cast(Outcome, Unknown("no answer"))
    if repeated:
        envelope = message(attempt=1, token_of=0, tries=1)
        outcome = Retry("channel", "taken out of service", code="channel_removed")
    await settled(rig.settle(in_service=lambda _: False), envelope, outcome)
    onward = rig.bus.topic("submit")
    if on_unknown == "never":
        assert (onward, rig.due.rows) == ([], {})
        assert rig.bus.records()[0].status == "unknown"
    else:
        [again] = onward
        assert (again.possibly_duplicate, again.token_of, again.channel) == (True, -1, "")


async def test_a_repeat_that_waits_long_goes_back_to_the_far_end_that_knows_it() -> None:
    rig = Rig()
    rig.adapter.spec = replace(SPEC, idempotent=True)
    await settled(rig.settle(), message(token_of=0), Retry("message", "busy", 3600.0))
    (row,) = rig.due.rows.values()
    held = wire.open_sealed(row.body)
    assert (held.channel, held.token_of) == ("east", 0)


async def test_a_recall_that_waits_long_still_knows_where_it_belongs() -> None:
    rig = Rig()
    recall = message(payload=Recall("msg_0", ("f1",)))
    await settled(rig.settle(), recall, Retry("channel", "busy", 3600.0))
    (row,) = rig.due.rows.values()
    assert wire.open_sealed(row.body).channel == "east"
