"""Consent and refusal: whether a customer agreed to a kind of message on a channel, with the evidence for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from msgcenter.policy.when import EVERYTHING, Facts, Matcher, Told

ANY = "*"


class Said(Protocol):
    """One piece of evidence of what a customer said. Times are epoch milliseconds.

    `channel` and `category` may be `*`. `wording`: version of the text agreed to. `source`: where (app, hall, sms, …);
    `proof`: id of the proof there. `keep_until`: how long the proof is kept, 0 = no end; without proof there is no consent.
    """

    @property
    def channel(self) -> str: ...
    @property
    def category(self) -> str: ...
    @property
    def state(self) -> Literal["granted", "withdrawn"]: ...
    @property
    def at(self) -> int: ...
    @property
    def wording(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def proof(self) -> str: ...
    @property
    def keep_until(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Consent:
    """`Said` as a plain value."""

    channel: str
    category: str
    at: int
    state: Literal["granted", "withdrawn"] = "granted"
    wording: str = ""
    source: str = ""
    proof: str = ""
    keep_until: int = 0


@dataclass(frozen=True, slots=True)
class Refusal:
    """An opt-out. `channel` and `category` may be `*`. `number`: only what is sent from this access number; empty: all."""

    channel: str
    category: str
    at: int
    source: str = ""
    number: str = ""


@dataclass(frozen=True, slots=True)
class ConsentRule:
    """What counts as consent where `when` holds; the first rule that fits is the one."""

    name: str
    when: Matcher = EVERYTHING
    wordings: frozenset[str] = frozenset()
    """Only these versions of the text; empty: any."""
    sources: frozenset[str] = frozenset()
    """Only given there; empty: anywhere."""
    proof: bool = False
    """Only with a proof id."""
    valid_for: float = 0.0
    """Seconds from when it was given; 0 = until it is taken back."""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one category needs. `channels`: kinds on which consent is needed, None = all; no matter if not `consent`."""

    consent: bool = False
    channels: frozenset[str] | None = None
    opt_out: bool = True
    """Whether an opt-out stops it."""

    def asks(self, channel: str) -> bool:
        return self.consent and (self.channels is None or channel in self.channels)


@dataclass(frozen=True, slots=True)
class Allowed:
    rule: str
    facts: Told = ()


@dataclass(frozen=True, slots=True)
class Refused:
    """`code`: opted_out, no_consent, consent_withdrawn, consent_expired or consent_not_valid."""

    code: str
    rule: str
    facts: Told = ()


def judge(
    rules: Iterable[ConsentRule],
    needs: Needs,
    facts: Facts,
    consents: Sequence[Said],
    refusals: Sequence[Refusal],
    number: str = "",
) -> Allowed | Refused:
    """Whether a message of `facts.category` may go by `facts.channel` at `facts.at`, sent from `number`.

    What the customer said last counts: an agreement after an opt-out lifts it, an opt-out at the same moment wins.
    Records of the future (a clock that runs ahead) count as said now.
    """
    last = no = None  # most people have said nothing
    if consents:
        said = sorted((c for c in consents if _covers(c, facts)), key=lambda c: (c.at, c.state))
        last = said[-1] if said else None
    if refusals:
        stopping = (r for r in refusals if _covers(r, facts) and r.number in ("", number))
        no = max(stopping, key=lambda r: r.at, default=None)
    yes = last if last is not None and last.state == "granted" else None
    if needs.opt_out and no is not None and (yes is None or yes.at <= no.at):
        why = (("opted_out_at", str(no.at)), ("source", no.source), ("number", no.number))
        return Refused("opted_out", "opt_out", why)
    asked = needs.asks(facts.channel)
    if last is not None and yes is None and (asked or needs.opt_out):
        return Refused("consent_withdrawn", "consent", _evidence(last))
    if not asked:
        return Allowed("not_needed", (("category", facts.category), ("channel", facts.channel)))
    told: Told = (("category", facts.category), ("channel", facts.channel))
    if yes is None:
        return Refused("no_consent", "consent", told)
    told = (*told, *_evidence(yes))
    rule, matched = _first(rules, facts)
    told = (*told, *(fact for fact in matched if fact not in told))
    ends = [yes.keep_until] if yes.keep_until else []
    if rule.valid_for:
        ends.append(yes.at + round(rule.valid_for * 1000))
    if ends and min(ends) <= facts.at:
        return Refused("consent_expired", rule.name, (*told, ("ended_at", str(min(ends)))))
    for wanted, name, value in (
        (rule.wordings, "wording", yes.wording),
        (rule.sources, "source", yes.source),
    ):
        if wanted and value not in wanted:
            return Refused(
                "consent_not_valid", rule.name, (*told, ("wanted_" + name, _list(wanted)))
            )
    if rule.proof and not yes.proof:
        return Refused("consent_not_valid", rule.name, (*told, ("wanted_proof", "true")))
    return Allowed(rule.name, told)


_ANY_CONSENT = ConsentRule("consent")


def _first(rules: Iterable[ConsentRule], facts: Facts) -> tuple[ConsentRule, Told]:
    for rule in rules:
        match = rule.when.match(facts)
        if match.holds:
            return rule, match.facts
    return _ANY_CONSENT, ()


def _covers(record: Said | Refusal, facts: Facts) -> bool:
    return record.channel in (ANY, facts.channel) and record.category in (ANY, facts.category)


def _evidence(consent: Said) -> Told:
    return (
        ("state", consent.state),
        ("wording", consent.wording),
        ("said_at", str(consent.at)),
        ("source", consent.source),
        ("proof", consent.proof),
    )


def _list(words: frozenset[str]) -> str:
    return " ".join(sorted(words))
