"""Accounts read live and from the archive: every message once, own sends recognised, the day adds up; the full size is in tests/fault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import sources


@pytest.mark.timeout(180)
async def test_two_sources_one_message(tmp_path: Path) -> None:
    async with sources.core(tmp_path, random.Random(3)) as it:
        print(await sources.run(it, 20, 2, rate=20, seconds=60))
        print("".join(await sources.reconciled(it)))
