"""What happens between members and customers: every callback told with all its fields, codes with their deadline, groups with their details."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from typing import Any, TypeAlias

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contact.settings import WeComContactSettings
from adapters.wecom.contact.welcome import Welcomes
from adapters.wecom.conversation import customer_address, order_key
from adapters.wecom.inbox import Inbox
from adapters.wecom.seconds import Seconds
from msgcenter.adapter import Malformed, Port, Received, Rejected
from protocols.address import Address
from protocols.payload import Happening, Pull
from protocols.wecom import callbacks
from protocols.wecom import contact as requests
from protocols.wecom import contact_answers as answers
from protocols.wecom import customers as c
from protocols.wecom.callbacks import Inbound
from protocols.wecom.crypto import Crypt

SOURCE = "contact:"
GROUP_SOURCE = "group:"
VERSION_TRIES, TRIES = 3, 6
"""How often a group's details are read until they have caught up with the event, and until they can be read at all."""
MOST_MEMBERS = 200
"""Members told one by one; the registry's own event names all of them."""
_AFTER_S = 5.0

Greeted: TypeAlias = c.CustomerAdded | c.CustomerHalfAdded | c.AuditApproved
Contact: TypeAlias = (
    Greeted | c.CustomerEdited | c.CustomerDeleted | c.MemberDropped | c.TransferFailed
)
Chat: TypeAlias = c.GroupCreated | c.GroupUpdated | c.GroupDismissed
Tagged: TypeAlias = c.TagCreated | c.TagUpdated | c.TagDeleted | c.TagsShuffled

#: What changed -> how the registry of groups is told; what is not here is a change of the description.
_REGISTRY = {"add_member": "group_member_changed", "del_member": "group_member_changed"}


