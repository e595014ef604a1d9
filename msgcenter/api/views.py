"""The answers of the API as pydantic models; /openapi.json is made from them.

Long because it is a list of models and nothing else; the description of the API is read from it as a whole.
"""

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


class SourceView(View):
    """One channel's reading of a message, with its own id of it."""

    channel: str
    remote_id: str
    at: str | None = None


class PlanStepView(View):
    """One step of a plan."""

    step: int = Field(description="as in deliveries and trace")
    channel: str
    to: str | None = None
    state: str = Field(
        description="idle, running, stopping, sent, unknown, failed, stopped, skipped"
    )
    success: str = Field(description="what is waited for")
    succeeded: bool
    evidence: str | None = None
    code: str | None = None
    started_at: str | None = None
    wait_until: str | None = None
    cost: int | None = None


class PlanView(View):
    """How far a plan has come."""

    state: str = Field(description="open; reached, unreached, expired, stopped, cancelled")
    overlap: bool = Field(description="a step succeeded late, after the next one had started")
    closed_at: str | None = None
    cost: int | None = Field(None, description="of what left, or may have")
    cost_limit: int | None = None
    signals: list[str] | None = Field(None, description="heard so far")
    steps: list[PlanStepView]


class MessageView(View):
    """A message; members that are not known (yet) are left out."""

    id: str
    status: str
    final: bool
    code: str | None = Field(None, description="reason code of the status")
    direction: str = Field(description="out; in; staff: typed by the account's own human")
    to: str | None = None
    sender: str | None = None
    account: str | None = None
    category: str | None = None
    channel: str | None = None
    channels: list[str] | None = None
    campaign: str | None = None
    reference: str | None = None
    reply_to: str | None = None
    chat: str | None = Field(None, description="the group it was said in, by the far end's id")
    mentions: list[str] | None = None
    created_at: str | None = None
    send_at: str | None = None
    expires_at: str | None = None
    updated_at: str | None = None
    content: dict[str, Any] | None = None
    recalled_at: str | None = Field(None, description="when it was taken back")
    sources: list[SourceView] | None = Field(None, description="the channels that read it")
    plan: PlanView | None = Field(None, description="of a message that was sent with a plan")
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


class SchemaView(View):
    """A type of event; `url` answers its JSON Schema."""

    type: str
    title: str
    url: str


class SchemasView(View):
    items: list[SchemaView]


class ChannelView(View):
    """One configured channel with its health."""

    name: str
    kind: str
    enabled: bool
    health: str
    detail: str | None = None
    links_up: int | None = None
    differs: dict[str, Any] | None = Field(
        None, description="what it can do otherwise than its kind, by its settings"
    )


class KindView(View):
    """One kind of far end and what it can do."""

    kind: str
    title: str
    schemes: list[str]
    payloads: list[str]
    sends: list[str] = Field(description="types of content that callers may send")
    media: bool
    receipts: list[str]
    receives: bool
    read: bool = Field(description="reports that it was read")
    recall: bool = Field(description="a message that left can be taken back")
    needs_account: bool
    groups: list[str]
    idempotent: bool = Field(description="the far end knows a repeat")
    resolves: bool = Field(description="it can be asked what became of a message")
    resend: str = Field(description="of an unknown: same id, asked, by category, or never")
    max_batch: int
    limits: dict[str, str]
    channels: list[ChannelView]


class KindsView(View):
    items: list[KindView]


class AccountView(View):
    """A sending identity, and how it is."""

    name: str
    kind: str
    channel: str
    address: str = Field(description="its name at the far end")
    number: str | None = Field(None, description="the same, when it is a telephone number")
    title: str | None = None
    corp: str | None = None
    owner: str | None = None
    organisation: list[str] | None = Field(None, description="省, 地市, 区县, 网格, 厅店")
    agent: str | None = None
    caller: str | None = None
    state: str = Field(description="active, retired or revoked")
    health: str = Field(description="up, down, limited, banned, or unknown")
    login: str = Field(description="in, lost, or unknown")
    detail: str | None = None
    since: str | None = Field(None, description="when this health began")
    last_in: str | None = None
    last_out: str | None = None
    seconds_since_last_message: int | None = None
    revoked_at: str | None = None
    revoked_by: str | None = None


class AccountsView(View):
    items: list[AccountView]


class AskedView(View):
    """A dissolution that is wanted or under way."""

    asked_by: str = Field(description="caller and key")
    asked_at: str | None = None
    reason: str | None = None
    needs: str | None = Field(None, description="approval: by another key, within a day")
    approved_by: str | None = None


class SealView(View):
    """What the message store held of a group before it was dissolved."""

    at: str | None = None
    messages: int
    first_at: str | None = None
    last_at: str | None = None
    sha256: str = Field(
        description="over the lines `<message id> <SHA-256 of its content>`, sorted by id"
    )


class SealCheckView(SealView):
    """A seal, compared with what is there now."""

    intact: bool = Field(description="every message that was sealed is there as it was")
    changed: int = Field(description="of the sealed messages, those with another content now")
    missing: int = Field(description="of the sealed messages, those that are no longer there")
    after: int = Field(description="messages of the group that were stored after the seal")


class GroupView(View):
    """A group. `address` is what messages to it are sent to."""

    id: str
    address: str
    name: str
    owner: str | None = None
    members: list[str]
    kind: str
    channel: str
    account: str | None = None
    chat: str | None = Field(None, description="its id at the far end")
    state: str
    code: str | None = Field(None, description="reason code of the state, or of a refused change")
    imported: bool = Field(description="read in from the far end, not made here")
    caller: str | None = None
    undo_until: str | None = None
    dissolve: AskedView | None = None
    seal: SealView | None = None
    created_at: str | None = None
    updated_at: str | None = None
    message: str | None = Field(None, description="the message that carries the command")


class GroupsView(View):
    items: list[GroupView]
    next_cursor: str | None = None


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


class ConfigVersionView(View):
    """One configuration that came into force. `texts`: file name -> text; only of a single one."""

    version: int
    hash: str
    at: str
    how: str
    who: str | None = None
    reason: str | None = None
    until: str | None = None
    texts: dict[str, str] | None = None


class LackingView(View):
    """An approval that is missing."""

    file: str
    role: str
    rule: str
    sha256: str
    rejected_by: str | None = None


class RolloutView(View):
    """What is in force, and what the folder says that is not. `held`: messages that the rules hold and that are decided anew
    when their time comes, under the rules of then."""

    in_force: ConfigVersionView | None = None
    folder: str
    waiting: str | None = None
    lacking: list[LackingView]
    result: dict[str, Any]
    held: int


class ConfigVersionsView(View):
    items: list[ConfigVersionView]


class PauseView(View):
    """What an operator stopped. `held`: messages that wait for its end, those of open conversations apart."""

    scope: str
    value: str
    since: str
    until: str | None = None
    by: str
    why: str | None = None
    held: int = 0


class PausesView(View):
    items: list[PauseView]


class ResumedView(View):
    """`ended`: this request ended the pause, else none was in force. `released`: messages let out, over `spread_seconds`."""

    scope: str
    value: str
    ended: bool
    released: int
    spread_seconds: float


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
