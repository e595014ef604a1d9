"""kf with lost callbacks and kill -9 in the middle of pages: every message once and in order in the archive; the long run is tests/fault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import service
from tests.flow.deployment import ALL, SPLIT, Servers


@pytest.mark.timeout(240)
async def test_embedded_relays_every_message_once_and_in_order(tmp_path: Path) -> None:
    rng = random.Random(3)
    async with service.serving(tmp_path, Servers()) as (it, far):
        counted = await service.run(
            it, far, 100, 20, ALL * 2, rng, writing=4.0, pause=0.5, seconds=120
        )
    print(counted)


@pytest.mark.timeout(240)
async def test_production_relays_every_message_once_and_in_order(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    rng = random.Random(5)
    servers = Servers(rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    kills = ("channel", "api", SPLIT[3])
    async with service.serving(tmp_path, servers) as (it, far):
        counted = await service.run(
            it, far, 100, 20, kills, rng, writing=4.0, pause=0.5, seconds=120
        )
    print(counted)
