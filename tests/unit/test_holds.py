"""Holds: one failing account is left alone, longer each time; the others never notice."""

from __future__ import annotations

from msgcenter.clock import ManualClock
from msgcenter.holds import FIRST_S, LAST_S, PROBE_S, UNKNOWNS, Holds
from protocols.outcome import Rejected, Retry, Sent, Unknown

LOST = Retry("account", "login lost", code="login")


async def test_a_hold_doubles_and_ends_with_a_success() -> None:
    clock = ManualClock()
    holds = Holds(clock)
    assert holds.remaining("a") == (0.0, "")
    expected = FIRST_S
    for _ in range(8):
        holds.learn([("a", LOST), ("a", LOST), ("b", Sent())])
        assert holds.remaining("a") == (expected, "login lost")
        assert holds.remaining("b") == (0.0, "")
        await clock.advance(expected)
        assert holds.remaining("a")[0] == 0.0
        expected = min(expected * 2, LAST_S)
    holds.learn([("a", Sent()), ("a", LOST)])
    assert holds.remaining("a")[0] == FIRST_S


async def test_the_far_ends_own_wait_is_kept() -> None:
    holds = Holds(ManualClock())
    holds.learn([("a", Retry("account", "45009", 17.0, "45009"))])
    assert holds.remaining("a")[0] == 17.0


async def test_lost_answers_hold_only_in_a_row_and_other_troubles_never() -> None:
    holds = Holds(ManualClock())
    for _ in range(UNKNOWNS - 1):
        holds.learn([("a", Unknown("time-out"))])
    holds.learn([("a", Rejected("recipient", "blocked", "x"))])
    for _ in range(UNKNOWNS - 1):
        holds.learn([("a", Unknown("time-out"))])
    assert holds.remaining("a")[0] == 0.0
    holds.learn([("a", Unknown("time-out"))])
    assert holds.remaining("a")[0] == FIRST_S
    for outcome in (Retry("channel", "x"), Retry("recipient", "x"), Rejected("account", "x", "y")):
        holds.learn([("b", outcome)])
    assert holds.remaining("b")[0] == 0.0


async def test_one_message_tries_for_all_when_a_hold_ends() -> None:
    clock = ManualClock()
    holds = Holds(clock)
    assert [holds.probe("a"), holds.probe("a")] == [(0.0, "")] * 2  # nothing is wrong: all go
    holds.learn([("a", LOST)])
    await clock.advance(FIRST_S)
    assert [holds.probe("a"), holds.probe("a")] == [(0.0, ""), (PROBE_S, "login lost")]
    holds.learn([("a", LOST)])
    assert holds.remaining("a")[0] == 2 * FIRST_S
    await clock.advance(2 * FIRST_S)
    assert holds.probe("a")[0] == 0.0
    holds.learn([("a", Sent())])
    assert [holds.probe("a"), holds.probe("a")] == [(0.0, "")] * 2
    holds.learn([("a", LOST)])
    await clock.advance(FIRST_S)
    assert holds.probe("a")[0] == 0.0  # its answer never comes: the next one tries
    await clock.advance(PROBE_S)
    assert holds.probe("a")[0] == 0.0
