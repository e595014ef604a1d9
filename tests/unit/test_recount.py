"""Counters from the Store: after State was lost, for a new or longer window, under every name of a person; and held messages
that are asked again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.clock import ManualClock
from msgcenter.config import load
from msgcenter.customers import Holding, Person
from msgcenter.reask import LOOKS, NOT_OURS, reask, ruled
from msgcenter.recount import HASTENS, LAG_S, Recount
from msgcenter.rulebook import InForce
from msgcenter.state.memory import MemoryState
from msgcenter.state.units import Usage
from msgcenter.store import PastSend, StoreError
from protocols.envelope import Envelope
from tests.unit.rig import LOG, T0, Directory, message, rules

HOUR, DAY = 3_600_000, 86_400_000
TEL = "tel:+8613800138000"
WEEK = """
categories: {transactional: {bypass: false}}
caps:
  week: {scope: person, windows: [{rolling: 7d, limit: 4}]}
"""
SEND = PastSend("m", 0, 0, T0 - HOUR, TEL, TEL, "crm", "", "transactional", 2, "east", "")


class Past:
    """The Store's past sends as a list."""

    def __init__(self, *sends: PastSend) -> None:
        self.sends = sends
        self.broken = False
        self.reads = 0
        self.hastened: list[tuple[object, ...]] = []

    async def people_sent_to(self, since_ms: int, after: str, limit: int) -> list[str]:
        self.reads += 1
        if self.broken:
            raise StoreError("away")
        found = {s.person for s in self.sends if s.at >= since_ms and s.person > after}
        return sorted(found)[:limit]

    async def past_sends(self, people: Sequence[str], since_ms: int) -> list[PastSend]:
        return [s for s in self.sends if s.person in people and s.at >= since_ms]

    async def hasten_due(self, at_ms: int, *, only: Sequence[str]) -> int:
        self.hastened.append((at_ms, *only))
        return 0


class World:
    def __init__(self, policy: str, *sends: PastSend, people: Sequence[Person] = ()) -> None:
        self.clock = ManualClock(T0)
        self.state: Any = MemoryState(self.clock)
        self.past = Past(*sends)
        self.directory = Directory(*people)
        self.book = rules(policy)

    def recount(self, *, counts: bool = True, book: InForce | None = None) -> Recount:
        made = book or self.book
        return Recount(self.state, self.past, self.directory, made, "me", self.clock, LOG, counts)

    async def look(self, recount: Recount | None = None) -> bool:
        task = asyncio.create_task((recount or self.recount()).look())
        await self.clock.advance(LAG_S)
        return await task

    async def usage(self, envelope: Envelope | None = None, book: InForce | None = None) -> Usage:
        """What the first counter of a message says."""
        envelope = envelope or message()
        who = (await self.directory.many([str(envelope.recipient)], T0))[str(envelope.recipient)]
        asked = (book or self.book)().counters(
            replace(envelope, person=who.key), who, self.clock.now_ms()
        )
        (usage,) = await self.state.peek(asked.takes[:1])
        return usage


async def test_past_sends_are_counted_once_and_then_known() -> None:
    world = World(
        WEEK, SEND, replace(SEND, message="m2"), replace(SEND, message="old", at=T0 - 8 * DAY)
    )
    recount = world.recount()
    assert await world.look(recount)
    usage = await world.usage()
    assert (usage.uses[0].used, usage.since_ms <= T0 - 6 * DAY) == (2, True)
    assert not recount.rebuilding()
    assert world.past.hastened == [(T0 + round(LAG_S * 1000), "caps_rebuilding")]
    for _ in range(HASTENS):  # one may have been held a moment before
        assert not await world.look(recount)
    assert len(world.past.hastened) == HASTENS
    assert not await world.look()  # another process finds nothing to do
    assert (await world.usage()).uses[0].used == 2


