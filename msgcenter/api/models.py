"""The bodies of requests as pydantic models: what they may hold, strictly; /openapi.json is made from
them."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import AwareDatetime, BeforeValidator, ConfigDict, Field, WithJsonSchema

from msgcenter.api.body import Body, wrong
from msgcenter.api.content import Content

MAX_BATCH = 1000
MAX_MEMBERS = 2000
LEAST_LIFE_S, MOST_LIFE_S = 1, 30 * 86400

_DURATION = re.compile(r"(\d{1,9})(ms|s|m|h|d)?")
_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, None: 1}


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


def _undo(value: object) -> object:
    """Like `_life`, from `0s`."""
    return 0.0 if value in ("0s", "0", 0) and value is not False else _life(value)


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


Undo = Annotated[
    float,
    BeforeValidator(_undo),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "number", "minimum": 0, "maximum": MOST_LIFE_S},
                {"type": "string", "pattern": "^[0-9]{1,9}(ms|s|m|h|d)?$"},
            ],
            "description": "a duration from 0s: 30s, 10m, 2h",
        }
    ),
]
Member = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\s|]+$")]

#: What a step waits for, and what may end a plan.
Success = Annotated[
    str,
    Field(
        pattern=r"^(accepted|delivered|read|replied|clicked|signal:[a-z0-9_.-]{1,64})$",
        examples=["delivered", "replied", "signal:paid"],
    ),
]
StopWord = Annotated[
    str, Field(pattern=r"^(replied|clicked|signal:[a-z0-9_.-]{1,64})$", examples=["signal:paid"])
]
MAX_MEMBERS_OF_A_PLAN = 10
Members = Annotated[list["PlanNode"], Field(min_length=1, max_length=MAX_MEMBERS_OF_A_PLAN)]


class PlanNode(Body):
    """One step (`channel`), or one group of steps: exactly one of channel, first_success, all_of, wait_then_next, of."""

    __nested__: ClassVar[tuple[str, ...]] = (
        "content",
        "first_success",
        "all_of",
        "wait_then_next",
        "of",
    )

    channel: Word | None = Field(None, description="a step: the kind it goes by")
    content: Content | None = Field(None, description="default: the message's")
    from_: Word | None = Field(None, alias="from", description="the account that sends this step")
    to: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="default: the message's; the same person by another address"
    )
    wait: Life | None = Field(
        None,
        description="how long the step's success is waited for, from its start and again from its sending; after it the next "
        "step starts, and what could not be sent by then is called back. None: as long as the plan runs",
    )
    success: Success | None = Field(
        None,
        description="when the step counts as done; default: accepted, in wait_then_next delivered",
    )
    cost: Annotated[int, Field(ge=0, le=1_000_000_000)] | None = Field(
        None, description="of one send, in a unit of your own; see cost_limit"
    )
    first_success: Members | None = Field(
        None, description="one after the other until one succeeds"
    )
    all_of: Members | None = Field(None, description="all at once; each must succeed")
    wait_then_next: Members | None = Field(
        None, description="like first_success; each but the last needs its wait"
    )
    any_: Annotated[int, Field(ge=1, le=MAX_MEMBERS_OF_A_PLAN)] | None = Field(
        None, alias="any", description="with `of`: how many must succeed; so many run at a time"
    )
    of: Members | None = Field(None, description="with `any`")


class PlanRequest(PlanNode):
    """How one message is tried over several channels: at most 10 steps, 4 levels."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "first_success": [
                        {"channel": "push", "wait": "10m", "success": "read"},
                        {"channel": "sms", "success": "delivered"},
                    ],
                    "cost_limit": 50,
                    "stop_on": ["signal:paid"],
                },
                {
                    "wait_then_next": [
                        {"channel": "wecom-contact", "wait": "2d", "success": "replied"},
                        {"all_of": [{"channel": "push"}, {"channel": "sms", "cost": 5}]},
                    ]
                },
                {
                    "any": 2,
                    "of": [{"channel": "push"}, {"channel": "wecom-app"}, {"channel": "sms"}],
                },
            ]
        }
    )

    cost_limit: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = Field(
        None, description="the costs of the steps that left, or may have, never add up to more"
    )
    stop_on: Annotated[list[StopWord], Field(min_length=1, max_length=10)] | None = Field(
        None, description="what ends the plan: an answer, a click, a signal (POST /v1/signals)"
    )


