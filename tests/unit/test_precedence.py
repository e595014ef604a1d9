"""Precedence: lower ranks step aside while a higher one has work in hand, for a bounded time, and never for one that waits elsewhere."""

from __future__ import annotations

import asyncio

from msgcenter.bus import Delivery, Queue
from msgcenter.clock import ManualClock
from msgcenter.pipeline import Item
from msgcenter.precedence import FRESH_S, PIECE, RANKS, Precedence
from msgcenter.worker import Leased, Passage
from tests.unit.rig import LOG, Rig, message, opened
from tests.unit.test_worker import Stage

URGENT, NORMAL, BULK = RANKS["urgent"], RANKS["normal"], RANKS["bulk"]


async def few_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def test_bulk_waits_until_the_last_higher_work_is_done() -> None:
    precedence = Precedence(ManualClock())
    with precedence.in_hand(NORMAL):
        with precedence.in_hand(URGENT):
            waiting = asyncio.create_task(precedence.give_way(BULK))
            await few_turns()
            assert not waiting.done()
        await few_turns()
        assert not waiting.done()
    await few_turns()
    assert waiting.done()


async def test_equals_and_lower_ranks_are_not_waited_for() -> None:
    precedence = Precedence(ManualClock())
    with precedence.in_hand(BULK), precedence.in_hand(NORMAL):
        waiting = asyncio.create_task(precedence.give_way(NORMAL))
        await few_turns()
        assert waiting.done()


async def test_bulk_goes_on_under_work_that_never_ends() -> None:
    precedence = Precedence(ManualClock())  # stands still: only the bound ends the wait
    with precedence.in_hand(URGENT):
        async with asyncio.timeout(30):
            for _ in range(3):
                await precedence.give_way(BULK)


async def test_work_that_waits_for_a_far_end_is_not_waited_for() -> None:
    clock = ManualClock()
    precedence = Precedence(clock)
    with precedence.in_hand(URGENT):
        await clock.advance(FRESH_S)
        waiting = asyncio.create_task(precedence.give_way(BULK))
        await few_turns()
        assert waiting.done()


async def test_a_cancelled_wait_leaves_nothing_behind() -> None:
    precedence = Precedence(ManualClock())
    with precedence.in_hand(URGENT):
        gone = asyncio.create_task(precedence.give_way(BULK))
        stays = asyncio.create_task(precedence.give_way(BULK))
        await few_turns()
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        assert not stays.done()
    await stays
    assert gone.cancelled()


async def test_bulk_is_decided_in_pieces_and_published_in_full_frames() -> None:
    rig, stage = Rig(), Stage()
    queue = Queue("submit", "bulk")
    passage = Passage(
        queue,
        [stage],
        rig.settle("submit"),
        bus=rig.bus,
        clock=rig.clock,
        metrics=rig.metrics,
        log=LOG,
        precedence=Precedence(rig.clock),
    )
    items = [Item(message(f"msg_{n:03d}")) for n in range(2 * PIECE + 1)]
    await passage([Leased(Delivery(queue, b"", 1, 1), items=items)], asyncio.Event())
    assert [len(batch) for batch in stage.batches] == [PIECE, PIECE, 1]
    assert [name for batch in stage.batches for name in batch] == [i.envelope.id for i in items]
    assert all(item.done for item in items)
    records = [[one.envelope.id for one in opened([frame])] for frame in rig.bus.published]
    assert sorted(name for names in records for name in names) == [i.envelope.id for i in items]
    assert len(records) == len({frame.key for frame in rig.bus.published})
