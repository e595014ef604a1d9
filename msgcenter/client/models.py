"""The API's objects, as they stand in JSON; made from the OpenAPI document by `msgcenter.client.generate` (`make client`), not by hand."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AcceptedView(TypedDict):
    """The message is durable; it will end in exactly one final status."""

    id: str
    status: str
    created_at: str
    expires_at: NotRequired[str | None]
    reference: NotRequired[str | None]


class AccountView(TypedDict):
    """A sending identity, and how it is."""

    name: str
    kind: str
    channel: str
    address: str
    number: NotRequired[str | None]
    title: NotRequired[str | None]
    corp: NotRequired[str | None]
    owner: NotRequired[str | None]
    organisation: NotRequired[list[str] | None]
    agent: NotRequired[str | None]
    caller: NotRequired[str | None]
    state: str
    health: str
    login: str
    detail: NotRequired[str | None]
    since: NotRequired[str | None]
    last_in: NotRequired[str | None]
    last_out: NotRequired[str | None]
    seconds_since_last_message: NotRequired[int | None]
    revoked_at: NotRequired[str | None]
    revoked_by: NotRequired[str | None]


class AccountsView(TypedDict):
    """AccountsView"""

    items: list[AccountView]


class AddressBody(TypedDict):
    """An address the customer has, or had."""

    address: str
    valid_from: NotRequired[str | None]
    valid_to: NotRequired[str | None]


class AllowanceView(TypedDict):
    """When the customer may be written to next: by category and kind."""

    customer: str
    items: list[AllowedView]


class AllowedView(TypedDict):
    """AllowedView"""

    category: str
    channel: str
    allowed: bool
    code: NotRequired[str | None]
    next_at: NotRequired[str | None]
    caps: list[CapView]
    decisions: list[DecisionView]


class ApplyRequest(TypedDict):
    """Look at the folder now; with `break_glass` take it although approvals are missing."""

    break_glass: NotRequired[bool]
    reason: NotRequired[str]
    lasts: NotRequired[float | str | None]


class ApproveBody(TypedDict):
    """Why; may be left out."""

    reason: NotRequired[str]


class ApproveRequest(TypedDict):
    """A person's word on the changed rule files that wait, as they lie in the folder now."""

    role: str
    reject: NotRequired[bool]


class AskedView(TypedDict):
    """A dissolution that is wanted or under way."""

    asked_by: str
    asked_at: NotRequired[str | None]
    reason: NotRequired[str | None]
    needs: NotRequired[str | None]
    approved_by: NotRequired[str | None]


class AuditView(TypedDict):
    """AuditView"""

    at: str
    who: str
    what: str
    target: str
    detail: dict[str, Any]


class AuditsView(TypedDict):
    """AuditsView"""

    items: list[AuditView]
    next_cursor: NotRequired[str | None]


class BacklogView(TypedDict):
    """BacklogView"""

    count: int
    oldest_at: NotRequired[str | None]


class BatchItemView(TypedDict):
    """The result of one item: `id` and `status` when accepted, else `problem`."""

    index: int
    id: NotRequired[str | None]
    status: str
    reference: NotRequired[str | None]
    problem: NotRequired[ProblemView | None]


class BatchRequest(TypedDict):
    """Up to 1,000 messages, each judged by itself."""

    messages: list[MessageRequest]


class BatchView(TypedDict):
    """BatchView"""

    accepted: int
    refused: int
    results: list[BatchItemView]


class BlockBody(TypedDict):
    """Put a customer on the block list."""

    level: Literal["slow", "mute", "block"]
    until: NotRequired[str | None]
    reason: NotRequired[str]


class BlockView(TypedDict):
    """BlockView"""

    id: str
    level: str
    until: NotRequired[str | None]
    reason: NotRequired[str | None]
    at: NotRequired[str | None]
    by: NotRequired[str | None]
    in_force: bool


class CallerView(TypedDict):
    """The caller as callers.yaml has it, and the key used."""

    name: str
    name_zh: str
    key: str
    scopes: list[str]
    categories: list[str]
    callback: bool
    limits: list[LimitView]
    last_hour: HourView


