"""Pauses: silent before the answer, kept over a loss of State, ended by hand or by time, everything let out once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from msgcenter.clock import ManualClock
from msgcenter.metrics import Metrics
from msgcenter.pauses import LOOK_AGAIN_S, PAUSED, Pauses, PauseWatch, hold_until
from msgcenter.state import Admit, Suppression
from msgcenter.state.memory import MemoryState
from msgcenter.store import DueFilter
from msgcenter.store.pauses import RESUMED, rule_of
from msgcenter.store.store import Store
from protocols import wire
from protocols.envelope import Envelope, Key
from protocols.outcome import Held, Sent, Suppressed
from protocols.payload import Pull
from tests.unit.rig import LOG, T0, Rig, items, message, metrics

GATE = "campaign:spring"


@dataclass
class Desk:
    """One process's pauses over memory and a file."""

    clock: ManualClock
    state: MemoryState
    store: Store
    metrics: Metrics

    @property
    def pauses(self) -> Pauses:
        return Pauses(self.state, self.store, self.clock)

    def watch(self, spread_s: float = 1800.0) -> PauseWatch:
        return PauseWatch(
            self.pauses,
            self.state,
            lambda: spread_s,
            clock=self.clock,
            metrics=self.metrics,
            log=LOG,
        )

    async def verdict(self, gate: str = GATE) -> str:
        key = Key(f"msg_{gate}", 0, self.clock.now_ms(), "channel")
        return (await self.state.admit([Admit(key, (gate,), "w", 5.0)]))[0].verdict

    async def hold(self, count: int) -> None:
        """As many messages as a channel's workers would hold, by the very code that holds them."""
        rig = Rig()
        rig.clock, rig.state = self.clock, self.state
        batch = items(count, campaign="spring", tier=5, category="marketing")
        settle = rig.settle()
        await rig.deliver(settle)(batch)
        await settle.publish(batch)
        assert rig.adapter.taken == []
        await self.store.hold(list(rig.due.rows.values()))


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    clock = ManualClock(T0)
    store = Store(f"sqlite:///{tmp_path}/store.db", clock)
    await store.open()
    await store.migrate()
    yield Desk(clock, MemoryState(clock), store, metrics())
    await store.close()


async def test_a_pause_holds_until_resumed_and_says_who_and_why(desk: Desk) -> None:
    await desk.pauses.pause(GATE, "ops/k1", "wrong price")
    await desk.hold(30)
    assert await desk.verdict() == "held"
    [(row, held)] = await desk.pauses.running()
    assert (row.gate, row.by, row.why, row.until, held) == (GATE, "ops/k1", "wrong price", 0, 30)
    told = await desk.pauses.resume(GATE, "ops/k2", None, 1800.0)
    assert (told.ended, told.released, told.spread_s) == (True, 30, 0.3)
    assert await desk.verdict() == "go"
    assert await desk.pauses.running() == []
    page = await desk.store.list_due(DueFilter(rule=RESUMED))
    assert len({row.message for row in page.items}) == 30
    assert all(T0 <= row.at_ms < T0 + 300 for row in page.items)
    again = await desk.pauses.resume(GATE, "ops/k2", None, 1800.0)
    assert (again.ended, again.released) == (False, 0)
    log = [(row.who, row.what) for row in (await desk.store.list_audit(target=GATE)).items]
    assert log == [("ops/k2", "resume"), ("ops/k1", "pause")]


async def test_many_are_let_out_over_the_policys_spread_at_most(desk: Desk) -> None:
    await desk.pauses.pause(GATE, "ops")
    await desk.hold(100)
    assert (await desk.pauses.resume(GATE, "ops", None, 0.5)).spread_s == 0.5
    await desk.pauses.pause(GATE, "ops")
    assert (await desk.pauses.resume(GATE, "ops", 60.0, 0.5)).spread_s == 60.0


