"""The stop button over the whole product: four processes, a queue of messages, kill -9 in the middle, each sent once in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault.pausing import run


@pytest.mark.timeout(240)
async def test_a_paused_campaign_stays_silent_over_a_restart_and_then_leaves_once(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    await run(tmp_path, rabbit_url, redis_url, postgres_url, prefix, messages=2000, rate=400)
