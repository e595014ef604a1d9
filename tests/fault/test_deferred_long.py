"""10,000 deferred messages, and every part killed: the processes, the broker, Redis."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fault import deferred, kills
from tests.flow.deployment import SPLIT, Servers, deployed
from tests.servers import RabbitNode, RedisServer


@pytest.mark.fault
@pytest.mark.timeout(1200)
async def test_10000_deferred_and_every_part_killed_in_turn(
    tmp_path: Path, own_rabbit: RabbitNode, own_redis: RedisServer, postgres_url: str, prefix: str
) -> None:
    rng = random.Random(3)
    servers = Servers(own_rabbit.url, own_redis.url, postgres_url, prefix.strip("_"))
    # A campaign just held has a sixth of the whole to spread over: 10 s.
    async with deployed(tmp_path, servers, **deferred.rules("60s")) as it:

        async def kill_broker() -> None:
            await asyncio.to_thread(own_rabbit.kill9)
            await asyncio.to_thread(own_rabbit.start)

        async def kill_redis() -> None:
            await asyncio.to_thread(own_redis.kill9)
            await asyncio.to_thread(own_redis.start)

        rounds = [
            *(kills.process_killer(it, roles, rng) for roles in SPLIT),
            *(kill_broker, kill_redis),
        ]
        took = await deferred.run(it, 10_000, rounds, muted_s=180, patience=300)
    assert took > 5.0, "a release is spread"
