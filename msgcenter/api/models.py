"""The JSON documents of the API as pydantic models: what requests may hold and what answers look
like; /openapi.json is made from them."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

MAX_TEXT_OCTETS = 64 * 1024
MAX_BATCH = 1000
LEAST_LIFE_S, MOST_LIFE_S = 1, 30 * 86400

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


def wrong(code: str, **facts: object) -> PydanticCustomError:
    """A fault in our own words (texts.FIELD_CODES) from inside a validator."""
    return PydanticCustomError("problem", "{code}", {"code": code, **facts})


def _life(value: object) -> object:
    """`30s`, `10m`, `2h`, `7d` or a number of seconds -> seconds."""
    seconds: float | None = None
    if isinstance(value, str) and (match := _DURATION.fullmatch(value)):
        seconds = int(match[1]) * _UNITS[match[2]]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if seconds is None or not LEAST_LIFE_S <= seconds <= MOST_LIFE_S:
        raise wrong("duration_invalid", least=f"{LEAST_LIFE_S}s", most="30d")
    return seconds


def _octets(value: object) -> object:
    if isinstance(value, str) and len(value) * 3 > MAX_TEXT_OCTETS:
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise wrong("invalid", why="lone surrogate") from error
        if size > MAX_TEXT_OCTETS:
            raise wrong("too_long", limit=f"{MAX_TEXT_OCTETS} octets")
    return value


Life = Annotated[
    float,
    BeforeValidator(_life),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": LEAST_LIFE_S, "maximum": MOST_LIFE_S},
                {"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)?$"},
            ],
            "description": "a duration: 30s, 10m, 2h, 7d, or a number of seconds",
        }
    ),
]
#: Text without control characters that becomes part of an index or a header.
Label = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f]+$")]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class Body(BaseModel):
    """A request body: no unknown fields, no conversions beyond JSON's own types.

    `__nested__` names the fields that hold further models; `strict.read_model` counts keys by it.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, populate_by_name=False, allow_inf_nan=False
    )
    __nested__: ClassVar[tuple[str, ...]] = ()


class View(BaseModel):
    """An answer; readers must ignore members they do not know."""

    model_config = ConfigDict(frozen=True)


# -- requests -----------------------------------------------------------------------------------


class TextContent(Body):
    """Plain text."""

    type: Literal["text"]
    text: Annotated[str, BeforeValidator(_octets), Field(min_length=1)] = Field(
        description="at most 64 KB in UTF-8; a long text goes out in as many parts as needed"
    )


Content = Annotated[TextContent, Field(description="what is said")]


class MessageRequest(Body):
    """One message to one recipient."""

    __nested__: ClassVar[tuple[str, ...]] = ("content",)

    to: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None,
        description="scheme:value such as tel:+8613800138000, or a bare 11-digit mobile number "
        "(13 digits: IoT). Required unless reply_to is given",
        examples=["tel:+8613800138000"],
    )
    content: Content
    category: Word | None = Field(
        None, description="what kind of message it is; decides tier, caps, quiet hours, validity"
    )
    channels: Annotated[list[Word], Field(min_length=1, max_length=8)] | None = Field(
        None, description="kinds to try, in order; default: every kind that reaches the address"
    )
    from_: Word | None = Field(None, alias="from", description="the account that sends")
    reply_to: Word | None = Field(
        None, description="id of a received message: its account, address and channel are used"
    )
    campaign: Label | None = None
    reference: Label | None = Field(None, description="yours; comes back with every event")
    order_key: Label | None = Field(
        None, description="messages of one caller with the same key go out in order"
    )
    send_at: AwareDatetime | None = Field(None, description="not before this time (RFC 3339)")
    expires_in: Life | None = Field(
        None,
        description="useless after this long, counted from send_at when given, else from now; "
        "default: the category's",
    )


class BatchRequest(Body):
    """Up to 1,000 messages, each judged by itself."""

    __nested__: ClassVar[tuple[str, ...]] = ("messages",)

    messages: Annotated[list[MessageRequest], Field(min_length=1, max_length=MAX_BATCH)]


class ReplayRequest(Body):
    """What to give a dead letter on its way back in."""

    expires_in: Life | None = Field(None, description="a new validity from now; none: keep the old")


class ReplayManyRequest(Body):
    """Which dead letters to send again; an empty object means all that were not replayed yet."""

    channel: Word | None = None
    code: Word | None = None
    message: Word | None = None
    after: AwareDatetime | None = None
    before: AwareDatetime | None = None
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    expires_in: Life | None = None


class KeyRequest(Body):
    """A new API key for a caller of callers.yaml."""

    caller: Word
    name: Annotated[str, Field(max_length=80)] = ""
    scopes: list[Word] | None = Field(None, description="none: all that the caller has")
    expires_in: Annotated[int, Field(ge=60, le=10 * 366 * 86400)] | None = Field(
        None, description="seconds; none: never"
    )


# -- answers ------------------------------------------------------------------------------------


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
