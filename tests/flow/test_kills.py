"""kill -9 of every process and of the broker under load, the short deterministic run; the long one is tests/fault."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fault import kills
from tests.flow.deployment import ALL, SPLIT, Servers, deployed
from tests.servers import RabbitNode


@pytest.mark.timeout(240)
async def test_embedded_survives_kill_9(tmp_path: Path) -> None:
    rng = random.Random(7)
    async with deployed(tmp_path, Servers()) as it:
        killers = [kills.process_killer(it, ALL[0], rng) for _ in range(3)]
        counted = await kills.run(it, 300, killers, rng, pause=(0.3, 0.8))
    assert counted.arrived + counted.unknown >= 300


@pytest.mark.timeout(300)
async def test_every_process_and_the_broker_killed(
    tmp_path: Path, own_rabbit: RabbitNode, redis_url: str, postgres_url: str, prefix: str
) -> None:
    rng = random.Random(11)
    servers = Servers(own_rabbit.url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(tmp_path, servers) as it:
        await asyncio.sleep(
            2.0
        )  # a quorum queue killed right after its first declare is lost (RabbitMQ 3.10)
        killers = [kills.process_killer(it, roles, rng) for roles in SPLIT]
        counted = await kills.run(
            it, 400, [*killers, kills.server_killer(own_rabbit)], rng, pause=(0.2, 0.6), seconds=120
        )
    assert counted.arrived + counted.unknown >= 400
