"""Commands to a hosted-account gateway: a closed set, written as signed JSON by us and read by a gateway (or its simulator).

The command's id is the `webhook-id` of the call and makes it idempotent: the gateway does one id once and answers a repeat with
what it answered first, for at least 48 h. So a command whose outcome is unknown is simply sent again, or asked about with `Query`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocols.errors import Malformed
from protocols.fields import as_list, as_text
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

VERSION = 1
PATH = "/v1/commands"
MAX_BYTES = 64 * 1024
MAX_MEMBERS = 500
MAX_NAME = 50
"""Characters of a group's name."""
#: The gateway remembers ids and their answers for so long.
REMEMBERED_S = 48 * 3600


@dataclass(frozen=True, slots=True)
class Send:
    """Say something, as `account`, to one customer or in one group. `mention`: members or customers of the group, `@all`."""

    account: str
    to: Chat
    content: Content
    mention: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Recall:
    """Take back a message of this account; clients allow about 2 min."""

    account: str
    chat: Chat
    message_id: str


@dataclass(frozen=True, slots=True)
class CreateGroup:
    """`members`: customers and members; `account` becomes the owner."""

    account: str
    name: str
    members: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RenameGroup:
    account: str
    group_id: str
    name: str


@dataclass(frozen=True, slots=True)
class ChangeMembers:
    account: str
    group_id: str
    add: tuple[str, ...] = ()
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class DissolveGroup:
    """A group that is gone already is a success."""

    account: str
    group_id: str


@dataclass(frozen=True, slots=True)
class AccountStatus:
    """Ask how an account is doing."""

    account: str


@dataclass(frozen=True, slots=True)
class Query:
    """Ask what became of an earlier command of this account."""

    account: str
    command_id: str


Command: TypeAlias = (
    Send
    | Recall
    | CreateGroup
    | RenameGroup
    | ChangeMembers
    | DissolveGroup
    | AccountStatus
    | Query
)


@dataclass(frozen=True, slots=True)
class Call:
    """An HTTP POST to PATH: `headers` are Standard Webhooks'."""

    headers: dict[str, str]
    body: bytes


def write_command(command: Command) -> bytes:
    """The body; equal commands are equal octets. Raises Malformed naming field and limit."""
    fields: dict[str, Any] = {"version": VERSION, "account": required("account", command.account)}
    match command:
        case Send(to=to, content=content, mention=mention):
            if isinstance(content, Other):
                raise Malformed("content.type: cannot be sent")
            to.check()
            if mention and to.kind != "group":
                raise Malformed("mention: in groups only")
            fields |= {"type": "message.send", "to": to.fields(), "content": write_content(content)}
            if mention:
                fields["mention"] = _ids("mention", mention)
        case Recall(chat=chat, message_id=message_id):
            chat.check()
            fields |= {"type": "message.recall", "chat": chat.fields()}
            fields["message_id"] = required("message_id", message_id)
        case CreateGroup(name=name, members=members):
            fields |= {"type": "group.create", "name": _name(name)}
            fields["members"] = _ids("members", members)
        case RenameGroup(group_id=group_id, name=name):
            fields |= {"type": "group.rename", "name": _name(name)}
            fields["group_id"] = required("group_id", group_id)
        case ChangeMembers(group_id=group_id, add=add, remove=remove):
            if not (add or remove):
                raise Malformed("add, remove: nothing to change")
            if set(add) & set(remove):
                raise Malformed("add, remove: somebody in both")
            fields |= {"type": "group.members", "group_id": required("group_id", group_id)}
            for field_name, ids in (("add", add), ("remove", remove)):
                if ids:
                    fields[field_name] = _ids(field_name, ids)
        case DissolveGroup(group_id=group_id):
            fields |= {"type": "group.dissolve", "group_id": required("group_id", group_id)}
        case AccountStatus():
            fields["type"] = "account.status"
        case Query(command_id=command_id):
            fields |= {"type": "command.query", "command": required("command", command_id)}
    body = write(fields)
    if len(body) > MAX_BYTES:
        raise Malformed(f"command: {len(body)} octets, at most {MAX_BYTES}")
    return body


def call(command: Command, command_id: str, secrets: Sequence[str], now: int) -> Call:
    """The whole call. `command_id`: 1-256 of letters, digits and `_:@/+=-`; `now`: seconds. Raises Malformed."""
    body = write_command(command)
    headers = signing.sign(secrets, command_id, now, body)
    return Call({**headers, "content-type": "application/json"}, body)


def read_command(body: bytes) -> Command:
    """What a gateway reads, after it checked the signature. Raises Malformed naming the field."""
    tree = parse(body, MAX_BYTES)
    if tree.get("version") != VERSION:
        raise Malformed(f"version: {VERSION} expected")
    word = as_text(tree.get("type"))
    account = required("account", as_text(tree.get("account")))
    command: Command
    if word == "message.send":
        content = read_content(tree.get("content"), may_be_other=False)
        command = Send(account, read_chat(tree.get("to")), content, _texts(tree, "mention"))
    elif word == "message.recall":
        command = Recall(account, read_chat(tree.get("chat")), as_text(tree.get("message_id")))
    elif word == "group.create":
        command = CreateGroup(account, as_text(tree.get("name")), _texts(tree, "members"))
    elif word == "group.rename":
        command = RenameGroup(account, as_text(tree.get("group_id")), as_text(tree.get("name")))
    elif word == "group.members":
        add, remove = _texts(tree, "add"), _texts(tree, "remove")
        command = ChangeMembers(account, as_text(tree.get("group_id")), add, remove)
    elif word == "group.dissolve":
        command = DissolveGroup(account, as_text(tree.get("group_id")))
    elif word == "account.status":
        command = AccountStatus(account)
    elif word == "command.query":
        command = Query(account, as_text(tree.get("command")))
    else:
        raise Malformed(f"type: {word[:30]!r} is not known")
    write_command(command)  # the same checks for both ends
    return command


def _name(name: str) -> str:
    required("name", name, 4 * MAX_NAME)
    if len(name) > MAX_NAME:
        raise Malformed(f"name: {len(name)} characters, at most {MAX_NAME}")
    return name


def _ids(name: str, ids: tuple[str, ...]) -> list[str]:
    if not 1 <= len(ids) <= MAX_MEMBERS:
        raise Malformed(f"{name}: {len(ids)} items, 1 to {MAX_MEMBERS}")
    if len(set(ids)) != len(ids):
        raise Malformed(f"{name}: somebody twice")
    return [required(name, each) for each in ids]


def _texts(tree: Mapping[str, Any], name: str) -> tuple[str, ...]:
    return tuple(as_text(each) for each in as_list(tree.get(name)))
