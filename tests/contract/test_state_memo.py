"""The State contract: memos and locks, and the turns that are made of them, on every implementation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest

from msgcenter.clock import SystemClock
from msgcenter.state import State, StateError
from msgcenter.state.cells import ALLOW_PARTS
from msgcenter.state.memory import MemoryState
from msgcenter.turns import Turns
from tests.contract.state_rig import KINDS, Rig, opened


@pytest.fixture(params=KINDS)
async def rig(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rig]:
    async with opened(request.param, request, tmp_path) as rig:
        yield rig


async def test_a_memo_is_remembered_by_all_until_its_time_is_over(rig: Rig) -> None:
    one, two = rig.new(), rig.new()
    assert await one.memo([]) == []
    assert await one.memo(["token", "other"]) == [None, None]
    value = bytes(range(256))
    await one.remember("token", value, 0.5)
    await one.remember("empty", b"", 60)
    assert await two.memo(["other", "token", "empty"]) == [None, value, b""]
    await two.remember("token", b"newer", 0.5)
    assert await one.memo(["token", "token"]) == [b"newer", b"newer"]
    await rig.later(0.5)
    assert await one.memo(["token", "empty"]) == [None, b""]
    await one.remember("empty", b"", 0)
    assert await two.memo(["empty"]) == [None], "no time left: forgotten"


async def test_a_lock_has_one_holder_who_may_renew_and_let_go(rig: Rig) -> None:
    one, two = rig.new(), rig.new()
    assert await one.lock("l", "a", 1.0) == 0.0
    assert await one.lock("l", "a", 1.0) == 0.0, "the holder renews; a repeat does no harm"
    assert 0.0 < await two.lock("l", "b", 1.0) <= 1.0
    assert await two.lock("l", "b", 0.0) == 0.0, "letting go of what one does not hold"
    assert await two.lock("l", "b", 1.0) > 0.0, "it was not let go"
    assert await two.lock("other", "b", 1.0) == 0.0
    await one.lock("l", "a", 0.0)
    assert await two.lock("l", "b", 0.3) == 0.0
    await rig.later(0.3)
    assert await one.lock("l", "a", 1.0) == 0.0, "it ended by itself"


async def test_an_allowance_never_has_more_than_its_limits_in_any_span(rig: Rig) -> None:
    one, two = rig.new(), rig.new()
    limits = [(3, 1.2), (5, 60.0)]
    assert await one.allow([], limits) == []
    assert await one.allow(["a", "a", "b"], limits) == [0.0, 0.0, 0.0]
    first, second, other = await two.allow(["a", "a", "b"], limits)
    assert (first, other) == (0.0, 0.0)
    assert 0.5 < second <= 1.3, "the wait names the span that is full"
    await rig.later(second + 0.01)
    assert await one.allow(["a", "a", "b"], limits) == [0.0, 0.0, 0.0]
    assert (await two.allow(["a"], limits))[0] > 50, "the longer span is full"
    with pytest.raises(ValueError, match="allowance"):
        await one.allow(["a"], [(0, 60.0)])


async def test_however_it_is_asked_no_span_has_more(rig: Rig) -> None:
    """Asked all the time, so that grants fall at every place of the parts into which a span is cut."""
    local = rig.kind in ("memory", "sqlite")
    count, span = 3, 12.0 if local else 0.36
    step, moved = span / 63, 0.0
    granted: list[tuple[float, float]] = []
    await rig.later(0.8 * span / ALLOW_PARTS)  # the first are at the end of a part
    for _ in range(300 if local else 60):
        asked = moved if local else time.monotonic()
        [wait] = await rig.state.allow(["x"], [(count, span)])
        if not wait:
            granted.append((asked, moved if local else time.monotonic()))
        await rig.later(step)
        moved += step + 0.01
    assert len(granted) >= 3 * count
    for (first, _), (_, last) in zip(granted, granted[count:], strict=False):
        assert last - first >= span - 1e-6, granted


async def test_two_hundred_at_once_get_no_more_than_is_allowed(rig: Rig) -> None:
    states = [rig.new(), rig.new()]
    waits = await asyncio.gather(*[states[n % 2].allow(["x"], [(30, 60.0)]) for n in range(200)])
    assert sum(wait == [0.0] for wait in waits) == 30
    assert all(0 < wait[0] <= 65 for wait in waits if wait != [0.0])


def turns(state: State, owner: str, ttl_s: float = 15.0) -> Turns:
    return Turns(state, owner, SystemClock(), Random(3), ttl_s=ttl_s)


async def test_of_two_hundred_one_works_and_the_others_find_it_done(rig: Rig) -> None:
    if rig.kind in ("memory", "sqlite"):  # one process: all share its State
        processes = [turns(rig.state, f"p{n}") for n in range(2)]
    else:
        processes = [turns(rig.new(), f"p{n}") for n in range(4)]
    fetched = inside = 0

    async def call(n: int) -> bytes:
        nonlocal fetched, inside
        state = rig.state
        async with processes[n % len(processes)].turn("token", wait_s=20) as mine:
            assert mine
            inside += 1
            assert inside == 1
            [token] = await state.memo(["token"])
            if token is None:
                fetched += 1
                await asyncio.sleep(0.05)
                token = b"fresh"
                await state.remember("token", token, 60)
            inside -= 1
            return token

    assert set(await asyncio.gather(*(call(n) for n in range(200)))) == {b"fresh"}
    assert fetched == 1


async def test_a_turn_waits_no_longer_than_it_may(rig: Rig) -> None:
    one, two = turns(rig.state, "a"), turns(rig.new(), "b")
    loop = asyncio.get_running_loop()
    async with one.turn("t") as mine:
        assert mine
        began = loop.time()
        async with two.turn("t", wait_s=0.2) as other, one.turn("t", wait_s=0.2) as again:
            assert (other, again) == (False, False)
        assert 0.3 < loop.time() - began < 1.0
        async with two.turn("t", wait_s=0.0) as other:
            assert not other
        async with two.turn("another", wait_s=0.0) as other:
            assert other
    async with two.turn("t", wait_s=0.0) as other:
        assert other, "let go at the end of the block"


async def test_a_turn_that_ends_in_an_error_is_let_go(rig: Rig) -> None:
    one, two = turns(rig.state, "a"), turns(rig.new(), "b")
    with pytest.raises(ZeroDivisionError):
        async with one.turn("t"):
            raise ZeroDivisionError
    async with two.turn("t", wait_s=0.0) as mine:
        assert mine


class Away(MemoryState):
    """State that can go away."""

    away = False

    async def lock(self, name: str, owner: str, ttl_s: float) -> float:
        if self.away:
            raise StateError("away")
        return await super().lock(name, owner, ttl_s)


async def test_a_long_turn_is_renewed() -> None:
    state = Away(SystemClock())
    async with turns(state, "a", 0.3).turn("t") as mine:
        assert mine
        await asyncio.sleep(0.9)
        async with turns(state, "b", 0.3).turn("t", wait_s=0.0) as other:
            assert not other


async def test_a_turn_that_cannot_be_kept_ends_before_anybody_else_has_it() -> None:
    state = Away(SystemClock())
    loop = asyncio.get_running_loop()
    with pytest.raises(TimeoutError):
        async with turns(state, "a", 0.3).turn("t") as mine:
            assert mine
            began = loop.time()
            state.away = True
            await asyncio.sleep(5)
    assert loop.time() - began <= 0.4
    state.away = False
    async with turns(state, "b", 0.3).turn("t", wait_s=1.0) as other:
        assert other


async def test_a_turn_taken_over_ends_at_once() -> None:
    state = Away(SystemClock())
    with pytest.raises(TimeoutError):
        async with turns(state, "a", 0.3).turn("t"):
            state.cells.store("w:t", {"by": b"b", "until": b"9000000000000"}, 0)
            await asyncio.sleep(5)
    assert await state.lock("t", "a", 1.0) > 0, "what is another's is not let go"


async def test_state_that_stays_away_gives_no_turn() -> None:
    state = Away(SystemClock())
    state.away = True
    async with turns(state, "a").turn("t", wait_s=0.1) as mine:
        assert not mine
