"""Deferred messages outlive kill -9; the long run, on production parts, is tests/fault."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.fault import deferred, kills
from tests.flow.deployment import ALL, Servers, deployed


@pytest.mark.timeout(240)
async def test_200_deferred_outlive_kill_9(tmp_path: Path) -> None:
    rng = random.Random(5)
    # A campaign just held has a sixth of the whole to spread over: 2 s.
    async with deployed(tmp_path, Servers(), **deferred.rules("12s")) as it:
        killers = [kills.process_killer(it, ALL[0], rng)] * 2
        took = await deferred.run(it, 200, killers, muted_s=20, patience=120)
    assert took > 1.0, f"a release is spread; all left within {took:.3f} s"
