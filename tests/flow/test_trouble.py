"""Trouble around the product: a link that flaps, a broker that is away or blocked, garbage on the bus; nothing is lost or made up."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import aiohttp
import msgpack
import psutil
import pytest

from msgcenter.bus import Frame
from msgcenter.bus.rabbit import RabbitBus
from msgcenter.clock import SystemClock, system_random
from tests.fault import kills
from tests.flow.deployment import ALL, SPLIT, Deployment, Servers, deployed, eventually
from tests.servers import RabbitNode


async def flap(it: Deployment, times: int, down: float, up: float, *, cable: bool) -> None:
    """End the link and refuse new ones for a while, again and again: by TERMINATE, or like a pulled cable."""
    for _ in range(times):
        it.smsc.faults.down = True
        if cable:
            it.smsc.unplug(flush=True)
        else:
            it.smsc.terminate()
        await asyncio.sleep(down)
        it.smsc.faults.down = False
        await asyncio.sleep(up)


async def flapping(it: Deployment, count: int, times: int, *, cable: bool) -> Counter[str]:
    """Marketing messages under a flapping link: none is sent twice, none is dead-lettered.

    By TERMINATE every message arrives and is delivered. A pulled cable may take what was on the wire (at most the windows
    of its connections): that is Unknown, and nobody can know better; nothing else may be.
    """
    it.smsc.faults.response_delay = 0.01
    flaps = asyncio.create_task(flap(it, times, 0.15, 0.35, cable=cable))
    async with it.session() as http:
        ids: list[str] = []
        for start in range(0, count, 500):
            items = [
                {**kills.request(2 * n), "to": f"tel:+86136{n:08d}"}
                for n in range(start, min(start + 500, count))
            ]
            async with http.post("/v1/messages:batch", json={"messages": items}) as answer:
                ids += [result["id"] for result in (await answer.json())["results"]]
        assert len(ids) == count
        await flaps
        views = await kills.final_statuses(it, ids, 120)
        async with http.get("/v1/dead-letters") as answer:
            assert (await answer.json())["items"] == []
    arrived = Counter(submit[0] for submit in it.smsc.submits)
    statuses = Counter(view["status"] for view in views.values())
    assert all(n == 1 for n in arrived.values()), arrived.most_common(3)
    assert set(statuses) <= ({"delivered", "unknown"} if cable else {"delivered"}), statuses
    for view in views.values():
        if view["status"] == "delivered":
            assert arrived[view["to"].removeprefix("tel:+86")] == 1, view
    assert statuses["unknown"] <= times * 2 * 16, statuses
    return statuses


@pytest.mark.timeout(240)
@pytest.mark.parametrize("cable", [False, True], ids=["terminate", "cable"])
async def test_a_flapping_link(tmp_path: Path, cable: bool) -> None:
    async with deployed(tmp_path, Servers()) as it:
        await flapping(it, 300, 5, cable=cable)


@pytest.mark.timeout(240)
async def test_broker_down_is_503_and_memory_alarm_is_bounded(
    tmp_path: Path, own_rabbit: RabbitNode, redis_url: str, postgres_url: str, prefix: str
) -> None:
    servers = Servers(own_rabbit.url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(tmp_path, servers, roles=SPLIT) as it:
        accepted: list[str] = []
        refused: list[int] = []

        async def post(http: aiohttp.ClientSession, number: int, key: str) -> int:
            async with http.post(
                "/v1/messages",
                json={**kills.request(number), "category": "transactional"},
                headers={"Idempotency-Key": key},
                timeout=aiohttp.ClientTimeout(total=30),
            ) as answer:
                if answer.status == 202:
                    accepted.append((await answer.json())["id"])
                else:
                    assert answer.headers.get("Retry-After"), await answer.text()
                    refused.append(answer.status)
                return answer.status

        async with it.session() as http:
            assert await post(http, 1, "one") == 202
            await asyncio.sleep(2)

            # the broker is away: refused with a time to come back, never a ghost 202
            await asyncio.to_thread(own_rabbit.stop)
            assert await post(http, 2, "two") in (429, 503)
            await asyncio.to_thread(own_rabbit.start)

            async def again() -> bool:
                return await post(http, 2, "two") == 202

            await eventually(again, 30, 0.3)

            # memory alarm: refused, bounded, and back by itself
            api = psutil.Process(it.processes["api"].pid)
            await asyncio.to_thread(
                own_rabbit.ctl, "set_vm_memory_high_watermark", "absolute", "1MB"
            )
            await asyncio.sleep(1)
            before = api.memory_info().rss
            refused.clear()
            await asyncio.gather(*(post(http, n, f"alarm-{n}") for n in range(1000, 1300)))
            assert set(refused) <= {429, 503, 409}
            assert refused, "nothing was refused under the alarm"
            assert api.memory_info().rss - before < 100 * 1024 * 1024
            await asyncio.to_thread(own_rabbit.ctl, "set_vm_memory_high_watermark", "0.4")

            async def all_in() -> bool:
                codes = await asyncio.gather(
                    *(post(http, n, f"alarm-{n}") for n in range(1000, 1300))
                )
                return set(codes) == {202}

            await eventually(all_in, 60, 0.5)
        await kills.final_statuses(it, list(dict.fromkeys(accepted)), 60)
        arrived = Counter(submit[0] for submit in it.smsc.submits)
        assert set(arrived.values()) == {1}
        assert len(arrived) == 302


async def test_garbage_frames_are_put_aside_and_seen(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    servers = Servers(rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(tmp_path, servers, roles=ALL) as it:
        bus = RabbitBus(rabbit_url, SystemClock(), system_random(), prefix=servers.prefix)
        good = msgpack.packb(["e", ["too short"]])
        bodies = [
            b"",
            b"\x01garbage",
            b"\x02" + msgpack.packb([b"x"]),
            b"\x01" + msgpack.packb([good]),
        ]
        await bus.publish([Frame("submit", "normal", 0, body, 1) for body in bodies])
        await bus.close()
        store = it.store()
        await store.open()
        try:

            async def all_aside() -> bool:
                return (await store.count_invalid()).count == len(bodies)

            await eventually(all_aside)
            rows = (await store.list_invalid()).items
        finally:
            await store.close()
        assert {row.queue for row in rows} == {"submit.normal.0"}
        assert all(row.reason for row in rows)
        async with it.session() as http, http.get("/metrics") as answer:
            assert 'msgcenter_invalid_frames_total{topic="submit"} 4.0' in await answer.text()
