"""Subscriptions over the whole road: a receiver that is away, a process that is killed, a replay from the beginning: no gap, and the
conversation's order."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from adapters.sim.platform import PlatformSim
from msgcenter.simulator import Journal
from tests.fault import kills
from tests.flow.deployment import ALL, SPLIT, Servers, deployed, eventually
from tests.flow.test_callbacks import event_of, texts

SCOPES = ("send", "read", "subscribe", "admin")


@pytest.fixture
async def receiver() -> AsyncIterator[PlatformSim]:
    sim = PlatformSim(PlatformSim.Options(), Journal())
    await sim.start()
    yield sim
    await sim.stop()


async def post(http: aiohttp.ClientSession, path: str, body: Any = None) -> dict[str, Any]:
    async with http.post(path, json=body) as answer:
        found = await answer.json()
        assert answer.status in (200, 201, 202), found
        return dict(found)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("parts", ["embedded", "production"])
async def test_outage_restart_and_replay_leave_no_gap(
    tmp_path: Path, receiver: PlatformSim, request: pytest.FixtureRequest, parts: str
) -> None:
    servers = Servers()
    if parts == "production":
        urls = [request.getfixturevalue(n) for n in ("rabbit_url", "redis_url", "postgres_url")]
        servers = Servers(*urls, request.getfixturevalue("prefix").strip("_"))
    callers = "crm: {scopes: [send, read, subscribe, admin], categories: ['*']}\n"
    async with (
        deployed(tmp_path, servers, callers=callers, key_scopes=SCOPES) as it,
        it.session() as http,
    ):
        body = {"url": receiver.url, "types": ["msgcenter.message.received.v1"]}
        made = await post(http, "/v1/subscriptions", body)
        path = f"/v1/subscriptions/{made['id']}"
        receiver.secrets = (made["secret"],)

        async def say(*said: str) -> None:
            for text in said:
                await it.smsc.inject_mo("13900000001", "10690001", text)

        # what is not asked for is not told
        await post(http, "/v1/messages", {**kills.request(1), "category": "transactional"})
        await say("0", "1")
        await eventually(lambda: texts(receiver) == ["0", "1"], 60)

        # the receiver is away, then the processes die, with events both handed over and not
        await receiver.stop()
        await say("2", "3")

        async def caught_up() -> bool:
            async with http.get(path) as answer:
                return bool((await answer.json())["caught_up"])

        await eventually(caught_up, 60)
        dying = ALL if servers.embedded else [r for r in SPLIT if r not in ("api", "submit")]
        for roles in dying:
            it.kill9(roles)
        for roles in dying:
            it.start(roles)
        await it.ready()
        await say("4")
        await receiver.start()
        await eventually(lambda: len(texts(receiver)) >= 5, 90)
        assert texts(receiver) == ["0", "1", "2", "3", "4"]

        # paused: it waits, in order; another key: the old one is not used alone
        await post(http, f"{path}:pause")
        await say("5", "6")
        turned = await post(http, f"{path}:rotate-secret")
        assert len(texts(receiver)) == 5
        await post(http, f"{path}:resume")
        receiver.secrets = (turned["secret"],)
        await eventually(lambda: len(texts(receiver)) >= 7, 60)
        assert texts(receiver) == [str(number) for number in range(7)]

        # everything again, in the same order, under the same ids; nothing else ever came
        await post(http, f"{path}:replay", {"from": "earliest"})
        await eventually(lambda: len(texts(receiver)) >= 14, 60)
        assert texts(receiver) == [str(number) for number in range(7)] * 2
        entries = receiver.journal.entries()
        assert {event_of(entry)["type"] for entry in entries} == {"msgcenter.message.received.v1"}
        ids = [entry["id"] for entry in entries]
        assert ids[:7] == ids[7:]
        assert len(set(ids)) == 7

        # at its end nothing more comes
        async with http.delete(path) as answer:
            assert answer.status == 200
        await say("7")

        async def read() -> bool:
            async with http.get("/v1/events", params={"limit": "1000"}) as answer:
                found = (await answer.json())["items"]
            return any(e["data"].get("content", {}).get("text") == "7" for e in found)

        await eventually(read, 30)
        assert len(texts(receiver)) == 14
