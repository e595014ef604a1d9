"""Payloads and addresses as the gateway's commands have them, and what it tells as ours; pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from adapters.wecom.conversation import customer_address
from adapters.wecom.hosted.settings import WeComHostedSettings
from msgcenter.adapter import Dispatch, Malformed
from protocols.address import SCHEMES, Address
from protocols.envelope import Envelope
from protocols.fields import as_text
from protocols.hosted import commands, content
from protocols.hosted.commands import Command
from protocols.hosted.content import Chat, Content
from protocols.jsontext import parse
from protocols.payload import (
    CreateGroup,
    DissolveGroup,
    Link,
    Media,
    MiniProgram,
    Native,
    Payload,
    Text,
    UpdateGroup,
)

NATIVE = frozenset({"business_card", "mention"})
"""`business_card`: {"user_id"}; `mention`, in groups: {"text", "mention": [members or "@all"]}."""


@dataclass(frozen=True, slots=True)
class Served:
    """A file of ours as the gateway fetches it."""

    url: str
    name: str = ""
    mime: str = ""
    size: int = 0


STAND_IN = Served("https://checked")
"""In place of every file, to check everything else before anything is claimed."""


def files_of(payload: Payload) -> tuple[str, ...]:
    """Ids of our media store that it refers to."""
    match payload:
        case Media(media=media):
            return (media,)
        case Link(picture=picture) | MiniProgram(picture=picture) if picture.startswith("med_"):
            return (picture,)
        case _:
            return ()


def chat_of(settings: WeComHostedSettings, to: Address, target: str = "") -> Chat:
    """Where a message goes. Raises Malformed naming the field."""
    if to.scheme == "group":
        return Chat("group", target or to.value)
    if to.scheme != "wecom":
        raise Malformed("to: wecom-hosted reaches wecom: and group: addresses")
    corp, slash, rest = to.value.partition("/")
    external = rest.rpartition("/")[2]  # an app may stand between
    if not slash or not external:
        raise Malformed("to: wecom:<corp>/<external_userid> expected")
    if corp != settings.corp:
        raise Malformed(f"to: a customer of {corp[:64]}, and this channel is of {settings.corp}")
    return Chat("customer", external)


def member_of(given: str) -> str:
    """A member's id at the gateway, given as `staff:<userid>`, `wecom:<corp>/<external_userid>` or bare."""
    scheme, colon, value = given.partition(":")
    if not colon or scheme not in SCHEMES:
        return given
    if scheme == "staff":
        return value
    if scheme == "wecom" and "/" in value:
        return value.rpartition("/")[2]
    raise Malformed(f"member {given[:60]!r}: staff:, wecom: or the gateway's own id expected")


def spellings(settings: WeComHostedSettings, member: str) -> list[str]:
    """All ways in which our side may have named a member."""
    return [member, f"staff:{member}", str(customer_address(settings.corp, member))]


def content_of(payload: Payload, files: Mapping[str, Served]) -> Content:
    """`files`: each of `files_of`. Raises Malformed."""
    match payload:
        case Text(text=text):
            return content.Text(text=text)
        case Media(kind=kind, media=media, name=name):
            file = files[media]
            return content.Media(
                kind=kind, url=file.url, name=name or file.name, mime=file.mime, size=file.size
            )
        case Link(title=title, url=url, description=description, picture=picture):
            shown = files[picture].url if picture in files else picture
            return content.Link(title=title, url=url, description=description, image_url=shown)
        case MiniProgram(appid=app_id, page=page, title=title, picture=picture):
            shown = files[picture].url if picture in files else ""
            return content.MiniProgram(app_id=app_id, page=page, title=title, image_url=shown)
        case Native(kind="business_card", body=body):
            return content.Card(user_id=as_text(parse(body.encode()).get("user_id")))
        case Native(kind="mention", body=body):
            return content.Text(text=as_text(parse(body.encode()).get("text")))
        case Native(kind=kind):
            raise Malformed(f"native {kind[:40]!r}: one of {', '.join(sorted(NATIVE))}")
        case _:
            raise Malformed(f"wecom-hosted: {type(payload).__name__} is not a message")


def _mentioned(payload: Payload) -> tuple[str, ...]:
    if not isinstance(payload, Native) or payload.kind != "mention":
        return ()
    given = parse(payload.body.encode()).get("mention")
    if not isinstance(given, list) or not given:
        raise Malformed("mention: a list of members expected")
    return tuple(member_of(as_text(one)) for one in given)


def payload_of(said: Content) -> Payload:
    """What was said as a payload; a file is not here yet."""
    match said:
        case content.Text(text=text):
            return Text(text)
        case content.Link():
            return Link(said.title, said.url, said.description, said.image_url)
        case content.MiniProgram():
            return MiniProgram(said.app_id, said.page, said.title)
        case content.Card(user_id=user_id):
            return Native("business_card", json.dumps({"user_id": user_id}))
        case content.Other(type=kind, description=description):
            return Native(kind, json.dumps({"description": description}, ensure_ascii=False))
        case content.Media():
            raise Malformed("a file is fetched first")


def commands_of(
    settings: WeComHostedSettings, item: Dispatch, files: Mapping[str, Served]
) -> list[tuple[str, Command]]:
    """(what follows the token in the command's id, command), in order. Raises Malformed naming field and limit.

    A change of members and name is two commands; the members go first, as they are what may be refused.
    """
    account, payload, to = item.sender, item.envelope.payload, item.envelope.to
    match payload:
        case CreateGroup():
            return [("", _creation(account, payload))]
        case UpdateGroup(name=name, owner=owner):
            if owner and member_of(owner) != account:
                raise Malformed("owner: a hosted group cannot be handed over by command")
            group = chat_of(settings, to, item.target).id
            add, remove = _ids(payload.add), _ids(payload.remove)
            # A member named in two ways is in both: it stays.
            joins = tuple(one for one in add if one not in remove)
            goes = tuple(one for one in remove if one not in add)
            made: list[tuple[str, Command]] = []
            if joins or goes:
                made.append(("", commands.ChangeMembers(account, group, joins, goes)))
            if name:
                made.append(("-name" if made else "", commands.RenameGroup(account, group, name)))
            return made
        case DissolveGroup():
            group = chat_of(settings, to, item.target).id
            return [("", commands.DissolveGroup(account, group))]
        case _:
            chat = chat_of(settings, to, item.target)
            said = content_of(payload, files)
            return [("", commands.Send(account, chat, said, _mentioned(payload)))]


def check(settings: WeComHostedSettings, envelope: Envelope, sender: str) -> None:
    """Whether it can be put into commands at all. Raises Malformed."""
    item = Dispatch(envelope, "checked", sender or "checked", "")
    stand_ins = dict.fromkeys(files_of(envelope.payload), STAND_IN)
    for _, command in commands_of(settings, item, stand_ins):
        commands.write_command(command)


def _creation(account: str, create: CreateGroup) -> commands.CreateGroup:
    if create.owner and member_of(create.owner) != account:
        raise Malformed("owner: the account that makes a hosted group owns it; leave it out")
    members = tuple(one for one in _ids(create.members) if one != account)
    return commands.CreateGroup(account, create.name, members)


def _ids(members: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(map(member_of, members)))
