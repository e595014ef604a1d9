"""The long kf run (`make test-fault`): 1,000 conversations of 100 messages, callbacks lost and processes killed all the while."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import service
from tests.flow.deployment import ALL, SPLIT, Servers

pytestmark = pytest.mark.fault


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("parts", ["embedded", "production"])
async def test_1000_conversations_of_100(
    tmp_path: Path, request: pytest.FixtureRequest, parts: str
) -> None:
    rng = random.Random(8)
    servers, kills = Servers(), ALL * 8
    if parts == "production":
        urls = [
            request.getfixturevalue(name) for name in ("rabbit_url", "redis_url", "postgres_url")
        ]
        servers = Servers(*urls, request.getfixturevalue("prefix").strip("_"))
        kills = (*("channel",) * 6, "api", SPLIT[3])
    async with service.serving(tmp_path, servers) as (it, far):
        counted = await service.run(
            it, far, 1000, 100, kills, rng, writing=40.0, pause=2.0, seconds=1200, lost=0.9
        )
    print(counted)