class CapView(TypedDict):
    """One window of one cap."""

    rule: str
    scope: str
    source: str
    window: str
    used: int
    open: int
    limit: int
    left: int
    next_at: NotRequired[str | None]
    known: bool


class CardContent(TypedDict):
    """A text card with one button."""

    type: Literal["card"]
    title: str
    description: str
    url: str
    button: NotRequired[str]


class ChannelView(TypedDict):
    """One configured channel with its health."""

    name: str
    kind: str
    enabled: bool
    health: str
    detail: NotRequired[str | None]
    links_up: NotRequired[int | None]
    differs: NotRequired[dict[str, Any] | None]


class CheckView(TypedDict):
    """One thing this process needs."""

    name: str
    ok: bool
    detail: NotRequired[str | None]


class ConfigVersionView(TypedDict):
    """One configuration that came into force. `texts`: file name -> text; only of a single one."""

    version: int
    hash: str
    at: str
    how: str
    who: NotRequired[str | None]
    reason: NotRequired[str | None]
    until: NotRequired[str | None]
    texts: NotRequired[dict[str, str] | None]


class ConfigVersionsView(TypedDict):
    """ConfigVersionsView"""

    items: list[ConfigVersionView]


class ConsentBody(TypedDict):
    """One thing the customer agreed to, or takes back."""

    state: Literal["granted", "withdrawn"]
    channel: NotRequired[str]
    category: NotRequired[str]
    at: NotRequired[str | None]
    wording: NotRequired[str]
    source: NotRequired[str]
    proof: NotRequired[str]
    keep_until: NotRequired[str | None]


class ConsentView(TypedDict):
    """One piece of evidence."""

    id: str
    customer: NotRequired[str | None]
    channel: str
    category: str
    state: str
    at: NotRequired[str | None]
    wording: NotRequired[str | None]
    source: NotRequired[str | None]
    proof: NotRequired[str | None]
    keep_until: NotRequired[str | None]
    by: NotRequired[str | None]
    recorded_at: NotRequired[str | None]


class ConsentsView(TypedDict):
    """ConsentsView"""

    items: list[ConsentView]
    next_cursor: NotRequired[str | None]


class CustomerBody(TypedDict):
    """What is known of a customer. What is left out stays as it was; an empty text takes it away."""

    zone: NotRequired[str | None]
    city: NotRequired[str | None]
    level: NotRequired[str | None]
    organisation: NotRequired[str | None]
    agent: NotRequired[Literal["", "own", "partner", "field", "campus"] | None]
    tags: NotRequired[list[str] | None]
    add_tags: NotRequired[list[str] | None]
    remove_tags: NotRequired[list[str] | None]
    addresses: NotRequired[list[AddressBody] | None]
    preferences: NotRequired[PreferencesBody | None]
    consents: NotRequired[list[ConsentBody] | None]


class CustomerItem(TypedDict):
    """One of a batch."""

    zone: NotRequired[str | None]
    city: NotRequired[str | None]
    level: NotRequired[str | None]
    organisation: NotRequired[str | None]
    agent: NotRequired[Literal["", "own", "partner", "field", "campus"] | None]
    tags: NotRequired[list[str] | None]
    add_tags: NotRequired[list[str] | None]
    remove_tags: NotRequired[list[str] | None]
    addresses: NotRequired[list[AddressBody] | None]
    preferences: NotRequired[PreferencesBody | None]
    consents: NotRequired[list[ConsentBody] | None]
    id: NotRequired[str | None]


class CustomerResultView(TypedDict):
    """What became of one of a batch."""

    id: NotRequired[str | None]
    ok: bool
    errors: NotRequired[list[dict[str, Any]] | None]


class CustomerView(TypedDict):
    """A person: what is known of all customers that are linked. `id`: the canonical one; `members`:
    all of them.
    """

    id: NotRequired[str | None]
    person: str
    members: list[str]
    zone: NotRequired[str | None]
    city: NotRequired[str | None]
    level: NotRequired[str | None]
    organisation: NotRequired[str | None]
    agent: NotRequired[str | None]
    addresses: list[HeldView]
    tags: list[TagView]
    preferences: PreferencesView
    consents: list[ConsentView]
    blocks: list[BlockView]
    links: NotRequired[list[LinkView] | None]
    created_at: NotRequired[str | None]
    updated_at: NotRequired[str | None]
    erased_at: NotRequired[str | None]


