"""Two suppliers of one SMS channel at 30/70: their shares, the weights changed while messages flow, and one of them killed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from typing import Any

from msgcenter.adapter import Retry, Sent, Unknown, Unreachable
from protocols.outcome import Outcome
from tests.unit.adapters.test_sms import sms
from tests.unit.adapters.test_sms_suppliers import Several, settings_of, several

BATCH = 50
MOVED_S = 5.0
"""All traffic is on the other supplier this soon after one is gone."""


def split(east: float) -> dict[str, dict[str, Any]]:
    return {"east": {"weight": east}, "west": {"weight": 100 - east, "protocol": "smpp"}}


async def run(total: int, within: float) -> str:
    """Raises AssertionError when a share is off by more than `within`, traffic does not move, or a message is lost."""
    async with several(split(30), response_timeout_s=2.0) as it:
        numbers = iter(range(10_000_000))
        before = await _share(it, numbers, total)
        assert abs(before - 0.3) <= within, f"east had {before:.3f}, 0.300 was asked for"
        assert it.adapter.adopt(settings_of(it.far, split(70), response_timeout_s=2.0))
        after = await _share(it, numbers, total)
        assert abs(after - 0.7) <= within, f"east had {after:.3f}, 0.700 was asked for"
        kinds = await _killed(it, numbers, total // 2)
        return f"east {before:.3f} at 30, {after:.3f} at 70; around its end {dict(kinds)}"


async def _share(it: Several, numbers: Iterator[int], total: int) -> float:
    start = it.taken()
    for _ in range(total // BATCH):
        for outcome in await _ended(it, [next(numbers) for _ in range(BATCH)]):
            assert isinstance(outcome, Sent), outcome
    took = {name: parts - start[name] for name, parts in it.taken().items()}
    assert sum(took.values()) == total // BATCH * BATCH
    return took["east"] / sum(took.values())


async def _killed(it: Several, numbers: Iterator[int], total: int) -> Counter[str]:
    """East dies while messages flow: none is lost or doubled, and soon west has them all."""
    sent: list[int] = []
    kinds: Counter[str] = Counter()

    async def flow() -> None:
        for _ in range(total // BATCH):
            batch = [next(numbers) for _ in range(BATCH)]
            for number, outcome in zip(batch, await _ended(it, batch), strict=True):
                kinds[type(outcome).__name__] += 1
                assert isinstance(outcome, Sent | Unknown), outcome
                if isinstance(outcome, Sent):
                    sent.append(number)

    flowing = asyncio.create_task(flow())
    await asyncio.sleep(0)
    it.far["east"].faults.down = True
    it.far["east"].unplug()
    await flowing
    clock = it.port.clock
    died, west = clock.monotonic(), it.far["west"].received_parts
    outcomes = await _ended(it, last := [next(numbers) for _ in range(BATCH)])
    assert clock.monotonic() - died < MOVED_S
    assert [type(outcome) for outcome in outcomes] == [Sent] * BATCH
    assert it.far["west"].received_parts - west == BATCH
    shown = Counter(
        int(str(entry["recipient"])[-8:])
        for far in it.far.values()
        for entry in far.journal.entries()
    )
    assert all(shown[number] == 1 for number in [*sent, *last]), "sent is shown, once"
    assert sum(kinds.values()) == total // BATCH * BATCH, "every message has an end"
    return kinds


async def _ended(it: Several, numbers: list[int]) -> list[Outcome]:
    """As the core: again what certainly did not leave, never what may have."""
    ended: dict[int, Outcome] = {}
    while left := [number for number in numbers if number not in ended]:
        try:
            outcomes = await it.adapter.deliver([sms(number) for number in left])
        except Unreachable:
            await asyncio.sleep(0.02)
            continue
        ended |= {
            number: outcome
            for number, outcome in zip(left, outcomes, strict=True)
            if not isinstance(outcome, Retry)
        }
    return [ended[number] for number in numbers]
