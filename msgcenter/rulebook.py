"""Rulebook: what the rules of one configuration say about one message; asked by the stages, by dry runs and by `allowance`, so
that all of them say the same. It reads no far side: who is meant comes in as the directory knows it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from msgcenter.config import Config
from msgcenter.config.category import Category
from msgcenter.customers import Person, Preferences
from msgcenter.customers.person import addresses_of
from msgcenter.customers.wishes import words_of
from msgcenter.policy import quiet
from msgcenter.policy.capbook import CapBook
from msgcenter.policy.caps import Asked as Counters
from msgcenter.policy.caps import Facts as CapFacts
from msgcenter.policy.caps import Once
from msgcenter.policy.decide import Asked, Customer, Ruling, decide
from msgcenter.policy.quiet import NOTHING, Wishes
from msgcenter.policy.when import Facts
from msgcenter.state.units import Counter
from protocols.address import Address
from protocols.envelope import Decision, Envelope
from protocols.payload import (
    CONTENT,
    Card,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Payload,
    Text,
)

PERSONAL = frozenset({"tel", "wecom", "kf", "customer"})
"""Schemes behind which a customer stands; staff, groups and subscribers are nobody whose consent is needed."""
KNOWS_FROM = 4
"""From this tier on a message waits while State does not know a cap's whole window; better tiers pass, and say so."""
ONCE_KEEP_S = 400 * 86400.0
BLOCK = "block_list"
WISHES_KEPT = 10_000
ZONES_KEPT = 10_000
#: What of a payload people read, or tap on.
_SAID: dict[type, tuple[str, ...]] = {
    Text: ("text",),
    Markdown: ("text",),
    Media: ("name", "title", "description"),
    Link: ("title", "url", "description"),
    MiniProgram: ("title",),
    Card: ("title", "description", "url", "button"),
    Native: ("body",),
}
_BETWEEN = "\n"


class People(Protocol):
    """The part of `CustomerLookup` that is needed here."""

    async def many(self, asked: Collection[str], at: int) -> dict[str, Person]: ...


def said(payload: Payload) -> str:
    """Everything of a payload that the content rules look at."""
    return _BETWEEN.join(getattr(payload, name) for name in _SAID.get(type(payload), ()))


def saying(payload: Payload, text: str) -> Payload:
    """The payload with `said` replaced by a text of the same length."""
    values: dict[str, str] = {}
    at = 0
    for name in _SAID.get(type(payload), ()):
        length = len(getattr(payload, name))
        values[name] = text[at : at + length]
        at += length + len(_BETWEEN)
    changed: Payload = replace(payload, **values)  # type: ignore[arg-type]
    return changed


