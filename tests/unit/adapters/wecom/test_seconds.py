"""Times in seconds: order within one, repeats, late ones, and bounds."""

from __future__ import annotations

from adapters.wecom.seconds import KEPT, MOST, Seconds


def test_what_comes_in_one_second_keeps_its_order() -> None:
    at = Seconds()
    assert [at("a", 7, key) for key in "xyz"] == [7000, 7001, 7002]
    assert at("b", 7, "x") == 7000, "another conversation"
    assert at("a", 8, "u") == 8000
    assert at("a", 7, "late") == 7003, "after what was told in its second, before the next"


def test_a_repeat_has_the_time_it_had() -> None:
    at = Seconds()
    first = [at("a", 7, key) for key in "xyz"]
    assert [at("a", 7, key) for key in "zyx"] == first[::-1]


def test_no_number_of_them_leaves_their_second() -> None:
    at = Seconds()
    times = [at("a", 7, str(n)) for n in range(MOST + 500)]
    assert times == sorted(times)
    assert times[-1] == 7999


def test_only_so_much_is_remembered() -> None:
    at = Seconds()
    at("first", 7, "x")
    for number in range(KEPT - 1):
        at(str(number), 7, "x")
    assert at("first", 7, "y") == 7001
    for number in range(KEPT):
        at(str(number), 8, "x")
    assert at("first", 7, "z") == 7000
