"""A crash before and after every call that a plan makes; a fresh process then finishes it: no step twice, one close."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.app import App
from msgcenter.archive.events_sink import event_of
from msgcenter.parts import Parts
from msgcenter.plans import PlanCell
from msgcenter.policy.plan import Progress
from protocols.envelope import Envelope
from protocols.outcome import Rejected
from tests.flow.rigging import FarEnd, Records, config_folder, running, scripted, submit, until
from tests.flow.test_crash import AT_ONCE, Doom, Doomed, DoomedBus, kill
from tests.flow.test_plan import CLOCK, answering, leaf, planned, sequence


@dataclass
class Ran:
    doom: Doom
    far_end: Any
    progress: Progress
    ends: list[str]


def three_steps() -> Envelope:
    """The first is refused, the second accepted: the third is only for when nobody knows what became of the second."""
    plan = sequence(leaf(wait_ms=500), leaf(wait_ms=500), leaf(wait_ms=500))
    return planned(plan, life_s=300.0)


def doomed(far_end: FarEnd, doom: Doom) -> Any:
    class DoomedAdapter(scripted(far_end)):  # type: ignore[misc]
        async def deliver(self, batch: Any) -> Any:
            return await doom.call("deliver", lambda: super(DoomedAdapter, self).deliver(batch))

    return DoomedAdapter


async def life(
    folder: Path,
    far_end: FarEnd,
    records: Records,
    doom: Doom,
    new: list[Envelope],
    plan: str,
    opening: asyncio.Lock,
) -> Progress:
    """One life of the process: until the plan's end is told, or until it dies."""

    def wrap(parts: Parts) -> Parts:
        return replace(
            parts,
            bus=DoomedBus(parts.bus, doom),
            state=Doomed(parts.state, doom),
            store=Doomed(parts.store, doom),
        )

    async with AsyncExitStack() as stack:
        async with opening:  # migrations cannot run side by side in one process
            app = await stack.enter_async_context(
                running(folder, doomed(far_end, doom), records, wrap=wrap)
            )
        if new:
            doom.armed = False
            await submit(app, new)
            doom.armed = True
        done = asyncio.create_task(until(lambda: bool(ends(records, plan)), 60))
        died = asyncio.create_task(doom.died.wait())
        await asyncio.wait({done, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if doom.died.is_set():
            done.cancel()
            kill(app)
            await asyncio.sleep(0)
            return Progress(())
        await done
        await CLOCK.sleep(0.3)  # whatever might still come too many
        doom.armed = False
        return await _progress(app, plan)


async def _progress(app: App, plan: str) -> Progress:
    [(_, value)] = await app.parts.state.plans([plan])
    return PlanCell.unpack(value).progress


def ends(records: Records, plan: str) -> list[str]:
    events = {}
    for record in records.all:
        event = event_of(record)
        if event is not None and event.message == plan and ".plan." in event.type:
            events[event.id] = event.type
    return list(events.values())


async def run_with_crash(
    folder: Path, at: int, *, after: bool, opening: asyncio.Lock | None = None
) -> Ran:
    opening = opening or asyncio.Lock()
    far_end, records, plan = (
        answering({1: Rejected("recipient", "no", "no")}),
        Records(),
        three_steps(),
    )
    config = config_folder(folder / f"{at}{'a' if after else 'b'}", drain="100ms")
    doom = Doom(at, after=after)
    progress = await life(config, far_end, records, doom, [plan], plan.id, opening)
    if doom.died.is_set():
        calm = Doom(0, after=False)
        progress = await life(config, far_end, records, calm, [], plan.id, opening)
    return Ran(doom, far_end, progress, ends(records, plan.id))


def judge(ran: Ran) -> None:
    """What holds however long anything took."""
    died = f"died at {ran.doom.calls[-1] if ran.doom.calls else '-'} {len(ran.doom.calls)}"
    where = (died, ran.far_end.steps, ran.ends, ran.progress)
    steps = [step for _, step in ran.far_end.steps]
    words = [one.word for one in ran.progress.leaves]
    assert len(steps) == len(set(steps)), ("a step was sent twice", where)
    assert ran.progress.closed, where
    reached = "sent" in words
    assert ran.ends == [f"msgcenter.plan.{'reached' if reached else 'unreached'}.v1"], where
    for number, one in enumerate(ran.progress.leaves, 1):
        if one.word in ("failed", "stopped", "idle"):
            assert number not in steps, ("it surely had not left, and had", where)
        if one.fresh:
            assert not [step for step in steps if step < number], where
    if {2, 3} <= set(steps):
        assert words[1] == "unknown", ("the third although the second was accepted", where)


async def test_a_clean_run(tmp_path: Path) -> None:
    ran = await run_with_crash(tmp_path, 0, after=False)
    judge(ran)
    assert [step for _, step in ran.far_end.steps] == [2]
    assert [one.word for one in ran.progress.leaves] == ["failed", "sent", "idle"]
    assert set(ran.doom.calls) >= {"plans", "plan_step", "hold", "publish", "ack", "admit"}


@pytest.mark.timeout(400)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_call_of_a_plan(tmp_path: Path, after: bool) -> None:
    """Dying before a call is dying after the one before it, so each takes every other call."""
    total = len((await run_with_crash(tmp_path, 0, after=after)).doom.calls)
    crashed, opening = 0, asyncio.Lock()
    places = range(2 if after else 1, total + 1, 2)
    for start in range(0, len(places), AT_ONCE):
        points = places[start : start + AT_ONCE]
        runs = [run_with_crash(tmp_path, at, after=after, opening=opening) for at in points]
        for ran in await asyncio.gather(*runs):
            judge(ran)
            crashed += ran.doom.died.is_set()
    # The last of them come after the plan's end is told.
    assert crashed >= len(places) * 0.6, f"{crashed} of {len(places)}"