# -- requests -----------------------------------------------------------------------------------


class MessageRequest(Body):
    """One message to one recipient."""

    __nested__: ClassVar[tuple[str, ...]] = ("content", "plan")

    to: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None,
        description="scheme:value such as tel:+8613800138000, customer:<id> of the directory, or a bare "
        "11-digit mobile number (13 digits: IoT). Required unless reply_to is given",
        examples=["tel:+8613800138000", "customer:c-1001"],
    )
    content: Content
    category: Word | None = Field(
        None, description="what kind of message it is; decides tier, caps, quiet hours, validity"
    )
    channels: Annotated[list[Word], Field(min_length=1, max_length=8)] | None = Field(
        None, description="kinds to try, in order; default: every kind that reaches the address"
    )
    plan: PlanRequest | None = Field(
        None, description="instead of channels: several channels with waits and success tests"
    )
    from_: Word | None = Field(None, alias="from", description="the account that sends")
    reply_to: Word | None = Field(
        None, description="id of a received message: its account, address and channel are used"
    )
    campaign: Label | None = None
    reference: Label | None = Field(None, description="yours; comes back with every event")
    once_key: Label | None = Field(
        None,
        description="what a person gets once, whichever message and channel brings it: a coupon's id",
        examples=["coupon-2026-618"],
    )
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


class GroupRequest(Body):
    """A new group."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    members: Annotated[list[Member], Field(min_length=1, max_length=MAX_MEMBERS)] = Field(
        description="as the far end names them: userids, customers' ids"
    )
    owner: Member | None = Field(None, description="one of the members; none: the far end decides")
    kind: Word | None = Field(
        None, description="kind of channel; may be left out when only one can make groups"
    )
    from_: Word | None = Field(None, alias="from", description="the account that makes it")
    reference: Label | None = Field(None, description="yours; comes back with every event")


class GroupChange(Body):
    """What to change; what is left out stays."""

    name: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    owner: Member | None = None
    members: Annotated[list[Member], Field(min_length=1, max_length=MAX_MEMBERS)] | None = Field(
        None, description="all of them; or give add and remove"
    )
    add: Annotated[list[Member], Field(max_length=MAX_MEMBERS)] | None = None
    remove: Annotated[list[Member], Field(max_length=MAX_MEMBERS)] | None = None
    reference: Label | None = None


class DissolveRequest(Body):
    """How to end a group."""

    undo_for: Undo | None = Field(
        None,
        description="how long it can be undone before it is carried out; 0s: at once; "
        "none: as policy.yaml has it",
    )
    reason: Annotated[str, Field(max_length=200)] = Field("", description="for the audit log")
    reference: Label | None = None


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


class LinkRequest(Body):
    """How long a link to a file is good."""

    expires_in: Life | None = Field(None, description="at most 7d; default: 10m")


class ApproveRequest(Body):
    """A person's word on the changed rule files that wait, as they lie in the folder now."""

    role: Word = Field(description="one that callers.yaml gives the key's caller")
    reject: bool = Field(False, description="true: refuse them")


class ApplyRequest(Body):
    """Look at the folder now; with `break_glass` take it although approvals are missing."""

    break_glass: bool = False
    reason: Annotated[str, Field(max_length=400)] = Field("", description="needed with break_glass")
    lasts: Life | None = Field(None, description="until when it must be approved; needed with it")


class RollbackRequest(Body):
    """Put an earlier version in force, until the folder's text changes."""

    version: Annotated[int, Field(ge=1, le=2**53)] | None = Field(
        None, description="none: the one before the text in force"
    )
    reason: Annotated[str, Field(max_length=400)] = ""


class PauseRequest(Body):
    """Stop what is of one campaign, caller, category, template or channel; it is held, not dropped."""

    scope: Literal["campaign", "caller", "category", "template", "channel"]
    value: Label = Field(description="its name; a channel's, or a kind of channel")
    lasts: Life | None = Field(None, description="none: until it is resumed")
    why: Annotated[str, Field(max_length=200)] = Field("", description="kept with every message")


class KeyRequest(Body):
    """A new API key for a caller of callers.yaml."""

    caller: Word
    name: Annotated[str, Field(max_length=80)] = ""
    scopes: list[Word] | None = Field(None, description="none: all that the caller has")
    expires_in: Annotated[int, Field(ge=60, le=10 * 366 * 86400)] | None = Field(
        None, description="seconds; none: never"
    )
