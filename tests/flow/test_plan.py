"""Plans through a whole core: a scripted far end, receipts, replies, signals, waits; one close each, no step too many.

Long because each kind of plan is one story on the same stand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from msgcenter.adapter import Received, Report
from msgcenter.app import App
from msgcenter.archive.events_sink import event_of
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.outlet import to_bus
from msgcenter.plans import PlanCell, heard_name, kinds_of, message_name, news
from msgcenter.policy.plan import Progress
from msgcenter.state import Listing
from msgcenter.status import derive, plan_over
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome, Rejected, Sent, Unknown
from protocols.payload import Advance, DeliveryReport, Group, Leaf, Plan, Signal, Text
from tests.flow.rigging import (
    FarEnd,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    until,
)

CLOCK = SystemClock()
IDS = IdFactory(CLOCK, system_random())
TO = Address("tel", "+8613800000001")


def leaf(**more: Any) -> Leaf:
    return Leaf("devnull", Text("您好"), **more)


def sequence(*leaves: Leaf, **more: Any) -> Plan:
    return Plan(leaves, (Group(1, tuple(range(1, len(leaves) + 1))),), **more)


def planned(plan: Plan, *, life_s: float = 60.0, **more: Any) -> Envelope:
    message, now = IDS.message(str(TO)), CLOCK.now_ms()
    values: dict[str, Any] = {"category": "marketing", "tier": 5, "reference": "r-1", **more}
    return Envelope(
        id=message,
        caller="crm",
        to=TO,
        payload=plan,
        created_at=now,
        person=str(TO),
        channels=kinds_of(plan),
        order_key=message,
        expires_at=now + round(life_s * 1000),
        **values,
    )


class World:
    """An app, what its far end took by step, and what State says of the plan."""

    def __init__(self, app: App, far_end: FarEnd, records: Records) -> None:
        self.app = app
        self.far_end = far_end
        self.records = records
        self.port = app.port("nowhere", to_bus(app.parts.bus))

    async def progress(self, plan: Envelope) -> Progress:
        [(version, value)] = await self.app.parts.state.plans([plan.id])
        return PlanCell.unpack(value).progress if version else Progress(())

    async def until(
        self, plan: Envelope, condition: Callable[[Progress], bool], seconds: float = 20.0
    ) -> Progress:
        for _ in range(round(seconds / 0.02)):
            progress = await self.progress(plan)
            if progress.leaves and condition(progress):
                return progress
            await CLOCK.sleep(0.02)
        raise AssertionError(await self.progress(plan))

    async def closed(self, plan: Envelope) -> Progress:
        progress = await self.until(plan, lambda p: p.closed)
        await until(lambda: bool(self.ends(plan)))
        return progress

    def ends(self, plan: Envelope) -> list[dict[str, Any]]:
        """The closing events of the plan, by id."""
        events = {}
        for record in self.records.all:
            event = event_of(record)
            if event is not None and event.message == plan.id and "plan" in event.type:
                events[event.id] = {"type": event.type, **event.data}
        return list(events.values())

    async def status(self, plan: Envelope) -> str:
        [snapshot] = await self.app.parts.state.get_many([plan.id])
        assert plan_over(snapshot)
        return derive(snapshot)

    async def receipt(self, plan: Envelope, step: int, state: Any, code: str = "") -> None:
        await self.port.emit([Report(DeliveryReport(f"{plan.id}/{step}", state, code))])

    async def reply(self, sender: Address = TO) -> None:
        said = Received(sender, "10690000", Text("好的"), IDS.new("mo"), CLOCK.now_ms())
        await self.port.emit([said])

    async def signal(self, word: str, *names: str) -> None:
        signal = Envelope(
            id=IDS.new("sig"),
            caller="crm",
            to=Address("caller", "crm"),
            category="plan",
            tier=1,
            payload=Signal(word, names),
            created_at=CLOCK.now_ms(),
        )
        await submit(self.app, [signal])

    @property
    def sent(self) -> list[int]:
        return [step for _, step in self.far_end.steps]  # type: ignore[attr-defined]


def answering(answers: dict[int, Outcome]) -> FarEnd:
    """A far end that answers a step as told, else takes it under the remote id `<message>/<step>`."""
    far_end = FarEnd()
    far_end.steps = []  # type: ignore[attr-defined]

    def script(item: Any) -> Outcome:
        envelope = item.envelope
        answer = answers.get(envelope.step) or Sent((f"{envelope.id}/{envelope.step}",))
        if not isinstance(answer, Rejected):
            far_end.steps.append((envelope.id, envelope.step))  # type: ignore[attr-defined]
        return answer

    far_end.script = script
    return far_end


@asynccontextmanager
async def world(
    tmp_path: Path,
    answers: dict[int, Outcome] | None = None,
    process: str = "",
    env: dict[str, str] | None = None,
) -> AsyncIterator[World]:
    far_end, records = answering(answers or {}), Records()
    folder = config_folder(tmp_path / "w", process=process)
    async with running(folder, scripted(far_end), records, env=env) as app:
        yield World(app, far_end, records)


REFUSED = Rejected("recipient", "no such number", "refused")


async def test_the_first_step_that_is_accepted_ends_it(tmp_path: Path) -> None:
    async with world(tmp_path, {1: REFUSED}) as w:
        plan = planned(sequence(leaf(), leaf(), leaf()))
        await submit(w.app, [plan])
        progress = await w.closed(plan)
        assert w.sent == [2]
        assert [one.word for one in progress.leaves] == ["failed", "sent", "idle"]
        assert [one.fresh for one in progress.leaves] == [True, True, False]
        assert progress.leaves[0].code == "refused"
        [end] = w.ends(plan)
        assert (end["type"], end["result"]) == ("msgcenter.plan.reached.v1", "reached")
        assert (end["reference"], end["status"], end["overlap"]) == ("r-1", "sent", False)
        assert await w.status(plan) == "sent"

        async def nothing_waits() -> bool:
            return not (await w.app.parts.store.count_due()).count

        async with asyncio.timeout(20):  # though the plan might have lasted for 60 s
            while not await nothing_waits():
                await CLOCK.sleep(0.02)


async def test_the_same_on_rabbitmq_redis_and_postgresql(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    name = prefix.strip("_")
    process = (
        f'bus: {{kind: rabbit, url: "${{env:BUS_URL}}", prefix: {name}, partitions: 2}}\n'
        f"state: {{kind: redis, url: {redis_url}, prefix: {name}}}\n"
        f"store: {{kind: postgres, url: {postgres_url}}}\n"
        'api: {pepper: "${env:PEPPER}"}\n'
    )
    async with world(
        tmp_path, {1: REFUSED}, process, {"BUS_URL": rabbit_url, "PEPPER": "the same everywhere"}
    ) as w:
        plan = planned(
            sequence(
                leaf(),
                leaf(wait_ms=300, success="delivered"),
                leaf(wait_ms=60_000, success="replied"),
                leaf(),
            )
        )
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(3).word == "sent", 40)
        await w.reply()
        progress = await w.closed(plan)
        assert [one.word for one in progress.leaves] == ["failed", "sent", "sent", "idle"]
        assert (progress.result, progress.overlap, w.sent) == ("reached", False, [2, 3])
        assert len(w.ends(plan)) == 1


async def test_all_refuse_and_one_event_says_so(tmp_path: Path) -> None:
    async with world(tmp_path, {1: REFUSED, 2: REFUSED}) as w:
        plan = planned(sequence(leaf(), leaf()))
        await submit(w.app, [plan])
        await w.closed(plan)
        assert [end["type"] for end in w.ends(plan)] == ["msgcenter.plan.unreached.v1"]
        assert await w.status(plan) == "rejected"
        assert not w.far_end.steps  # type: ignore[attr-defined]


async def test_a_wait_without_success_leads_to_the_next_step_and_a_receipt_ends_it(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(wait_ms=300, success="delivered"), leaf(success="delivered")))
        await submit(w.app, [plan])
        progress = await w.until(plan, lambda p: p.leaf(2).word == "sent")
        assert progress.leaf(1).lapsed
        assert not progress.leaf(2).fresh, "the first one may have reached the person"
        await w.receipt(plan, 2, "delivered")
        progress = await w.closed(plan)
        assert not progress.overlap
        assert await w.status(plan) == "delivered"
        assert w.sent == [1, 2]


async def test_an_undelivered_step_leads_to_the_next_at_once(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(
            sequence(leaf(wait_ms=60_000, success="delivered"), leaf(success="delivered"))
        )
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(1).word == "sent")
        await w.receipt(plan, 1, "undelivered", "MK:0001")
        progress = await w.until(plan, lambda p: p.leaf(2).word == "sent")
        assert progress.leaf(1).code == "MK:0001"
        await w.receipt(plan, 2, "delivered")
        await w.closed(plan)


async def test_a_late_receipt_stops_what_is_not_sent_and_is_counted(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(
            sequence(leaf(wait_ms=200, success="delivered"), leaf(success="delivered"), leaf())
        )
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(2).word == "sent")
        await w.receipt(plan, 1, "delivered")
        progress = await w.closed(plan)
        assert progress.overlap
        assert progress.result == "reached"
        assert w.ends(plan)[0]["overlap"] is True
        assert w.app.metrics.registry.get_sample_value("msgcenter_plan_overlap_total") == 1
        assert w.sent == [1, 2]


async def test_a_step_that_cannot_leave_is_called_back_before_the_next_one_starts(
    tmp_path: Path,
) -> None:
    async with world(tmp_path) as w:
        w.far_end.plugged = False
        plan = planned(sequence(leaf(wait_ms=300), leaf(wait_ms=300), leaf()))
        await submit(w.app, [plan])
        progress = await w.until(plan, lambda p: p.leaf(3).word == "running")
        assert [one.word for one in progress.leaves] == ["stopped", "stopped", "running"]
        w.far_end.plugged = True
        await w.closed(plan)
        assert w.sent == [3]
        [end] = w.ends(plan)
        assert end["result"] == "reached"


async def test_a_reply_on_any_channel_moves_the_person_out(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(wait_ms=60_000, success="replied"), leaf(success="replied")))
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(1).word == "sent")
        await w.reply(Address("tel", "+8613800000002"))
        await w.reply()
        progress = await w.closed(plan)
        assert progress.signals == ("replied",)
        assert progress.result == "reached"
        assert w.sent == [1]
        [lists] = await w.app.parts.state.listed([str(TO)])
        assert lists == {}


@pytest.mark.parametrize(
    ("word", "by"), [("signal:paid", "message"), ("clicked", "person"), ("replied", "reply")]
)
async def test_a_signal_stops_a_plan(tmp_path: Path, word: str, by: str) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(wait_ms=60_000, success="read"), leaf(), stop_on=(word,)))
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(1).word == "sent")
        if by == "reply":
            await w.reply()
        else:
            await w.signal("signal:other", str(TO))
            await w.signal(word, message_name(plan.id) if by == "message" else str(TO))
        progress = await w.closed(plan)
        assert progress.result == "stopped"
        assert w.sent == [1]
        assert [end["type"] for end in w.ends(plan)] == ["msgcenter.plan.stopped.v1"]


async def test_what_was_heard_before_a_step_starts_keeps_it_from_starting(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(wait_ms=400, success="replied"), leaf(success="replied")))
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(1).word == "sent")
        # As if the reply's own news were still on its way when the wait ends.
        await w.app.parts.state.enlist([Listing(heard_name(plan.id), "replied", "msg_x", 60)])
        progress = await w.closed(plan)
        assert progress.result == "reached"
        assert w.sent == [1]


async def test_its_time_is_over(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(success="replied"), leaf()), life_s=0.6)
        await submit(w.app, [plan])
        progress = await w.closed(plan)
        assert progress.result == "expired"
        assert w.sent == [1]
        [end] = w.ends(plan)
        assert (end["type"], end["status"]) == ("msgcenter.plan.unreached.v1", "sent")
        late = planned(sequence(leaf()), life_s=-1)
        await submit(w.app, [late])
        await w.closed(late)
        assert await w.status(late) == "expired"


async def test_an_unknown_send_is_followed_only_after_its_wait(tmp_path: Path) -> None:
    async with world(tmp_path, {1: Unknown("link lost")}) as w:
        plan = planned(sequence(leaf(wait_ms=300), leaf()))
        await submit(w.app, [plan])
        progress = await w.closed(plan)
        assert [one.word for one in progress.leaves] == ["unknown", "sent"]
        assert not progress.leaf(2).fresh
        patient = planned(sequence(leaf(), leaf()), life_s=1.0)
        await submit(w.app, [patient])
        progress = await w.closed(patient)
        assert [one.word for one in progress.leaves] == ["unknown", "idle"]
        assert await w.status(patient) == "unknown"


async def test_all_of_and_any_of(tmp_path: Path) -> None:
    async with world(tmp_path, {2: REFUSED}) as w:
        both = planned(Plan((leaf(), leaf()), (Group(2, (1, 2)),)))
        two = planned(Plan((leaf(), leaf(), leaf(), leaf()), (Group(2, (1, 2, 3, 4)),)))
        nested = planned(Plan((leaf(), leaf(), leaf()), (Group(1, (-1, 3)), Group(2, (1, 2)))))
        await submit(w.app, [both, two, nested])
        results = [(await w.closed(one)) for one in (both, two, nested)]
        assert [one.result for one in results] == ["unreached", "reached", "reached"]
        assert [one.word for one in results[0].leaves] == ["sent", "failed"]
        assert [one.word for one in results[1].leaves] == ["sent", "failed", "sent", "idle"]
        assert [one.word for one in results[2].leaves] == ["sent", "failed", "sent"]


async def test_the_cost_limit_passes_over_what_is_too_dear(tmp_path: Path) -> None:
    async with world(tmp_path, {1: REFUSED}) as w:
        plan = planned(sequence(leaf(cost=5), leaf(cost=9), leaf(cost=5), cost_limit=8))
        await submit(w.app, [plan])
        progress = await w.closed(plan)
        assert [(one.word, one.code) for one in progress.leaves] == [
            ("failed", "refused"),
            ("idle", "cost_limit"),
            ("sent", ""),
        ]


async def test_a_cancelled_plan_starts_nothing_more(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        plan = planned(sequence(leaf(wait_ms=300, success="read"), leaf()))
        await submit(w.app, [plan])
        await w.until(plan, lambda p: p.leaf(1).word == "sent")
        await submit(w.app, [news(plan.id, "cancel", caller="crm", at=CLOCK.now_ms())])
        progress = await w.closed(plan)
        assert progress.result == "cancelled"
        await CLOCK.sleep(0.5)
        assert w.sent == [1]


async def test_every_pass_is_told_of(tmp_path: Path) -> None:
    async with world(tmp_path, {1: REFUSED}) as w:
        plan = planned(sequence(leaf(), leaf()))
        await submit(w.app, [plan])
        await w.closed(plan)
        await until(lambda: len(told(w, plan)) >= 3)
        assert told(w, plan) == [
            ("begin", f"start 1, wait 0 {plan.expires_at}"),
            ("outcome", "start 2"),
            ("outcome", "close reached sent"),
        ]


def told(w: World, plan: Envelope) -> Sequence[tuple[str, str]]:
    return [
        (decision.rule, decision.detail)
        for record in sorted(w.records.unique().values(), key=lambda r: r.at)
        if isinstance(record.envelope.payload, Plan | Advance)
        and plan.id in (record.envelope.id, record.subject)
        for decision in record.decisions
    ]
