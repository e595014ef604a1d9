"""Lanes in full size (`make test-fault`): codes and opportunities pass a bulk of 100,000 by."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.lanes import RATE, TIERS, measure, quantile

pytestmark = pytest.mark.fault

MOST = 3.0
"""p99 under the bulk, as a multiple of that on the idle system in the same run."""


@pytest.mark.timeout(600)
async def test_a_bulk_of_100000_is_passed_by_codes_and_opportunities(tmp_path: Path) -> None:
    """Opportunities and codes reach the channel's call in at most three times what they take on an idle system, and in a small
    part of the time that the rest of the bulk needs at the channel's rate."""
    found = await measure(tmp_path, 100_000, 200)
    assert found.left > 0, "the bulk ended before the probes did"
    behind = found.left / RATE * 1000
    for category in TIERS:
        assert found.ratio(category) <= MOST, (category, found.idle, found.loaded)
        assert quantile(found.loaded[category], 0.99) < behind / 10, (category, behind)