class CustomersBody(TypedDict):
    """Up to 1,000 customers, each judged by itself."""

    customers: list[CustomerItem]


class CustomersResultView(TypedDict):
    """CustomersResultView"""

    saved: int
    refused: int
    items: list[CustomerResultView]


class CustomersView(TypedDict):
    """CustomersView"""

    items: list[CustomerView]
    next_cursor: NotRequired[str | None]


class DeadView(TypedDict):
    """A message that was given up on."""

    id: str
    message: str
    caller: str
    channel: str
    code: str
    detail: str
    at: str
    replayed_at: NotRequired[str | None]
    to: NotRequired[str | None]
    category: NotRequired[str | None]


class DeadsView(TypedDict):
    """DeadsView"""

    items: list[DeadView]
    next_cursor: NotRequired[str | None]


class DecisionView(TypedDict):
    """One rule that was asked and what it said."""

    stage: str
    rule: str
    verdict: str
    detail: NotRequired[str | None]
    next_at: NotRequired[str | None]
    facts: NotRequired[dict[str, str] | None]


class DeliveryView(TypedDict):
    """One pass over one step of the plan."""

    step: int
    attempt: int
    channel: NotRequired[str | None]
    parts: list[PartView]


class DissolveRequest(TypedDict):
    """How to end a group."""

    undo_for: NotRequired[float | str | None]
    reason: NotRequired[str]
    reference: NotRequired[str | None]


class EndedView(TypedDict):
    """A subscription is no more."""

    id: str
    ended: bool


class EraseBody(TypedDict):
    """Forget a customer. It cannot be undone."""

    reason: NotRequired[str]


class ErasedView(TypedDict):
    """The receipt of an erasure: what is left, and under which ids."""

    erased_at: str
    ids: list[str]
    refusals_kept: int
    proofs_kept: int


class EventView(TypedDict):
    """Something that happened, as CloudEvents 1.0."""

    specversion: str
    id: str
    source: str
    type: str
    time: str
    subject: NotRequired[str | None]
    data: dict[str, Any]


class EventsView(TypedDict):
    """`cursor` is always given: hand it in again to read on from here."""

    items: list[EventView]
    cursor: str


class ExplainedView(TypedDict):
    """What would become of the message now. Nothing was counted, kept or sent."""

    verdict: str
    steps: list[StepView]


class FaultView(TypedDict):
    """One wrong field."""

    field: str
    code: str
    detail: str
    value: NotRequired[Any]
    remedy: str


class GroupChange(TypedDict):
    """What to change; what is left out stays."""

    name: NotRequired[str | None]
    owner: NotRequired[str | None]
    members: NotRequired[list[str] | None]
    add: NotRequired[list[str] | None]
    remove: NotRequired[list[str] | None]
    reference: NotRequired[str | None]


# A new group.
GroupRequest = TypedDict(
    "GroupRequest",
    {
        "name": "str",
        "members": "list[str]",
        "owner": "NotRequired[str | None]",
        "kind": "NotRequired[str | None]",
        "from": "NotRequired[str | None]",
        "reference": "NotRequired[str | None]",
    },
)


class GroupView(TypedDict):
    """A group. `address` is what messages to it are sent to."""

    id: str
    address: str
    name: str
    owner: NotRequired[str | None]
    members: list[str]
    kind: str
    channel: str
    account: NotRequired[str | None]
    chat: NotRequired[str | None]
    state: str
    code: NotRequired[str | None]
    imported: bool
    caller: NotRequired[str | None]
    undo_until: NotRequired[str | None]
    dissolve: NotRequired[AskedView | None]
    seal: NotRequired[SealView | None]
    created_at: NotRequired[str | None]
    updated_at: NotRequired[str | None]
    message: NotRequired[str | None]


class GroupsView(TypedDict):
    """GroupsView"""

    items: list[GroupView]
    next_cursor: NotRequired[str | None]


class HeldView(TypedDict):
    """An address in its time. Of an erased customer only a hash is left."""

    address: str
    valid_from: NotRequired[str | None]
    valid_to: NotRequired[str | None]


