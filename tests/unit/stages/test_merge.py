"""on_cap: merge: of what waits together the newest leaves, the others end naming it; nothing is given up for one that never left."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise, permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgcenter.pipeline import Item
from msgcenter.stages.merge import LOOK_MS, MERGED, WAIT_TOGETHER
from msgcenter.state import Suppression
from msgcenter.state.memory import MemoryState
from protocols.envelope import Envelope
from protocols.outcome import Held, Rejected, Routed, Sent, Suppressed
from tests.unit.stages.gate import NOON, Gate, many

HOUR_MS = 3_600_000
REFUSED = Rejected("recipient", "no", "refused")
MERGE = """
categories: {transactional: {bypass: false}}
caps:
  one: {scope: person, windows: [{rolling: 1h, limit: %d}], on_cap: merge}
"""


def one(limit: int = 1) -> Gate:
    return Gate(MERGE % limit)


class Line:
    """Messages that are decided again at the time they were held until, as `schedule` brings them."""

    def __init__(self, gate: Gate) -> None:
        self.gate = gate
        self.waiting: dict[str, tuple[int, Envelope]] = {}
        self.ends: dict[str, Any] = {}

    async def put(self, *envelopes: Envelope) -> list[Item]:
        items = await self.gate(*envelopes)
        for item in items:
            envelope, outcome = item.original or item.envelope, item.outcome
            if isinstance(outcome, Held):
                again = replace(envelope.again(counts=False), held_since=outcome.since)
                self.waiting[envelope.id] = (outcome.until, again)
            elif isinstance(outcome, Suppressed):
                self.ends[envelope.id] = outcome
        for sent in await self.gate.send(items):
            self.ends[sent.envelope.id] = sent.outcome
        return items

    async def wake(self, *ids: str) -> list[Item]:
        """Whose time has come, in this order; all of them when none is named."""
        now = self.gate.clock.now_ms()
        due = [id_ for id_ in ids or list(self.waiting) if self.waiting[id_][0] <= now]
        return await self.put(*(self.waiting.pop(id_)[1] for id_ in due))

    async def later(self, ms: int) -> None:
        await self.gate.clock.advance(ms / 1000)


async def full(gate: Gate, waiting: int) -> Line:
    """The cap is full, and so many wait for it, each come in a frame of its own."""
    line = Line(gate)
    await line.put(*many(1, first=900))
    for envelope in many(waiting):
        await line.put(envelope)
        await line.later(1)
    assert len(line.waiting) == waiting
    return line


@pytest.mark.parametrize("order", list(permutations(("msg_0", "msg_1", "msg_2"))))
@pytest.mark.parametrize("together", [True, False])
async def test_the_newest_goes_for_all_in_whatever_order_they_wake(
    order: tuple[str, ...], together: bool
) -> None:
    line = await full(one(), 3)
    await line.later(HOUR_MS)
    if together:
        await line.wake(*order)
    else:
        for id_ in order:
            await line.wake(id_)
    await line.later(LOOK_MS)
    await line.wake()
    assert line.waiting == {}
    assert isinstance(line.ends["msg_2"], Sent)
    assert line.ends["msg_0"] == line.ends["msg_1"] == Suppressed(MERGED, "msg_2")
    assert line.gate.rig.adapter.taken == ["msg_900", "msg_2"]


async def test_each_says_whom_it_waits_for_whom_it_goes_for_and_who_went_for_it() -> None:
    line = await full(one(), 2)
    held = line.waiting["msg_0"]
    assert held[0] == NOON + HOUR_MS
    await line.later(HOUR_MS)
    newest, older = await line.wake("msg_1", "msg_0")
    stands = newest.decisions[-1]
    assert (stands.rule, stands.verdict, dict(stands.facts)) == ("one", "stands", {"messages": "msg_0"})  # fmt: skip
    waits = older.decisions[-1]
    assert (waits.rule, waits.verdict, dict(waits.facts)) == ("one", "merge", {"message": "msg_1"})
    assert waits.next_at == line.waiting["msg_0"][0]
    await line.later(LOOK_MS)
    (merged,) = await line.wake("msg_0")
    told = merged.decisions[-1]
    assert (told.rule, told.verdict, dict(told.facts)) == ("one", "merged", {"message": "msg_1"})


async def test_one_that_comes_when_there_is_room_goes_for_those_who_waited_for_it() -> None:
    line = await full(one(), 1)
    await line.later(HOUR_MS)
    await line.put(*many(1, first=7))
    await line.wake()
    assert line.ends["msg_0"] == Suppressed(MERGED, "msg_7")


async def test_who_came_after_it_left_is_none_of_those_it_went_for() -> None:
    line = await full(one(), 2)
    await line.later(HOUR_MS)
    await line.wake("msg_1")
    await line.put(*many(1, first=7))
    await line.later(LOOK_MS)
    await line.wake("msg_0")
    assert line.ends["msg_0"] == Suppressed(MERGED, "msg_1")
    await line.later(HOUR_MS)
    await line.wake("msg_7")
    assert isinstance(line.ends["msg_7"], Sent)


@pytest.mark.parametrize("how", ["rejected", "cancelled"])
async def test_nothing_is_given_up_for_one_that_never_left(how: str) -> None:
    line = await full(one(), 3)
    await line.later(HOUR_MS)
    if how == "rejected":
        line.gate.rig.adapter.script = lambda item: (
            REFUSED if item.envelope.id == "msg_2" else Sent()
        )
    else:
        await line.gate.state.suppress([Suppression("message:msg_2", "cancelled")])
    for _ in range(4):
        await line.wake()
        await line.later(LOOK_MS * 2)
    assert isinstance(line.ends["msg_2"], Rejected | Suppressed)
    assert isinstance(line.ends["msg_1"], Sent)
    assert line.ends["msg_0"] == Suppressed(MERGED, "msg_1")
    assert line.waiting == {}


async def test_while_the_newest_is_on_its_way_the_others_wait_ever_longer() -> None:
    line = await full(one(), 2)
    await line.later(HOUR_MS)
    (newest,) = await line.gate(line.waiting.pop("msg_1")[1])
    await line.gate.settle([newest])  # routed, and nobody sends it
    waits = []
    for _ in range(12):
        now = line.gate.clock.now_ms()
        await line.wake("msg_0")
        waits.append(line.waiting["msg_0"][0] - now)
        await line.later(waits[-1])
    assert waits[0] == LOOK_MS
    assert waits == sorted(waits)
    assert waits[-1] == 600_000
    assert set(line.ends) == {"msg_900"}


@pytest.mark.parametrize(
    "other",
    [
        {"caller": "other"},
        {"category": "care", "tier": 4},
        {"account": "staff"},
        {"channels": ("desk",)},
        {"leaf": "first"},
        {"order_key": "talk"},
        {"once_key": "gift"},
        {"possibly_duplicate": True},
    ],
)
async def test_only_alike_messages_are_merged(other: dict[str, Any]) -> None:
    gate = Gate(MERGE % 1 + "quiet: {night: {windows: []}}\n")
    line = Line(gate)
    await line.put(*many(1, first=900))
    await line.put(*many(1))
    await line.later(1)
    await line.put(*many(1, first=1, **other))
    assert set(line.waiting) == {"msg_0", "msg_1"}
    await line.later(HOUR_MS)
    first, second = await line.wake("msg_0", "msg_1")
    assert isinstance(first.outcome, Routed)
    assert isinstance(second.outcome, Held)
    assert not [d for d in first.decisions if d.verdict == "stands"]


async def test_without_a_rule_that_merges_nothing_is_asked_of_state() -> None:
    gate = Gate((MERGE % 1).replace("merge", "drop"))

    async def listed(_: Any) -> Any:
        raise AssertionError("no list is needed")

    gate.state.listed = listed  # type: ignore[method-assign]
    await gate(*many(2))


async def test_the_same_pass_again_comes_to_the_same() -> None:
    """A worker that ended anywhere before it concluded leaves the pass to another one."""
    line = await full(one(), 2)
    await line.later(HOUR_MS)
    old, new = line.waiting["msg_0"][1], line.waiting["msg_1"][1]
    for _ in range(3):
        (first,) = await line.gate(new)
        assert isinstance(first.outcome, Routed)
    await line.wake("msg_1")
    for _ in range(3):
        (merged,) = await line.gate(old)
        assert merged.outcome == Suppressed(MERGED, "msg_1")


async def test_a_state_that_forgot_the_lists_lets_each_wait_for_itself() -> None:
    line = await full(one(), 2)
    await line.later(HOUR_MS)
    state = line.gate.state
    assert isinstance(state, MemoryState)
    listed = state.listed

    async def forgot(names: Any) -> Any:
        return [{} for _ in await listed(names)]

    state.listed = forgot  # type: ignore[method-assign]
    await line.wake("msg_0")
    assert isinstance(line.ends["msg_0"], Sent)


async def test_a_list_does_not_grow_without_end() -> None:
    gate = one()
    sizes: list[int] = []
    listed = gate.state.listed

    async def counted(names: Any) -> Any:
        found = await listed(names)
        sizes.extend(map(len, found))
        return found

    gate.state.listed = counted  # type: ignore[method-assign]
    line = await full(gate, WAIT_TOGETHER + 30)
    assert WAIT_TOGETHER <= max(sizes) <= WAIT_TOGETHER + 1
    newest = f"msg_{WAIT_TOGETHER + 29}"
    await line.later(HOUR_MS)
    await line.wake()
    await line.later(LOOK_MS)
    await line.wake()
    assert line.gate.rig.adapter.taken == ["msg_900", newest]
    merged = {id_ for id_, end in line.ends.items() if end == Suppressed(MERGED, newest)}
    assert len(merged) == WAIT_TOGETHER + 29


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 2 * HOUR_MS)), min_size=1, max_size=12),
    st.sets(st.integers(0, 30)),
)
async def test_each_ends_once_and_the_cap_holds(
    bursts: list[tuple[int, int]], refused: set[int]
) -> None:
    """Whatever comes when, and whatever the far end refuses: each message ends, those merged name one that was sent later than
    they came, and no hour has two."""
    line = Line(one())
    sent_at: list[int] = []

    def script(item: Any) -> Any:
        if int(item.envelope.id.removeprefix("msg_")) in refused:
            return REFUSED
        sent_at.append(line.gate.clock.now_ms())
        return Sent()

    line.gate.rig.adapter.script = script
    total = 0
    for count, pause in bursts:
        await line.wake()
        if count:
            await line.put(*many(count, first=total))
        total += count
        await line.later(pause)
    for _ in range(200):
        if not line.waiting:
            break
        await line.later(max(1, min(u for u, _ in line.waiting.values()) - line.gate.clock.now_ms()))  # fmt: skip
        await line.wake()
    assert len(line.ends) == total
    assert not line.waiting
    for id_, end in line.ends.items():
        if isinstance(end, Suppressed):
            assert end.rule == MERGED
            assert isinstance(line.ends[end.detail], Sent)
            assert end.detail != id_
    assert all(b - a >= HOUR_MS for a, b in pairwise(sent_at))
