"""10,000 deferred messages, and every part killed: the processes, the broker, Redis, PostgreSQL."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.fault import deferred, kills
from tests.flow.deployment import SPLIT, Servers, deployed
from tests.servers import PostgresServer, RabbitNode, RedisServer


@pytest.mark.fault
@pytest.mark.timeout(1500)
async def test_10000_deferred_and_every_part_killed_in_turn(
    tmp_path: Path,
    own_rabbit: RabbitNode,
    own_redis: RedisServer,
    own_postgres: PostgresServer,
    prefix: str,
) -> None:
    rng = random.Random(3)
    database = await asyncio.to_thread(own_postgres.create_database)
    servers = Servers(own_rabbit.url, own_redis.url, database, prefix.strip("_"))
    # A campaign just held has a sixth of the whole to spread over: 10 s.
    async with deployed(tmp_path, servers, **deferred.rules("60s")) as it:
        rounds = [
            *(kills.process_killer(it, roles, rng) for roles in SPLIT),
            *(kills.server_killer(server) for server in (own_rabbit, own_redis, own_postgres)),
        ]
        took = await deferred.run(it, 10_000, rounds, muted_s=240, patience=300)
    assert took > 5.0, "a release is spread"