@dataclass(slots=True)
class Rulebook:
    """The rules of one configuration. Not for several threads at once. `internal`: categories of the core's own messages;
    `reach`: the address schemes of a channel kind."""

    config: Config
    internal: Collection[str]
    reach: Callable[[str], Collection[str]]
    capbook: CapBook = field(init=False)
    _wishes: dict[tuple[Preferences, str], Wishes] = field(init=False, default_factory=dict)
    _zones: dict[tuple[str, tuple[str, ...]], quiet.Zone] = field(init=False, default_factory=dict)
    """By the customer's own zone, province and city."""

    def __post_init__(self) -> None:
        self.capbook = CapBook(self.config.rules.caps)

    def category(self, name: str) -> Category | None:
        return self.config.policy.categories.get(name)

    def binds(self, envelope: Envelope) -> bool:
        """Whether the rules speak of it: content that goes out, by a step that there is."""
        return (
            type(envelope.payload) in CONTENT
            and not envelope.inbound
            and envelope.category not in self.internal
            and envelope.to.scheme != "caller"
            and envelope.step < len(envelope.channels)
        )

    def waits(self, envelope: Envelope) -> bool:
        """Whether who is meant can make a difference to it: then it is not sent while the directory is away."""
        needs = self.config.rules.needs_of(envelope.category)
        conduct = self.config.rules.conduct(envelope.category)
        return needs.consent or needs.opt_out or conduct.dnd or bool(envelope.once_key)

    def timed(self, envelope: Envelope) -> bool:
        """Whether time or the customer's word can still stop it on its way."""
        return self.waits(envelope) or bool(self.config.rules.conduct(envelope.category).sets)

    def address(self, who: Person, kind: str, now: int) -> Address | None:
        """Where a person is reached by a kind; the latest address first."""
        found = addresses_of(who, (kind,), now, self.reach)
        return found[0] if found else None

    def account_for(self, kind: str) -> str:
        """The account that sends when a rule picks the kind: the only active one, else none."""
        found = [
            name
            for name, account in self.config.accounts.items()
            if account.kind == kind and account.state == "active"
        ]
        return found[0] if len(found) == 1 else ""

    # -- asking -------------------------------------------------------------------------------------------------------

    def organisation(self, envelope: Envelope, who: Person | None) -> tuple[str, ...]:
        """The sender's; where no account sends, the customer's own."""
        account = self.config.accounts.get(envelope.account)
        path: Sequence[str] = account.path if account is not None else ()
        if not path and who is not None and who.organisation:
            path = who.organisation.split("/")
        return tuple(path)

    def zone(self, who: Person | None, organisation: tuple[str, ...]) -> quiet.Zone:
        """The recipient's."""
        own = who.zone if who is not None else ""
        key = (own, organisation[:2])
        found = self._zones.get(key)
        if found is None:
            found = quiet.zone_of(self.config.rules.quiet, own, organisation)
            if len(self._zones) >= ZONES_KEPT:
                self._zones.clear()
            self._zones[key] = found
        return found

    def facts(self, envelope: Envelope, who: Person | None, now: int) -> Facts:
        """What rules may look at."""
        account = self.config.accounts.get(envelope.account)
        path = self.organisation(envelope, who)
        return Facts(
            category=envelope.category,
            tags=who.tag_names if who is not None and who.tags else frozenset(),
            level=who.level if who is not None else "",
            organisation=path,
            agent=(account.agent or "") if account is not None else "",
            caller=envelope.caller,
            campaign=envelope.campaign,
            channel=envelope.channels[envelope.step],
            account=envelope.account,
            person=envelope.person,
            at=now,
            zone=self.zone(who, path).zone,
        )

    def ruling(
        self,
        envelope: Envelope,
        who: Person | None,
        now: int,
        *,
        content: bool = True,
        approved: bool = False,
    ) -> Ruling:
        """All that is decided without counting: block list, consent, content, quiet time. `content` False: it was looked at
        before; `approved`: by a person, who let it pass."""
        if who is not None and who.blocks and who.block_level(now) == "block":
            why = (("customer", who.id), ("level", "block"))
            told = Decision("block", BLOCK, "refuse", "on the block list", facts=why)
            return Ruling("refuse", (told,), "blocked", BLOCK)
        account = self.config.accounts.get(envelope.account)
        asked = Asked(
            facts=self.facts(envelope, who, now),
            message=envelope.id,
            text=said(envelope.payload) if content else "",
            number=account.far_name if account is not None and account.number else "",
            since=envelope.held_since,
            expires_at=envelope.expires_at,
            personal=envelope.recipient.scheme in PERSONAL,
            approved=approved,
        )
        return decide(self.config.rules, asked, self.customer(who))

    def customer(self, who: Person | None) -> Customer:
        if who is None or not who.id:
            return _UNKNOWN
        consents, refusals = words_of(who)
        return Customer(self._wishes_of(who), consents, refusals)

    def counters(self, envelope: Envelope, who: Person | None, now: int) -> Counters:
        """What it pays, by the caps that it falls under."""
        once = (Once(envelope.once_key, ONCE_KEEP_S),) if envelope.once_key else ()
        if not self.capbook.entries and not once:
            return _FREE
        facts = self.facts(envelope, who, now)
        row = self.category(envelope.category)
        picked = self.capbook.pick(facts)
        to = envelope.recipient
        return picked.caps.ask(
            CapFacts(
                now_ms=now,
                category=envelope.category,
                tier=row.rank if row is not None else envelope.tier,
                zone=self.zone(who, facts.organisation).name,
                person=envelope.person if to.scheme != "group" else "",
                channel=facts.channel,
                group=to.value if to.scheme == "group" else "",
                account=envelope.account,
                caller=envelope.caller,
                organisation=facts.organisation,
                names=tuple(sorted(who.aliases)) if once and who is not None else (),
                tags=picked.tags,
                bypass=row.bypass if row is not None else False,
                counts=row.counts if row is not None else True,
                once=once,
            ),
            know=(row.rank if row is not None else envelope.tier) >= KNOWS_FROM,
        )

    def counters_of(self, key: str) -> list[Counter]:
        """All that is counted of a person key, always in the same order."""
        kinds = sorted({channel.kind for channel in self.config.channels.values()})
        return self.capbook.all.of_person(key, kinds, sorted(self.config.policy.categories))

    def _wishes_of(self, who: Person) -> Wishes:
        wish = who.preferences
        if not who.zone and wish == _NO_WISH:
            return NOTHING
        key = (wish, who.zone)
        made = self._wishes.get(key)
        if made is None:
            made = Wishes(
                windows=tuple(
                    quiet.standing(w.start, w.end, w.days, w.channels) for w in wish.windows
                ),
                mutes=tuple(quiet.Mute(m.until, frozenset(m.channels)) for m in wish.mutes),
                service_only=wish.service_only,
                zone=who.zone,
            )
            if len(self._wishes) >= WISHES_KEPT:
                self._wishes.clear()
            self._wishes[key] = made
        return made


_NO_WISH = Preferences()
_UNKNOWN = Customer()
_FREE = Counters((), ())


class InForce:
    """The rulebook of the configuration in force, made once for each."""

    def __init__(
        self,
        current: Callable[[], Config],
        internal: Collection[str],
        reach: Callable[[str], Collection[str]],
    ) -> None:
        self._current = current
        self._internal = frozenset(internal)
        self._reach = reach
        self._book: Rulebook | None = None

    def __call__(self) -> Rulebook:
        config = self._current()
        if self._book is None or self._book.config is not config:
            self._book = Rulebook(config, self._internal, self._reach)
        return self._book
