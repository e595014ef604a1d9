"""The answers of `/v1/customers`, and how a person of the directory becomes one."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from msgcenter.api.views import View
from msgcenter.api.web import when
from msgcenter.customers import Block, Consent, Link, Person, Preferences


class HeldView(View):
    """An address in its time. Of an erased customer only a hash is left."""

    address: str
    valid_from: str | None = None
    valid_to: str | None = None


class TagView(View):
    name: str
    source: str | None = None
    at: str | None = None


class WindowView(View):
    start: str
    end: str
    days: list[int] | None = None
    channels: list[str] | None = None


class MuteView(View):
    until: str
    channels: list[str] | None = None


class PreferencesView(View):
    windows: list[WindowView]
    mutes: list[MuteView]
    service_only: bool
    channels: list[str]


class ConsentView(View):
    """One piece of evidence."""

    id: str
    customer: str | None = None
    channel: str
    category: str
    state: str
    at: str | None = None
    wording: str | None = None
    source: str | None = None
    proof: str | None = None
    keep_until: str | None = None
    by: str | None = None
    recorded_at: str | None = None


class ConsentsView(View):
    items: list[ConsentView]
    next_cursor: str | None = None


class BlockView(View):
    id: str
    level: str
    until: str | None = None
    reason: str | None = None
    at: str | None = None
    by: str | None = None
    in_force: bool


class LinkView(View):
    id: str
    a: str
    b: str
    evidence: str
    confidence: float
    canonical: str | None = None
    at: str | None = None
    by: str | None = None
    undone_at: str | None = None
    undone_by: str | None = None


class CustomerView(View):
    """A person: what is known of all customers that are linked. `id`: the canonical one; `members`: all of them."""

    id: str | None = Field(None, description="none: nothing but the address is known")
    person: str = Field(description="what its messages are counted under")
    members: list[str]
    zone: str | None = None
    city: str | None = None
    level: str | None = None
    organisation: str | None = None
    agent: str | None = None
    addresses: list[HeldView]
    tags: list[TagView]
    preferences: PreferencesView
    consents: list[ConsentView] = Field(description="the last word on each channel and category")
    blocks: list[BlockView]
    links: list[LinkView] | None = None
    created_at: str | None = None
    updated_at: str | None = None
    erased_at: str | None = None


class CustomersView(View):
    items: list[CustomerView]
    next_cursor: str | None = None


class CustomerResultView(View):
    """What became of one of a batch."""

    id: str | None = None
    ok: bool
    errors: list[dict[str, Any]] | None = None


class CustomersResultView(View):
    saved: int
    refused: int
    items: list[CustomerResultView]


class ErasedView(View):
    """The receipt of an erasure: what is left, and under which ids."""

    erased_at: str
    ids: list[str]
    refusals_kept: int
    proofs_kept: int


class AuditView(View):
    at: str
    who: str
    what: str
    target: str
    detail: dict[str, Any]


class AuditsView(View):
    items: list[AuditView]
    next_cursor: str | None = None


def customer_view(person: Person, now: int, links: list[Link] | None = None) -> CustomerView:
    return CustomerView(
        id=person.id or None,
        person=person.key,
        members=list(person.members),
        zone=person.zone or None,
        city=person.city or None,
        level=person.level or None,
        organisation=person.organisation or None,
        agent=person.agent or None,
        addresses=[
            HeldView(
                address=held.address,
                valid_from=when(held.valid_from),
                valid_to=when(held.valid_to),
            )
            for held in person.holdings
        ],
        tags=[
            TagView(name=tag.name, source=tag.source or None, at=when(tag.at))
            for tag in person.tags
        ],
        preferences=preferences_view(person.preferences),
        consents=[consent_view(one) for one in person.consents],
        blocks=[block_view(one, now) for one in person.blocks],
        links=None if links is None else [link_view(one) for one in links],
        created_at=when(person.created_at),
        updated_at=when(person.updated_at),
        erased_at=when(person.erased_at),
    )


def preferences_view(wish: Preferences) -> PreferencesView:
    return PreferencesView(
        windows=[
            WindowView(
                start=_clock(one.start),
                end=_clock(one.end),
                days=list(one.days) or None,
                channels=list(one.channels) or None,
            )
            for one in wish.windows
        ],
        mutes=[
            MuteView(until=when(one.until) or "", channels=list(one.channels) or None)
            for one in wish.mutes
        ],
        service_only=wish.service_only,
        channels=list(wish.channels),
    )


def consent_view(one: Consent, customer: str = "", recorded_at: int = 0) -> ConsentView:
    return ConsentView(
        id=one.id,
        customer=customer or None,
        channel=one.channel,
        category=one.category,
        state=one.state,
        at=when(one.at),
        wording=one.wording or None,
        source=one.source or None,
        proof=one.proof or None,
        keep_until=when(one.keep_until),
        by=one.by or None,
        recorded_at=when(recorded_at),
    )


def block_view(one: Block, now: int) -> BlockView:
    return BlockView(
        id=one.id,
        level=one.level,
        until=when(one.until),
        reason=one.reason or None,
        at=when(one.at),
        by=one.by or None,
        in_force=one.holds(now),
    )


def link_view(one: Link) -> LinkView:
    return LinkView(
        id=one.id,
        a=one.a,
        b=one.b,
        evidence=one.evidence,
        confidence=one.confidence,
        canonical=one.canonical or None,
        at=when(one.at),
        by=one.by or None,
        undone_at=when(one.undone_at),
        undone_by=one.undone_by or None,
    )


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
