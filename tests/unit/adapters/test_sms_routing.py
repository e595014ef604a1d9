"""Which supplier carries a number, case by case; health, carriers, and what is learned of numbers
that have moved.
"""

from __future__ import annotations

from collections import Counter

import pytest

from adapters.sms.carriers import Ported, carrier_of
from adapters.sms.routing import Breaker, Health, Option, choose
from tests.port import FakePort

UP, PROBE, OPEN, DOWN = Health.UP, Health.PROBE, Health.OPEN, Health.DOWN
A, B = Option("a", 3), Option("b", 1)
SPARE = Option("spare", backup=True)
CM = Option("cm", carriers=frozenset({"mobile"}))
CU = Option("cu", carriers=frozenset({"unicom"}))
CT = Option("ct", carriers=frozenset({"telecom", "broadnet"}))


@pytest.mark.parametrize(
    ("suppliers", "carrier", "health", "dice", "chosen"),
    [
        ([A, B], "", {"a": UP, "b": UP}, 0.0, "a"),
        ([A, B], "", {"a": UP, "b": UP}, 0.74, "a"),
        ([A, B], "", {"a": UP, "b": UP}, 0.76, "b"),
        ([A, B], "", {"a": DOWN, "b": UP}, 0.0, "b"),
        ([A, B], "", {"a": OPEN, "b": UP}, 0.0, "b"),
        ([A, B], "", {"a": PROBE, "b": UP}, 0.0, "a"),
        ([A, B], "", {"a": OPEN, "b": DOWN}, 0.9, "a"),  # the last way out stays open
        ([A, B], "", {"a": DOWN, "b": DOWN}, 0.0, None),
        ([A, B], "", {}, 0.0, None),
        ([A, SPARE], "", {"a": UP, "spare": UP}, 0.99, "a"),
        ([A, SPARE], "", {"a": OPEN, "spare": UP}, 0.0, "spare"),
        ([A, SPARE], "", {"a": DOWN, "spare": UP}, 0.0, "spare"),
        ([A, SPARE], "", {"a": OPEN, "spare": OPEN}, 0.0, "a"),
        ([Option("a", 0), B], "", {"a": UP, "b": UP}, 0.0, "b"),
        ([Option("a", 0), B], "", {"a": UP, "b": DOWN}, 0.0, None),  # 0 = nothing, whatever comes
        ([CM, CU, CT], "unicom", {"cm": UP, "cu": UP, "ct": UP}, 0.0, "cu"),
        ([CM, CU, CT], "broadnet", {"cm": UP, "cu": UP, "ct": UP}, 0.0, "ct"),
        ([CM, CU], "unicom", {"cm": UP, "cu": DOWN}, 0.0, None),  # it waits for its own
        ([CM, CU, SPARE], "unicom", {"cm": UP, "cu": DOWN, "spare": UP}, 0.0, "spare"),
        ([CM, CU], "!mobile", {"cm": UP, "cu": UP}, 0.0, "cu"),
        (
            [CM, CU],
            "telecom",
            {"cm": UP, "cu": UP},
            0.0,
            "cm",
        ),  # nobody is contracted: let them say
        ([CM, CU], "", {"cm": UP, "cu": UP}, 0.6, "cu"),  # unknown: by weight
        ([Option("x", 0, True), Option("y", 0, True)], "", {"x": UP, "y": UP}, 0.6, "y"),
    ],
)
def test_choose(
    suppliers: list[Option], carrier: str, health: dict[str, Health], dice: float, chosen: str
) -> None:
    assert choose(suppliers, carrier, health, dice) == chosen


def test_weights_are_shares() -> None:
    health = {"a": UP, "b": UP}
    drawn = Counter(choose([A, B], "", health, number / 1000) for number in range(1000))
    assert drawn == {"a": 750, "b": 250}


def test_a_breaker_opens_probes_and_closes() -> None:
    breaker = Breaker(3, 10.0)
    assert [breaker.failed(0.0), breaker.failed(0.0)] == [False, False]
    assert breaker.health(0.0) is UP
    assert breaker.failed(1.0)
    assert breaker.health(10.9) is OPEN
    assert breaker.health(11.0) is PROBE
    breaker.chosen(11.0)
    assert breaker.health(11.1) is OPEN, "one at a time"
    assert not breaker.failed(12.0)
    assert breaker.health(21.9) is OPEN
    breaker.chosen(22.0)
    breaker.answered()
    assert breaker.health(22.0) is UP
    breaker.failed(23.0)
    assert breaker.health(23.0) is UP, "only failures in a row count"


@pytest.mark.parametrize(
    ("number", "carrier"),
    [
        ("13800138000", "mobile"),
        ("18600000000", "unicom"),
        ("18900000000", "telecom"),
        ("19200000000", "broadnet"),
        ("19700000000", "mobile"),
        ("1440012345678", "mobile"),  # 13 digits: things
        ("1064912345678", "telecom"),
        ("1410012345678", "telecom"),
        ("10086", ""),
        ("13", ""),
        ("", ""),
    ],
)
def test_whose_network(number: str, carrier: str) -> None:
    assert carrier_of(number) == carrier


def test_data_comes_before_the_plan_and_the_longest_beginning_wins() -> None:
    ranges = {"138": "unicom", "1380013": "telecom"}
    assert carrier_of("13800138000", ranges) == "telecom"
    assert carrier_of("13811138000", ranges) == "unicom"
    assert carrier_of("13900138000", ranges) == "mobile"


async def test_a_moved_number_is_known_to_all_processes_until_it_expires() -> None:
    clock = _Clock()
    one = FakePort("sms", clock)
    other = FakePort("sms", clock, one.state)
    ported = Ported(one, 3600.0)
    await ported.learn("13800138000", "unicom")
    assert await ported.lookup(["13800138000", "13900139000"]) == {"13800138000": "unicom"}
    elsewhere = Ported(other, 3600.0)
    assert await elsewhere.lookup(["13800138000"]) == {"13800138000": "unicom"}
    clock.now += 4000
    assert await ported.lookup(["13800138000"]) == {}
    assert await elsewhere.lookup(["13800138000"]) == {}


class _Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def monotonic(self) -> float:
        return self.now

    def now_ms(self) -> int:
        return int(self.now * 1000)

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
