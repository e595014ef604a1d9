"""Lanes over a whole process, at a fiftieth of the size of tests/fault/test_lanes_long.py: urgent messages pass a bulk by."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lanes import TIERS, measure, quantile


@pytest.mark.timeout(120)
async def test_a_bulk_of_2000_is_passed_by_codes_and_opportunities(tmp_path: Path) -> None:
    """The bulk takes 10 s at 200 messages a second; whoever had to queue behind it would wait for seconds. Which multiple of
    the idle system's time it is, is measured in full size: a small sample on a busy machine does not tell."""
    found = await measure(tmp_path, 2000, 20, rate=200)
    assert found.left > 200, "the bulk ended before the probes did"
    for category in TIERS:
        behind = found.left / 200 * 1000
        assert quantile(found.loaded[category], 0.5) < behind / 4, (category, found)