class HitView(TypedDict):
    """What a content rule found."""

    rule: str
    what: str


class HourView(TypedDict):
    """What became of the messages created in the last hour. `held`: wait for a rule; `dropped`:
    suppressed, expired or rejected; the rest is on its way or was cancelled.
    """

    since: str
    total: int
    sent: int
    held: int
    dropped: int
    share: float
    rules: list[RuleCountView]


class InboxView(TypedDict):
    """Items, newest first."""

    items: list[ItemView]
    unread: int
    position: int
    next_cursor: NotRequired[str | None]


class ItemView(TypedDict):
    """An item of an inbox; a withdrawn one has no content any more."""

    id: str
    owner: str
    state: str
    at: str
    content: dict[str, Any]
    category: str
    reference: NotRequired[str | None]
    read_at: NotRequired[str | None]
    withdrawn_at: NotRequired[str | None]
    position: int


class KeyRequest(TypedDict):
    """A new API key for a caller of callers.yaml."""

    caller: str
    name: NotRequired[str]
    scopes: NotRequired[list[str] | None]
    expires_in: NotRequired[int | None]


class KeyView(TypedDict):
    """An API key; its secret is shown only once, when it is made."""

    id: str
    caller: str
    name: str
    scopes: list[str]
    created_at: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    revoked_at: NotRequired[str | None]
    last_used_at: NotRequired[str | None]
    key: NotRequired[str | None]


class KeysView(TypedDict):
    """KeysView"""

    items: list[KeyView]


class KindView(TypedDict):
    """One kind of far end and what it can do."""

    kind: str
    title: str
    schemes: list[str]
    payloads: list[str]
    sends: list[str]
    media: bool
    receipts: list[str]
    receives: bool
    read: bool
    recall: bool
    needs_account: bool
    groups: list[str]
    idempotent: bool
    resolves: bool
    resend: str
    max_batch: int
    limits: dict[str, str]
    channels: list[ChannelView]


class KindsView(TypedDict):
    """KindsView"""

    items: list[KindView]


class LackingView(TypedDict):
    """An approval that is missing."""

    file: str
    role: str
    rule: str
    sha256: str
    rejected_by: NotRequired[str | None]


class LimitView(TypedDict):
    """One limit: `quota` messages in `window` seconds; more is left after `reset` seconds. `remaining`
    counts what other API processes have set aside as used.
    """

    name: str
    quota: int
    window: int
    remaining: int
    reset: int


# Evidence that two customers are one person.
LinkBody = TypedDict(
    "LinkBody",
    {
        "with": "str",
        "evidence": "str",
        "confidence": "NotRequired[float]",
        "canonical": "NotRequired[str | None]",
    },
)


class LinkContent(TypedDict):
    """A page with a preview."""

    type: Literal["link"]
    title: str
    url: str
    description: NotRequired[str]
    picture: NotRequired[str | None]


class LinkRequest(TypedDict):
    """How long a link to a file is good."""

    expires_in: NotRequired[float | str | None]


class LinkView(TypedDict):
    """LinkView"""

    id: str
    a: str
    b: str
    evidence: str
    confidence: float
    canonical: NotRequired[str | None]
    at: NotRequired[str | None]
    by: NotRequired[str | None]
    undone_at: NotRequired[str | None]
    undone_by: NotRequired[str | None]


class MarkRequest(TypedDict):
    """Items that somebody has read."""

    ids: list[str]


class MarkdownContent(TypedDict):
    """Markdown, in the far end's own dialect."""

    type: Literal["markdown"]
    text: str


class MarkedView(TypedDict):
    """What is read now; ids that are not there, or withdrawn, are not in it."""

    read: list[str]


class MediaContent(TypedDict):
    """A file, uploaded before with POST /v1/media."""

    type: Literal["media"]
    kind: Literal["image", "voice", "video", "file"]
    media: str
    name: NotRequired[str]
    title: NotRequired[str]
    description: NotRequired[str]


class MediaLinkView(TypedDict):
    """A link to a file that needs no key."""

    url: str
    expires_at: str


class MediaView(TypedDict):
    """A file of the media store; `id` follows from its content."""

    id: str
    type: str
    name: str
    size: int
    sha256: str
    created_at: str


