"""Decisions in words: who reads them learns the rule, the reason and when it may go, or that waiting does not help."""

from __future__ import annotations

import pytest

from msgcenter.cli.explaining import step_words
from msgcenter.wording import decision_words, time_words

CAPPED = {
    "stage": "reserve",
    "rule": "daily",
    "verdict": "drop",
    "detail": "person",
    "next_at": "2026-06-16T00:00:00Z",
    "facts": {"daily": "3 of 3"},
}
REFUSED = {
    "stage": "consent",
    "rule": "opt_out",
    "verdict": "refuse",
    "facts": {"opted_out_at": "1781568000000", "number": ""},
}


def test_a_decision_names_rule_reason_and_next_time() -> None:
    assert decision_words(CAPPED) == (
        'frequency cap "daily" refuses it: person (daily: 3 of 3); next eligible 2026-06-16 08:00:00 (Asia/Shanghai)'
    )
    assert decision_words(REFUSED) == (
        'consent "opt_out" refuses it (opted_out_at: 2026-06-16 08:00:00 (Asia/Shanghai)); waiting does not help'
    )
    unknown = {"stage": "mine", "rule": "r", "verdict": "says so"}
    assert decision_words(unknown) == 'mine "r" says so'
    assert time_words("2026-06-16T08:00:00+08:00") == "2026-06-16 08:00:00 (Asia/Shanghai)"


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"verdict": "send", "route": "sms-east"}, "sms to c-1 would leave now by sms-east"),
        (
            {"verdict": "wait", "code": "quiet_hours", "next_at": "2026-06-16T00:00:00Z"},
            "sms to c-1 would wait (quiet_hours) until 2026-06-16 08:00:00 (Asia/Shanghai)",
        ),
        ({"verdict": "wait", "code": "content_review"}, "sms to c-1 would wait (content_review)"),
        ({"verdict": "retry", "code": "away"}, "sms to c-1 would be tried again soon (away)"),
        (
            {"verdict": "refuse", "code": "two", "next_at": "2026-06-16T00:00:00Z"},
            "sms to c-1 would not be sent (two); not before 2026-06-16 08:00:00 (Asia/Shanghai)",
        ),
    ],
)
def test_a_step_says_what_becomes_of_it(more: dict[str, str], words: str) -> None:
    assert step_words({"channel": "sms", "person": "c-1", **more}) == words
