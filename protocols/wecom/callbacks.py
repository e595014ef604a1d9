"""A decrypted callback as a value: XML (or JSON) to exactly one of a closed set of dataclasses, each with a key that tells a repeat.

The documentation tells repeats of messages by MsgId and of events by FromUserName + CreateTime. The latter collides: two
events of one user in one second (create_user and update_user, two menu clicks on different buttons) look like a repeat, and
one of them would be lost. So the key of whatever has no MsgId is a hash over *all* its fields, each with its path, whatever
the order of the elements and however they are quoted: a retry is the same text once more and keeps its key, and two events
differ in at least one field unless they are alike to the last detail. MsgId is unique within an app, so the key of a message
names corp and app as well.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, get_args

from protocols import jsontext
from protocols.errors import Malformed
from protocols.fields import as_text, flatten, load
from protocols.wecom import customers as c
from protocols.wecom import inbound as i
from protocols.wecom import xmltext
from protocols.wecom.envelopes import form_of

Inbound: TypeAlias = (
    i.TextMessage
    | i.ImageMessage
    | i.VoiceMessage
    | i.VideoMessage
    | i.LocationMessage
    | i.LinkMessage
    | i.UnknownMessage
    | i.Subscribed
    | i.Unsubscribed
    | i.AgentEntered
    | i.LocationReported
    | i.MenuClicked
    | i.MenuViewed
    | i.Scanned
    | i.PicturesChosen
    | i.LocationChosen
    | i.CardAnswered
    | i.CardMenuChosen
    | i.AgentClosed
    | i.AgentReopened
    | i.BatchJobDone
    | i.MediaUploaded
    | i.UserCreated
    | i.UserUpdated
    | i.UserDeleted
    | i.PartyCreated
    | i.PartyUpdated
    | i.PartyDeleted
    | i.MemberTagUpdated
    | i.ArchiveNotified
    | i.KfNotified
    | i.KfAccountsChanged
    | i.ProgramNotified
    | i.ConversationsNew
    | c.CustomerAdded
    | c.CustomerEdited
    | c.CustomerHalfAdded
    | c.CustomerDeleted
    | c.MemberDropped
    | c.TransferFailed
    | c.AuditApproved
    | c.GroupCreated
    | c.GroupDismissed
    | c.GroupUpdated
    | c.TagCreated
    | c.TagUpdated
    | c.TagDeleted
    | c.TagsShuffled
    | i.UnknownEvent
)

#: By lower-case names: `LOCATION` is the one that is written in capitals, and not by everybody.
_MESSAGES: dict[str, Callable[..., Inbound]] = {}
_EVENTS: dict[tuple[str, str], Callable[..., Inbound]] = {}
for _each in get_args(Inbound):
    for _name, _change in _each.KINDS:
        if issubclass(_each, i.Message):
            _MESSAGES[_name.lower()] = _each
        else:
            _EVENTS[_name.lower(), _change] = _each


def parse(body: bytes) -> Inbound:
    """The callback in a decrypted body. Raises Malformed for what is no XML or JSON under the limits, or says no kind."""
    if form_of(body) == "json":
        return read(jsontext.parse(body, xmltext.MAX_BYTES))
    return read(xmltext.parse(body))


def read(tree: Mapping[str, Any]) -> Inbound:
    """The callback in a parsed tree. Unknown kinds come back as UnknownEvent or UnknownMessage with all their fields."""
    msg_type = as_text(tree.get("MsgType")).strip()
    # A provider's suite gets InfoType in the place of MsgType and Event.
    event = as_text(tree.get("Event") or tree.get("InfoType")).strip()
    key = key_of(tree)
    if msg_type and msg_type != "event":
        if message := _MESSAGES.get(msg_type.lower()):
            return load(message, tree, key=key, kind=msg_type)
        return load(i.UnknownMessage, tree, key=key, kind=msg_type, fields=tuple(flatten(tree)))
    if not event:
        raise Malformed("callback: neither MsgType nor Event")
    change = as_text(tree.get("ChangeType")).strip()
    if known := _EVENTS.get((event.lower(), change)) or _EVENTS.get((event.lower(), "")):
        return load(known, tree, key=key, kind=event)
    return load(i.UnknownEvent, tree, key=key, kind=event, fields=tuple(flatten(tree)))


def key_of(tree: Mapping[str, Any]) -> str:
    """Equal for two deliveries of one callback, at most 80 characters; how it is made stands at the top of this file."""
    message = as_text(tree.get("MsgId")).strip()
    if message and as_text(tree.get("MsgType")).strip() != "event":
        names = ("ToUserName", "AgentID", "MsgId")
        parts = [(name, as_text(tree.get(name)).strip()) for name in names]
        return "msg-" + _hash(parts)
    return "evt-" + _hash(list(flatten(tree)))


def _hash(parts: list[tuple[str, str]]) -> str:
    # Lengths in front, so that no two lists of parts are the same text.
    text = "".join(f"{len(name)}:{name}{len(value)}:{value}" for name, value in parts)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:40]