# One message to one recipient.
MessageRequest = TypedDict(
    "MessageRequest",
    {
        "to": "NotRequired[str | None]",
        "content": "TextContent | MarkdownContent | MediaContent | LinkContent | MiniProgramContent | CardContent | NativeContent | TemplateContent",
        "category": "NotRequired[str | None]",
        "channels": "NotRequired[list[str] | None]",
        "plan": "NotRequired[PlanRequest | None]",
        "from": "NotRequired[str | None]",
        "reply_to": "NotRequired[str | None]",
        "campaign": "NotRequired[str | None]",
        "reference": "NotRequired[str | None]",
        "once_key": "NotRequired[str | None]",
        "order_key": "NotRequired[str | None]",
        "send_at": "NotRequired[str | None]",
        "expires_in": "NotRequired[float | str | None]",
    },
)


class MessageView(TypedDict):
    """A message; members that are not known (yet) are left out."""

    id: str
    status: str
    final: bool
    code: NotRequired[str | None]
    direction: str
    to: NotRequired[str | None]
    sender: NotRequired[str | None]
    account: NotRequired[str | None]
    category: NotRequired[str | None]
    channel: NotRequired[str | None]
    channels: NotRequired[list[str] | None]
    campaign: NotRequired[str | None]
    reference: NotRequired[str | None]
    reply_to: NotRequired[str | None]
    chat: NotRequired[str | None]
    mentions: NotRequired[list[str] | None]
    created_at: NotRequired[str | None]
    send_at: NotRequired[str | None]
    expires_at: NotRequired[str | None]
    updated_at: NotRequired[str | None]
    content: NotRequired[dict[str, Any] | None]
    recalled_at: NotRequired[str | None]
    sources: NotRequired[list[SourceView] | None]
    plan: NotRequired[PlanView | None]
    deliveries: NotRequired[list[DeliveryView] | None]
    trace: NotRequired[list[TraceView] | None]


class MessagesView(TypedDict):
    """MessagesView"""

    items: list[MessageView]
    next_cursor: NotRequired[str | None]


class MiniProgramContent(TypedDict):
    """A mini program card (小程序卡片)."""

    type: Literal["miniprogram"]
    appid: str
    page: str
    title: str
    picture: NotRequired[str | None]


class MuteBody(TypedDict):
    """Not now."""

    until: str
    channels: NotRequired[list[str] | None]


class MuteView(TypedDict):
    """MuteView"""

    until: str
    channels: NotRequired[list[str] | None]


class NativeContent(TypedDict):
    """A kind of message that one far end alone knows; checked and sent by its channel as it is."""

    type: Literal["native"]
    kind: str
    body: dict[str, Any]


class NotRelayedView(TypedDict):
    """A message that is in the archive and was not relayed."""

    person: str
    remote_id: str
    at: str


# One opportunity of one customer.
OpportunityRequest = TypedDict(
    "OpportunityRequest",
    {
        "id": "str",
        "to": "str",
        "content": "TextContent | MarkdownContent | MediaContent | LinkContent | MiniProgramContent | CardContent | NativeContent | TemplateContent",
        "valid_until": "str",
        "plan": "NotRequired[PlanRequest | None]",
        "channels": "NotRequired[list[str] | None]",
        "category": "NotRequired[str]",
        "from": "NotRequired[str | None]",
        "cap": "NotRequired[str | None]",
    },
)


class PartView(TypedDict):
    """The best evidence there is about one part of a delivery."""

    part: int
    evidence: str
    code: NotRequired[str | None]
    at: NotRequired[str | None]


class PauseRequest(TypedDict):
    """Stop what is of one campaign, caller, category, template or channel; it is held, not dropped."""

    scope: Literal["campaign", "caller", "category", "template", "channel"]
    value: str
    lasts: NotRequired[float | str | None]
    why: NotRequired[str]


class PauseView(TypedDict):
    """What an operator stopped. `held`: messages that wait for its end, those of open conversations
    apart.
    """

    scope: str
    value: str
    since: str
    until: NotRequired[str | None]
    by: str
    why: NotRequired[str | None]
    held: NotRequired[int]


class PausesView(TypedDict):
    """PausesView"""

    items: list[PauseView]


