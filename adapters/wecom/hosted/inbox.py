"""What the gateway tells: verified, made durable before the 200, files fetched right after; our own sends come back as receipts.

A file is not fetched inside the call, which has to be answered at once: a doorbell made durable in its place has it fetched
(`fetch`). A message keeps its id whatever way it comes, so that a repeat, and the same message heard by two accounts of one
group, is one message.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from adapters.wecom.conversation import OUTSIDE, customer_address, order_key, room_address
from adapters.wecom.hosted.calls import Gateway
from adapters.wecom.hosted.contents import payload_of, spellings
from adapters.wecom.hosted.files import Files, Later, Lost
from adapters.wecom.hosted.health import Health
from adapters.wecom.hosted.roster import Roster
from adapters.wecom.hosted.settings import WeComHostedSettings
from msgcenter.adapter import (
    Malformed,
    Port,
    Received,
    Rejected,
    Report,
    Request,
    Response,
    Retry,
    Sent,
)
from protocols.address import Address
from protocols.hosted import content, events
from protocols.hosted.content import Chat
from protocols.hosted.events import Echo, Event
from protocols.hosted.events import Received as Heard
from protocols.outcome import Outcome
from protocols.payload import DeliveryReport, Happening, Media, Payload, Pull, ReportState
from protocols.webhook.signing import BadSignature

SOURCE = "file:"
ECHO = "echo"
"""Code of the receipt that an echo of our own send is."""
_STATES: Mapping[str, ReportState] = {
    "delivered": "delivered",
    "failed": "undelivered",
    "read": "read",
}
#: What the core knows a change of a group as.
_CHANGES: Mapping[str, str] = {
    "created": "group_created",
    "renamed": "group_updated",
    "owner_changed": "group_updated",
    "members_added": "group_member_changed",
    "members_removed": "group_member_changed",
    "dissolved": "group_dismissed",
}


class Inbox:
    """`handle` answers the address of events; `fetch` the doorbells that it rang."""

    def __init__(
        self,
        settings: WeComHostedSettings,
        port: Port,
        roster: Roster,
        files: Files,
        health: Health,
    ) -> None:
        self._settings = settings
        self._port = port
        self._roster = roster
        self._files = files
        self._health = health
        self._secrets = [each.reveal() for each in settings.event_secrets]

    async def handle(self, request: Request) -> Response:
        """200 when it is durable; 401 unless it is signed, and now; 400 for what can never be read.

        Raises what `Port.emit` and `Port.ring` raise: the gateway repeats it.
        """
        if request.method != "POST":
            return Response(405, b"POST")
        now = self._port.clock.now_ms() // 1000
        try:
            event = events.verify(self._secrets, request.headers, request.body, now)
            items = self._items(event)
        except BadSignature as error:
            self._port.log.warning("event_refused", check=str(error))
            return Response(401, b"refused")
        except Malformed as error:
            self._port.log.error("event_unreadable", detail=str(error))
            return Response(400, b"unreadable")
        if items is None:
            # A source of its own: doorbells of one source are answered once for all of them.
            await self._port.ring(Pull(f"{SOURCE}{event.id}", request.body.decode()))
        elif items:
            await self._port.emit(items)
        return Response(200)

    def _items(self, event: events.Hosted) -> list[Received | Report] | None:
        """What to make durable; None: a file comes first. Raises Malformed."""
        match event:
            case Heard(sender=sender) if self._roster.at(sender):
                return []  # one of our accounts to another, or in a group with it: its own echo tells
            case Echo(command=command) if command:
                return [Report(DeliveryReport(command, "delivered", ECHO, event.at))]
            case Heard() | Echo() if isinstance(event.content, content.Media):
                self._said(event, Happening("checked", "{}"))
                return None
            case Heard() | Echo():
                return [self._said(event, payload_of(event.content))]
            case events.Receipt():
                self._health.refused(event.account, event.code, event.detail)
                code = event.code or event.state
                report = DeliveryReport(event.command, _STATES[event.state], code, event.at)
                return [Report(report)]
            case events.AccountChanged():
                self._health.told(event.status, event.at, event.account)
                return []
            case events.GroupChanged():
                return self._group(event)
            case events.Recalled(chat=chat):
                facts = {"chat": chat.fields(), "message_id": event.message_id, "by": event.by}
                return [self._happened(event, "message_recalled", facts, chat)]
            case events.UnknownEvent(type=kind):
                return [self._happened(event, "hosted_event", {"type": kind} | dict(event.fields))]

    def _said(self, event: Heard | Echo, payload: Payload) -> Received:
        """Raises Malformed for ids that no address can hold."""
        chat, recipient = event.chat, None
        if isinstance(event, Heard):
            sender = _sound(self._speaker(event))
        else:
            sender = _sound(Address("staff", event.account))
            is_group = chat.kind == "group"
            recipient = _sound(
                room_address(chat.id)
                if is_group
                else customer_address(self._settings.corp, chat.id)
            )
        return Received(
            sender,
            event.account,
            payload,
            event.message_id,
            event.at,
            order_key=conversation(self._settings.corp, event.account, chat),
            chat=chat.id if chat.kind == "group" else "",
            recipient=recipient,
        )

    def _speaker(self, event: Heard) -> Address:
        """A customer; in a group also a colleague whose account is not one of ours."""
        if event.chat.kind == "group" and not event.sender.startswith(OUTSIDE):
            return Address("staff", event.sender)
        return customer_address(self._settings.corp, event.sender)

    def _group(self, event: events.GroupChanged) -> list[Received | Report]:
        """What people did. Our own commands are known by their records, except that a group that is gone is gone: should that
        answer have been lost, this tells it."""
        if event.command and event.change != "dissolved":
            return []
        facts: dict[str, Any] = {"chat": event.group_id, "name": event.name, "owner": event.owner}
        facts |= {"by": event.by, "change": event.change}
        members = list(event.members)
        match event.change:
            case "created":
                facts["members"] = members
            case "members_added":
                facts["add"] = members
            case "members_removed":
                facts["remove"] = [
                    way for member in members for way in spellings(self._settings, member)
                ]
        chat = Chat("group", event.group_id)
        return [self._happened(event, _CHANGES[event.change], facts, chat)]

    def _happened(
        self, event: Event, kind: str, facts: Mapping[str, Any], chat: Chat | None = None
    ) -> Received:
        sender = _sound(Address("staff", event.account))
        body = json.dumps(facts, ensure_ascii=False, sort_keys=True)
        key = conversation(self._settings.corp, event.account, chat) if chat is not None else ""
        happening = Happening(kind, body)
        return Received(sender, event.account, happening, event.id, event.at, order_key=key)

    async def fetch(self, pull: Pull, gateway: Gateway) -> Outcome:
        """Bring the file of one message home and emit the message. Retry when it could not be had just now."""
        try:
            event = events.read_event(pull.token.encode())
            if not isinstance(event, Heard | Echo) or not isinstance(event.content, content.Media):
                raise Malformed("doorbell: no message with a file")
        except Malformed as error:
            return Rejected("message", str(error), "malformed")
        said = event.content
        payload: Payload
        try:
            payload = Media(said.kind, await self._files.bring(said, gateway), said.name)
        except Lost as lost:
            payload = _lost(event, said, lost.code, str(lost))
        except Later as later:
            if self._port.clock.now_ms() - event.at <= self._settings.files_for * 1000:
                return Retry("message", str(later), 0.0, "hosted_download")
            payload = _lost(event, said, "too_late", str(later))
        await self._port.emit([self._said(event, payload)])
        return Sent()


def conversation(corp: str, account: str, chat: Chat) -> str:
    """What keeps order, both ways: an account and a customer, or a group."""
    return order_key(corp, "" if chat.kind == "group" else account, chat.id)


def _sound(address: Address) -> Address:
    """Raises Malformed for an id that no address can hold."""
    return Address.parse(str(address))


def _lost(event: Heard | Echo, said: content.Media, code: str, detail: str) -> Happening:
    facts = {"kind": said.kind, "name": said.name, "code": code, "detail": detail[:200]}
    facts["message_id"] = event.message_id
    return Happening("hosted_file_lost", json.dumps(facts, ensure_ascii=False, sort_keys=True))
