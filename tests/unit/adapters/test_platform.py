"""The platform channel: signed calls, one outcome per answer, one bad subscriber alone, no way
inside our network.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import standardwebhooks

from adapters.platform import Platform, PlatformSettings
from adapters.sim.platform import PlatformOptions, PlatformSim
from msgcenter.adapter import (
    Dispatch,
    Rejected,
    Retry,
    Sent,
    Subscriber,
    Unknown,
    Unreachable,
)
from msgcenter.rig import kept
from msgcenter.simulator import Journal
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Notice, Text
from protocols.webhook import signing
from tests.port import FakePort

LOOSE = {"egress": {"allow": ["127.0.0.0/8"], "https_only": False}, "read_s": 0.5, "total_s": 1.0}


def notice(number: int, caller: str = "crm", key: str = "") -> Dispatch:
    body = json.dumps({"id": f"evt_{number}", "type": "t", "text": "您好"}, ensure_ascii=False)
    envelope = Envelope(
        f"msg_{number}",
        "core",
        Address("caller", caller),
        "event",
        1,
        Notice(f"evt_{number}", "t", body),
        0,
        order_key=key,
    )
    return Dispatch(envelope, envelope.token())


@pytest.fixture
async def far() -> AsyncIterator[PlatformSim]:
    sim = PlatformSim(PlatformOptions(), Journal())
    await sim.start()
    yield sim
    await sim.stop()


@pytest.fixture
async def port(far: PlatformSim) -> AsyncIterator[FakePort]:
    made = FakePort()
    made.subscribers["crm"] = Subscriber(far.url, far.secrets)
    yield made
    await made.close()


def adapter_of(port: FakePort, **changes: Any) -> Platform:
    return Platform(PlatformSettings.model_validate({**LOOSE, **changes}), port)


async def one(adapter: Platform, item: Dispatch) -> object:
    (outcome,) = await adapter.deliver([item])
    return outcome


async def test_a_receiver_with_the_reference_library_accepts_it(
    far: PlatformSim, port: FakePort
) -> None:
    adapter = adapter_of(port)
    new = signing.secret_of(bytes(range(32)))
    port.subscribers["crm"] = Subscriber(far.url, (new, *far.secrets))
    async with kept(adapter):
        assert isinstance(await one(adapter, notice(1)), Sent)
    _, headers, _ = far.calls[0]
    payload = notice(1).envelope.payload
    assert isinstance(payload, Notice)
    for secret in (new, *far.secrets):
        event = standardwebhooks.Webhook(secret).verify(payload.body, dict(headers))
        assert event["id"] == "evt_1"
    assert headers["Content-Type"].startswith("application/cloudevents+json")


async def test_the_id_stays_and_the_time_moves_on_over_tries(
    far: PlatformSim, port: FakePort
) -> None:
    adapter = adapter_of(port)
    far.answers["/events"] = 503
    far.options.retry_after_s = 7
    async with kept(adapter):
        outcome = await one(adapter, notice(1))
        assert outcome == Retry("recipient", "the subscriber answered HTTP 503", 7.0, "unavailable")
        await asyncio.sleep(1.1)
        await one(adapter, notice(1))
    heads = [headers for _, headers, _ in far.calls]
    assert len({head["webhook-id"] for head in heads}) == 1
    assert int(heads[1]["webhook-timestamp"]) > int(heads[0]["webhook-timestamp"])
    assert far.journal.total == 0


async def test_no_answer_after_the_bytes_left_is_unknown_and_a_resend_has_one_effect(
    far: PlatformSim, port: FakePort
) -> None:
    adapter = adapter_of(port)
    async with kept(adapter):
        far.drop_next = 1
        assert isinstance(await one(adapter, notice(1)), Unknown)
        far.options.delay_s = 0.8
        assert isinstance(await one(adapter, notice(2)), Unknown)
        far.options.delay_s = 0.0
        for number in (1, 2):
            assert isinstance(await one(adapter, notice(number)), Sent)
    entries = [(entry["id"], entry["repeat"]) for entry in far.journal.entries()]
    assert entries == [("evt_1", False), ("evt_2", False), ("evt_1", True), ("evt_2", True)]


async def test_one_subscriber_down_or_slow_does_not_touch_the_others(
    far: PlatformSim, port: FakePort
) -> None:
    adapter = adapter_of(port)
    port.subscribers["down"] = Subscriber("http://127.0.0.1:9/", far.secrets)
    port.subscribers["wrong"] = Subscriber(far.url, (signing.secret_of(bytes(24)),))
    batch = [notice(1), notice(2, "down"), notice(3), notice(4, "nobody"), notice(5, "wrong")]
    async with kept(adapter):
        outcomes = await adapter.deliver(batch)
    assert [type(outcome) for outcome in outcomes] == [Sent, Retry, Sent, Rejected, Retry]
    assert [getattr(outcome, "code", "") for outcome in outcomes] == [
        "", "unreachable", "", "no_subscriber", "unauthorized",
    ]  # fmt: skip
    assert {getattr(outcome, "scope", "recipient") for outcome in outcomes} == {"recipient"}
    assert far.forged == 1


async def test_one_conversation_stays_in_order_inside_a_batch(
    far: PlatformSim, port: FakePort
) -> None:
    adapter = adapter_of(port)
    far.options.delay_s = 0.01
    batch = [notice(number, key=f"k{number % 5}") for number in range(50)]
    async with kept(adapter):
        outcomes = await adapter.deliver(batch)
        assert all(isinstance(outcome, Sent) for outcome in outcomes)
        got = [int(entry["id"][4:]) for entry in far.journal.entries()]
        for key in range(5):
            assert [number for number in got if number % 5 == key] == list(range(key, 50, 5))

        far.answers["/events"] = 429
        outcomes = await adapter.deliver([notice(90, key="a"), notice(91, key="a")])
    assert [getattr(outcome, "code", "") for outcome in outcomes] == ["throttled", "waits"]
    assert len([call for call in far.calls if call[2] == 429]) == 1


async def test_many_calls_are_in_flight_at_once(far: PlatformSim, port: FakePort) -> None:
    adapter = adapter_of(port, per_host=50)
    far.options.delay_s = 0.2
    async with kept(adapter):
        start = port.clock.monotonic()
        outcomes = await adapter.deliver([notice(number) for number in range(50)])
        took = port.clock.monotonic() - start
    assert all(isinstance(outcome, Sent) for outcome in outcomes)
    assert took < 2.0, "one after the other it would be 10 s"


@pytest.mark.parametrize(
    ("url", "settings", "code"),
    [
        ("http://127.0.0.1:{port}/", {"https_only": False}, "egress_refused"),
        ("http://localhost:{port}/", {"https_only": False}, "egress_refused"),
        ("http://[::1]:{port}/", {"https_only": False}, "egress_refused"),
        ("http://[::ffff:127.0.0.1]:{port}/", {"https_only": False}, "egress_refused"),
        ("http://127.1:{port}/", {"https_only": False}, "bad_subscription"),
        ("http://2130706433:{port}/", {"https_only": False}, "bad_subscription"),
        ("http://127.0.0.1:{port}/", {"allow": ["127.0.0.0/8"]}, "bad_subscription"),
        ("http://user:pass@127.0.0.1:{port}/", {"https_only": False}, "bad_subscription"),
        ("file:///etc/passwd", {"https_only": False}, "bad_subscription"),
        ("not a url", {"https_only": False}, "bad_subscription"),
    ],
)
async def test_no_callback_leads_inside(
    far: PlatformSim, port: FakePort, url: str, settings: dict[str, Any], code: str
) -> None:
    port.subscribers["crm"] = Subscriber(url.format(port=far.port), far.secrets)
    adapter = adapter_of(port, egress=settings)
    async with kept(adapter):
        outcome = await one(adapter, notice(1))
    assert isinstance(outcome, Rejected), outcome
    assert (outcome.scope, outcome.code) == ("recipient", code)
    assert not far.calls
    assert far.journal.total == 0


async def raw(port: FakePort, far: PlatformSim, answer: bytes, pieces: int = 1) -> object:
    """What comes of a server that answers every call with these very octets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            for _ in range(pieces):
                writer.write(answer)
                await writer.drain()
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    where = server.sockets[0].getsockname()[1]
    port.subscribers["crm"] = Subscriber(f"http://127.0.0.1:{where}/", far.secrets)
    adapter = adapter_of(port)
    async with server, kept(adapter):
        return await one(adapter, notice(1))