async def test_a_pause_with_an_end_ends_by_itself_and_lets_out_what_it_held(desk: Desk) -> None:
    await desk.pauses.pause(GATE, "ops", lasts_s=7200)
    await desk.hold(20)
    watch = desk.watch()
    await watch.once()
    assert desk.metrics.pauses.labels("campaign")._value.get() == 1
    assert desk.metrics.paused_messages.labels("campaign")._value.get() == 20
    await desk.clock.advance(7199)
    assert await desk.verdict() == "held"
    await desk.clock.advance(1.1)
    assert await desk.verdict() == "go"
    await watch.once()
    assert desk.metrics.pauses.labels("campaign")._value.get() == 0
    assert len((await desk.store.list_due(DueFilter(rule=RESUMED))).items) == 20
    assert [row.what for row in (await desk.store.list_audit(target=GATE)).items] == [
        "pause.end",
        "pause",
    ]


async def test_what_comes_late_into_an_ended_pause_is_let_out(desk: Desk) -> None:
    """Admitted before the resume, written down after it: a worker was slow, or died and its frame came again."""
    await desk.pauses.pause(GATE, "ops")
    await desk.pauses.resume(GATE, "ops", None, 1800.0)
    await desk.store.hold([late_row()])
    await desk.watch().once()
    assert [row.message for row in (await desk.store.list_due(DueFilter(rule=RESUMED))).items] == [
        "msg_late"
    ]


def late_row():
    rig = Rig()
    return rig.settle()._due_row(message("msg_late"), T0 + 10**9, rule_of(GATE))


async def test_a_loss_of_state_ends_no_pause(desk: Desk) -> None:
    await desk.pauses.pause(GATE, "ops")
    await desk.pauses.pause("caller:crm", "ops", lasts_s=60)
    watch = desk.watch()
    await watch.once()
    desk.state.cells._hashes.clear()
    assert await desk.verdict() == "go", "the loss is real"
    await desk.clock.advance(5)
    await watch.once()
    assert [await desk.verdict(), await desk.verdict("caller:crm")] == ["held", "held"]
    await desk.clock.advance(56)
    assert [await desk.verdict(), await desk.verdict("caller:crm")] == ["held", "go"]


async def test_a_restart_puts_back_what_runs_and_only_that(desk: Desk) -> None:
    for gate in (GATE, "category:care", "channel:sms"):
        await desk.pauses.pause(gate, "ops", lasts_s=10 if gate == "channel:sms" else 0)
    await desk.pauses.resume("category:care", "ops", None, 1.0)
    await desk.clock.advance(11)
    desk.state = MemoryState(desk.clock)
    await desk.pauses.restore()
    found = [await desk.verdict(gate) for gate in (GATE, "category:care", "channel:sms")]
    assert found == ["held", "go", "go"]


# -- in the channel -----------------------------------------------------------------------------


async def paused(rig: Rig, gate: str, lasts_s: float = 0.0) -> None:
    await rig.state.suppress([Suppression(gate, f"{gate}\x1fwrong price", lasts_s, hold=True)])


@pytest.mark.parametrize(
    ("gate", "which"),
    [
        ("campaign:spring", {"campaign": "spring"}),
        ("caller:crm", {}),
        ("category:transactional", {}),
        ("channel:east", {}),
        ("channel:fake", {}),
    ],
)
async def test_what_is_paused_is_held_and_told_in_words(gate: str, which: dict[str, str]) -> None:
    rig = Rig()
    await paused(rig, gate, 3600)
    batch = items(2, **which)
    await rig.deliver(rig.settle())(batch)
    assert rig.adapter.taken == []
    for item in batch:
        assert isinstance(item.outcome, Held)
        assert (item.outcome.rule, item.outcome.detail) == (PAUSED, gate)
        assert T0 + 3_600_000 <= item.outcome.until < T0 + 3_660_000
        [said] = item.decisions
        assert (said.rule, said.verdict, said.detail) == (PAUSED, "held", f"{gate} is paused")
        assert said.next_at == T0 + 3_600_000
        assert said.facts == (("pause", gate), ("why", "wrong price"))
        assert item.record is not None
        assert item.record.status == "held"


