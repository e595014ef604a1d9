"""The adapter contract: all that an adapter must offer, and all (`Port`) that the core lends it; adapters import nothing else of the core.

An adapter is the code for one *kind* of far end, found by the entry point `msgcenter.adapters`; a *channel* is one
configured, running adapter. Abilities are data (`Spec`), commands are payloads, results are `Outcome` values.

Long because it is the whole contract, which is read as one page; much of it is documentation.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

import aiohttp
from pydantic import BaseModel

from msgcenter.clock import Clock, Random
from msgcenter.config.values import Duration, Secret, SecretUrl, Size, Strict, TextFile, fault
from msgcenter.unavailable import Unavailable
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from protocols.payload import DeliveryReport, Payload, Pull, Text

__all__ = [
    "UNREAD",
    "Account",
    "Adapter",
    "Dispatch",
    "Duration",
    "Malformed",
    "MediaFile",
    "Port",
    "Posted",
    "Received",
    "Rejected",
    "Report",
    "Request",
    "Response",
    "Retry",
    "Secret",
    "SecretUrl",
    "Sent",
    "Size",
    "Spec",
    "Strict",
    "Subscriber",
    "TextFile",
    "Unavailable",
    "Unknown",
    "Unreachable",
    "fault",
    "unread_key",
]

UNREAD = "unread"
"""`unread:…` is the source of the Pull that asks an archive channel why it did not read some conversations; its token is a JSON
list of (account's far name, person's address). The channel remembers each answer, a reason code or "", under `unread_key`."""


def unread_key(account: str, person: str) -> str:
    """The memo under which a channel answers for one conversation."""
    return f"{UNREAD}:{account}:{person}"


class Unreachable(Exception):
    """Raised by `deliver` only when *nothing* of the batch was handed over: claims are released, the batch comes again."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What a kind of channel can do; the router, the API, the docs and the contract suite all read this."""

    kind: str
    title: str
    payloads: frozenset[type] = frozenset({Text})
    schemes: frozenset[str] = frozenset()
    """Address schemes it reaches."""
    max_batch: int = 1
    """Envelopes per `deliver` call."""
    in_flight: int = 1
    """`deliver` calls at once, default; a channel may set its own."""
    receives: bool = False
    receipts: frozenset[str] = frozenset()
    """Of delivered, undelivered, read: what it reports later. Empty: `sent` is the last word."""
    idempotent: bool = False
    """The far end recognises a repeat by `Dispatch.token`."""
    resolves: bool = False
    """`resolve` can ask what became of an unknown."""
    resend: bool = True
    """False: a repeat is lost or shown twice there, so an unknown is never sent again, whatever its category says."""
    recall: bool = False
    needs_account: bool = False
    """A sending identity of accounts.yaml is needed."""
    groups: frozenset[str] = frozenset()
    """Of create, update, dissolve: what it can do to groups. Commands arrive as payloads of the same name, always in the
    order in which they were asked for. A repeat (same token) of CreateGroup must find the first group and answer its id as
    `Sent.remote_ids[0]`, a repeat of UpdateGroup change nothing more, and a group that is gone count as dissolved: a command
    whose outcome is unknown is handed over again, after `resolve` where that is offered."""
    shared: bool = False
    """What it reads, another channel may read as well (an account read live and from the archive): both name the conversation
    by the same `Received.order_key` and `account_number`, and the core makes one message of the two."""
    copied_within_s: float = 0.0
    """How long after a send a `shared` channel may still read a copy of it, see `Adapter.copied`; 0 = none ever does."""
    receipt_wait_s: float = 72 * 3600.0
    """How long a receipt may take; after that `sent` is final."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """Name -> words, for people: platform limits worth knowing."""


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One envelope to hand over now. `token`: for an idempotent far end. `sender`: the account's own address, "" if none.
    `target`: the recipient's name at the far end where it differs from the address (a group's chat id)."""

    envelope: Envelope
    token: str
    sender: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True)
