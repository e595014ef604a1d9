"""Events from a hosted-account gateway: a closed set, sent as signed JSON and read here; unknown ones are kept, not refused.

Delivered at least once and, per account, in the order of `seq` unless one was repeated; the id of an event tells a repeat. What
an account itself says comes back as an echo, whoever typed it; `command` names ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from protocols.errors import Malformed
from protocols.fields import as_int, as_text, flatten, load, number, text, texts
from protocols.hosted.answers import ACCOUNT_STATES, Account, write_account
from protocols.hosted.commands import VERSION
from protocols.hosted.content import (
    Chat,
    Content,
    Other,
    read_chat,
    read_content,
    required,
    write_content,
)
from protocols.jsontext import parse, write
from protocols.webhook import signing

MAX_BYTES = 256 * 1024
ReceiptState: TypeAlias = Literal["delivered", "failed", "read"]
_RECEIPTS: tuple[ReceiptState, ...] = get_args(ReceiptState)
GROUP_CHANGES: frozenset[str] = frozenset(
    {"created", "renamed", "members_added", "members_removed", "owner_changed", "dissolved"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What every event has. `at`: epoch milliseconds; `seq`: counts up per account."""

    id: str = text("id")
    account: str = text("account")
    at: int = number("at")
    seq: int = number("seq")


@dataclass(frozen=True, slots=True, kw_only=True)
class Received(Event):
    """A customer (or another member of a group) said something. `archive_id`: the same message's id in the archive, if known."""

    chat: Chat
    message_id: str = text("message_id")
    archive_id: str = text("archive_id")
    sender: str = text("sender")
    sender_name: str = text("sender_name")
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Echo(Event):
    """The account said something. `command`: the id of our command, "" when a person typed it."""

    chat: Chat
    message_id: str = text("message_id")
    archive_id: str = text("archive_id")
    command: str = text("command")
    content: Content


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Event):
    chat: Chat
    message_id: str = text("message_id")
    by: str = text("by")


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt(Event):
    """What became of a command that was queued. `code` of a failure as in `answers.CODES`."""

    command: str = text("command")
    message_id: str = text("message_id")
    state: ReceiptState
    code: str = text("code")
    detail: str = text("detail")


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountChanged(Event):
    status: Account


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChanged(Event):
    """`change`: one of GROUP_CHANGES; `command`: ours, if it was us."""

    group_id: str = text("group_id")
    change: str = text("change")
    name: str = text("name")
    owner: str = text("owner")
    members: tuple[str, ...] = texts("members")
    by: str = text("by")
    command: str = text("command")


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent(Event):
    type: str = text("type")
    fields: tuple[tuple[str, str], ...] = ()


Hosted: TypeAlias = (
    Received | Echo | Recalled | Receipt | AccountChanged | GroupChanged | UnknownEvent
)


def read_event(body: bytes) -> Hosted:
    """The event in a body whose signature was checked. Raises Malformed naming the field."""
    tree = parse(body, MAX_BYTES)
    if tree.get("version") != VERSION:
        raise Malformed(f"version: {VERSION} expected")
    for name in ("id", "account", "type"):
        required(name, as_text(tree.get(name)), 256)
    if as_int(tree.get("at")) <= 0:
        raise Malformed("at: epoch milliseconds expected")
    word = as_text(tree.get("type"))
    if word in ("message.received", "message.echo"):
        required("message_id", as_text(tree.get("message_id")))
        chat = read_chat(tree.get("chat"))
        content = read_content(tree.get("content"), may_be_other=True)
        if word == "message.echo":
            return load(Echo, tree, chat=chat, content=content)
        required("sender", as_text(tree.get("sender")))
        return load(Received, tree, chat=chat, content=content)
    if word == "message.recalled":
        required("message_id", as_text(tree.get("message_id")))
        return load(Recalled, tree, chat=read_chat(tree.get("chat")))
    if word == "receipt":
        return load(Receipt, tree, state=_receipt(tree))
    if word == "account.state":
        status = tree.get("status")
        if not isinstance(status, Mapping) or as_text(status.get("state")) not in ACCOUNT_STATES:
            raise Malformed(f"status.state: one of {', '.join(sorted(ACCOUNT_STATES))}")
        return load(AccountChanged, tree, status=load(Account, status))
    if word == "group.changed":
        required("group_id", as_text(tree.get("group_id")))
        if as_text(tree.get("change")) not in GROUP_CHANGES:
            raise Malformed(f"change: one of {', '.join(sorted(GROUP_CHANGES))}")
        return load(GroupChanged, tree)
    return load(UnknownEvent, tree, fields=tuple(flatten(tree)))


def _receipt(tree: Mapping[str, Any]) -> ReceiptState:
    required("command", as_text(tree.get("command")), 256)
    word = as_text(tree.get("state"))
    state = next((each for each in _RECEIPTS if each == word), None)
    if state is None:
        raise Malformed("state: delivered, failed or read")
    return state


def verify(secrets: Sequence[str], headers: Mapping[str, str], body: bytes, now: int) -> Hosted:
    """Signature and time first, then the event, whose id must be the signed one. Raises BadSignature or Malformed."""
    signed = signing.verify(secrets, headers, body, now)
    event = read_event(body)
    if event.id != signed:
        raise Malformed("id: not the one that was signed")
    return event


def write_event(event: Hosted) -> bytes:
    """What a gateway sends; empty fields left out. Raises Malformed."""
    fields: dict[str, Any] = {
        "version": VERSION,
        "id": event.id,
        "account": event.account,
        "at": event.at,
        "seq": event.seq,
    }
    match event:
        case Received():
            fields |= {
                "type": "message.received",
                **_message(event),
                "sender": event.sender,
                "sender_name": event.sender_name,
            }
        case Echo():
            fields |= {"type": "message.echo", **_message(event), "command": event.command}
        case Recalled():
            fields |= {"type": "message.recalled", "chat": event.chat.fields()}
            fields |= {"message_id": event.message_id, "by": event.by}
        case Receipt():
            fields |= {
                "type": "receipt",
                "command": event.command,
                "message_id": event.message_id,
                "state": event.state,
                "code": event.code,
                "detail": event.detail,
            }
        case AccountChanged():
            fields |= {"type": "account.state", "status": write_account(event.status)}
        case GroupChanged():
            fields |= {
                "type": "group.changed",
                "group_id": event.group_id,
                "change": event.change,
                "name": event.name,
                "owner": event.owner,
                "members": list(event.members),
                "by": event.by,
                "command": event.command,
            }
        case UnknownEvent():
            raise Malformed(f"type: {event.type[:30]!r} cannot be written")
    body = write({name: value for name, value in fields.items() if value not in ("", [])})
    read_event(body)  # the same checks for both ends
    return body


def _message(event: Received | Echo) -> dict[str, Any]:
    content = event.content
    written = (
        {"type": content.type, "description": content.description}
        if isinstance(content, Other)
        else write_content(content)
    )
    return {
        "chat": event.chat.fields(),
        "message_id": event.message_id,
        "archive_id": event.archive_id,
        "content": written,
    }
