"""What the `data` of every event holds, as JSON Schema (2020-12): one for each type, the inbound message one for each kind of
content; published at `GET /v1/schemas`.

The version is in the type (`….v1`): within it fields are added, never taken away or given another meaning. Readers ignore what
they do not know; the schemas here are what is written today and allow nothing else, so that the tests catch a field that nobody
described.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from msgcenter.archive.events_sink import (
    GROUP_WORDS,
    NEWS,
    PLAN_WORDS,
    SHARE_EXCEEDED,
    event_type,
    group_type,
    plan_type,
)
from protocols.payload import MediaKind

Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
Id = Annotated[str, Field(min_length=1)]
Address = Annotated[str, Field(description="`scheme:value`, as `tel:+8613800138000`")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


# --- what was written ---


class TextContent(_Model):
    type: Literal["text"]
    text: str


class MarkdownContent(_Model):
    type: Literal["markdown"]
    text: str


class MediaContent(_Model):
    """`media` is to be fetched at `GET /v1/media/{id}`."""

    type: Literal["media"]
    kind: MediaKind
    media: Id
    name: str = ""
    title: str = ""
    description: str = ""


class LinkContent(_Model):
    type: Literal["link"]
    title: str = ""
    url: str = ""
    description: str = ""
    picture: str = ""


class MiniProgramContent(_Model):
    type: Literal["miniprogram"]
    appid: str = ""
    page: str = ""
    title: str = ""
    picture: str = ""


class CardContent(_Model):
    type: Literal["card"]
    title: str = ""
    description: str = ""
    url: str = ""
    button: str = ""


class NativeContent(_Model):
    """A kind that only one far end knows (location, voice call, menu …), as it came."""

    type: Literal["native"]
    kind: Id
    body: dict[str, Any]


class HappeningContent(_Model):
    """Nobody wrote it: a customer was added, a session entered, a menu clicked …, as it came."""

    type: Literal["event"]
    kind: Id
    body: dict[str, Any]


Content = Annotated[
    TextContent | MarkdownContent | MediaContent | LinkContent | MiniProgramContent | CardContent
    | NativeContent | HappeningContent,
    Field(discriminator="type"),
]  # fmt: skip


class Received(_Model):
    """A person wrote (direction `in`), or the account's own human did in the far end's client (`staff`)."""

    message: Id
    sender: Address = Field(alias="from")
    to: Address
    direction: Literal["in", "staff"]
    account: str
    channel: str
    category: str
    conversation: str
    chat: str | None = Field(None, min_length=1, description="the group's chat; absent = 1:1")
    mentions: list[str] | None = None
    reply_to: str
    received_at: Time
    content: Content


# --- what became of what was sent ---


class News(_Model):
    """A message has got a new status. `code` is the reason, the far end's own where it gave one."""

    message: Id
    reference: str
    status: Id
    final: bool
    code: str
    detail: str
    channel: str
    step: int
    attempt: int
    category: str | None = None
    campaign: str | None = None
    possibly_duplicate: bool | None = None
    until: Time | None = Field(None, description="of a held message: looked at again then")


class Withdrawn(_Model):
    """A message was taken back, or could not be."""

    message: Id
    reference: str
    recall: Id
    channel: str
    code: str
    detail: str


class GroupCommand(_Model):
    """A group was made, changed or dissolved, could not be, or nobody knows."""

    group: Id
    command: Literal["created", "updated", "dissolved"]
    message: Id
    reference: str
    account: str
    channel: str
    code: str
    detail: str
    chat: str | None = Field(None, description="the far end's id of a new group")


class GroupEnding(_Model):
    """Somebody asked for a group to be dissolved (and it waits for approval), or it will be at `undo_until`."""

    group: Id
    name: str
    owner: str
    message: Id
    account: str
    channel: str
    by: str = ""
    reason: str = ""
    reference: str = ""
    approved_by: str = ""
    needs: Literal["approval"] | None = None
    undo_until: Time | None = None


class PlanEnded(_Model):
    """A plan is over: exactly one of these for each."""

    message: Id
    reference: str
    result: Literal["reached", "unreached", "expired", "stopped", "cancelled"]
    status: str
    overlap: bool


class RuleCount(_Model):
    """`code` held or dropped so many."""

    what: Literal["held", "dropped"]
    code: Id
    count: Annotated[int, Field(ge=1)]


class ShareExceeded(_Model):
    """Of a caller's messages of a window more than `limit` were held or dropped: one of these for each window."""

    since: Time = Field(alias="from")
    to: Time
    limit: float
    share: float
    total: int
    sent: int
    held: int
    dropped: int
    rules: list[RuleCount]


_ENDING = frozenset({"dissolve_asked", "dissolving"})
MODELS: Mapping[str, type[BaseModel]] = {
    event_type("received"): Received,
    **{event_type(word): News for word in sorted(set(NEWS.values()))},
    event_type("recalled"): Withdrawn,
    event_type("recall_failed"): Withdrawn,
    **{group_type(word): GroupCommand for word in sorted(GROUP_WORDS - _ENDING)},
    **{group_type(word): GroupEnding for word in sorted(_ENDING)},
    **{plan_type(word): PlanEnded for word in sorted(PLAN_WORDS)},
    SHARE_EXCEEDED: ShareExceeded,
}
"""Event type -> the model of its `data`."""


@cache
def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of a whole event (CloudEvents 1.0) of type `kind`. Raises KeyError for a type that there is not."""
    data = MODELS[kind].model_json_schema(ref_template="#/$defs/{model}")
    parts = data.pop("$defs", {})
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"/v1/schemas/{kind}",
        "title": kind,
        "type": "object",
        "required": ["specversion", "id", "source", "type", "time", "data"],
        "properties": {
            "specversion": {"const": "1.0"},
            "id": {"type": "string", "minLength": 1},
            "source": {"type": "string", "format": "uri-reference"},
            "type": {"const": kind},
            "time": {"type": "string", "format": "date-time"},
            "subject": {"type": "string", "minLength": 1},
            "data": data,
        },
        "$defs": parts,
    }