# One step (`channel`), or one group of steps: exactly one of channel, first_success, all_of,
# wait_then_next, of.
PlanNode = TypedDict(
    "PlanNode",
    {
        "channel": "NotRequired[str | None]",
        "content": "NotRequired[TextContent | MarkdownContent | MediaContent | LinkContent | MiniProgramContent | CardContent | NativeContent | TemplateContent | None]",
        "from": "NotRequired[str | None]",
        "to": "NotRequired[str | None]",
        "wait": "NotRequired[float | str | None]",
        "success": "NotRequired[str | None]",
        "cost": "NotRequired[int | None]",
        "first_success": "NotRequired[list[PlanNode] | None]",
        "all_of": "NotRequired[list[PlanNode] | None]",
        "wait_then_next": "NotRequired[list[PlanNode] | None]",
        "any": "NotRequired[int | None]",
        "of": "NotRequired[list[PlanNode] | None]",
    },
)


# How one message is tried over several channels: at most 10 steps, 4 levels.
PlanRequest = TypedDict(
    "PlanRequest",
    {
        "channel": "NotRequired[str | None]",
        "content": "NotRequired[TextContent | MarkdownContent | MediaContent | LinkContent | MiniProgramContent | CardContent | NativeContent | TemplateContent | None]",
        "from": "NotRequired[str | None]",
        "to": "NotRequired[str | None]",
        "wait": "NotRequired[float | str | None]",
        "success": "NotRequired[str | None]",
        "cost": "NotRequired[int | None]",
        "first_success": "NotRequired[list[PlanNode] | None]",
        "all_of": "NotRequired[list[PlanNode] | None]",
        "wait_then_next": "NotRequired[list[PlanNode] | None]",
        "any": "NotRequired[int | None]",
        "of": "NotRequired[list[PlanNode] | None]",
        "cost_limit": "NotRequired[int | None]",
        "stop_on": "NotRequired[list[str] | None]",
    },
)


class PlanStepView(TypedDict):
    """One step of a plan."""

    step: int
    channel: str
    to: NotRequired[str | None]
    state: str
    success: str
    succeeded: bool
    evidence: NotRequired[str | None]
    code: NotRequired[str | None]
    started_at: NotRequired[str | None]
    wait_until: NotRequired[str | None]
    cost: NotRequired[int | None]


class PlanView(TypedDict):
    """How far a plan has come."""

    state: str
    overlap: bool
    closed_at: NotRequired[str | None]
    cost: NotRequired[int | None]
    cost_limit: NotRequired[int | None]
    signals: NotRequired[list[str] | None]
    steps: list[PlanStepView]


class PreferenceLinkBody(TypedDict):
    """How long the page can be opened."""

    expires_in: NotRequired[float | str | None]


class PreferenceLinkView(TypedDict):
    """An address to be sent to the customer, and to nobody else: whoever has it can change the
    settings.
    """

    url: str
    expires_at: str


class PreferencesBody(TypedDict):
    """All of a customer's wishes: what is left out is not wished any more."""

    windows: NotRequired[list[WindowBody] | None]
    mutes: NotRequired[list[MuteBody] | None]
    service_only: NotRequired[bool]
    channels: NotRequired[list[str] | None]


class PreferencesView(TypedDict):
    """PreferencesView"""

    windows: list[WindowView]
    mutes: list[MuteView]
    service_only: bool
    channels: list[str]


