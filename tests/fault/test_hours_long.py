"""Caps over hours at full size: 10,000 messages to 500 customers."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault import hours


@pytest.mark.fault
@pytest.mark.timeout(1200)
async def test_10000_messages_over_500_customers(tmp_path: Path) -> None:
    left = await hours.capped(tmp_path, count=10_000, people=500, patience=500)
    assert left == {"first hour": 1500, "second hour": 2500}


@pytest.mark.fault
@pytest.mark.timeout(1200)
async def test_3000_of_a_night(tmp_path: Path) -> None:
    assert await hours.night(tmp_path, count=3000, patience=500) > 1.0
