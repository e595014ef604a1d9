"""Events to a caller's callback over the whole road: signed, in order, each once; a subscriber that is down waits and misses nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from adapters.sim.platform import PlatformSim
from msgcenter.simulator import Journal
from tests.fault import kills
from tests.flow.deployment import ALL, SPLIT, Servers, deployed, eventually

SECRET = "whsec_" + base64.b64encode(b"a secret of the callback, 24+").decode()


@pytest.fixture
async def platform() -> AsyncIterator[PlatformSim]:
    sim = PlatformSim(PlatformSim.Options(secret=SECRET), Journal())
    await sim.start()
    yield sim
    await sim.stop()


def callers(platform: PlatformSim) -> str:
    return (
        "crm:\n  scopes: [send, read, 'read:all', admin]\n  categories: ['*']\n"
        f"  callback: {{url: '{platform.url}', secret: '${{env:CALLBACK_SECRET}}'}}\n"
    )


@pytest.mark.timeout(180)
@pytest.mark.parametrize("parts", ["embedded", "production"])
async def test_status_events_and_replies_reach_the_callback(
    tmp_path: Path,
    platform: PlatformSim,
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    parts: str,
) -> None:
    monkeypatch.setenv("CALLBACK_SECRET", SECRET)
    servers = Servers()
    if parts == "production":
        urls = [request.getfixturevalue(n) for n in ("rabbit_url", "redis_url", "postgres_url")]
        servers = Servers(*urls, request.getfixturevalue("prefix").strip("_"))
    async with deployed(tmp_path, servers, callers=callers(platform)) as it, it.session() as http:
        ids = []
        for number in range(10):
            body = {**kills.request(number), "category": "transactional"}
            async with http.post("/v1/messages", json=body) as answer:
                ids.append((await answer.json())["id"])

        def events() -> dict[str, list[str]]:
            out: dict[str, list[str]] = defaultdict(list)
            for entry in platform.journal.entries():
                event = event_of(entry)
                out[event["data"]["message"]].append(event["type"].split(".")[-2])
            return out

        await eventually(lambda: all("delivered" in events()[message] for message in ids), 30)
        for message in ids:
            told = events()[message]
            assert len(told) == len(set(told)), told
            assert told in (["sent", "delivered"], ["delivered"]), told

        # the subscriber is away; what a customer writes meanwhile comes later, in order, once
        await platform.stop()
        for n in range(5):
            await it.smsc.inject_mo("13900000001", "10690001", f"{n}")
        await asyncio.sleep(1.0)
        assert not texts(platform)
        await platform.start()
        await eventually(lambda: len(texts(platform)) >= 5, 60)
        assert texts(platform) == ["0", "1", "2", "3", "4"]


def event_of(entry: dict[str, Any]) -> dict[str, Any]:
    event = entry["event"]
    return json.loads(event) if isinstance(event, str) else event


def texts(platform: PlatformSim) -> list[str]:
    found = [event_of(entry) for entry in platform.journal.entries()]
    return [e["data"]["content"]["text"] for e in found if e["type"].endswith("received.v1")]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("parts", ["embedded", "production"])
async def test_sigterm_under_load_drains(
    tmp_path: Path, request: pytest.FixtureRequest, parts: str
) -> None:
    """Every process is asked to stop while messages are under way: exit status 0, nothing Unknown, nothing lost."""
    servers = Servers()
    if parts == "production":
        urls = [request.getfixturevalue(n) for n in ("rabbit_url", "redis_url", "postgres_url")]
        servers = Servers(*urls, request.getfixturevalue("prefix").strip("_"))
    async with deployed(tmp_path, servers) as it:
        it.smsc.faults.response_delay = 0.02
        async with it.session() as http:
            items = [kills.request(n) for n in range(600)]
            async with http.post("/v1/messages:batch", json={"messages": items}) as answer:
                ids = [result["id"] for result in (await answer.json())["results"]]
        await eventually(lambda: it.smsc.received_parts > 20)
        first, *rest = (
            ALL if servers.embedded else ("channel", *(r for r in SPLIT if r != "channel"))
        )
        assert await it.terminate(first) == 0, it.tail(first)
        ended = await asyncio.gather(*(it.terminate(roles) for roles in rest))
        assert not any(ended), [it.tail(roles) for roles in rest]
        assert it.smsc.received_parts < 600, "it had all been sent before"
        for roles in ALL if servers.embedded else SPLIT:
            it.start(roles)
        await it.ready()
        views = await kills.final_statuses(it, ids, 60)
        assert {view["status"] for view in views.values()} == {"delivered"}
        assert len(it.smsc.submits) == 600