async def test_held_messages_wait_in_the_store_for_their_next_pass(tmp_path: Path) -> None:
    rig = Rig()
    await paused(rig, GATE)
    batch = items(3, campaign="spring")
    settle = rig.settle()
    await rig.deliver(settle)(batch)
    assert await settle.publish(batch) == []
    for row in rig.due.rows.values():
        envelope = wire.open_sealed(row.body)
        assert isinstance(envelope, Envelope)
        assert (row.rule, envelope.attempt, envelope.tries) == (rule_of(GATE), 1, 0)
        assert row.at_ms == T0 + LOOK_AGAIN_S * 1000


async def test_a_conversation_keeps_its_order_and_is_asked_again_quietly() -> None:
    rig = Rig()
    await paused(rig, GATE)
    settle = rig.settle()
    deliver = rig.deliver(settle)
    first = items(1, campaign="spring", order_key="talk")
    await deliver(first)
    [(again, wait)] = await settle.publish(first)
    assert rig.due.rows == {}
    assert (again.id, again.attempt, wait) == (first[0].envelope.id, 1, 5.0)
    first[0].renew(again)
    await deliver(first)
    assert first[0].outcome is None
    assert first[0].retry_in == 5.0
    await rig.state.unsuppress([GATE])
    first[0].renew(again)
    await deliver(first)
    assert isinstance(first[0].outcome, Sent)


async def test_a_cancelled_message_of_a_paused_campaign_is_cancelled_not_held() -> None:
    rig = Rig()
    await paused(rig, GATE)
    await rig.state.suppress([Suppression("message:msg_0", "cancelled")])
    batch = items(2, campaign="spring")
    await rig.deliver(rig.settle())(batch)
    assert [type(item.outcome) for item in batch] == [Suppressed, Held]


async def test_reading_goes_on_while_a_channel_is_paused() -> None:
    rig = Rig()
    await paused(rig, "channel:east")
    batch = items(1, payload=Pull("kf"))
    await rig.deliver(rig.settle())(batch)
    assert isinstance(batch[0].outcome, Sent)


def test_a_held_message_is_looked_at_by_its_expiry() -> None:
    soon = message(expires_at=T0 + 60_000)
    assert hold_until(soon, 0, T0) == T0 + 60_000
    assert hold_until(soon, T0 + 10**8, T0) == T0 + 60_000
    assert hold_until(message(expires_at=T0 - 5), 0, T0) == T0 + 1000


@pytest.mark.parametrize("where", ["end_pause", "put_pause"])
async def test_a_pause_that_begins_while_another_is_lifted_holds(
    desk: Desk, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two operators at once: whatever the interleaving, what the Store calls paused does not leave."""
    await desk.pauses.pause(GATE, "ops")
    work, begun = getattr(desk.store, where), False

    async def interleaved(*args: Any, **more: Any) -> Any:
        nonlocal begun
        other, begun = not begun, True
        if where == "put_pause" and other:
            await desk.pauses.resume(GATE, "second", None, 1.0)
        done = await work(*args, **more)
        if where == "end_pause" and other:
            await desk.pauses.pause(GATE, "second")
        return done

    monkeypatch.setattr(desk.store, where, interleaved)
    if where == "end_pause":
        await desk.pauses.resume(GATE, "first", None, 1.0)
    else:
        await desk.pauses.pause(GATE, "first")
    assert [row.gate for row, _ in await desk.pauses.running()] == [GATE]
    assert await desk.verdict() == "held"


async def test_a_pause_that_is_lifted_as_soon_as_it_is_written_down_holds_nothing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = desk.store.put_pause

    async def lifted(row: Any) -> None:
        await put(row)
        await desk.pauses.resume(GATE, "second", None, 1.0)

    monkeypatch.setattr(desk.store, "put_pause", lifted)
    await desk.pauses.pause(GATE, "first")
    assert await desk.pauses.running() == []
    assert await desk.verdict() == "go"
