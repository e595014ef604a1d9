"""Facts: what rules may ask of messages: what they say of themselves, where their sender stands, and what the directory knows of
the person, looked up once for a whole micro-batch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgcenter.archive.content import TYPES
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.customers import Person
from msgcenter.policy.quiet import zone_of
from msgcenter.policy.when import Facts
from protocols.envelope import Envelope


class People(Protocol):
    async def many(self, asked: Iterable[str], at: int) -> Mapping[str, Person]: ...


def kind_of(envelope: Envelope) -> str:
    """The channel kind of its step; empty behind the last one."""
    return envelope.channels[envelope.step] if envelope.step < len(envelope.channels) else ""


def organisation_of(config: Config, envelope: Envelope, person: Person | None) -> tuple[str, ...]:
    """Where the sending account stands, or the customer within it: what a province's account sends to a customer of 广州 is
    广州's. Without an account the customer's alone."""
    account = config.accounts.get(envelope.account)
    own = account.path if account is not None else ()
    theirs = tuple(person.organisation.split("/")) if person and person.organisation else ()
    return theirs if theirs[: len(own)] == own else own


def facts_of(config: Config, envelope: Envelope, person: Person | None, at: int) -> Facts:
    """`person` None: nobody was looked up, as no rule asks."""
    organisation = organisation_of(config, envelope, person)
    account = config.accounts.get(envelope.account)
    return Facts(
        category=envelope.category,
        tags=person.tag_names if person else frozenset(),
        level=person.level if person else "",
        organisation=organisation,
        agent=(account.agent if account else None) or (person.agent if person else ""),
        caller=envelope.caller,
        campaign=envelope.campaign,
        channel=kind_of(envelope),
        payload=TYPES.get(type(envelope.payload), ""),
        account=envelope.account,
        person=(person.key if person else "") or envelope.person or str(envelope.to),
        at=at,
        zone=zone_of(config.rules.quiet, person.zone if person else "", organisation).zone,
    )


class FactBook:
    """The facts of a micro-batch."""

    def __init__(self, config: Callable[[], Config], people: People, clock: Clock) -> None:
        self._config = config
        self._people = people
        self._clock = clock

    async def for_templates(self, envelopes: Sequence[Envelope]) -> list[Facts]:
        """One each, in order; all the customers in one look-up, for their clock and place. Raises StoreError."""
        config, now = self._config(), self._clock.now_ms()
        people = await self._people.many({str(e.to) for e in envelopes}, now)
        return [facts_of(config, e, people.get(str(e.to)), now) for e in envelopes]

    async def for_routes(self, envelopes: Sequence[Envelope]) -> list[Facts]:
        """One each, in order. The customer is looked up only where a route of the message's kind asks. Raises StoreError."""
        config, now = self._config(), self._clock.now_ms()
        routing = config.rules.routing
        asked = {str(e.to) for e in envelopes if routing.of_person(kind_of(e))}
        people = await self._people.many(asked, now) if asked else {}
        return [facts_of(config, e, people.get(str(e.to)), now) for e in envelopes]