async def test_a_redirect_is_not_followed(far: PlatformSim, port: FakePort) -> None:
    answer = f"HTTP/1.1 307 x\r\nLocation: {far.url}\r\nContent-Length: 0\r\n\r\n".encode()
    outcome = await raw(port, far, answer)
    assert isinstance(outcome, Retry)
    assert outcome.code == "redirect"
    assert not far.calls


async def test_an_endless_or_broken_body_does_not_change_the_answer(
    far: PlatformSim, port: FakePort
) -> None:
    endless = b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 65536
    assert isinstance(await raw(port, far, endless, pieces=50), Sent)
    half = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"
    assert isinstance(await raw(port, far, half), Sent)


async def test_half_a_header_is_unknown(far: PlatformSim, port: FakePort) -> None:
    assert isinstance(await raw(port, far, b"HTTP/1.1 20"), Unknown)
    assert isinstance(await raw(port, far, b"not http at all\r\n\r\n"), Unknown)


async def test_without_a_session_nothing_leaves(far: PlatformSim, port: FakePort) -> None:
    with pytest.raises(Unreachable):
        await adapter_of(port).deliver([notice(1)])


async def test_only_events_can_be_sent(port: FakePort) -> None:
    envelope = Envelope("msg_1", "c", Address("caller", "crm"), "care", 4, Text("x"), 0)
    adapter = adapter_of(port)
    async with kept(adapter):
        outcome = await one(adapter, Dispatch(envelope, envelope.token()))
    assert isinstance(outcome, Rejected)


