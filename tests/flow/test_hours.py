"""Hours pass: caps give room again and no window ever holds too many; a night ends, over a restart, and all leave once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault import hours


@pytest.mark.timeout(120)
async def test_200_messages_three_an_hour_and_five_a_day(tmp_path: Path) -> None:
    left = await hours.capped(tmp_path, count=200, people=10, patience=60)
    assert left == {"first hour": 30, "second hour": 50}


@pytest.mark.timeout(120)
async def test_a_night_ends_after_a_restart(tmp_path: Path) -> None:
    took = await hours.night(tmp_path, count=60, patience=60)
    assert took > 1.0, "a release is spread"


def test_the_recount_finds_too_many() -> None:
    assert hours.most_within([0, 10, 20, 100], 21) == 3
    assert hours.most_within([0, 10, 20, 100], 20) == 2
    assert hours.most_within([], 20) == 0