class Events:
    """`hear` takes a callback, from our own address or handed on by another channel; both may bring the same one."""

    def __init__(
        self, api: WeComApi, port: Port, settings: WeComContactSettings, welcomes: Welcomes
    ) -> None:
        self._api = api
        self._port = port
        self._corp = settings.corp
        self._agent = str(settings.agent_id)
        self._wait_s = settings.group_wait_s
        self._welcomes = welcomes
        self._seconds = Seconds()

    async def forwarded(self, pull: Pull) -> None:
        """A callback that came to another channel; raises Malformed."""
        plain = pull.token.encode()
        await self.hear(callbacks.parse(plain), plain)

    async def hear(self, heard: Inbound, plain: bytes) -> None:
        """Durable when it returns. Raises what `Port.emit` and `Port.ring` raise."""
        match heard:
            case c.GroupCreated() | c.GroupUpdated():
                await self._ring_group(heard.key, plain.decode("utf-8-sig"), 0, self._wait_s)
            case c.GroupDismissed():
                await self._emit_chat(heard, None, False)
            case c.CustomerAdded() | c.CustomerHalfAdded() | c.AuditApproved():
                more: dict[str, Any] = {}
                if heard.welcome_code:
                    more["deadline"] = await self._welcomes.came(
                        heard.welcome_code, heard.user_id, heard.external_user_id, heard.created
                    )
                await self._port.emit([self._told(heard, more)])
            case _:
                await self._port.emit([self._told(heard, {})])

    # -- groups ----------------------------------------------------------------------------------------------------------------

    async def group(self, pull: Pull) -> None:
        """Look at a group whose event came a moment ago, and tell of both. Raises Malformed."""
        try:
            ticket = json.loads(pull.token)
            plain, tried = str(ticket["callback"]), int(ticket["tried"])
        except (ValueError, KeyError, TypeError) as error:
            raise Malformed(f"doorbell of a group: {type(error).__name__}") from None
        heard = callbacks.parse(plain.encode())
        if not isinstance(heard, c.GroupCreated | c.GroupUpdated):
            raise Malformed(f"doorbell of a group: it brings {type(heard).__name__}")
        group: answers.Group | None = None
        try:
            body = requests.group(heard.chat_id)
            group = answers.Group.of(
                await self._api.post("externalcontact/groupchat/get", body, sends=False)
            )
        except Refusal as refusal:
            # One that is refused for good is gone by now; the event is told all the same.
            if not isinstance(refusal.outcome, Rejected) and tried + 1 < TRIES:
                await self._ring_group(heard.key, plain, tried + 1, _AFTER_S)
                return
        version = heard.member_version if isinstance(heard, c.GroupUpdated) else ""
        is_current = group is not None and version in ("", group.member_version)
        if group is not None and not is_current and tried + 1 < VERSION_TRIES:
            await self._ring_group(heard.key, plain, tried + 1, self._wait_s)
            return
        await self._emit_chat(heard, group, is_current)

    async def _ring_group(self, key: str, plain: str, tried: int, delay_s: float) -> None:
        token = json.dumps({"callback": plain, "tried": tried})
        await self._port.ring(Pull(f"{GROUP_SOURCE}{key}", token), delay_s=delay_s)

    async def _emit_chat(self, heard: Chat, group: answers.Group | None, is_current: bool) -> None:
        """The event itself, and what the registry of groups takes from it."""
        more: dict[str, Any] = {}
        known: dict[str, Any] = {"chat": heard.chat_id}
        if group is not None:
            more = {"group": _details(group), "is_current": is_current}
            known |= {"name": group.name, "owner": f"staff:{group.owner}" if group.owner else ""}
            known["members"] = [self._member(one) for one in group.members]
            await self._port.remember(f"owner:{heard.chat_id}", group.owner.encode(), 600.0)
        account = group.owner if group is not None and group.owner else self._agent
        match heard:
            case c.GroupDismissed():
                kind = "group_dismissed"
            case c.GroupUpdated(detail=detail):
                kind = _REGISTRY.get(detail, "group_updated")
            case _:
                kind = "group_created"
        told = self._told(heard, more, account)
        items = [told]
        if group is not None or kind == "group_dismissed":
            items.append(
                Received(
                    Address("staff", "sys"),
                    account,
                    Happening(kind, _json(known)),
                    f"{heard.key}:group",
                    told.at,
                    order_key(self._corp, "", heard.chat_id),
                )
            )
        await self._port.emit(items)

    def _member(self, one: answers.GroupMember) -> str:
        return (
            f"staff:{one.userid}"
            if one.kind == 1
            else str(customer_address(self._corp, one.userid))
        )

    # -- any -------------------------------------------------------------------------------------------------------------------

    def _told(self, heard: Inbound, more: dict[str, Any], account: str = "") -> Received:
        """The callback as a `Happening` of kind `wecom_<event>`: every field as JSON, `change_type`, and what we know `more`."""
        sender, key = Address("staff", heard.sender or "sys"), ""
        if isinstance(heard, Contact) and heard.external_user_id:
            sender = customer_address(self._corp, heard.external_user_id)
            account = heard.user_id
            key = order_key(self._corp, account, heard.external_user_id)
        elif isinstance(heard, Chat):
            key = order_key(self._corp, "", heard.chat_id)
        body = _plain(heard) | {"change_type": _change_of(heard)} | more
        happening = Happening(f"wecom_{heard.kind.lower()}", _json(body))
        at = self._seconds(key or str(sender), heard.created, heard.key)
        return Received(sender, account or self._agent, happening, heard.key, at, key)


class ContactInbox(Inbox):
    """Callbacks at our own address: what is about customers goes to `Events`, what members write to the app is told as it is."""

    def __init__(
        self, port: Port, crypt: Crypt, settings: WeComContactSettings, events: Events
    ) -> None:
        super().__init__(port, crypt, settings)
        self._events = events

    async def relay(self, heard: Inbound, plain: bytes) -> None:
        if isinstance(heard, Contact | Chat | Tagged):
            await self._events.hear(heard, plain)
        else:
            await super().relay(heard, plain)


def _change_of(heard: Inbound) -> str:
    known = getattr(heard, "change_type", "")
    return str(known) or (type(heard).KINDS[0][1] if type(heard).KINDS else "")


def _details(group: answers.Group) -> dict[str, Any]:
    told: dict[str, Any] = _plain(group)
    told["member_count"] = len(group.members)
    if len(group.members) > MOST_MEMBERS:
        del told["members"]
    return told


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _json(body: Any) -> str:
    return json.dumps(body, ensure_ascii=False, sort_keys=True)
