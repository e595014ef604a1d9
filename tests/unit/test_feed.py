"""Feed and Places: every event that is wanted once and in order, under ids that a second handover repeats; nobody's place goes to
somebody else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.adapter import Unavailable
from msgcenter.bus import BusError
from msgcenter.clock import ManualClock
from msgcenter.feed import PAGE, Feed, order_of
from msgcenter.state.memory import MemoryState
from msgcenter.store import Event, StoreError, SubscriptionRow
from msgcenter.store.cursors import decode_positions
from msgcenter.store.store import Store
from msgcenter.subscriptions import (
    OVERLAP_MS,
    Places,
    Subscriptions,
    Wish,
    address_of,
    gates_of,
    wants,
)
from protocols.envelope import Envelope
from tests.unit.api.parts import Log, MemoryBus

T0 = 1_790_000_000_000
PEPPER = b"0123456789abcdef"
SENT = "msgcenter.message.sent.v1"
RECEIVED = "msgcenter.message.received.v1"
WISH = Wish("https://crm.example.com/")


class Rig:
    def __init__(self, store: Store, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.bus = MemoryBus()
        self.state = MemoryState(clock)
        self.may = True
        self.subscriptions = Subscriptions(self.state, store, clock, PEPPER)
        self.feed = Feed(
            self.bus, store, lambda: ("platform", "platform"), lambda _: self.may,
            clock=clock, partitions=4, log=Log(),
        )  # fmt: skip
        self.number = 0

    async def begin(self, name: str = "sub_1", caller: str = "crm", **more: Any) -> SubscriptionRow:
        made = await self.subscriptions.begin(name, caller, replace(WISH, **more), {}, "test")
        assert made is not None
        return made[0]

    async def happen(self, count: int, kind: str = SENT, caller: str = "crm", **data: Any) -> None:
        batches: dict[int, list[Event]] = {}
        for _ in range(count):
            self.number += 1
            one = Event(
                f"evt_{self.number:05d}", caller, kind, T0 + self.number, "s",
                f"msg_{self.number}", data,
            )  # fmt: skip
            batches.setdefault(self.number % 3, []).append(one)
        await self.store.append_many(batches)

    def told(self) -> list[str]:
        return [envelope.payload.event_id for envelope in self.bus.envelopes]  # type: ignore[union-attr]

    async def row(self, name: str = "sub_1") -> SubscriptionRow:
        found = await self.store.subscription(name)
        assert found is not None
        return found


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    clock = ManualClock(T0)
    store = Store(f"sqlite:///{tmp_path}/store.db", clock)
    await store.open()
    await store.migrate()
    yield Rig(store, clock)
    await store.close()


async def test_everything_once_in_pages(rig: Rig) -> None:
    await rig.begin()
    await rig.happen(PAGE + 10)
    await rig.happen(3, caller="iop")
    while await rig.feed.once():
        pass
    assert sorted(rig.told()) == [f"evt_{n:05d}" for n in range(1, PAGE + 11)]
    assert await rig.feed.once() == 0
    assert decode_positions((await rig.row()).cursor) == await rig.store.event_heads()


async def test_only_what_is_wanted_and_may_be_seen(rig: Rig) -> None:
    await rig.begin("sub_1", types=(RECEIVED,))
    await rig.begin("sub_2", types=("msgcenter.group.*", SENT))
    await rig.begin("sub_3", "board", everyone=True)
    await rig.happen(1, SENT)
    await rig.happen(1, RECEIVED, conversation="c1")
    await rig.happen(1, SENT, caller="")
    await rig.feed.once()
    by = {name: [] for name in ("sub_1", "sub_2", "sub_3")}  # type: dict[str, list[str]]
    for envelope in rig.bus.envelopes:
        by[envelope.to.value.split("/")[1]].append(envelope.payload.event_id)  # type: ignore[union-attr]
    assert {name: sorted(told) for name, told in by.items()} == {
        "sub_1": ["evt_00002"],
        "sub_2": ["evt_00001"],
        "sub_3": ["evt_00001", "evt_00002", "evt_00003"],
    }
    # what was passed over is not looked at again
    assert decode_positions((await rig.row("sub_1")).cursor) == await rig.store.event_heads()

    rig.may = False
    await rig.happen(1)
    assert await rig.feed.once() == 0
    rig.may = True
    assert await rig.feed.once() > 0, "it waited where it was"


async def test_a_crash_between_bus_and_cursor_repeats_the_same_ids(rig: Rig) -> None:
    await rig.begin()
    await rig.happen(5)
    row = await rig.row()
    await rig.feed.once()
    first = {envelope.id for envelope in rig.bus.envelopes}
    await rig.store.change_subscription("sub_1", lambda _: row)
    rig.bus.frames.clear()
    await rig.feed.once()
    assert {envelope.id for envelope in rig.bus.envelopes} == first
    assert len(first) == 5


async def test_a_bus_that_is_away_moves_nothing(rig: Rig) -> None:
    await rig.begin()
    await rig.happen(5)
    rig.bus.down = BusError("away")
    with pytest.raises(BusError):
        await rig.feed.once()
    assert decode_positions((await rig.row()).cursor) == {}
    rig.bus.down = None
    await rig.feed.once()
    assert len(rig.told()) == 5


async def test_a_replay_is_another_run_and_stops_the_one_before(rig: Rig) -> None:
    await rig.begin()
    await rig.happen(3)
    await rig.feed.once()
    old = list(rig.bus.envelopes)
    await rig.subscriptions.replay("sub_1", {}, "test")
    rig.bus.frames.clear()
    await rig.feed.once()
    new = list(rig.bus.envelopes)
    assert sorted(e.payload.event_id for e in new) == sorted(e.payload.event_id for e in old)  # type: ignore[union-attr]
    assert not {e.id for e in new} & {e.id for e in old}
    assert await verdicts(rig, old) == {"suppressed replayed"}
    assert await verdicts(rig, new) == {"go "}
    await rig.subscriptions.end("sub_1", "test")
    assert await verdicts(rig, new) == {"suppressed subscription_ended"}


async def test_a_pause_holds_what_was_handed_over(rig: Rig) -> None:
    await rig.begin()
    await rig.happen(2)
    await rig.feed.once()
    on_its_way = list(rig.bus.envelopes)
    await rig.subscriptions.pause("sub_1", "test")
    await rig.happen(2)
    assert await rig.feed.once() == 0
    assert {word.split()[0] for word in await verdicts(rig, on_its_way)} == {"held"}
    await rig.subscriptions.resume("sub_1", "test")
    assert await rig.feed.once() == 2
    assert await verdicts(rig, on_its_way) == {"go "}


async def verdicts(rig: Rig, envelopes: list[Envelope]) -> set[str]:
    """What admit says to these; nothing stays claimed."""
    from msgcenter.stages.deliver import gates
    from msgcenter.state import Admit

    keys = [envelope.key("channel") for envelope in envelopes]
    asked = [
        Admit(key, gates(one), "w", 5.0, "", False)
        for key, one in zip(keys, envelopes, strict=True)
    ]
    answers = await rig.state.admit(asked)
    await rig.state.release(keys, [""] * len(keys))
    return {f"{answer.verdict} {answer.rule}" for answer in answers}


def test_what_stays_in_order() -> None:
    def one(kind: str, **more: Any) -> Event:
        given = {"subject": "grp_1", "message": "msg_1", "data": {}, **more}
        return Event("evt_1", "crm", kind, T0, **given)

    assert order_of(one(RECEIVED, data={"conversation": "c1"})) == "c1"
    assert order_of(one(RECEIVED, data={"conversation": ""})) == "msg_1"
    assert order_of(one(SENT)) == "msg_1"
    assert order_of(one("msgcenter.group.created.v1")) == "grp_1"
    assert order_of(one("msgcenter.caller.share_exceeded.v1", subject="crm", message="")) == "crm"


def test_types() -> None:
    row = SubscriptionRow("sub_1", "crm", "u", [], 1, "", "", 1, 1)
    assert wants(row, SENT)
    some = replace(row, types=["msgcenter.group.*", SENT])
    assert [wants(some, k) for k in (SENT, RECEIVED, "msgcenter.group.created.v1")] == [True, False, True]  # fmt: skip


# -- places -------------------------------------------------------------------------------------


def places(rig: Rig, pepper: bytes = PEPPER) -> Places:
    return Places(rig.store, rig.clock, lambda: pepper, lambda caller: caller == "crm")


async def test_where_the_events_of_a_run_go(rig: Rig) -> None:
    row = await rig.begin()
    known = places(rig)
    found = await known.find(address_of(row).value)
    assert found is not None
    assert (found.url, len(found.secrets)) == (WISH.url, 1)
    assert await known.find(f"iop/sub_1/{row.generation}") is None, "another caller's"
    assert await known.find(f"crm/sub_9/{row.generation}") is None
    newer = await rig.subscriptions.replay("sub_1", {}, "test")
    assert newer is not None
    # a run that has just begun is found although the one before is remembered
    assert await known.find(address_of(newer).value) is not None
    assert await known.find(address_of(row).value) is None


async def test_both_keys_sign_for_a_day(rig: Rig) -> None:
    row = await rig.begin()
    turned = await rig.subscriptions.rotate("sub_1", "test")
    assert turned is not None
    value = address_of(row).value
    found = await places(rig).find(value)
    assert found is not None
    assert (found.secrets[0], len(set(found.secrets))) == (turned[1], 2)
    await rig.clock.advance(OVERLAP_MS / 1000)
    found = await places(rig).find(value)
    assert found is not None
    assert found.secrets == (turned[1],)


async def test_another_pepper_or_no_store_is_no_reason_to_give_up(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = address_of(await rig.begin()).value
    with pytest.raises(Unavailable, match=r"api\.pepper"):
        await places(rig, b"another pepper 16").find(value)

    async def away(_: str) -> None:
        raise StoreError("away")

    monkeypatch.setattr(rig.store, "subscription", away)
    with pytest.raises(Unavailable, match="sub_1"):
        await places(rig).find(value)


async def test_other_messages_have_no_such_gate(rig: Rig) -> None:
    row = await rig.begin()
    await rig.happen(1)
    await rig.feed.once()
    (envelope,) = rig.bus.envelopes
    assert gates_of(envelope) == ("subscription:sub_1", f"subscription:sub_1/{row.generation}")
    assert gates_of(replace(envelope, to=replace(envelope.to, value="crm"))) == ()


async def test_it_stops_when_told(rig: Rig) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(rig.feed.run(stop))
    stop.set()
    await asyncio.wait_for(running, 5)
