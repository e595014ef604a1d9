"""The bodies of requests as pydantic models: what they may hold, strictly; /openapi.json is made from
them."""

from __future__ import annotations

import re
from typing import Annotated, ClassVar

from pydantic import AwareDatetime, BeforeValidator, Field, WithJsonSchema

from msgcenter.api.body import Body, wrong
from msgcenter.api.content import Content

MAX_BATCH = 1000
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


# -- requests -----------------------------------------------------------------------------------


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


class LinkRequest(Body):
    """How long a link to a file is good."""

    expires_in: Life | None = Field(None, description="at most 7d; default: 10m")


class KeyRequest(Body):
    """A new API key for a caller of callers.yaml."""

    caller: Word
    name: Annotated[str, Field(max_length=80)] = ""
    scopes: list[Word] | None = Field(None, description="none: all that the caller has")
    expires_in: Annotated[int, Field(ge=60, le=10 * 366 * 86400)] | None = Field(
        None, description="seconds; none: never"
    )
