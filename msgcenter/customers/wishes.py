"""Wishes: what a person refuses, as gates in State: so that what is already on its way to a channel does not leave either.

Every message is decided by what the directory knows of its person. A refusal that comes after that decision is met at `admit`:
each category it binds has a gate for the person, one more for each kind of channel, one more for each access number. They need
stand no longer than a message may be on its way behind its decision (`KEPT_S`). A person's own quiet windows are no gates: they
come and go by the clock.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from msgcenter.customers import Consent, Person
from msgcenter.customers.person import gate
from msgcenter.policy.consent import Refusal
from msgcenter.policy.rules import Rules
from msgcenter.state import Suppression

OPTED_OUT, SERVICE_ONLY, MUTED = "opted_out", "service_only", "muted"
"""Why a message was not sent; the same codes that `policy.decide` gives."""
BY_CUSTOMER = "opt_out/"
"""How `by` of a consent begins that the customer wrote down itself: by a word, or on the preference page."""
KEPT_S = 35 * 86400.0
"""Longer than any message lives (30 days)."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What the configuration in force says of refusals. `kinds`: of the configured channels."""

    rules: Rules = field(default_factory=Rules)
    kinds: Collection[str] = ()


def refusable(rules: Rules, category: str) -> bool:
    """Whether any wish of a customer binds the category; one that was taken out of the file is bound by all."""
    conduct = rules.conduct(category)
    return rules.needs_of(category).opt_out or conduct.dnd or not conduct.service


def words_of(person: Person) -> tuple[Sequence[Consent], Sequence[Refusal]]:
    """What the person said as `policy.consent.judge` takes it: evidence of consent, and refusals by opt-out."""
    if not person.consents:
        return (), ()
    said: list[Consent] = []
    refused: list[Refusal] = []
    for one in person.consents:
        kind, _, number = one.channel.partition("/")
        if one.state == "withdrawn" and (number or one.by.startswith(BY_CUSTOMER)):
            refused.append(Refusal(kind, one.category, one.at, one.source, number))
        elif not number:
            said.append(one)
    return said, refused


def number_place(kind: str, number: str) -> str:
    """What stands for `channel` in a consent that speaks of one access number alone."""
    return f"{kind}/{number}"


def gates_for(person: str, category: str, kind: str, number: str = "") -> tuple[str, ...]:
    """The gates that a message of a refusable category meets. `number`: what it is sent from, if that is known."""
    own = f"{gate(person)}|{category}"
    out = (own, f"{own}|{kind}")
    return (*out, f"{own}|#{number}") if number else out


def stops(person: Person, at: int, terms: Terms) -> list[Suppression]:
    """Every gate that stands for what the person refuses, under every key that a message of theirs may carry."""
    wish = person.preferences
    refuses = any(one.state == "withdrawn" for one in person.consents)
    if not (refuses or wish.service_only or wish.mutes):
        return []
    found: dict[str, tuple[str, float]] = {}
    for category in terms.rules.conducts:
        general = _why(person, category, "*", at, terms)
        by_kind = {kind: _why(person, category, kind, at, terms) for kind in terms.kinds}
        if general is not None and all(why == general for why in by_kind.values()):
            found[f"|{category}"] = general
        else:
            found |= {f"|{category}|{kind}": why for kind, why in by_kind.items() if why}
        for number in _numbers(person, category, terms):
            found[f"|{category}|#{number}"] = (OPTED_OUT, KEPT_S)
    return [
        Suppression(gate(alias) + place, rule, ttl_s)
        for alias in sorted(person.aliases)
        for place, (rule, ttl_s) in found.items()
    ]


def _why(
    person: Person, category: str, kind: str, at: int, terms: Terms
) -> tuple[str, float] | None:
    """(reason, how long) of the strictest wish against a category on one kind of channel (`*`: on all of them)."""
    rules = terms.rules
    conduct = rules.conduct(category)
    said = person.consent(kind, category) if rules.needs_of(category).opt_out else None
    if said is not None and said.state == "withdrawn":
        return OPTED_OUT, KEPT_S
    if person.preferences.service_only and not conduct.service:
        return SERVICE_ONLY, KEPT_S
    until = person.muted_until(kind, at) if conduct.dnd else 0
    return (MUTED, (until - at) / 1000) if until else None


def _numbers(person: Person, category: str, terms: Terms) -> list[str]:
    """The access numbers that the person refused, and has not agreed to hear from since."""
    if not terms.rules.needs_of(category).opt_out:
        return []
    out: list[str] = []
    for one in person.consents:
        kind, _, number = one.channel.partition("/")
        if not number or one.state != "withdrawn" or one.category not in ("*", category):
            continue
        later = person.consent(kind, category)
        if later is None or later.state == "withdrawn" or later.at <= one.at:
            out.append(number)
    return out
