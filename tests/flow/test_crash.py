"""A crash before and after the k-th call to Bus, State or Adapter, for every k; a fresh worker then loses and repeats nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.app import App
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.parts import Parts
from protocols.outcome import Held, Rejected, Retry, Routed, Sent, Suppressed, Unknown
from tests.flow.rigging import (
    FarEnd,
    Records,
    config_folder,
    running,
    scripted,
    submit,
    text,
    until,
)

IDS = IdFactory(SystemClock(), system_random())
COUNTED = {"publish", "ack", "replay", "admit", "conclude", "release", "deliver"} | {
    *("plans", "plan_step", "enlist", "listed", "hold", "retime_due")
}
AT_ONCE = 4
TERMINAL = (Sent, Suppressed, Rejected, Unknown)


class Doom:
    """Lets the process die at the k-th counted call: that call and all later ones never return."""

    def __init__(self, at: int, *, after: bool) -> None:
        self.at = at
        self.after = after
        self.calls: list[str] = []
        self.died = asyncio.Event()
        self.armed = True

    async def call(self, name: str, work: Callable[[], Any]) -> Any:
        if not self.armed:
            return await work()
        if self.died.is_set():
            await asyncio.Event().wait()
        self.calls.append(name)
        mine = len(self.calls) == self.at
        if mine and not self.after:
            self.died.set()
            await asyncio.Event().wait()
        result = await work()
        if mine or self.died.is_set():
            self.died.set()
            await asyncio.Event().wait()
        return result


class Doomed:
    """Stands before a Bus, State or Lease and counts the calls that matter."""

    def __init__(self, inner: Any, doom: Doom) -> None:
        self._inner = inner
        self._doom = doom

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in COUNTED:
            return found

        async def counted(*args: Any, **kwargs: Any) -> Any:
            return await self._doom.call(name, lambda: found(*args, **kwargs))

        return counted


class DoomedBus(Doomed):
    @asynccontextmanager
    async def consume(self, *args: Any, **kwargs: Any):
        async with self._inner.consume(*args, **kwargs) as lease:
            yield Doomed(lease, self._doom)


def doomed_adapter(far_end: FarEnd, doom: Doom) -> Any:
    class DoomedAdapter(scripted(far_end, max_batch=4, in_flight=2)):
        async def deliver(self, batch: Any) -> Any:
            return await doom.call("deliver", lambda: super(DoomedAdapter, self).deliver(batch))

    return DoomedAdapter


def messages() -> list[Any]:
    """Marketing (never resent), a conversation, and one that the far end first asks to send again."""
    bulk = [text(IDS, n, category="marketing", tier=5) for n in range(5)]
    talk = [
        text(IDS, 50, category="marketing", tier=5, order_key="talk", reference=f"{n}")
        for n in range(3)
    ]
    again = text(IDS, 99, category="marketing", tier=5, reference="again", order_key="again")
    return [*bulk, *talk, again]


def kill(app: App) -> None:
    """What kill -9 leaves undone stays undone: no drain, no settle, tasks just end."""
    app._stop.set()
    for task in [*app._tasks, *(task for task, _ in app._channel_tasks.values())]:
        task.cancel()


async def life(
    folder: Path,
    far_end: FarEnd,
    records: Records,
    doom: Doom,
    sent: list[Any],
    opening: asyncio.Lock,
) -> None:
    """One life of the process: until everything has ended, or until it dies."""

    def wrap(parts: Parts) -> Parts:
        return replace(parts, bus=DoomedBus(parts.bus, doom), state=Doomed(parts.state, doom))

    async with AsyncExitStack() as stack:
        async with opening:  # migrations cannot run side by side in one process
            app = await stack.enter_async_context(
                running(folder, doomed_adapter(far_end, doom), records, wrap=wrap)
            )
        if sent:
            doom.armed = False
            await submit(app, sent)
            doom.armed = True
        done = asyncio.create_task(until(lambda: ended(records) == 9, 60))
        died = asyncio.create_task(doom.died.wait())
        await asyncio.wait({done, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if doom.died.is_set():
            done.cancel()
            kill(app)
            await asyncio.sleep(0)
        else:
            await done
            await asyncio.sleep(0.1)  # acks of the last frames


def ended(records: Records) -> int:
    return sum(isinstance(r.outcome, TERMINAL) for r in records.last().values())


def script(far_end: FarEnd) -> None:
    asked: set[str] = set()

    def answer(item: Any) -> Any:
        if item.envelope.reference == "again" and item.envelope.id not in asked:
            asked.add(item.envelope.id)
            return Retry("message", "once more", 0.0)
        return None

    far_end.script = answer


async def run_with_crash(
    tmp_path: Path, at: int, *, after: bool, opening: asyncio.Lock | None = None
) -> tuple[Doom, FarEnd, Records]:
    opening = opening or asyncio.Lock()
    far_end, records = FarEnd(), Records()
    script(far_end)
    folder = config_folder(tmp_path / f"{at}{'a' if after else 'b'}", drain="100ms")
    doom = Doom(at, after=after)
    sent = messages()
    await life(folder, far_end, records, doom, sent, opening)
    if doom.died.is_set():
        await life(folder, far_end, records, Doom(0, after=False), [], opening)
    assert {r.envelope.id for r in records.last().values()} == {e.id for e in sent}, doom.calls[-1]
    assert len(far_end.taken) == len(set(far_end.taken)), (
        f"sent twice, died at {doom.calls[-1]} {at}"
    )
    last = records.last()
    lost = [
        e.id for e in sent if isinstance(last[e.id].outcome, Sent) and e.id not in far_end.taken
    ]
    assert not lost
    for envelope in sent:
        if envelope.id not in far_end.taken:
            assert isinstance(last[envelope.id].outcome, Unknown), (
                doom.calls[-1],
                last[envelope.id].outcome,
            )
    talk = far_end.order.get("talk", [])
    assert talk == sorted(talk)
    passes = {
        (r.envelope.id, r.envelope.step, r.envelope.attempt, r.pipeline)
        for r in records.unique().values()
    }
    assert len(passes) == len(records.unique())
    kinds = {type(r.outcome) for r in records.unique().values()}
    assert kinds <= {Sent, Routed, Retry, Unknown, Held, Suppressed, Rejected}
    return doom, far_end, records


async def test_a_clean_run_counts_its_calls(tmp_path: Path) -> None:
    doom, far_end, records = await run_with_crash(tmp_path, 0, after=False)
    assert len(far_end.taken) == 9
    assert set(doom.calls) >= {"publish", "ack", "replay", "admit", "conclude", "deliver"}
    assert not any(isinstance(r.outcome, Unknown) for r in records.all)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_at_any_call_loses_nothing_and_repeats_nothing(
    tmp_path: Path, after: bool
) -> None:
    """Dying before a call is dying after the one before it, so each takes every other call."""
    doom, _, _ = await run_with_crash(tmp_path, 0, after=after)
    places = range(2 if after else 1, len(doom.calls) + 1, 2)
    crashed, opening = 0, asyncio.Lock()
    for start in range(0, len(places), AT_ONCE):
        points = places[start : start + AT_ONCE]
        runs = [run_with_crash(tmp_path, at, after=after, opening=opening) for at in points]
        for doom, _, _ in await asyncio.gather(*runs):
            crashed += doom.died.is_set()
    assert crashed >= len(places) * 0.8, f"{crashed} of {len(places)}"
