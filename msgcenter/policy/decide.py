"""All that can be decided about one message without counting: consent, content and quiet time, in the order in which the
stages ask; what dry runs and policy tests print."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from msgcenter.policy import consent, quiet
from msgcenter.policy.consent import Needs, Refusal, Said
from msgcenter.policy.content import Checked
from msgcenter.policy.held import Drop, Wait, act
from msgcenter.policy.quiet import NOTHING, Wishes
from msgcenter.policy.rules import Rules
from msgcenter.policy.when import Facts
from protocols.envelope import Decision

Outcome = Literal["send", "wait", "downgrade", "review", "refuse"]

_BY_CONTENT: dict[str, tuple[Outcome, str]] = {
    "block": ("refuse", "content_blocked"),
    "hold": ("review", "content_review"),
}


@dataclass(frozen=True, slots=True)
class Customer:
    """What is known of the recipient."""

    wishes: Wishes = NOTHING
    consents: Sequence[Said] = ()
    refusals: Sequence[Refusal] = ()


@dataclass(frozen=True, slots=True)
class Asked:
    """One message. `facts.zone` need not be right: it is found by customer, city and tenant. `since`: when it was first held, 0 =
    now; `expires_at` 0 = never; epoch milliseconds. `number`: the access number it is sent from."""

    facts: Facts
    message: str = ""
    text: str = ""
    number: str = ""
    since: int = 0
    expires_at: int = 0
    approved: bool = False
    """Somebody has looked at the text: rules that hold it for review let it pass."""
    personal: bool = True
    """It goes to a customer; staff and groups are nobody whose consent is needed."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """`code`: why it is not simply sent. `until`: for wait. `to`: for downgrade. `text`: what may be sent (masked)."""

    outcome: Outcome
    decisions: tuple[Decision, ...]
    code: str = ""
    rule: str = ""
    until: int = 0
    to: str = ""
    text: str = ""


_FREE = Needs(opt_out=False)


def decide(rules: Rules, asked: Asked, customer: Customer | None = None) -> Ruling:
    """The first rule that does not let the message pass ends it; the decisions up to there are told."""
    customer = customer or Customer()
    zone = quiet.zone_of(rules.quiet, customer.wishes.zone, asked.facts.organisation)
    facts = asked.facts
    if facts.zone is not zone.zone:
        facts = replace(facts, zone=zone.zone)
    word = consent.judge(
        rules.consent,
        rules.needs_of(facts.category) if asked.personal else _FREE,
        facts,
        customer.consents,
        customer.refusals,
        asked.number,
    )
    if isinstance(word, consent.Refused):
        told = Decision("consent", word.rule, "refuse", word.code, facts=word.facts)
        return Ruling("refuse", (told,), word.code, word.rule)
    decisions = [Decision("consent", word.rule, "pass", facts=word.facts)]
    checked = rules.content.check(asked.text, facts)
    decisions.append(told_of(checked))
    if checked.verdict in _BY_CONTENT and not (asked.approved and checked.verdict == "hold"):
        outcome, code = _BY_CONTENT[checked.verdict]
        return Ruling(outcome, tuple(decisions), code, decisions[-1].rule)
    conduct = rules.conduct(facts.category)
    verdict = quiet.judge(rules.quiet, conduct, facts, customer.wishes)
    where = (("zone", f"{zone.name} ({zone.source})"),)
    if isinstance(verdict, quiet.Open):
        decisions.append(Decision("quiet", "quiet", "pass", facts=(*where, *verdict.facts)))
        return Ruling("send", tuple(decisions), text=checked.text)
    what = act(
        conduct,
        verdict,
        message=asked.message,
        since=asked.since or facts.at,
        expires_at=asked.expires_at,
        spread_s=rules.quiet.spread_s,
    )
    told_facts = (*where, *verdict.facts)
    if isinstance(what, Wait):
        told = Decision("quiet", what.rule, "wait", "", what.until, told_facts)
        return Ruling(
            "wait", (*decisions, told), "quiet_hours", what.rule, what.until, text=checked.text
        )
    if isinstance(what, Drop):
        told = Decision("quiet", what.rule, "refuse", what.code, verdict.until, told_facts)
        return Ruling("refuse", (*decisions, told), what.code, what.rule)
    told = Decision("quiet", what.rule, "downgrade", what.to, verdict.until, told_facts)
    return Ruling(
        "downgrade", (*decisions, told), "quiet_hours", what.rule, to=what.to, text=checked.text
    )


def told_of(checked: Checked) -> Decision:
    """A content check as it is written down: rules and what they found, never the text."""
    if not checked.hits:
        return Decision("content", "content", checked.verdict)
    strictest = [hit for hit in checked.hits if hit.action == checked.verdict]
    facts = tuple(
        (hit.rule, f"{hit.what} at {hit.start}-{hit.end}: {hit.action}") for hit in checked.hits
    )
    return Decision("content", strictest[0].rule, checked.verdict, facts=facts)
