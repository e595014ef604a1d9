"""Customers: who is behind the addresses, as far as policy must know; the values, and how one row of the directory is kept.

A *customer* is one row: a caller's own id, or an implicit one (`own` set) that stands for an address nobody has claimed. Rows
that are known to be one human being are linked; all that are linked together are one `Person`, made by `customers.person`
whenever it is read: links are evidence and can be undone. Times are epoch milliseconds UTC; 0 = none, open.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

ANY = "*"
"""All channels, all categories."""
HASHED = "#"
"""Begins an address of which only a hash is kept: its customer was erased."""
IMPLICIT = "cus_"
"""Begins the ids that are made here."""

ConsentState: TypeAlias = Literal["granted", "withdrawn"]
CONSENT_STATES: tuple[ConsentState, ...] = get_args(ConsentState)
BlockLevel: TypeAlias = Literal["slow", "mute", "block"]
BLOCK_LEVELS: tuple[BlockLevel, ...] = get_args(BlockLevel)
"""From mild to strict: fewer messages are taken; they are archived but not routed; nothing passes either way."""


@dataclass(frozen=True, slots=True, order=True)
class Holding:
    """`address` belongs to the customer in [valid_from, valid_to)."""

    address: str
    valid_from: int = 0
    valid_to: int = 0

    def covers(self, at: int) -> bool:
        return self.valid_from <= at and (not self.valid_to or at < self.valid_to)


@dataclass(frozen=True, slots=True, order=True)
class Tag:
    """`at`: when `source` (a caller) first gave it."""

    name: str
    source: str = ""
    at: int = 0


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Not to be disturbed from `start` to `end`, minutes of the customer's local day, half-open; `end` <= `start` runs over
    midnight. `days`: ISO weekdays on which it starts, empty = all; `channels`: kinds, empty = all."""

    start: int
    end: int
    days: tuple[int, ...] = ()
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class Mute:
    """Not to be disturbed before `until`. `channels`: kinds, empty = all."""

    until: int
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Preferences:
    """What the customer wants. `channels`: kinds it would rather be reached by, first one first."""

    windows: tuple[Window, ...] = ()
    mutes: tuple[Mute, ...] = ()
    service_only: bool = False
    channels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Consent:
    """One piece of evidence, never changed. `channel` (a kind) and `category` may be ANY. `at`: when the customer said so.
    `wording`: version of the text it agreed to. `proof`: id of the proof at `source`. `by`: who wrote it down."""

    id: str
    channel: str
    category: str
    state: ConsentState
    at: int
    wording: str = ""
    source: str = ""
    proof: str = ""
    keep_until: int = 0
    by: str = ""


@dataclass(frozen=True, slots=True)
class ConsentRow:
    """`consent` as it was given by `customer`, written down at `recorded_at`."""

    customer: str
    consent: Consent
    recorded_at: int


@dataclass(frozen=True, slots=True)
class Block:
    """On the block list until `until` (0 = until lifted)."""

    id: str
    level: BlockLevel
    until: int = 0
    reason: str = ""
    at: int = 0
    by: str = ""

    def holds(self, at: int) -> bool:
        return not self.until or at < self.until


