"""The adapter contract: all that an adapter must offer, and all (`Port`) that the core lends it; adapters import nothing else of the core.

An adapter is the code for one *kind* of far end, found by the entry point `msgcenter.adapters`; a *channel* is one
configured, running adapter. Abilities are data (`Spec`), commands are payloads, results are `Outcome` values.
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
from msgcenter.config.values import Duration, Secret, SecretUrl, Size, Strict, fault
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.errors import Malformed
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from protocols.payload import DeliveryReport, Payload, Pull, Text

__all__ = [
    "Account",
    "Adapter",
    "Dispatch",
    "Duration",
    "Malformed",
    "MediaFile",
    "Port",
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
    "Unknown",
    "Unreachable",
    "fault",
]


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
    recall: bool = False
    needs_account: bool = False
    """A sending identity of accounts.yaml is needed."""
    groups: frozenset[str] = frozenset()
    """Of create, update, dissolve: what it can do to groups. Commands arrive as payloads of the same name, always in the
    order in which they were asked for. A repeat (same token) of CreateGroup must find the first group and answer its id as
    `Sent.remote_ids[0]`, a repeat of UpdateGroup change nothing more, and a group that is gone count as dissolved: a command
    whose outcome is unknown is handed over again, after `resolve` where that is offered."""
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
    """Something a person (or the far end) said. `remote_id` with the channel identifies it: a repeat is recognised."""

    sender: Address
    account_number: str
    """The far end's name of our side: the SMS number written to."""
    payload: Payload
    remote_id: str
    at: int
    """Epoch milliseconds."""
    order_key: str = ""
    """Conversation; empty = made from sender and number."""


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
    """Where a caller's events go. `secrets`: newest first; every one signs, so that a rotation has no gap."""

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
class Account:
    """A sending identity of this channel. `address`: its name at the far end (SMS number, open_kfid, userid, hosted id)."""

    name: str
    address: str
    corp: str = ""
    organisation: tuple[str, ...] = ()


class Port(Protocol):
    """What the core lends one channel."""

    channel: str
    """The channel's name, for logs."""
    clock: Clock
    random: Random
    log: Any
    """A structlog logger bound to the channel."""

    async def emit(self, items: Sequence[Received | Report]) -> None:
        """Make these durable; when it returns the far end may be told so. Raises when it could not: answer nothing yet."""
        ...

    def http(self) -> aiohttp.ClientSession:
        """The shared client: no redirects, connect and read bounds set, no cookie jar."""
        ...

    def subscriber(self, caller: str) -> Subscriber | None:
        """The callback of a caller as configured now; None = it has none (any more)."""
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

    async def ring(self, pull: Pull, *, delay_s: float = 0.0) -> None:
        """Hand a `Pull` to `deliver` in whichever process works this channel: durable, one at a time per source."""
        ...

    def gauge(self, name: str, value: float) -> None:
        """Report a live figure: `window_in_use`, `links_up`. Unknown names are refused with ValueError."""
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

    async def drain(self) -> None:  # noqa: B027 - optional
        """Stop taking new work at the far end politely; called once before the session is cancelled."""
