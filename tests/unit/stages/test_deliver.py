"""deliver: admit right before the bytes, conclude right after; what may be out is Unknown, what surely is not is given back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from msgcenter.adapter import Dispatch
from msgcenter.lanes import LaneGate
from msgcenter.pipeline import Item
from msgcenter.stages.deliver import SKEW_S
from msgcenter.state import Admit, StateError, Suppression
from protocols.outcome import Outcome, Rejected, Retry, Sent, Suppressed, Unknown
from tests.unit.rig import Failing, Rig, Scripted, items, message


async def test_slices_are_handed_over_in_order_with_token_and_sender() -> None:
    rig = Rig()
    batch = items(25, account="a1")
    await rig.deliver(rig.settle())(batch)
    assert [len(b) for b in rig.adapter.batches] == [10, 10, 5]
    handed = rig.adapter.batches[0][0]
    assert (handed.sender, handed.token) == ("number of a1", batch[0].envelope.token())
    assert all(isinstance(i.outcome, Sent) and i.record is not None for i in batch)
    assert rig.in_flight == set()


async def test_outcomes_are_the_adapters_one_each() -> None:
    rig = Rig()
    said: dict[str, Outcome] = {
        "msg_0": Sent(("a",)),
        "msg_1": Rejected("recipient", "no", "refused"),
        "msg_2": Unknown("?"),
    }
    rig.adapter.script = lambda d: said[d.envelope.id]
    batch = items(3)
    await rig.deliver(rig.settle())(batch)
    assert [i.outcome for i in batch] == list(said.values())


class Odd(Scripted):
    def __init__(self, work: Any) -> None:
        super().__init__()
        self.work = work

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        return await self.work(batch)


async def hangs(batch: Any) -> Any:
    await asyncio.sleep(60)


async def breaks(batch: Any) -> Any:
    raise OSError("reset")


async def miscounts(batch: Any) -> Any:
    return [Sent()]


async def miscounts_too_many(batch: Any) -> Any:
    return [Sent()] * 4


@pytest.mark.parametrize(
    ("work", "says"),
    [
        (hangs, "no answer within"),
        (breaks, "OSError: reset"),
        (miscounts, "1 outcomes for 3 messages"),
        (miscounts_too_many, "4 outcomes for 3 messages"),
    ],
)
async def test_whatever_goes_wrong_after_the_hand_over_is_unknown(work: Any, says: str) -> None:
    rig = Rig()
    batch = items(3)
    await rig.deliver(rig.settle(), adapter=Odd(work), timeout=0.05)(batch)
    assert all(isinstance(i.outcome, Unknown) and says in i.outcome.detail for i in batch)
    assert rig.in_flight == set()


async def test_unreachable_releases_the_claims_and_gives_back() -> None:
    rig = Rig()
    rig.adapter.plugged = False
    batch = items(3)
    await rig.deliver(rig.settle())(batch)
    assert [i.outcome for i in batch] == [None] * 3
    assert rig.downs == ["unplugged"]
    rig.adapter.plugged = True
    await rig.deliver(rig.settle())(batch)
    assert all(isinstance(i.outcome, Sent) for i in batch)


async def test_a_shut_gate_claims_nothing() -> None:
    rig = Rig()
    batch = items(2)
    await rig.deliver(rig.settle(), gate=LaneGate(1, rig.clock))(batch)
    assert [i.outcome for i in batch] == [None, None]
    (answer,) = await rig.state.admit([Admit(batch[0].envelope.key("channel"), (), "x", 1.0)])
    assert answer.verdict == "go"


async def test_a_suppression_is_asked_at_the_last_moment() -> None:
    rig = Rig()
    await rig.state.suppress([Suppression("message:msg_1", "cancelled")])
    batch = items(3)
    await rig.deliver(rig.settle())(batch)
    assert rig.adapter.taken == ["msg_0", "msg_2"]
    assert isinstance(batch[1].outcome, Suppressed)
    assert batch[1].outcome.rule == "cancelled"


async def test_after_state_loss_what_was_handed_out_before_is_unknown() -> None:
    rig = Rig()
    batch = items(3)
    batch[1].again = True
    await rig.deliver(rig.settle())(batch)
    assert rig.adapter.taken == ["msg_0", "msg_2"]
    assert isinstance(batch[1].outcome, Unknown)
    assert batch[1].decisions[-1].rule == "state_lost"


async def test_a_stored_outcome_is_taken_over() -> None:
    rig = Rig()
    settle = rig.settle()
    first = items(1)
    await rig.deliver(settle)(first)
    again = items(1)
    await rig.deliver(settle)(again)
    assert (again[0].outcome, again[0].replayed, len(rig.adapter.batches)) == (
        first[0].outcome,
        True,
        1,
    )


@pytest.mark.parametrize(
    ("sole", "later", "expect"),
    [(False, 0.0, None), (False, 11.0, Unknown), (True, 0.0, Unknown)],
    ids=["runs elsewhere", "past its deadline", "nobody else exists"],
)
async def test_a_claim_without_outcome(sole: bool, later: float, expect: Any) -> None:
    rig = Rig()
    batch = items(1)
    await rig.state.admit([Admit(batch[0].envelope.key("channel"), (), "gone", 10.0)])
    await rig.clock.advance(later)
    await rig.deliver(rig.settle(), sole=sole)(batch)
    assert rig.adapter.batches == []
    if expect is None:
        assert batch[0].outcome is None
        assert batch[0].retry_in == pytest.approx(10.1)
    else:
        assert isinstance(batch[0].outcome, expect)


async def test_a_copy_in_another_workers_hands_does_not_make_a_running_send_unknown() -> None:
    """Two workers of one embedded process may hold two copies of a message (published twice around a crash)."""
    rig = Rig()
    under_way, go = asyncio.Event(), asyncio.Event()

    async def slow(batch: Sequence[Dispatch]) -> list[Outcome]:
        under_way.set()
        await go.wait()
        return [Sent(("f",)) for _ in batch]

    adapter = Odd(slow)
    one, other = rig.settle(), rig.settle()
    first, copy = Item(message()), Item(message())
    sending = asyncio.create_task(
        rig.deliver(one, sole=True, adapter=adapter, timeout=5.0)([first])
    )
    await under_way.wait()
    await rig.deliver(other, sole=True, adapter=adapter)([copy])
    assert (copy.outcome, copy.retry_in > 0) == (None, True)
    go.set()
    await sending
    assert isinstance(first.outcome, Sent)


async def test_nor_while_its_outcome_is_being_stored() -> None:
    rig = Rig()
    state = rig.state = Failing(rig.state)
    state.broken["conclude"] = (StateError("hiccup"), 1)
    first, copy = Item(message()), Item(message())
    sending = asyncio.create_task(rig.deliver(rig.settle(), sole=True)([first]))
    for _ in range(20):
        await asyncio.sleep(0)
    assert rig.adapter.taken == ["msg_1"]
    await rig.deliver(rig.settle(), sole=True)([copy])
    assert copy.outcome is None
    await rig.clock.advance(1)
    await sending
    assert isinstance(first.outcome, Sent)
    await rig.deliver(rig.settle(), sole=True)([copy])
    assert copy.outcome == first.outcome


async def test_a_claim_outlives_the_send_it_stands_for() -> None:
    rig = Rig()
    claimed: list[float] = []

    async def looks(batch: Sequence[Dispatch]) -> list[Outcome]:
        key = batch[0].envelope.key("channel")
        (answer,) = await rig.state.admit([Admit(key, (), "another worker", 1.0)])
        claimed.append(answer.remaining_s)
        return [Sent() for _ in batch]

    await rig.deliver(rig.settle(), adapter=Odd(looks), timeout=3.0)(items(1))
    assert claimed == [pytest.approx(3.0 + SKEW_S)]


async def test_an_account_that_fails_while_others_wait_their_turn_costs_the_far_end_one_slice() -> (
    None
):
    rig = Rig()
    rig.adapter.script = lambda _: Retry("account", "login lost", 30.0, "login_lost")
    batch = items(30, account="a1")
    await rig.deliver(rig.settle(), gate=rig.gate(slots=1))(batch)
    assert rig.adapter.taken == [f"msg_{n}" for n in range(10)]
    assert {i.outcome.code for i in batch[:10]} == {"login_lost"}  # type: ignore[union-attr]
    assert {i.outcome for i in batch[10:]} == {
        Retry("account", "account a1 is held: login lost", 30.0, "account_held")
    }
    keys = [i.envelope.key("channel") for i in batch[10:]]
    free = await rig.state.admit([Admit(key, (), "another worker", 1.0) for key in keys])
    assert {answer.verdict for answer in free} == {"go"}, "nothing of them was claimed"


async def test_two_copies_in_one_slice_are_sent_once() -> None:
    rig = Rig()
    one, copy = Item(message()), Item(message())
    await rig.deliver(rig.settle(), sole=True)([one, copy])
    assert rig.adapter.taken == ["msg_1"]
    assert isinstance(one.outcome, Sent)
    assert copy.outcome is None


async def test_one_failing_slice_lets_the_others_run_their_course() -> None:
    rig = Rig()
    state = rig.state = Failing(rig.state)
    state.broken["admit"] = (StateError("away"), 1)
    batch = items(20)
    with pytest.raises(StateError):
        await rig.deliver(rig.settle())(batch)
    assert sum(isinstance(i.outcome, Sent) for i in batch) == 10
    assert rig.in_flight == set()


async def test_what_expires_while_it_waits_for_its_turn_does_not_leave() -> None:
    rig = Rig()
    gate = rig.gate(slots=1)
    batch = [Item(message("code", expires_at=rig.clock.now_ms() + 60_000)), *items(1)]
    async with gate.turn("urgent", 1):
        waiting = asyncio.create_task(rig.deliver(rig.settle(), gate=gate)(batch))
        await asyncio.sleep(0)
        await rig.clock.advance(61)
    await waiting
    assert rig.adapter.taken == ["msg_0"]
    assert isinstance(batch[0].outcome, Suppressed)
    assert batch[0].outcome.rule == "expired"
