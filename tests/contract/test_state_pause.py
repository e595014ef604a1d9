"""Pauses in State: what is paused is held and what is stopped is stopped, in whatever order pause, cancel and revocation meet admit."""

from __future__ import annotations

from collections.abc import AsyncIterator
from itertools import permutations
from pathlib import Path

import pytest

from msgcenter.state import Admitted, State, Suppression
from tests.contract.state_rig import KINDS, Rig, ask, key, message, opened

CAMPAIGN, ACCOUNT = "campaign:spring", "account:a"


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


def pause(gate: str = CAMPAIGN, ttl_s: float = 0.0) -> Suppression:
    return Suppression(gate, f"paused {gate}", ttl_s, hold=True)


class Model:
    """What must be true after each step, whoever took it: written down from the promise, not from the code."""

    def __init__(self) -> None:
        self.paused = self.cancelled = self.revoked = False
        self.left = False

    def verdict(self) -> str:
        if self.left:
            return "claimed"
        if self.cancelled or self.revoked:
            return "suppressed"
        return "held" if self.paused else "go"


STEPS = ("pause", "resume", "cancel", "revoke", "admit", "admit")


async def take(step: str, state: State, other: State, one, model: Model) -> None:
    """One step by one of two processes, and what it must answer."""
    own = f"message:{one.message}"
    match step:
        case "pause":
            await other.suppress([pause()])
            model.paused = True
        case "resume":
            await state.unsuppress([CAMPAIGN])
            model.paused = False
        case "revoke":
            await other.suppress([Suppression(ACCOUNT, "account_revoked")])
            model.revoked = True
        case "cancel":
            late = (await other.suppress([Suppression(own, "cancelled")])).late
            assert bool(late) == model.left, "what has left is too late to cancel, all else is not"
            model.cancelled = True
        case _:
            [answer] = await state.admit([ask(one, own, ACCOUNT, CAMPAIGN)])
            expected = model.verdict()
            assert answer.verdict == expected
            if expected == "held":
                assert answer.rule == f"paused {CAMPAIGN}"
            if expected == "suppressed":
                assert answer.rule in {"cancelled", "account_revoked"}
            model.left = model.left or expected == "go"


async def test_every_order_of_pause_cancel_revoke_resume_and_admit_keeps_each_promise(
    rig: Rig,
) -> None:
    state, other = rig.state, rig.new()
    for order in sorted(set(permutations(STEPS))):
        one, model = key(), Model()
        await state.unsuppress([CAMPAIGN, ACCOUNT])
        for step in order:
            try:
                await take(step, state, other, one, model)
            except AssertionError as error:
                raise AssertionError(f"{order} at {step}: {error}") from error


async def test_a_paused_pass_goes_once_after_the_resume(rig: Rig) -> None:
    one = key()
    await rig.state.suppress([pause()])
    for _ in range(2):
        assert (await rig.state.admit([ask(one, CAMPAIGN)]))[0].verdict == "held"
    await rig.state.unsuppress([CAMPAIGN])
    verdicts = [(await rig.state.admit([ask(one, CAMPAIGN)]))[0].verdict for _ in range(2)]
    assert verdicts == ["go", "claimed"]


async def test_the_pause_that_lasts_longest_is_told_and_one_with_an_end_ends(rig: Rig) -> None:
    state = rig.state
    gates = (CAMPAIGN, "caller:crm", "category:care")
    await state.suppress([pause(CAMPAIGN, 0.4), pause("caller:crm", 30.0)])
    [held] = await state.admit([ask(key(), *gates)])
    assert held.rule == "paused caller:crm"
    assert 20.0 < held.remaining_s <= 30.0
    await state.suppress([pause("category:care")])
    [held] = await state.admit([ask(key(), *gates)])
    assert held == Admitted("held", rule="paused category:care")
    [alone] = await state.admit([ask(key(), CAMPAIGN)])
    assert (alone.verdict, 0.0 < alone.remaining_s <= 0.4) == ("held", True)
    await rig.later(0.4)
    assert (await state.admit([ask(key(), CAMPAIGN)]))[0].verdict == "go"


async def test_of_one_batch_only_what_is_paused_is_held(rig: Rig) -> None:
    await rig.state.suppress([pause()])
    asked = [ask(key(message()), CAMPAIGN if n % 2 else "campaign:autumn") for n in range(20)]
    verdicts = [answer.verdict for answer in await rig.state.admit(asked)]
    assert verdicts == ["held" if n % 2 else "go" for n in range(20)]