class ProblemView(TypedDict):
    """RFC 9457 problem details; `errors` lists every wrong field."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    remedy: NotRequired[str | None]
    instance: NotRequired[str | None]
    trace_id: NotRequired[str | None]
    retry_after: NotRequired[int | None]
    errors: NotRequired[list[FaultView] | None]


class QueueView(TypedDict):
    """Frames of up to 100 messages."""

    name: str
    topic: str
    lane: str
    ready: int
    leased: int
    oldest_seconds: NotRequired[float | None]


class ReadyView(TypedDict):
    """ReadyView"""

    ready: bool
    checks: list[CheckView]


class RecallView(TypedDict):
    """The recall is durable; the event `msgcenter.message.recalled.v1` or `…recall_failed.v1` says
    what became of it.
    """

    id: str
    recall: str
    channel: str


class ReconciledView(TypedDict):
    """One account's day. archived = relayed from or confirmed by the archive + missing; what was
    relayed and is not in the archive is in `exceptions`, by reason.
    """

    account: str
    balanced: bool
    archived: NotRequired[int | None]
    missing: NotRequired[int]
    filled: NotRequired[int]
    own: NotRequired[int]
    relayed: dict[str, int]
    exceptions: dict[str, int]
    unexplained: NotRequired[list[UnexplainedView] | None]
    not_relayed: NotRequired[list[NotRelayedView] | None]


class ReconciliationView(TypedDict):
    """`balanced`: every account is."""

    day: str
    balanced: bool
    items: list[ReconciledView]


class RejectBody(TypedDict):
    """Why it is not sent; the sender is told."""

    reason: str


class ReplayManyRequest(TypedDict):
    """Which dead letters to send again; an empty object means all that were not replayed yet."""

    channel: NotRequired[str | None]
    code: NotRequired[str | None]
    message: NotRequired[str | None]
    after: NotRequired[str | None]
    before: NotRequired[str | None]
    limit: NotRequired[int]
    expires_in: NotRequired[float | str | None]


class ReplayRequest(TypedDict):
    """What to give a dead letter on its way back in."""

    expires_in: NotRequired[float | str | None]


class ReplayView(TypedDict):
    """`replayed`: ids of the dead letters sent in again; `skipped`: those that could not be, with the
    reason.
    """

    replayed: list[str]
    skipped: dict[str, str]


class ResumedView(TypedDict):
    """`ended`: this request ended the pause, else none was in force. `released`: messages let out,
    over `spread_seconds`.
    """

    scope: str
    value: str
    ended: bool
    released: int
    spread_seconds: float


class ReviewView(TypedDict):
    """One content that waits, or waited, for a decision."""

    id: str
    state: str
    message: str
    step: int
    caller: str
    category: str
    campaign: NotRequired[str | None]
    reference: NotRequired[str | None]
    rule: str
    found: list[HitView]
    content: dict[str, Any]
    at: str
    until: str
    decided_by: NotRequired[str | None]
    decided_at: NotRequired[str | None]
    reason: NotRequired[str | None]


class ReviewsView(TypedDict):
    """Oldest first."""

    items: list[ReviewView]
    next_cursor: NotRequired[str | None]


class RollbackRequest(TypedDict):
    """Put an earlier version in force, until the folder's text changes."""

    version: NotRequired[int | None]
    reason: NotRequired[str]


class RolloutView(TypedDict):
    """What is in force, and what the folder says that is not. `held`: messages that the rules hold and
    that are decided anew when their time comes, under the rules of then.
    """

    in_force: NotRequired[ConfigVersionView | None]
    folder: str
    waiting: NotRequired[str | None]
    lacking: list[LackingView]
    result: dict[str, Any]
    held: int


class RuleCountView(TypedDict):
    """How often one rule, or the far end, kept messages from leaving."""

    what: str
    code: str
    count: int


class SchemaView(TypedDict):
    """A type of event; `url` answers its JSON Schema."""

    type: str
    title: str
    url: str


class SchemasView(TypedDict):
    """SchemasView"""

    items: list[SchemaView]


class SealCheckView(TypedDict):
    """A seal, compared with what is there now."""

    at: NotRequired[str | None]
    messages: int
    first_at: NotRequired[str | None]
    last_at: NotRequired[str | None]
    sha256: str
    intact: bool
    changed: int
    missing: int
    after: int


class SealView(TypedDict):
    """What the message store held of a group before it was dissolved."""

    at: NotRequired[str | None]
    messages: int
    first_at: NotRequired[str | None]
    last_at: NotRequired[str | None]
    sha256: str


class ShortLinkView(TypedDict):
    """A short link of a message."""

    name: str
    url: str
    short_url: str
    clicks: int
    first_at: NotRequired[str | None]
    last_at: NotRequired[str | None]
    expires_at: str


class ShortLinksView(TypedDict):
    """ShortLinksView"""

    items: list[ShortLinkView]