async def test_the_simulator_fails_the_share_it_was_told(port: FakePort) -> None:
    options = PlatformOptions(statuses="500=0.3,429=0.3")
    sim = PlatformSim(options, Journal())
    await sim.start()
    port.subscribers["crm"] = Subscriber(sim.url, sim.secrets)
    adapter = adapter_of(port)
    try:
        async with kept(adapter):
            outcomes = await adapter.deliver([notice(number) for number in range(100)])
    finally:
        await sim.stop()
    kinds = {kind: sum(isinstance(o, kind) for o in outcomes) for kind in (Sent, Retry, Unknown)}
    assert sim.journal.total == kinds[Sent]
    assert all(20 < count < 60 for count in kinds.values()), kinds
    assert any(secret in line for line in sim.banner() for secret in sim.secrets)
    with pytest.raises(ValueError, match="statuses"):
        PlatformOptions(statuses="500:0.3")


async def test_the_simulator_takes_orders_while_it_runs(far: PlatformSim, port: FakePort) -> None:
    adapter = adapter_of(port)
    shown = await far.control("faults", {"statuses": "503=1", "retry_after_s": 3})
    assert shown["statuses"] == "503=1"
    assert "secret" not in shown
    async with kept(adapter):
        outcome = await one(adapter, notice(1))
        assert isinstance(outcome, Retry)
        assert outcome.after == 3.0
        await far.control("faults", {"statuses": ""})
        assert isinstance(await one(adapter, notice(1)), Sent)
    journal = await far.control("journal", {"limit": 1})
    assert (journal["total"], journal["entries"][0]["id"]) == (1, "evt_1")
    for command, args in (("faults", {"port": 1}), ("faults", {"nonsense": 1}), ("dance", {})):
        with pytest.raises(ValueError, match=r"port|nonsense|dance"):
            await far.control(command, args)
