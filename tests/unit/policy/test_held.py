"""A message that quiet time stops waits, goes another way or is dropped with its reason; what waited is let out in order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from msgcenter.policy.held import Downgrade, Drop, Wait, act, release_at
from msgcenter.policy.quiet import NEVER, Closed, Conduct

T0 = 1_750_000_000_000
HOUR = 3_600_000
HOLDS = Conduct(rank=5, on_quiet="hold", max_hold=10 * 3600.0)
CLOSED = Closed(T0 + 8 * HOUR, "night")


def test_it_waits_until_the_window_ends() -> None:
    assert act(HOLDS, CLOSED, message="m", since=T0) == Wait(T0 + 8 * HOUR, T0 + 8 * HOUR, "night")


@pytest.mark.parametrize(
    ("conduct", "closed", "expires_at", "what"),
    [
        (replace(HOLDS, on_quiet="drop"), CLOSED, 0, Drop("quiet_hours", "night")),
        (replace(HOLDS, max_hold=7 * 3600.0), CLOSED, 0, Drop("max_hold", "night")),
        (HOLDS, CLOSED, T0 + 8 * HOUR, Drop("expires_in_quiet", "night")),
        (HOLDS, Closed(NEVER, "night"), 0, Drop("quiet_hours", "night")),
        (HOLDS, Closed(T0 + 99 * HOUR, "customer.mute"), 0, Drop("max_hold", "customer.mute")),
        (
            replace(HOLDS, on_quiet="drop"),
            Closed(T0 + HOUR, "customer.mute"),
            0,
            Drop("muted", "customer.mute"),
        ),
        (
            replace(HOLDS, downgrade_to="platform"),
            Closed(NEVER, "customer.service_only"),
            0,
            Drop("service_only", "customer.service_only"),
        ),
        (
            replace(HOLDS, on_quiet="downgrade", downgrade_to="platform"),
            CLOSED,
            0,
            Downgrade("platform", "night"),
        ),
        (
            replace(HOLDS, max_hold=3600.0, downgrade_to="platform"),
            CLOSED,
            0,
            Downgrade("platform", "night"),
        ),
        (replace(HOLDS, max_hold=0.0, on_quiet="hold"), CLOSED, 0, Drop("max_hold", "night")),
    ],
)
def test_or_it_does_not_wait_for_nothing(
    conduct: Conduct, closed: Closed, expires_at: int, what: object
) -> None:
    assert act(conduct, closed, message="m", since=T0, expires_at=expires_at) == what


def test_the_time_it_has_been_held_counts() -> None:
    assert isinstance(act(HOLDS, CLOSED, message="m", since=T0 - 2 * HOUR), Wait)
    assert act(HOLDS, CLOSED, message="m", since=T0 - 2 * HOUR - 1) == Drop("max_hold", "night")


def test_a_spread_release_stays_inside_max_hold_and_expiry() -> None:
    for n in range(200):
        at_most = act(HOLDS, CLOSED, message=f"m{n}", since=T0 - 2 * HOUR, spread_s=1800.0)
        assert isinstance(at_most, Wait)
        assert at_most.until == T0 + 8 * HOUR  # max_hold ends with the window
        soon = T0 + 8 * HOUR + 60_000
        found = act(HOLDS, CLOSED, message=f"m{n}", since=T0, expires_at=soon, spread_s=1800.0)
        assert isinstance(found, Wait)
        assert found.opens <= found.until < soon


def out(rank: int, waited: float, message: str) -> int:
    return release_at(T0, 1800.0, rank=rank, waited=waited, message=message)


def test_better_tiers_go_first() -> None:
    latest = 0
    for rank in (3, 4, 5, 6):
        times = [out(rank, waited, f"m{n}") for n in range(300) for waited in (0.0, 0.5, 1.0)]
        assert latest <= min(times)
        latest = max(times)
    assert T0 <= latest < T0 + 1_800_000


def test_who_waited_longer_by_half_goes_first() -> None:
    for waited in (0.0, 0.25, 0.5):
        young = [out(5, waited, f"y{n}") for n in range(300)]
        old = [out(5, waited + 0.5, f"o{n}") for n in range(300)]
        assert max(old) <= min(young)


def test_a_campaign_of_one_moment_is_spread() -> None:
    times = sorted(out(5, 0.3, f"msg_{n}") for n in range(6000))
    # a third of the tier's half of 30 minutes: 300 s; none of its 10 parts has more than twice its share
    assert times[-1] - times[0] > 270_000
    parts = [0] * 10
    for time in times:
        parts[min(9, (time - times[0]) // 30_000)] += 1
    assert max(parts) < 1200
    assert times == sorted(out(5, 0.3, f"msg_{n}") for n in range(6000))


def test_without_a_spread_all_leave_when_it_opens() -> None:
    assert release_at(T0, 0.0, rank=5, waited=0.1, message="m") == T0
