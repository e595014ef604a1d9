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
        kinds, moved = await _killed(it, numbers, total // 2)
        shares = f"east {before:.3f} at 30, {after:.3f} at 70"
        return f"{shares}; killed: {dict(kinds)}, all by west after {moved:.2f} s"


async def _share(it: Several, numbers: Iterator[int], total: int) -> float:
    start = it.taken()
    for _ in range(total // BATCH):
        for outcome in await _ended(it, [next(numbers) for _ in range(BATCH)]):
            assert isinstance(outcome, Sent), outcome
    took = {name: parts - start[name] for name, parts in it.taken().items()}
    assert sum(took.values()) == total // BATCH * BATCH
    return took["east"] / sum(took.values())


async def _killed(it: Several, numbers: Iterator[int], total: int) -> tuple[Counter[str], float]:
    """East dies while messages flow: none is lost or doubled, and soon west has them all. What became of each, and how many
    seconds after the death the last batch ended that knew of it."""
    flow = Flow(it)
    flowing = asyncio.create_task(flow.run(numbers, total))
    await flow.quarter.wait()
    east, west, clock = it.far["east"], it.far["west"], it.port.clock
    east.faults.down = True
    east.unplug()
    died, then = clock.monotonic(), west.received_parts
    await flowing
    moved = max([0.0, *(ended - died for ended in flow.troubled)])
    assert moved < MOVED_S, f"traffic moved only after {moved:.1f} s"
    assert flow.ended[-1] - died > moved, "and went on after that"
    assert west.received_parts - then >= total // 2, "by west"
    outcomes = await _ended(it, last := [next(numbers) for _ in range(BATCH)])
    assert [type(outcome) for outcome in outcomes] == [Sent] * BATCH
    shown = Counter(
        int(str(entry["recipient"])[-8:])
        for far in it.far.values()
        for entry in far.journal.entries()
    )
    assert all(shown[number] == 1 for number in [*flow.sent, *last]), "sent is shown, once"
    assert sum(flow.kinds.values()) == total // BATCH * BATCH, "every message has an end"
    return flow.kinds, moved


class Flow:
    """Batch after batch, and when each ended; `troubled`: those of which not everything was sent at the first try."""

    def __init__(self, it: Several) -> None:
        self._it = it
        self.quarter = asyncio.Event()
        """A quarter is through, and the next batch on its way."""
        self.kinds: Counter[str] = Counter()
        self.sent: list[int] = []
        self.ended: list[float] = []
        self.troubled: list[float] = []

    async def run(self, numbers: Iterator[int], total: int) -> None:
        for batch in range(total // BATCH):
            wanted = [next(numbers) for _ in range(BATCH)]
            tries: list[int] = []
            if batch == total // BATCH // 4:
                self.quarter.set()
            outcomes = await _ended(self._it, wanted, tries)
            self.ended.append(self._it.port.clock.monotonic())
            for number, outcome in zip(wanted, outcomes, strict=True):
                self.kinds[type(outcome).__name__] += 1
                assert isinstance(outcome, Sent | Unknown), outcome
                if isinstance(outcome, Sent):
                    self.sent.append(number)
            if len(tries) > 1 or not all(isinstance(outcome, Sent) for outcome in outcomes):
                self.troubled.append(self.ended[-1])


async def _ended(it: Several, numbers: list[int], tries: list[int] | None = None) -> list[Outcome]:
    """As the core: again what certainly did not leave, never what may have. `tries` gets how many went in each."""
    ended: dict[int, Outcome] = {}
    while left := [number for number in numbers if number not in ended]:
        if tries is not None:
            tries.append(len(left))
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