class Received:
    """Something a person (or the far end) said. `remote_id` with the channel identifies it: a repeat is recognised.

    `account_number` and `order_key` name the conversation and are the same for both directions of it.
    """

    sender: Address
    account_number: str
    """The far end's name of our side: the SMS number written to."""
    payload: Payload
    remote_id: str
    at: int
    """Epoch milliseconds."""
    order_key: str = ""
    """Conversation; empty = made from number and the person's address."""
    chat: str = ""
    """The group in which it was said, by the far end's id; empty = said to our side alone."""
    mentions: tuple[str, ...] = ()
    """In a group: who was addressed by name, as the far end calls them; `@all` = everybody."""
    recipient: Address | None = None
    """Whom the account's own human wrote to, in the far end's own client; `sender` is then that human. None = it came to us."""


@dataclass(frozen=True, slots=True)
class Report:
    """A receipt. `recipient` helps when `remote_id` finds nothing."""

    report: DeliveryReport
    recipient: Address | None = None
    unique: str = ""
    """What makes a repeat of this very report recognisable beyond (remote_id, state): usually empty."""


@dataclass(frozen=True, slots=True)
class Request:
    """An HTTP call from the far end to one of the adapter's webhooks."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Response:
    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Subscriber:
    """Where events go. `secrets`: newest first; every one signs, so that a rotation has no gap."""

    url: str
    secrets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MediaFile:
    """A file of our media store. `type`: MIME type as checked; `size` in octets; `path` is read only and stays."""

    id: str
    path: Path
    type: str
    name: str
    size: int


@dataclass(frozen=True, slots=True)
class Posted:
    """An item for the inbox of `owner`. `id`: a repeat is recognised by it. `content`: JSON, as `/v1/messages` shows it."""

    id: str
    owner: Address
    content: Mapping[str, Any]
    caller: str = ""
    category: str = ""
    reference: str = ""


@dataclass(frozen=True, slots=True)
class Account:
    """A sending identity of this channel. `address`: its name at the far end (SMS number, open_kfid, userid, hosted id)."""

    name: str
    address: str
    corp: str = ""
    organisation: tuple[str, ...] = ()


class Port(Protocol):
    """What the core lends one channel. Whatever is shared or durable raises Unavailable when it cannot be had just now."""

    channel: str
    """The channel's name, for logs."""
    clock: Clock
    random: Random
    log: Any
    """A structlog logger bound to the channel."""

    async def emit(self, items: Sequence[Received | Report]) -> None:
        """Make these durable; when it returns the far end may be told so. Raises when it could not: answer nothing yet."""
        ...

    async def set_aside(self, items: Sequence[Received | Report], why: str) -> None:
        """Keep on `invalid`, for operators, what `emit` can never make durable (it raised something else than Unavailable);
        when it returns the far end may be told that we have it."""
        ...

    def http(self) -> aiohttp.ClientSession:
        """The shared client: no redirects, connect and read bounds set, no cookie jar."""
        ...

    async def subscriber(self, name: str) -> Subscriber | None:
        """Where the events of `caller:<name>` go just now: a caller's callback, or one of its subscriptions; None = there is none
        (any more)."""
        ...

    def accounts(self) -> Sequence[Account]:
        """The accounts of this channel as configured now."""
        ...

    def account_state(self, account: str, state: str, detail: str = "") -> None:
        """Say how an account is: `up`, `down` (its login is lost: an alarm), `limited`, `banned`. Kept and shown; cheap."""
        ...

    async def media(self, media: str) -> MediaFile:
        """A file of the media store. Raises Malformed when there is none."""
        ...

    async def keep_media(self, data: bytes | AsyncIterator[bytes], *, mime: str, name: str) -> str:
        """Keep a file that came in; its id. Durable when it returns. Raises Malformed (size or type not allowed)."""
        ...

    async def memo(self, key: str) -> bytes | None:
        """What any process of this channel remembered under `key`: access tokens, media ids at the far end."""
        ...

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None: ...

    def turn(self, name: str, *, wait_s: float = 10.0) -> AbstractAsyncContextManager[bool]:
        """One at a time over all processes of this channel: yields True when it is ours, False after `wait_s`."""
        ...

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        """Count one under each key (a repeated key counts again) against `limits`: (at most so many, in any so many seconds),
        for all processes of this channel together. 0.0 = counted, go; else nothing was counted, and the seconds until there
        may be room. For limits whose excess the far end drops without a word: ask before the call, never after."""
        ...

    async def checkpoint(self, name: str) -> str:
        """A durable cursor, "" at first."""
        ...

    async def save_checkpoint(self, name: str, value: str) -> None:
        """Keep a cursor: only after what it covers was emitted."""
        ...

    async def post(self, items: Sequence[Posted], most_unread: int) -> list[bool]:
        """Put items into the platform's own inboxes (`/v1/inbox`); durable when it returns. False: that inbox has `most_unread`
        unread items already."""
        ...

    async def unpost(self, ids: Sequence[str]) -> set[str]:
        """Take items back: they are shown as withdrawn, without content. Those that are there."""
        ...

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        """Hand a `Pull` to `deliver` in whichever process works this channel: durable, one at a time per source. `channel`:
        another channel's doorbell, for a far end that has one address for several of them; name it in the settings under
        `doorbells`, which are checked with the configuration. Raises LookupError for a channel that is not configured."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Report a live figure: `window_in_use`, `links_up`, `source_lag` (seconds that what was read of a far end's log is
        behind the newest that is known to be there). Unknown names are refused with ValueError."""
        ...

    def count(self, name: str, result: str) -> None:
        """Count an event: `token_refreshes` (ok, refused, failed). Unknown names and results are refused with ValueError."""
        ...


