"""Port: what a far end says becomes an envelope whose id follows from the far end's own ids, durable before the answer."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import msgpack
import pytest

from msgcenter.adapter import Account, Received, Report
from msgcenter.bus import BusError
from msgcenter.bus.topology import INVALID
from msgcenter.clock import ManualClock
from msgcenter.outlet import to_bus
from msgcenter.port import UNASSIGNED, ChannelPort
from msgcenter.state.memory import MemoryState
from msgcenter.turns import Turns
from protocols import wire
from protocols.address import Address
from protocols.payload import DeliveryReport, Pull, Text
from tests.unit.rig import LOG, T0, ListBus, metrics

SAID = Received(Address("tel", "+8613800138000"), "1065", Text("TD"), "far-1", T0 - 5)
REPORT = Report(DeliveryReport("f1", "delivered", "DELIVRD"), SAID.sender)

NOTHING: Any = None
"""A part that these tests do not touch."""


def port(channel: str = "east", bus: ListBus | None = None, **more: Any) -> ChannelPort:
    return ChannelPort(
        channel,
        outlet=to_bus(bus or ListBus()),  # type: ignore[arg-type]
        state=(state := MemoryState(clock := ManualClock(T0))),
        store=NOTHING,
        files=NOTHING,
        turns=Turns(state, "w1", clock, rng := random.Random(1)),
        clock=clock,
        random=rng,
        metrics=more.get("metrics") or metrics(),
        log=LOG,
        partitions=4,
        http=lambda: None,  # type: ignore[arg-type,return-value]
        subscriber=nobody,
        accounts=lambda name: [Account("desk", f"{name}-1")],
        channels=lambda: {"east", "west"},
        on_account_state=more.get("on_account_state"),
    )


async def nobody(_: str) -> None:
    return None


async def emitted(items: Any, channel: str = "east") -> list[Any]:
    bus = ListBus()
    await port(channel, bus).emit(items)
    return bus.topic("inbound")


async def test_a_message_that_came_in() -> None:
    (envelope,) = await emitted([SAID])
    assert envelope.inbound
    assert (envelope.sender, envelope.person) == (SAID.sender, str(SAID.sender))
    assert (envelope.account, envelope.channel, envelope.remote_id) == ("1065", "east", "far-1")
    assert (envelope.to, envelope.created_at) == (UNASSIGNED, T0 - 5)
    assert envelope.order_key == "east|1065|tel:+8613800138000"
    (undated,) = await emitted([replace(SAID, at=0, order_key="conversation 7")])
    assert (undated.created_at, undated.order_key) == (T0, "conversation 7")


async def test_ids_follow_from_the_far_ends_ids() -> None:
    (one,), (repeat,) = await emitted([SAID]), await emitted([replace(SAID, payload=Text("x"))])
    assert one.id == repeat.id
    (elsewhere,), (another,) = (
        await emitted([SAID], "west"),
        await emitted([replace(SAID, remote_id="far-2")]),
    )
    assert len({one.id, elsewhere.id, another.id}) == 3
    base = REPORT.report
    reports = [
        REPORT,
        Report(base),
        Report(replace(base, state="undelivered")),
        Report(replace(base, code="X")),
        Report(replace(base, remote_id="f2")),
        Report(base, unique="2"),
    ]
    ids = [envelope.id for envelope in await emitted(reports)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 5
    assert all(id_.startswith("rcp_") for id_ in ids)
    assert one.id.startswith("msg_")


async def test_a_report_knows_its_recipient_when_the_far_end_said_so() -> None:
    with_one, without = await emitted([REPORT, replace(REPORT, recipient=None, unique="2")])
    assert (with_one.to, without.to) == (SAID.sender, UNASSIGNED)
    assert (with_one.order_key, with_one.payload) == ("", REPORT.report)


async def test_emit_raises_when_it_is_not_durable() -> None:
    bus = ListBus()
    bus.failures = [BusError("away")]
    with pytest.raises(BusError):
        await port(bus=bus).emit([SAID])
    await port(bus=bus).emit([SAID])
    assert len(bus.topic("inbound")) == 1


async def test_a_conversation_stays_in_its_partition_and_order() -> None:
    bus = ListBus()
    said = [replace(SAID, remote_id=f"far-{n}", account_number=str(n % 3)) for n in range(250)]
    await port(bus=bus).emit(said)
    places: dict[str, set[str]] = {}
    for frame in bus.published:
        assert frame.lane == "conv"
    for envelope in bus.topic("inbound"):
        places.setdefault(envelope.order_key, set()).add(envelope.remote_id)
    assert sorted(len(one) for one in places.values()) == [83, 83, 84]
    numbers = [int(e.remote_id[4:]) for e in bus.topic("inbound") if e.account == "1"]
    assert numbers == sorted(numbers)


def test_only_known_gauges() -> None:
    kept = metrics()
    port(metrics=kept).gauge("window_in_use", 3)
    assert kept.window_in_use.labels("east")._value.get() == 3
    port(metrics=kept).gauge("source_lag", 7.5)
    assert kept.source_lag_seconds.labels("east")._value.get() == 7.5
    port(metrics=kept).count("token_refreshes", "refused")
    assert kept.token_refreshes_total.labels("east", "refused")._value.get() == 1
    with pytest.raises(ValueError, match="token_refreshes: ok, refused, failed"):
        port().count("token_refreshes", "odd")
    with pytest.raises(ValueError, match="one of links_up, source_lag, window_in_use"):
        port().gauge("links", 1)


async def test_a_ring_is_a_doorbell_of_its_own_for_the_channel() -> None:
    bus = ListBus()
    one = port(bus=bus)
    await one.ring(Pull("wk1", "token"))
    await one.ring(Pull("wk1", "token"))
    await one.ring(Pull("wk2"), delay_s=3)
    rings = bus.topic("out.east")
    assert len({envelope.id for envelope in rings}) == 3, "a twin is no replay of what was answered"
    assert [envelope.payload for envelope in rings] == [Pull("wk1", "token")] * 2 + [Pull("wk2")]
    assert [envelope.order_key for envelope in rings] == ["east|wk1"] * 2 + ["east|wk2"]
    assert {(e.category, e.tier, e.inbound, e.channel) for e in rings} == {
        ("pull", 1, False, "east")
    }
    assert [frame.delay for frame in bus.published] == [0, 0, 5]


async def test_a_channel_may_ring_another_one_that_is_there() -> None:
    bus = ListBus()
    await port(bus=bus).ring(Pull("kf:wk1", "token"), channel="west")
    [rung] = bus.topic("out.west")
    assert (rung.channel, rung.order_key) == ("west", "west|kf:wk1")
    assert bus.topic("out.east") == []
    with pytest.raises(LookupError, match="channel east rings 'wset', which is no enabled channel"):
        await port(bus=bus).ring(Pull("kf:wk1"), channel="wset")


async def test_memos_are_the_channels_own() -> None:
    east = port()
    west = ChannelPort.__new__(ChannelPort)
    west.channel, west._state = "west", east._state
    await east.remember("token", b"east", 60)
    assert await east.memo("token") == b"east"
    assert await west.memo("token") is None


def test_accounts_and_what_is_said_of_them() -> None:
    said: list[Any] = []
    one = port(on_account_state=lambda *word: said.append(word))
    assert one.accounts() == [Account("desk", "east-1")]
    one.account_state("desk", "banned", "reported")
    assert said == [("east", "desk", "banned", "reported")]
    port().account_state("desk", "down")  # nobody listens: it is logged


async def test_what_is_set_aside_waits_for_operators_on_invalid() -> None:
    bus = ListBus()
    await port(bus=bus).set_aside([SAID], "ValueError: it is too long")
    [frame] = bus.published
    assert frame.topic == INVALID
    [item] = wire.unpack_frame(frame.body)
    where, why, octets, size, at = msgpack.unpackb(item)
    assert (where, why, at) == ("inbound of east", "ValueError: it is too long", T0)
    assert octets.decode() == repr(SAID) and size == len(octets)
