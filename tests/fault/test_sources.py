"""Two sources, one message, in full size (`make test-fault`): a thousand messages each way."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import sources

pytestmark = pytest.mark.fault


@pytest.mark.timeout(1200)
async def test_1000_messages_each_way(tmp_path: Path) -> None:
    async with sources.core(tmp_path, random.Random(5)) as it:
        print(await sources.run(it, 1000, 12, rate=25, seconds=300))
        print("".join(await sources.reconciled(it)))
