"""The long runs (`make test-fault`): full-size kills, order and flapping."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fault import conversations, kills
from tests.flow.deployment import ALL, SPLIT, Servers, deployed
from tests.flow.test_trouble import flapping
from tests.servers import RabbitNode

pytestmark = pytest.mark.fault


@pytest.mark.timeout(900)
async def test_2000_messages_and_every_part_killed_on_production_parts(
    tmp_path: Path, own_rabbit: RabbitNode, redis_url: str, postgres_url: str, prefix: str
) -> None:
    rng = random.Random(2)
    servers = Servers(own_rabbit.url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(tmp_path, servers) as it:
        await asyncio.sleep(2.0)
        rounds = [kills.process_killer(it, roles, rng) for roles in SPLIT * 5] + [
            kills.server_killer(own_rabbit)
        ] * 3
        rng.shuffle(rounds)
        it.smsc.faults.response_delay = 0.02
        counted = await kills.run(it, 2000, rounds, rng, pause=(0.1, 1.5), seconds=300)
    print(counted)


@pytest.mark.timeout(900)
async def test_2000_messages_and_30_kills_embedded(tmp_path: Path) -> None:
    rng = random.Random(4)
    async with deployed(tmp_path, Servers()) as it:
        killers = [kills.process_killer(it, ALL[0], rng) for _ in range(30)]
        it.smsc.faults.response_delay = 0.02
        counted = await kills.run(it, 2000, killers, rng, pause=(0.5, 1.5), seconds=300)
    print(counted)


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("parts", ["embedded", "production"])
async def test_200_conversations_of_50(
    tmp_path: Path, request: pytest.FixtureRequest, parts: str
) -> None:
    rng = random.Random(6)
    servers = Servers()
    names = ALL * 4
    if parts == "production":
        urls = [
            request.getfixturevalue(name) for name in ("rabbit_url", "redis_url", "postgres_url")
        ]
        servers = Servers(*urls, request.getfixturevalue("prefix").strip("_"))
        names = ("channel", "submit", "channel", "channel")
    async with deployed(tmp_path, servers) as it:
        it.smsc.faults.throttle_fraction = 0.03
        killers = [kills.process_killer(it, roles, rng) for roles in names]
        print(await conversations.run(it, 200, 50, killers, rng, pause=(1.0, 4.0), seconds=900))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("cable", [False, True], ids=["terminate", "cable"])
async def test_5000_marketing_messages_under_20_flaps(tmp_path: Path, cable: bool) -> None:
    async with deployed(tmp_path, Servers()) as it:
        print(await flapping(it, 5000, 20, cable=cable))
