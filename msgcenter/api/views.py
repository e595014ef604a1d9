"""The answers of the API as pydantic models; /openapi.json is made from them."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class View(BaseModel):
    """An answer; readers must ignore members they do not know."""

    model_config = ConfigDict(frozen=True)


class FaultView(View):
    """One wrong field."""

    field: str
    code: str
    detail: str
    value: Any = None
    remedy: str


class ProblemView(View):
    """RFC 9457 problem details; `errors` lists every wrong field."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: str | None = None
    instance: str | None = None
    trace_id: str | None = None
    retry_after: int | None = None
    errors: list[FaultView] | None = None


class MediaView(View):
    """A file of the media store; `id` follows from its content."""

    id: str = Field(examples=["med_0v1b2c3d4e5f6g7h8j9k0m1n2p"])
    type: str = Field(description="MIME type, as recognised")
    name: str
    size: int = Field(description="octets")
    sha256: str
    created_at: str


class MediaLinkView(View):
    """A link to a file that needs no key."""

    url: str = Field(description="path on this host")
    expires_at: str


class AcceptedView(View):
    """The message is durable; it will end in exactly one final status."""

    id: str
    status: str
    created_at: str
    expires_at: str | None = None
    reference: str | None = None


class BatchItemView(View):
    """The result of one item: `id` and `status` when accepted, else `problem`."""

    index: int
    id: str | None = None
    status: str
    reference: str | None = None
    problem: ProblemView | None = None


class BatchView(View):
    accepted: int
    refused: int
    results: list[BatchItemView]


class PartView(View):
    """The best evidence there is about one part of a delivery."""

    part: int
    evidence: str
    code: str | None = None
    at: str | None = None


class DeliveryView(View):
    """One pass over one step of the plan."""

    step: int
    attempt: int
    channel: str | None = None
    parts: list[PartView]


class DecisionView(View):
    """One rule that was asked and what it said."""

    stage: str
    rule: str
    verdict: str
    detail: str | None = None
    next_at: str | None = None
    facts: dict[str, str] | None = None


class TraceView(View):
    """One outcome of one pass, in the order they happened."""

    at: str
    pipeline: str
    step: int
    attempt: int
    outcome: str
    code: str | None = None
    detail: str | None = None
    channel: str | None = None
    receipt: bool | None = None
    until: str | None = None
    remote_ids: list[str] | None = None
    decisions: list[DecisionView] | None = None


class MessageView(View):
    """A message; members that are not known (yet) are left out."""

    id: str
    status: str
    final: bool
    code: str | None = Field(None, description="reason code of the status")
    direction: str
    to: str | None = None
    sender: str | None = None
    account: str | None = None
    category: str | None = None
    channel: str | None = None
    channels: list[str] | None = None
    campaign: str | None = None
    reference: str | None = None
    reply_to: str | None = None
    created_at: str | None = None
    send_at: str | None = None
    expires_at: str | None = None
    updated_at: str | None = None
    content: dict[str, Any] | None = None
    deliveries: list[DeliveryView] | None = None
    trace: list[TraceView] | None = None


class MessagesView(View):
    items: list[MessageView]
    next_cursor: str | None = None


class EventView(View):
    """Something that happened, as CloudEvents 1.0."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: str | None = None
    data: dict[str, Any]


class EventsView(View):
    """`cursor` is always given: hand it in again to read on from here."""

    items: list[EventView]
    cursor: str


class ChannelView(View):
    """One configured channel with its health."""

    name: str
    kind: str
    enabled: bool
    health: str
    detail: str | None = None
    links_up: int | None = None


class KindView(View):
    """One kind of far end and what it can do."""

    kind: str
    title: str
    schemes: list[str]
    payloads: list[str]
    receipts: list[str]
    receives: bool
    recall: bool
    needs_account: bool
    idempotent: bool
    limits: dict[str, str]
    channels: list[ChannelView]


class KindsView(View):
    items: list[KindView]


class AccountView(View):
    """A sending identity."""

    name: str
    kind: str
    channel: str
    number: str
    title: str | None = None
    owner: str | None = None
    caller: str | None = None


class AccountsView(View):
    items: list[AccountView]


class DeadView(View):
    """A message that was given up on."""

    id: str
    message: str
    caller: str
    channel: str
    code: str
    detail: str
    at: str
    replayed_at: str | None = None
    to: str | None = None
    category: str | None = None


class DeadsView(View):
    items: list[DeadView]
    next_cursor: str | None = None


class ReplayView(View):
    """`replayed`: ids of the dead letters sent in again; `skipped`: those that could not be, with
    the reason."""

    replayed: list[str]
    skipped: dict[str, str]


class KeyView(View):
    """An API key; its secret is shown only once, when it is made."""

    id: str
    caller: str
    name: str
    scopes: list[str]
    created_at: str | None = None
    expires_at: str | None = None
    revoked_at: str | None = None
    last_used_at: str | None = None
    key: str | None = None


class KeysView(View):
    items: list[KeyView]


class CheckView(View):
    """One thing this process needs."""

    name: str
    ok: bool
    detail: str | None = None


class ReadyView(View):
    ready: bool
    checks: list[CheckView]


class VersionView(View):
    version: str
    python: str
    config_hash: str
    config_generation: int


class QueueView(View):
    """Frames of up to 100 messages."""

    name: str
    topic: str
    lane: str
    ready: int
    leased: int
    oldest_seconds: float | None = None


class BacklogView(View):
    count: int
    oldest_at: str | None = None


class StatusView(View):
    """One screen for operators."""

    version: str
    time: str
    ready: bool
    checks: list[CheckView]
    queues: list[QueueView]
    channels: list[ChannelView]
    held: BacklogView
    parked: BacklogView
    dead: int
    config: dict[str, Any]
