"""Order inside a conversation over the whole road, with refusals and a killed worker; the long run is tests/fault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import conversations, kills
from tests.flow.deployment import ALL, Servers, deployed


@pytest.mark.timeout(240)
async def test_embedded_keeps_order(tmp_path: Path) -> None:
    rng = random.Random(3)
    async with deployed(tmp_path, Servers()) as it:
        it.smsc.faults.throttle_fraction = 0.05
        killers = [kills.process_killer(it, ALL[0], rng)]
        await conversations.run(it, 20, 10, killers, rng, pause=(0.3, 0.6), seconds=120)


@pytest.mark.timeout(240)
async def test_production_keeps_order(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    rng = random.Random(5)
    servers = Servers(rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(tmp_path, servers) as it:
        it.smsc.faults.throttle_fraction = 0.05
        killers = [kills.process_killer(it, roles, rng) for roles in ("channel", "submit")]
        await conversations.run(it, 20, 10, killers, rng, pause=(0.3, 0.6), seconds=120)
