"""Consent: marketing goes only with evidence that counts; what the customer said last is what holds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from msgcenter.policy.consent import Allowed, Consent, ConsentRule, Needs, Refusal, Refused, judge
from msgcenter.policy.when import Facts, Matcher

NOW = 1_750_000_000_000
DAY = 86_400_000
MARKETING = Needs(consent=True)
CARE = Needs(consent=False, opt_out=True)
CODE = Needs(consent=False, opt_out=False)
FACTS = Facts(category="marketing", channel="sms", at=NOW)
YES = Consent("sms", "marketing", NOW - DAY, wording="v3", source="app", proof="p1")
NO = Refusal("sms", "*", NOW - 2 * DAY)
STRICT = ConsentRule(
    "strict",
    wordings=frozenset({"v3"}),
    sources=frozenset({"app"}),
    proof=True,
    valid_for=30 * 86400.0,
)


def ask(
    consents: Sequence[Consent] = (),
    refusals: Sequence[Refusal] = (),
    needs: Needs = MARKETING,
    rules: Sequence[ConsentRule] = (),
    facts: Facts = FACTS,
    number: str = "",
) -> str:
    verdict = judge(rules, needs, facts, consents, refusals, number)
    return verdict.code if isinstance(verdict, Refused) else "allowed"


@pytest.mark.parametrize(
    ("consents", "refusals", "needs", "code"),
    [
        ([], [], MARKETING, "no_consent"),
        ([YES], [], MARKETING, "allowed"),
        ([replace(YES, channel="*", category="*")], [], MARKETING, "allowed"),
        ([replace(YES, channel="kf")], [], MARKETING, "no_consent"),
        ([replace(YES, category="care")], [], MARKETING, "no_consent"),
        ([YES, replace(YES, at=NOW, state="withdrawn")], [], MARKETING, "consent_withdrawn"),
        ([replace(YES, at=NOW), replace(YES, state="withdrawn")], [], MARKETING, "allowed"),
        ([YES, replace(YES, state="withdrawn")], [], MARKETING, "consent_withdrawn"),
        ([replace(YES, keep_until=NOW)], [], MARKETING, "consent_expired"),
        ([replace(YES, keep_until=NOW + 1)], [], MARKETING, "allowed"),
        # an opt-out, and what lifts it
        ([YES], [NO], MARKETING, "allowed"),
        ([YES], [replace(NO, at=NOW)], MARKETING, "opted_out"),
        ([YES], [replace(NO, at=YES.at)], MARKETING, "opted_out"),
        ([YES], [replace(NO, at=NOW, channel="kf")], MARKETING, "allowed"),
        ([YES], [replace(NO, at=NOW, category="care")], MARKETING, "allowed"),
        ([], [NO], CARE, "opted_out"),
        ([], [NO], CODE, "allowed"),
        ([], [], CARE, "allowed"),
        # taken back is a refusal even where no consent was needed
        ([replace(YES, state="withdrawn")], [], CARE, "consent_withdrawn"),
        ([replace(YES, state="withdrawn")], [], CODE, "allowed"),
        # consent that is needed on some kinds only
        ([], [], Needs(True, frozenset({"kf"})), "allowed"),
        ([], [], Needs(True, frozenset({"sms"})), "no_consent"),
    ],
)
def test_what_was_said_last_holds(
    consents: list[Consent], refusals: list[Refusal], needs: Needs, code: str
) -> None:
    assert ask(consents, refusals, needs) == code
    assert ask(consents[::-1], refusals, needs) == code


def test_an_opt_out_of_one_number_leaves_the_others() -> None:
    refusal = Refusal("sms", "*", NOW, number="1069001")
    assert ask([YES], [refusal], number="1069001") == "opted_out"
    assert ask([YES], [refusal], number="1069002") == "allowed"


@pytest.mark.parametrize(
    ("consent", "code"),
    [
        (YES, "allowed"),
        (replace(YES, wording="v2"), "consent_not_valid"),
        (replace(YES, source="paper"), "consent_not_valid"),
        (replace(YES, proof=""), "consent_not_valid"),
        (replace(YES, at=NOW - 30 * DAY), "consent_expired"),
        (replace(YES, at=NOW - 30 * DAY + 1), "allowed"),
        # of two ends the earlier one
        (replace(YES, keep_until=NOW), "consent_expired"),
        (replace(YES, at=NOW - 30 * DAY, keep_until=NOW + DAY), "consent_expired"),
    ],
)
def test_a_rule_says_what_counts(consent: Consent, code: str) -> None:
    assert ask([consent], rules=[STRICT]) == code
    elsewhere = replace(STRICT, when=Matcher(channels=frozenset({"kf"})))
    kept = consent.keep_until == 0 or consent.keep_until > NOW
    assert ask([consent], rules=[elsewhere]) == ("allowed" if kept else "consent_expired")


def test_the_first_rule_that_fits_is_the_one() -> None:
    lenient = ConsentRule("lenient", when=Matcher(categories=frozenset({"marketing"})))
    bad = replace(YES, proof="")
    assert ask([bad], rules=[lenient, STRICT]) == "allowed"
    assert ask([bad], rules=[STRICT, lenient]) == "consent_not_valid"


def test_the_evidence_is_told() -> None:
    verdict = judge([STRICT], MARKETING, FACTS, [YES], [])
    assert isinstance(verdict, Allowed)
    assert verdict.rule == "strict"
    assert dict(verdict.facts) == {
        "category": "marketing",
        "channel": "sms",
        "state": "granted",
        "wording": "v3",
        "said_at": str(NOW - DAY),
        "source": "app",
        "proof": "p1",
    }
    refused = judge([STRICT], MARKETING, FACTS, [replace(YES, wording="v1")], [])
    assert dict(refused.facts)["wanted_wording"] == "v3"
