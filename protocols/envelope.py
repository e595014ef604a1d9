"""Envelope: the one message type, frozen, typed, with exactly one recipient; Record: what is written down about each outcome."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from protocols.address import Address
from protocols.outcome import Amended, Outcome
from protocols.payload import Payload, Template

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
_SHIFTS = range(120, -1, -10)


def hashed(*parts: object) -> str:
    """26 base32 characters (130 bits of SHA-256) of the parts, joined by a unit separator, which no part should hold."""
    text = "\x1f".join(str(part) for part in parts)
    number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:17], "big") >> 6
    return "".join([_PAIRS[number >> shift & 1023] for shift in _SHIFTS])


@dataclass(frozen=True, slots=True)
class Key:
    """What an outcome is stored under: one pass of one message through one pipeline. Never contains the channel."""

    message: str
    step: int
    attempt: int
    pipeline: str

    def derived(self, *parts: object) -> str:
        """An id that follows from this key, so that a second run of the same pass makes the same ids."""
        return hashed(self.message, self.step, self.attempt, self.pipeline, *parts)


@dataclass(frozen=True, slots=True)
class Envelope:
    """One message to one recipient (or from one, when `inbound`). Times are epoch milliseconds UTC, 0 = none."""

    id: str
    caller: str
    """Who sent it in; for an inbound message who it is for, once assigned."""
    to: Address
    category: str
    tier: int
    """0 (code) to 6 (migration), see design: categories."""
    payload: Payload
    created_at: int
    person: str = ""
    """The canonical customer when known, else the address; scopes of caps and consent."""
    sender: Address | None = None
    """Inbound: who wrote."""
    inbound: bool = False
    account: str = ""
    """The sending (or receiving) identity by its name in accounts.yaml."""
    channels: tuple[str, ...] = ()
    """The routing slip: channel kinds to try, in order; `step` points into it."""
    channel: str = ""
    """The running adapter chosen for this step."""
    step: int = 0
    attempt: int = 0
    """Passes of this step so far: goes up with every retry and wake-up, so that each pass has its own key."""
    tries: int = 0
    """Tries that the retry budget of the category counts."""
    token_of: int = -1
    """The attempt whose far-end token a resend must repeat (idempotent far ends); -1 = this attempt's own."""
    order_key: str = ""
    """What must stay in order: the conversation; empty = no order asked."""
    not_before: int = 0
    expires_at: int = 0
    campaign: str = ""
    reference: str = ""
    """The caller's own reference, returned with every event."""
    reply_to: str = ""
    remote_id: str = ""
    """Inbound: the far end's id of it, for the join of two sources."""
    possibly_duplicate: bool = False
    trace: str = ""
    """W3C traceparent."""
    chat: str = ""
    """Inbound: the far end's id of the group in which it was said; empty = said to us alone."""
    mentions: tuple[str, ...] = ()
    """Inbound, in a group: who was addressed by name, as the far end calls them (`@all`: everybody)."""
    leaf: str = ""
    """`step` is a leaf of a plan: `first` when every earlier one was surely not sent, `further` when one may have reached the
    person (it then costs a new person unit). Empty: `channels` is a plain routing slip."""
    reservation: str = ""
    """The ticket of the units of caps that this pass holds; admit spends them. Empty = it pays nothing."""
    once_key: str = ""
    """What a person gets once, whatever message brings it: a coupon."""
    given: Address | None = None
    """What the caller wrote, where `to` was found for it: `customer:<id>`. The next step of the slip finds its own address."""
    held_since: int = 0
    """When the rules first held it; the longest hold of its category counts from there."""
    keyid: str = ""
    """The API key (its id) that it was sent with, for rules that ask for a second pair of eyes."""
    template: str = ""
    """The template whose words its payload is, once they stand there; what stops a template stops them, too."""

    @property
    def typed_by_us(self) -> bool:
        """Inbound, but written by the account's own human in the far end's own client: `sender` is that human, `to` whom they
        wrote to. What people write to us is addressed to a caller, assigned or not yet."""
        return self.inbound and self.to.scheme != "caller"

    def changed(self, **changes: Any) -> Envelope:
        """`dataclasses.replace` in half its time: every message is changed several times on its way."""
        values = dict(zip(_NAMES, _VALUES(self), strict=True))
        return Envelope(**(values | changes))

    def key(self, pipeline: str) -> Key:
        return Key(self.id, self.step, self.attempt, pipeline)

    @property
    def recipient(self) -> Address:
        """Who is meant, as the caller wrote it."""
        return self.given or self.to

    def saying(self, payload: Payload) -> Envelope:
        """With these words instead of its own, which may have been a template's."""
        of = self.payload.name if isinstance(self.payload, Template) else self.template
        return self.changed(payload=payload, template=of)

    def amended(self, by: Amended | None) -> Envelope:
        """As the rules pass it on."""
        if by is None:
            return self
        moved = by.to is not None and by.to != self.to
        source = self if by.payload is None else self.saying(by.payload)
        return source.changed(
            to=by.to or self.to,
            given=self.recipient if moved else self.given,
            person=by.person or self.person,
            channels=by.channels or self.channels,
            account=by.account if by.channels else self.account,
            reservation=by.reservation,
        )

    def token(self) -> str:
        """What an idempotent far end recognises a repeat by: 26 base32 characters of (message, step, attempt)."""
        return hashed(
            self.id, self.step, self.attempt if self.token_of < 0 else self.token_of, "token"
        )

    def again(
        self, *, counts: bool, token_of: int = -1, possibly_duplicate: bool | None = None
    ) -> Envelope:
        """The same message for its next pass; `counts` when the pass uses up a try of the retry budget."""
        return self.changed(
            attempt=self.attempt + 1,
            tries=self.tries + (1 if counts else 0),
            token_of=token_of,
            possibly_duplicate=self.possibly_duplicate
            if possibly_duplicate is None
            else possibly_duplicate,
        )


_NAMES = tuple(one.name for one in fields(Envelope))
_VALUES = attrgetter(*_NAMES)


@dataclass(frozen=True, slots=True)
class Decision:
    """Why: one rule that was asked, what it said, and the facts it used; the dry run prints the same."""

    stage: str
    rule: str
    verdict: str
    detail: str = ""
    next_at: int = 0
    """Next eligible time, epoch milliseconds; 0 = not a matter of time."""
    facts: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Record:
    """What is written down about one outcome. `id` follows from the key, so a repeat is recognised by every sink."""

    id: str
    at: int
    pipeline: str
    envelope: Envelope
    outcome: Outcome
    decisions: tuple[Decision, ...] = ()
    subject: str = ""
    """The message the record speaks of when it is not the envelope itself: a receipt's original message."""
    subject_step: int = 0
    subject_attempt: int = 0
    status: str = ""
    """The subject's status after this outcome, as `status.derive` gave it."""
    subject_caller: str = ""
    """A receipt's original caller: who is told."""
    reference: str = ""
    """The reference of the message spoken of."""
    final: bool = False
    """Whether `status` is the last one."""
    facts: str = ""
    """What the rules were asked with, as JSON, so that they can be asked again (`msgcenter.traffic`); empty = they were not."""
