"""10,000 messages by each carrier protocol over a carrier that delays, throttles and hangs up; and by two suppliers, of which
one dies."""

from __future__ import annotations

import zlib
from collections import Counter

import pytest

from adapters.sms.routing import Health, Option, choose
from tests.fault import sms_load, two_suppliers


@pytest.mark.fault
@pytest.mark.timeout(900)
@pytest.mark.parametrize("protocol", sms_load.PROTOCOLS)
async def test_10000_messages_over_a_bad_carrier(protocol: str) -> None:
    print(await sms_load.run(protocol, 10_000, 600))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("protocol", sms_load.PROTOCOLS)
async def test_200_messages_over_a_bad_carrier(protocol: str) -> None:
    print(await sms_load.run(protocol, 200, 60))


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_10000_messages_by_two_suppliers() -> None:
    print(await two_suppliers.run(10_000, within=0.01))


@pytest.mark.timeout(120)
async def test_200_messages_by_two_suppliers() -> None:
    print(await two_suppliers.run(200, within=0.1))  # so few say no more; the exact share is below


def test_shares_are_within_a_point_over_10000_phones() -> None:
    options = [Option("east", 30), Option("west", 70)]
    health = {"east": Health.UP, "west": Health.UP}
    phones = [f"+86138{number:08d}" for number in range(10_000)]
    took = Counter(
        choose(options, "", health, zlib.crc32(phone.encode()) / 2**32) for phone in phones
    )
    assert abs(took["east"] / 10_000 - 0.3) <= 0.01
