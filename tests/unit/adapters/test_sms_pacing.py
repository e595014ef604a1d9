"""The rate under flow control: halved once a moment, given back in a straight line."""

from __future__ import annotations

from math import inf

from adapters.sms.pacing import Pace


def took(pace: Pace, now: float) -> bool:
    """Whether one more could be written."""
    if pace.room(now) < 1:
        assert pace.wait > 0
        return False
    assert pace.wait == 0
    pace.took(1)
    return True


def rate_over(pace: Pace, start: float, seconds: float, step: float = 0.001) -> float:
    """Parts a second that a greedy writer gets."""
    taken = 0
    for tick in range(int(seconds / step)):
        while took(pace, start + tick * step):
            taken += 1
            if taken > 1_000_000:
                raise AssertionError("no bound at all")
    return taken / seconds


def test_a_bound_is_kept() -> None:
    pace = Pace(100)
    assert 100 <= rate_over(pace, 10.0, 5.0) <= 103


def test_flow_control_halves_once_and_time_gives_back() -> None:
    pace = Pace(100, recover_s=10.0, hold_s=1.0)
    rate_over(pace, 10.0, 1.0)
    assert pace.slow_down(11.0)
    assert not pace.slow_down(11.5), "the same moment"
    assert 49 < pace.rate <= 50
    assert pace.slow_down(12.5)
    assert 28 < pace.rate < 29, "half of what it had come back to"
    assert 36 < rate_over(pace, 12.5, 4.0) < 43, "rising by 5 a second"
    rate_over(pace, 16.5, 12.0)
    assert pace.rate == 100
    assert 97 <= rate_over(pace, 40.0, 2.0) <= 106


def test_the_rate_never_falls_below_a_twentieth() -> None:
    pace = Pace(200, hold_s=1.0)
    rate_over(pace, 98.0, 2.0)
    for second in range(20):
        pace.slow_down(100.0 + 2 * second)
    assert 9 < pace.rate <= 10


def test_without_a_bound_it_learns_from_what_it_took() -> None:
    pace = Pace(0, recover_s=10.0)
    for tick in range(1000):
        assert took(pace, 50.0 + tick / 1000)
    assert pace.rate == inf
    pace.slow_down(51.0)
    assert 400 <= pace.rate <= 600, "half of the thousand a second that was too much"
    for tick in range(12):
        took(pace, 51.0 + tick)
    assert pace.rate == inf, "unbounded again"


def test_the_bound_can_change_while_it_runs() -> None:
    pace = Pace(100)
    pace.bound(20)
    rate_over(pace, 10.0, 1.0)
    assert 19 <= rate_over(pace, 11.0, 5.0) <= 22
    pace.bound(0)
    assert took(pace, 20.0)
    assert pace.rate == inf
