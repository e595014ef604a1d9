"""Customer groups (客户群): what the API may read (docs 92119, 93414, 92122) and what people do to them in their clients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, paged
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World


@dataclass(slots=True)
class CustomerChat:
    """`members`: id -> how it joined. `status` 0 normal, 1 owner resigned, 2 being inherited, 3 inherited."""

    chat_id: str
    name: str
    owner: str
    create_time: int
    members: dict[str, dict[str, Any]] = field(default_factory=dict)
    notice: str = ""
    status: int = 0
    version: int = 1

    @property
    def member_version(self) -> str:
        return f"{self.version:032x}"


class CustomerChats:
    """Events go to every app with the ability contact; changes through the API do not call back."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher
        self.chats: dict[str, CustomerChat] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        posts = {
            "externalcontact/groupchat/list": self._list,
            "externalcontact/groupchat/get": self._get,
            "externalcontact/groupchat/transfer": self._transfer,
            "externalcontact/groupchat/onjob_transfer": self._onjob,
        }
        return {name: Endpoint("POST", call, "contact") for name, call in posts.items()}

    def chat(self, chat_id: str) -> CustomerChat:
        """Raises Refused (40050)."""
        found = self.chats.get(chat_id)
        if found is None:
            raise Refused(40050)
        return found

    async def _list(self, call: Call) -> Answer:
        fields = call.fields
        status = fields.number("status_filter", 0, 0, 3)
        owners: list[str] = []
        if "owner_filter" in fields:
            owners = fields.object("owner_filter").strings("userid_list", most=100)
        elif len(self._world.members) > 1000:
            raise Refused(81017)
        wanted = {owner.lower() for owner in owners}
        chosen = [
            {"chat_id": chat.chat_id, "status": chat.status}
            for chat in self.chats.values()
            if (not wanted or chat.owner.lower() in wanted) and status in (0, chat.status)
        ]
        fields.number("limit", low=1, high=1000)
        page, cursor = paged(chosen, fields, 1000, 1000)
        return {"group_chat_list": page} | ({"next_cursor": cursor} if cursor else {})

    async def _get(self, call: Call) -> Answer:
        chat = self.chat(call.fields.string("chat_id", empty=40050))
        named = call.fields.number("need_name", 0, 0, 1)
        rows = []
        for identity, joined in chat.members.items():
            row = {"userid": identity} | joined
            if named:
                customer = self._world.customers.get(identity)
                row["name"] = customer.name if customer else identity
            rows.append(row)
        return {
            "group_chat": {
                "chat_id": chat.chat_id,
                "name": chat.name,
                "owner": chat.owner,
                "create_time": chat.create_time,
                "notice": chat.notice,
                "member_list": rows,
                "admin_list": [],
                "member_version": chat.member_version,
            }
        }

    async def _transfer(self, call: Call) -> Answer:
        return await self._hand_over(call, resigned=True)

    async def _onjob(self, call: Call) -> Answer:
        return await self._hand_over(call, resigned=False)

    async def _hand_over(self, call: Call, *, resigned: bool) -> Answer:
        fields, world = call.fields, self._world
        chat_ids = fields.strings("chat_id_list", most=100, need=True)
        heir = world.member(fields.string("new_owner"))
        if heir is None:
            raise Refused(60111)
        if not heir.contact:
            raise Refused(84074)
        failed = []
        for chat_id in chat_ids:
            errcode = self._hand_over_one(chat_id, heir.userid, resigned)
            if errcode:
                text = Refused(errcode).text
                failed.append({"chat_id": chat_id, "errcode": errcode, "errmsg": text})
        return {"failed_chat_list": failed}

    def _hand_over_one(self, chat_id: str, heir: str, resigned: bool) -> int:
        chat = self.chats.get(chat_id)
        if chat is None:
            return 90501
        owner = self._world.members.get(chat.owner.lower())
        gone = owner is None or owner.resigned
        if resigned and not gone:
            return 90500
        if not resigned:
            if gone:
                return 40131
            most = self._world.limits.onjob_groups_day
            if self._world.windows.take(f"onjob:{chat.owner}", {"day": most}):
                return 45009
        chat.owner, chat.status = heir, 3 if resigned else chat.status
        chat.members.setdefault(heir, self._joined(1, 1))
        chat.version += 1
        return 0

    def _joined(self, kind: int, scene: int, invitor: str = "") -> dict[str, Any]:
        facts: dict[str, Any] = {
            "type": kind,
            "join_time": self._world.now(),
            "join_scene": scene,
            "group_nickname": "",
        }
        return facts | ({"invitor": {"userid": invitor}} if invitor else {})

    def _event(self, chat_id: str, change: str, **more: Any) -> None:
        self._pusher.emit(
            {
                "ToUserName": self._world.corp,
                "FromUserName": "sys",
                "CreateTime": self._world.now(),
                "MsgType": "event",
                "Event": "change_external_chat",
                "ChatId": chat_id,
                "ChangeType": change,
                **more,
            },
            ability="contact",
        )

    # --- orders ---

    def chat_create(
        self,
        *,
        owner: str,
        name: str = "客户群",
        members: list[str] | None = None,
        customers: list[str] | None = None,
        chat_id: str = "",
    ) -> dict[str, Any]:
        """A member makes a customer group by hand."""
        if self._world.member(owner) is None:
            raise ValueError(f"no member {owner}")
        chat_id = chat_id or self._world.new_id("wr", 32)
        chat = CustomerChat(chat_id, name, owner, self._world.now())
        for userid in (owner, *(members or ())):
            chat.members[userid] = self._joined(1, 1)
        for external_userid in customers or ():
            chat.members[external_userid] = self._joined(2, 1, owner)
        self.chats[chat_id] = chat
        self._event(chat_id, "create")
        return {"chat_id": chat_id}

    def chat_join(self, *, chat_id: str, ids: list[str], scene: int = 3) -> dict[str, Any]:
        """Customers or members join (scene 1 invited, 2 by link, 3 by QR code)."""
        chat, before = self._found(chat_id)
        for identity in ids:
            kind = 1 if self._world.member(identity) else 2
            chat.members[identity] = self._joined(kind, scene)
        self._changed(chat, before, "add_member", ids, JoinScene=scene)
        return {"members": len(chat.members)}

    def chat_leave(self, *, chat_id: str, ids: list[str], removed: bool = False) -> dict[str, Any]:
        """They leave by themselves, or are removed."""
        chat, before = self._found(chat_id)
        for identity in ids:
            chat.members.pop(identity, None)
        self._changed(chat, before, "del_member", ids, QuitScene=int(removed))
        return {"members": len(chat.members)}

    def chat_change(
        self, *, chat_id: str, name: str = "", owner: str = "", notice: str = ""
    ) -> dict[str, Any]:
        """Its name, owner or notice is changed by hand: one event each."""
        chat, before = self._found(chat_id)
        for attribute, value, detail in (
            ("name", name, "change_name"),
            ("owner", owner, "change_owner"),
            ("notice", notice, "change_notice"),
        ):
            if value:
                setattr(chat, attribute, value)
                self._event(
                    chat_id,
                    "update",
                    UpdateDetail=detail,
                    LastMemVer=before,
                    CurMemVer=chat.member_version,
                )
        return {"chat_id": chat_id}

    def chat_dismiss(self, *, chat_id: str) -> dict[str, Any]:
        """The owner dissolves it by hand."""
        self._found(chat_id)
        del self.chats[chat_id]
        self._event(chat_id, "dismiss")
        return {"chat_id": chat_id}

    def _found(self, chat_id: str) -> tuple[CustomerChat, str]:
        chat = self.chats.get(chat_id)
        if chat is None:
            raise ValueError(f"no chat {chat_id}")
        before = chat.member_version
        return chat, before

    def _changed(
        self, chat: CustomerChat, before: str, detail: str, ids: list[str], **scene: int
    ) -> None:
        chat.version += 1
        self._event(
            chat.chat_id,
            "update",
            UpdateDetail=detail,
            **scene,
            MemChangeCnt=len(ids),
            MemChangeList={"Item": ids},
            LastMemVer=before,
            CurMemVer=chat.member_version,
        )