async def test_a_new_or_longer_window_is_counted_before_it_holds() -> None:
    day = WEEK.replace("7d", "1d").replace("limit: 4", "limit: 3")
    world = World(day, *(replace(SEND, message=f"m{n}", at=T0 - 2 * DAY) for n in range(3)))
    await world.look()
    assert (await world.usage()).uses[0].used == 0
    longer = rules(WEEK)
    recount = world.recount(book=longer)
    assert await world.look(recount)
    # 3 in a day became 4 in 7 days with 3 sent: one more leaves
    (use,) = (await world.usage(book=longer)).uses
    assert (use.used, use.limit) == (3, 4)


async def test_lost_state_is_noticed_and_counted_again() -> None:
    world = World(WEEK, SEND)
    await world.look()
    watcher = world.recount(counts=False)
    assert not await world.look(watcher)
    assert not watcher.rebuilding()
    await world.clock.advance(1.0)
    world.state = MemoryState(world.clock)
    watcher, recount = world.recount(counts=False), world.recount()
    assert not await world.look(watcher)
    assert watcher.rebuilding()
    assert await world.look(recount)
    assert (await world.usage()).uses[0].used == 1
    await watcher.look()
    assert not watcher.rebuilding()


async def test_a_person_is_counted_under_all_names() -> None:
    who = Person(
        "c-7", "c-7", aliases=frozenset({"c-7", TEL, "wecom:w/a/1"}),
        holdings=(Holding(TEL), Holding("wecom:w/a/1")),
    )  # fmt: skip
    sends = [replace(SEND, message=f"m{n}", person=name) for n, name in enumerate([TEL, "c-7"])]
    world = World(WEEK, *sends, people=[who])
    world.directory.people["c-7"] = who
    await world.look()
    assert (await world.usage()).uses[0].used == 2


async def test_what_is_shared_is_counted_once() -> None:
    caller = WEEK.replace("scope: person", "scope: caller").replace("limit: 4", "limit: 400")
    world = World(
        caller, *(replace(SEND, message=f"m{n}", person=f"tel:+8613800{n:06d}") for n in range(30))
    )
    await world.look()
    assert (await world.usage()).uses[0].used == 30


async def test_a_coupon_given_before_is_not_given_again() -> None:
    world = World("", replace(SEND, once_key="gift", at=T0 - 90 * DAY))
    await world.look()
    usage = await world.usage(message(once_key="gift"))
    assert (usage.uses[0].used, usage.uses[0].limit) == (1, 1)


async def test_while_the_store_is_away_nothing_is_said_to_be_known() -> None:
    world = World(WEEK, SEND)
    world.past.broken = True
    recount = world.recount()
    with pytest.raises(StoreError):
        await world.look(recount)
    assert recount.rebuilding()
    world.past.broken = False
    assert await world.look(recount)  # the lock was let go
    assert (await world.usage()).uses[0].used == 1


# -- held messages are asked again -----------------------------------------------------------------


class Rows:
    def __init__(self) -> None:
        self.calls: list[tuple[tuple[str, ...], int]] = []

    async def hasten_due(self, at_ms: int, *, but: Sequence[str]) -> int:
        self.calls.append((tuple(but), at_ms))
        if len(self.calls) == 1:
            raise StoreError("away")
        return 3


def config(folder: Path, policy: str, channels: str = "") -> Any:
    folder.mkdir()
    (folder / "policy.yaml").write_text(policy)
    (folder / "msgcenter.yaml").write_text("reload: {poll: 100ms}\n")
    (folder / "channels.yaml").write_text(channels)
    return load(folder, settings_models={}, env={}, clock=ManualClock(T0))


async def test_after_an_edit_of_the_rules_what_they_hold_is_due(tmp_path: Path) -> None:
    old, same = config(tmp_path / "a", WEEK), config(tmp_path / "b", WEEK + "# a word\n")
    new = config(tmp_path / "c", WEEK.replace("limit: 4", "limit: 5"))
    assert ruled(old) == ruled(same) != ruled(new)
    rows = Rows()
    await reask(rows, ManualClock(T0), LOG, new, asyncio.Event())
    assert rows.calls == [(NOT_OURS, T0)] * LOOKS
