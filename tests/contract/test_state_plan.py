"""The State contract: plans step one after the other, stops hold, lists forget, on every implementation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from msgcenter.state import Accepted, Conclude, Listing, Mark, PlanStep, Suppression
from msgcenter.state.cells import step_gate
from tests.contract.state_rig import KINDS, Rig, ask, key, message, opened


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


def step(one: str, version: int, value: bytes, ttl_s: float = 60.0, **more: object) -> PlanStep:
    return PlanStep(one, version, value, ttl_s, **more)  # type: ignore[arg-type]


async def test_of_two_who_step_from_the_same_place_one_learns_of_the_other(rig: Rig) -> None:
    one, two, plan = rig.new(), rig.new(), message()
    assert await one.plans([plan]) == [(0, b"")]
    [first] = await one.plan_step([step(plan, 0, b"a")])
    assert (first.version, first.value, first.taken) == (1, b"a", True)
    [late] = await two.plan_step([step(plan, 0, b"b")])
    assert (late.version, late.value, late.taken) == (1, b"a", False)
    [again] = await one.plan_step([step(plan, 0, b"a")])
    assert (again.version, again.taken) == (1, True), "its answer may have been lost"
    [next_] = await two.plan_step([step(plan, 1, b"c\x00\xff")])
    assert (next_.version, next_.value) == (2, b"c\x00\xff")
    other = message()
    assert await one.plans([other, plan]) == [(0, b""), (2, b"c\x00\xff")]
    [old] = await one.plan_step([step(plan, 0, b"a")])
    assert not old.taken


async def test_many_at_once_take_turns(rig: Rig) -> None:
    plan = message()

    async def add(state_number: int) -> None:
        state = rig.new()
        for _ in range(200):
            [(version, value)] = await state.plans([plan])
            [done] = await state.plan_step([step(plan, version, value + bytes([state_number]))])
            if done.taken:
                return
        raise AssertionError("never its turn")

    await asyncio.gather(*(add(n) for n in range(8)))
    [(version, value)] = await rig.state.plans([plan])
    assert (version, sorted(value)) == (8, list(range(8)))


async def test_the_view_of_a_plan_outranks_those_of_its_steps(rig: Rig) -> None:
    state, plan = rig.state, message()
    await state.plan_step([step(plan, 0, b"a", view="queued:plan", meta=b"kept")])
    far = key(plan, step=9, attempt=1000)
    order = 9 * 1_000_000 + 10_002
    await state.conclude([Conclude(far, b"x", view="rejected:why", order=order)])
    [seen] = await state.get_many([plan])
    assert (seen.view, seen.meta) == ("queued:plan", b"kept")
    await state.accepted([Accepted(plan, b"own")])
    await state.plan_step([step(plan, 1, b"b", view="expired:plan_expired", meta=b"kept")])
    [seen] = await state.get_many([plan])
    assert (seen.view, seen.meta) == ("expired:plan_expired", b"own")


async def test_a_stopped_step_is_not_admitted_and_the_others_are(rig: Rig) -> None:
    state, plan = rig.state, message()
    [done] = await state.plan_step([step(plan, 0, b"a", stop=(1, 12))])
    assert done.halts == ("", "")
    one, two, twelve = key(plan, step=1), key(plan, step=2), key(plan, step=12)
    asked = [ask(k, f"message:{plan}", step_gate(plan, k.step)) for k in (one, two, twelve)]
    verdicts = [(a.verdict, a.rule) for a in await state.admit(asked)]
    assert verdicts == [("suppressed", "plan_stopped"), ("go", ""), ("suppressed", "plan_stopped")]
    with pytest.raises(ValueError, match="another message's"):
        await state.admit([ask(one, step_gate(message(), 1))])


async def test_a_stop_says_what_may_have_left(rig: Rig) -> None:
    state, plan = rig.state, message()
    for number in (1, 2, 3, 5, 21):
        await state.admit([ask(key(plan, step=number), f"message:{plan}")])
    await state.conclude(
        [
            Conclude(key(plan, step=2), b"s", marks=(Mark(plan, 2, 0, 0, "sent", "", 5),)),
            Conclude(key(plan, step=5), b"u", marks=(Mark(plan, 5, 0, 0, "unknown", "", 5),)),
            Conclude(key(plan, step=3), b"r", view="queued", order=1),
        ]
    )
    [done] = await state.plan_step([step(plan, 0, b"a", stop=(1, 2, 3, 4, 5, 21))])
    assert done.halts == ("claimed", "claimed", "", "", "left", "claimed")
    [again] = await state.plan_step([step(plan, 0, b"a", stop=(1,))])
    assert again.taken
    assert again.halts == ("claimed",)
    [refused] = await state.plan_step([step(plan, 0, b"other", stop=(4,))])
    assert not refused.taken
    assert refused.halts == ()


async def test_a_step_can_be_gated_by_hand_and_the_whole_message_still_says_late(rig: Rig) -> None:
    state, plan = rig.state, message()
    await state.suppress([Suppression(step_gate(plan, 1), "why", 60)])
    [admitted] = await state.admit([ask(key(plan, step=1), step_gate(plan, 1))])
    assert admitted.rule == "why"
    await state.admit([ask(key(plan, step=2), step_gate(plan, 2))])
    assert (await state.suppress([Suppression(f"message:{plan}", "cancelled")])).late == (plan,)


async def test_a_plan_is_forgotten_after_its_time(rig: Rig) -> None:
    state, plan = rig.state, message()
    await state.plan_step([step(plan, 0, b"a", ttl_s=0.3)])
    await rig.later(0.3)
    assert await state.plans([plan]) == [(0, b"")]


async def test_lists_hold_members_until_their_time_is_over(rig: Rig) -> None:
    one, two = rig.new(), rig.new()
    assert await one.listed([]) == []
    assert await one.listed(["tel:+86138", "nobody"]) == [{}, {}]
    await one.enlist(
        [
            Listing("tel:+86138", "msg_1", "crm replied", 60),
            Listing("tel:+86138", "msg_2", "crm 已读|x", 0.3),
            Listing("customer:7", "msg_1", "", 60),
        ]
    )
    await two.enlist([Listing("tel:+86138", "msg_1", "crm clicked", 60)])
    assert await two.listed(["customer:7", "tel:+86138"]) == [
        {"msg_1": ""},
        {"msg_1": "crm clicked", "msg_2": "crm 已读|x"},
    ]
    await rig.later(0.3)
    assert await one.listed(["tel:+86138"]) == [{"msg_1": "crm clicked"}]
    await one.enlist([Listing("tel:+86138", "msg_1", "", 0), Listing("none", "x", "", 0)])
    assert await two.listed(["tel:+86138", "none"]) == [{}, {}]
