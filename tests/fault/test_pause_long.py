"""100,000 queued messages in four processes, paused, killed, resumed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault import pausing


@pytest.mark.fault
@pytest.mark.timeout(3600)
async def test_100000_queued_messages_stay_silent_and_then_leave_once(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    await pausing.run(
        tmp_path,
        rabbit_url,
        redis_url,
        postgres_url,
        prefix,
        messages=100_000,
        rate=2000,
        patience=1800.0,
    )