class SignalRequest(TypedDict):
    """What happened, and to whom: at least one of customer, address, message, reference, opportunity."""

    name: str
    customer: NotRequired[str | None]
    address: NotRequired[str | None]
    message: NotRequired[str | None]
    reference: NotRequired[str | None]
    opportunity: NotRequired[str | None]
    at: NotRequired[str | None]
    data: NotRequired[dict[str, Any] | None]


class SignalView(TypedDict):
    """The signal is durable; the plans that wait for it will hear of it."""

    id: str
    name: str


class SourceView(TypedDict):
    """One channel's reading of a message, with its own id of it."""

    channel: str
    remote_id: str
    at: NotRequired[str | None]


class StatusView(TypedDict):
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


class StepView(TypedDict):
    """One step of the slip or of the plan. `verdict`: send, wait, refuse or retry; `code`: why it is
    not simply sent.
    """

    step: int
    channel: str
    verdict: str
    code: NotRequired[str | None]
    detail: NotRequired[str | None]
    route: NotRequired[str | None]
    next_at: NotRequired[str | None]
    person: str
    decisions: list[DecisionView]


class SubscriptionChange(TypedDict):
    """What shall be otherwise; what is left out stays."""

    url: NotRequired[str | None]
    types: NotRequired[list[str] | None]
    description: NotRequired[str | None]


class SubscriptionPause(TypedDict):
    """Why; may be left out."""

    why: NotRequired[str]


# From where everything comes again.
SubscriptionReplay = TypedDict(
    "SubscriptionReplay",
    {
        "from": "str",
    },
)


# Where events shall go, and which.
SubscriptionRequest = TypedDict(
    "SubscriptionRequest",
    {
        "url": "str",
        "types": "NotRequired[list[str]]",
        "everyone": "NotRequired[bool]",
        "description": "NotRequired[str]",
        "from": "NotRequired[str]",
    },
)


class SubscriptionView(TypedDict):
    """A place for events. Delivered as Standard Webhooks: verify the signature, answer 2xx, know a
    repeat by its `webhook-id`.
    """

    id: str
    caller: str
    url: str
    types: list[str]
    everyone: bool
    description: NotRequired[str | None]
    state: str
    cursor: str
    caught_up: bool
    handed_over_at: NotRequired[str | None]
    created_at: str
    updated_at: str
    secret: NotRequired[str | None]
    old_secret_until: NotRequired[str | None]


class SubscriptionsView(TypedDict):
    """Oldest first."""

    items: list[SubscriptionView]


class TagView(TypedDict):
    """TagView"""

    name: str
    source: NotRequired[str | None]
    at: NotRequired[str | None]


class TemplateContent(TypedDict):
    """Words that operators keep in `templates/`, in the version valid when the message is sent."""

    type: Literal["template"]
    template: str
    variables: NotRequired[dict[str, Any]]


class TextContent(TypedDict):
    """Plain text."""

    type: Literal["text"]
    text: str
    links: NotRequired[dict[str, Any] | None]


class TraceView(TypedDict):
    """One outcome of one pass, in the order they happened."""

    at: str
    pipeline: str
    step: int
    attempt: int
    outcome: str
    code: NotRequired[str | None]
    detail: NotRequired[str | None]
    channel: NotRequired[str | None]
    receipt: NotRequired[bool | None]
    until: NotRequired[str | None]
    remote_ids: NotRequired[list[str] | None]
    decisions: NotRequired[list[DecisionView] | None]


class UnexplainedView(TypedDict):
    """Messages of one conversation that were relayed and that the archive should have, and has not."""

    person: str
    messages: int


# Undo the links between two customers.
UnlinkBody = TypedDict(
    "UnlinkBody",
    {
        "with": "str",
    },
)


class VersionView(TypedDict):
    """VersionView"""

    version: str
    python: str
    config_hash: str
    config_generation: int


class WindowBody(TypedDict):
    """Every day (or on `days`) from `start` to `end` of the customer's local time; an end before the
    start is on the next day.
    """

    start: str
    end: str
    days: NotRequired[list[int] | None]
    channels: NotRequired[list[str] | None]


class WindowView(TypedDict):
    """WindowView"""

    start: str
    end: str
    days: NotRequired[list[int] | None]
    channels: NotRequired[list[str] | None]