class Adapter(ABC):
    """One kind of far end. Constructed as `Adapter(settings, port)`; `settings` is an instance of `Settings`.

    Supervision, retries between passes, pacing, claims and records are the core's; an adapter hands over and reports.
    """

    spec: ClassVar[Spec]
    Settings: ClassVar[type[BaseModel]]

    def __init__(self, settings: Any, port: Port) -> None:
        self.settings = settings
        self.port = port
        own = self.abilities(settings)
        if own is not self.spec:
            self.spec = own  # type: ignore[misc]  # the class speaks for the kind, the instance for its channel

    @classmethod
    def abilities(cls, settings: Any) -> Spec:
        """What a channel with these settings can do, where that differs from what `spec` says of its kind."""
        del settings
        return cls.spec

    @classmethod
    def refuses(cls, settings: Any, address: str) -> str:
        """Why a channel with these settings would never take this recipient or subscriber's URL, "" = nothing speaks against it."""
        del settings, address
        return ""

    @abstractmethod
    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Hand over; one outcome each, in order.

        Raises Unreachable only if nothing of the batch was handed over. Any other exception makes the whole batch
        Unknown. Parts of one message are retried inside; once one part is accepted only Sent or Unknown may follow.
        """

    def render(self, envelope: Envelope) -> None:  # noqa: B027 - optional: most kinds accept what the Spec says
        """Check, before anything is claimed, that this envelope can be put into the far end's form. Raises Malformed."""

    async def session(self, up: Callable[[bool], None]) -> None:
        """Keep a long-lived link: call `up(True)` when it can carry messages, `up(False)` when not, return or raise when it
        is over; the core restarts it with back-off. The default is for kinds without a link: up at once, never over."""
        up(True)
        await self.port.clock.sleep(float("inf"))

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """Path suffix -> handler, mounted at `/hooks/<channel>/<suffix>`."""
        return {}

    async def resolve(self, claimed: Sequence[Dispatch]) -> list[Outcome]:
        """Ask the far end what became of these; Unknown = it does not know either. Only if `spec.resolves`."""
        return [Unknown("the far end cannot be asked")] * len(claimed)

    def copied(self, dispatch: Dispatch) -> str:
        """The `Received.order_key` under which a `shared` channel will read a copy of this message, "" if none will. It is
        recognised there by its content, and not taken for something the account's human wrote. Only if `spec.copied_within_s`."""
        return ""

    def adopt(self, settings: Any) -> bool:
        """Go on with changed settings, links and all; False = it cannot, and is restarted with them. Called on the loop
        between turns; must not block."""
        return False

    async def drain(self) -> None:  # noqa: B027 - optional
        """Stop taking new work at the far end politely; called once before the session is cancelled."""
