"""Retry: the budget of a category, jitter, the far end's own wish, never past the expiry."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.policy.retry import BACKOFF, GiveUp, RetryRule, counts, next_try
from protocols.outcome import Retry, Scope
from tests.unit.rig import T0, message

RULE = RetryRule(max_tries=3, max_age_s=100.0)
BUSY = Retry("message", "busy")


class Middle(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2


def ask(rule=RULE, retry=BUSY, now=T0, **envelope):
    return next_try(rule, message(**envelope), retry, now, Middle())


@pytest.mark.parametrize("tries", range(12))
def test_the_back_off_grows_and_its_last_step_repeats(tries: int) -> None:
    wait = ask(RetryRule(max_tries=99, max_age_s=1e9), tries=tries)
    assert wait == pytest.approx(BACKOFF[min(tries, len(BACKOFF) - 1)])


@given(st.integers(), st.integers(0, 7))
def test_jitter_stays_within_a_fifth(seed: int, tries: int) -> None:
    rule = RetryRule(max_tries=99, max_age_s=1e9)
    wait = next_try(rule, message(tries=tries), BUSY, T0, random.Random(seed))
    assert isinstance(wait, float)
    assert 0.8 * BACKOFF[tries] <= wait <= 1.2 * BACKOFF[tries]


def test_the_far_ends_wish_counts_when_it_is_longer() -> None:
    assert ask(retry=Retry("message", "", 20.0)) == 20.0
    assert ask(retry=Retry("message", "", 0.1)) == pytest.approx(1.0)


def test_a_budget_of_n_tries_is_n_passes() -> None:
    assert isinstance(ask(tries=1), float)
    given_up = ask(tries=2)
    assert isinstance(given_up, GiveUp)
    assert (given_up.code, "3 tries" in given_up.detail) == ("retries_exhausted", True)


def test_a_channel_that_could_not_take_it_costs_no_try_but_time_still_runs() -> None:
    retry = Retry("channel", "throttled")
    assert counts(BUSY)
    assert not counts(retry)
    assert isinstance(ask(RetryRule(max_tries=3, max_age_s=1e9), retry, tries=50), float)
    assert ask(retry=retry, now=T0 + 100_001) == GiveUp(
        "retries_exhausted", "older than 100 s, the last: throttled"
    )


@pytest.mark.parametrize(
    ("scope", "code", "costs"),
    [
        ("message", "wecom_-1", True),
        ("recipient", "busy", True),
        ("channel", "wecom_-1", False),
        ("account", "account_held", False),
        ("recipient", "wecom_member_limit", False),
        ("message", "kf_bare_limit", False),
        ("recipient", "waits", False),
        ("recipient", "group_creating", False),
        ("recipient", "limits", True),
    ],
)
def test_whose_fault_a_try_is(scope: Scope, code: str, costs: bool) -> None:
    assert counts(Retry(scope, "", 0.0, code)) is costs


def test_no_try_falls_on_or_after_the_expiry() -> None:
    late = ask(expires_at=T0 + 1000)
    assert isinstance(late, GiveUp)
    assert late.code == "expired_in_retry"
    assert ask(expires_at=T0 + 1001) == pytest.approx(1.0)


def test_the_age_of_a_message_with_send_at_begins_then() -> None:
    tomorrow = T0 + 86_400_000
    assert isinstance(ask(now=tomorrow, not_before=tomorrow), float)
    assert isinstance(ask(now=tomorrow), GiveUp)


def test_a_rule_may_have_a_back_off_of_its_own() -> None:
    rule = RetryRule(max_tries=9, max_age_s=100.0, backoff=(0.0,))
    assert ask(rule, Retry("message", "", 5.0), tries=4) == 5.0