@dataclass(frozen=True, slots=True)
class Link:
    """Evidence that two customers are one person. `confidence` 0 to 1; `canonical`: which id shall stand for both, empty =
    decided by rule. `undone_at` 0 = in force."""

    id: str
    a: str
    b: str
    evidence: str
    confidence: float = 1.0
    canonical: str = ""
    at: int = 0
    by: str = ""
    undone_at: int = 0
    undone_by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What is known of a customer, and of the person that linked customers are. `consents`: the last word on each (channel,
    category). `organisation`: 省/地市/区县/网格/厅店."""

    zone: str = ""
    city: str = ""
    level: str = ""
    organisation: str = ""
    agent: str = ""
    holdings: tuple[Holding, ...] = ()
    tags: tuple[Tag, ...] = ()
    preferences: Preferences = Preferences()
    consents: tuple[Consent, ...] = ()
    blocks: tuple[Block, ...] = ()
    created_at: int = 0
    updated_at: int = 0
    erased_at: int = 0


PROFILE = tuple(field.name for field in fields(Profile))


@dataclass(frozen=True, slots=True)
class CustomerRow(Profile):
    """One row of the directory. `root`: the id that stands for its person; `own`: the person key of an implicit customer,
    empty when a caller gave the id."""

    id: str
    root: str = ""
    own: str = ""

    @property
    def key(self) -> str:
        """What its messages are counted under while it stands alone."""
        return self.own or self.id

    @property
    def blocked(self) -> bool:
        return any(block.level == "block" for block in self.blocks)


@dataclass(frozen=True, slots=True)
class Person(Profile):
    """Everything known of one human being: the union of its linked customers, the strictest of what they ask for.

    `id`: the canonical customer, empty when nothing is known but an address. `key`: what goes into `Envelope.person`.
    `aliases`: every key it was or may be counted under, `key` included: counters of all of them are one.
    """

    id: str
    key: str
    members: tuple[str, ...] = ()
    aliases: frozenset[str] = frozenset()

    @property
    def tag_names(self) -> frozenset[str]:
        return frozenset(tag.name for tag in self.tags)

    def consent(self, channel: str, category: str) -> Consent | None:
        """The last word on sending `category` by `channel`: a general one counts for each, the later one wins."""
        fitting = (
            one
            for one in self.consents
            if one.channel in (channel, ANY) and one.category in (category, ANY)
        )
        return max(fitting, key=word_order, default=None)

    def block_level(self, at: int) -> BlockLevel | None:
        """The strictest level in force."""
        levels = (block.level for block in self.blocks if block.holds(at))
        return max(levels, key=BLOCK_LEVELS.index, default=None)

    def muted_until(self, channel: str, at: int) -> int:
        """The end of its temporary do-not-disturb on `channel`, 0 = none."""
        ends = (
            mute.until
            for mute in self.preferences.mutes
            if mute.until > at and (not mute.channels or channel in mute.channels)
        )
        return max(ends, default=0)


def word_order(consent: Consent) -> tuple[int, bool, str]:
    """The later word wins; of two at once, the withdrawal."""
    return consent.at, consent.state == "withdrawn", consent.id


# -- a row's profile as JSON -----------------------------------------------------------------------


def profile_of(row: CustomerRow) -> dict[str, Any]:
    """What `row_of` reads; empty parts are left out."""
    wish = row.preferences
    full: dict[str, Any] = {
        "zone": row.zone,
        "city": row.city,
        "level": row.level,
        "organisation": row.organisation,
        "agent": row.agent,
        "holdings": [[h.address, h.valid_from, h.valid_to] for h in row.holdings],
        "tags": [[tag.name, tag.source, tag.at] for tag in row.tags],
        "windows": [[w.start, w.end, w.days, w.channels] for w in wish.windows],
        "mutes": [[mute.until, mute.channels] for mute in wish.mutes],
        "service_only": wish.service_only,
        "channels": wish.channels,
        "consents": [consent_values(consent) for consent in row.consents],
        "blocks": [[b.id, b.level, b.until, b.reason, b.at, b.by] for b in row.blocks],
    }
    return {name: value for name, value in full.items() if value}


def consent_values(one: Consent) -> list[Any]:
    return [
        *(one.id, one.channel, one.category, one.state, one.at),
        *(one.wording, one.source, one.proof, one.keep_until, one.by),
    ]


def row_of(values: Mapping[Any, Any]) -> CustomerRow:
    """A row from the table's columns, `profile` among them."""
    profile: Mapping[str, Any] = values["profile"]
    get = profile.get
    return CustomerRow(
        id=values["id"],
        root=values["root"],
        own=values["own"],
        zone=get("zone", ""),
        city=get("city", ""),
        level=get("level", ""),
        organisation=get("organisation", ""),
        agent=get("agent", ""),
        holdings=tuple(Holding(*one) for one in get("holdings", ())),
        tags=tuple(Tag(*one) for one in get("tags", ())),
        preferences=Preferences(
            tuple(Window(s, e, tuple(d), tuple(c)) for s, e, d, c in get("windows", ())),
            tuple(Mute(until, tuple(channels)) for until, channels in get("mutes", ())),
            get("service_only", False),
            tuple(get("channels", ())),
        ),
        consents=tuple(Consent(*one) for one in get("consents", ())),
        blocks=tuple(Block(*one) for one in get("blocks", ())),
        created_at=values["created_at"],
        updated_at=values["updated_at"],
        erased_at=values["erased_at"],
    )
