"""Internal group chats (docs 90245, 98913, 90247, 90248) and group robots (doc 99110)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint
from adapters.sim.wecom.content import CHAT_TYPES, ROBOT_TYPES, read
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import App, World, text_of

CHATID = re.compile(r"[0-9A-Za-z]{1,32}")
MOST = 2000
LEAST = 2


@dataclass(slots=True)
class Chat:
    """`seen`: a first message made it visible in the clients."""

    chatid: str
    agentid: int
    name: str
    owner: str
    members: list[str]
    seen: bool = False


class AppChats:
    """Journal entries are one per member: `kind` appchat, `chatid`; `dropped` group_minute or group_day."""

    def __init__(self, world: World, media: Media) -> None:
        self._world = world
        self._media = media
        self.chats: dict[str, Chat] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        return {
            "appchat/create": Endpoint("POST", self._create, "app"),
            "appchat/update": Endpoint("POST", self._update, "app"),
            "appchat/get": Endpoint("GET", self._get, "app"),
            "appchat/send": Endpoint("POST", self._send, "app"),
        }

    async def _create(self, call: Call) -> Answer:
        fields, app = call.fields, call.app
        _whole_corp(app)
        name = fields.string("name", chars=50, need=False)
        chatid = fields.string("chatid", need=False)
        if chatid and not CHATID.fullmatch(chatid):
            raise Refused(86001)
        if chatid in self.chats:
            raise Refused(86215)
        members = self._members(fields.strings("userlist", errcode=86006), app)
        if not LEAST <= len(members) <= MOST:
            raise Refused(86006)
        owner = fields.string("owner", need=False)
        if owner and owner.lower() not in [one.lower() for one in members]:
            raise Refused(86005)
        limit = self._world.limits.appchat_create_day
        if self._world.windows.take("appchat/create", {"day": limit}):
            raise Refused(45009)
        chatid = chatid or self._world.new_id("", 32)
        chosen = owner or self._world.rng.choice(members)
        self.chats[chatid] = Chat(chatid, app.agentid, name or "群聊", chosen, members)
        return {"chatid": chatid}

    async def _update(self, call: Call) -> Answer:
        fields, app = call.fields, call.app
        _whole_corp(app)
        chat = self._chat(fields.string("chatid", empty=86001), app)
        name = fields.string("name", chars=50, need=False)
        added = self._members(fields.strings("add_user_list"), app)
        gone = {one.lower() for one in fields.strings("del_user_list")}
        members = [one for one in chat.members if one.lower() not in gone]
        members += [one for one in added if one not in members]
        if not LEAST <= len(members) <= MOST:
            raise Refused(86006)
        owner = fields.string("owner", need=False) or chat.owner
        if owner.lower() not in [one.lower() for one in members]:
            raise Refused(86005)
        limit = self._world.limits.appchat_update_hour
        if self._world.windows.take("appchat/update", {"hour": limit}):
            raise Refused(45009)
        chat.name, chat.owner, chat.members = name or chat.name, owner, members
        return {}

    async def _get(self, call: Call) -> Answer:
        _whole_corp(call.app)
        chat = self._chat(call.query.get("chatid", ""), call.app)
        return {
            "chat_info": {
                "chatid": chat.chatid,
                "name": chat.name,
                "owner": chat.owner,
                "userlist": list(chat.members),
            }
        }

    async def _send(self, call: Call) -> Answer:
        fields, app, world = call.fields, call.app, self._world
        _whole_corp(app)
        chat = self._chat(fields.string("chatid", empty=86001), app)
        msgtype, body = read(fields, CHAT_TYPES, self._media)
        fields.number("safe", 0, 0, 1)
        limits = world.limits
        full = world.windows.take(
            "appchat/send",
            {"minute": limits.appchat_minute, "hour": limits.appchat_hour},
            len(chat.members),
        )
        if full:
            raise Refused(45009)
        chat.seen = True
        for userid in chat.members:
            spent = world.windows.take(
                f"appchat:{app.agentid}:{userid}",
                {"minute": limits.group_member_minute, "day": limits.group_member_day},
            )
            world.deliver(
                "appchat",
                userid,
                f"agent:{app.agentid}",
                chatid=chat.chatid,
                chat=chat.name,
                msgtype=msgtype,
                text=text_of(msgtype, body),
                body=body,
                dropped=f"group_{spent}" if spent else "",
            )
        return {}

    def _chat(self, chatid: str, app: App) -> Chat:
        chat = self.chats.get(chatid)
        if chat is None:
            raise Refused(86003 if CHATID.fullmatch(chatid) else 86001)
        if chat.agentid != app.agentid:
            raise Refused(86008)
        return chat

    def _members(self, userids: list[str], app: App) -> list[str]:
        found = [self._world.visible(app, userid) for userid in userids]
        known = [member.userid for member in found if member is not None]
        if len(known) < len(userids):
            raise Refused(86216)
        return list(dict.fromkeys(known))

    # --- orders ---

    def appchat_dissolve(self, *, chatid: str) -> dict[str, Any]:
        """A person dissolves the group in the client: it is unknown (86003) from now on."""
        return {"dissolved": self.chats.pop(chatid, None) is not None}

    def appchats(self) -> dict[str, Any]:
        """All groups with their members."""
        return {
            "chats": [
                {"chatid": c.chatid, "name": c.name, "owner": c.owner, "members": c.members}
                for c in self.chats.values()
            ]
        }


class Robots:
    """Webhooks of group robots: no token, the key is the address. Journal `kind` is robot, `to` the group's name."""

    def __init__(self, world: World, media: Media) -> None:
        self._world = world
        self._media = media
        self.keys: dict[str, str] = {"11111111-2222-4333-8444-555555555555": "沙箱群"}

    def endpoints(self) -> dict[str, Endpoint]:
        return {"webhook/send": Endpoint("POST", self._send, token=False)}

    async def _send(self, call: Call) -> Answer:
        key = call.query["key"]
        msgtype, body = read(call.fields, ROBOT_TYPES, self._media, key)
        if self._world.windows.take(f"robot:{key}", {"minute": self._world.limits.robot_minute}):
            raise Refused(45009)
        self._world.deliver(
            "robot",
            self.keys[key],
            f"robot:{key}",
            msgtype=msgtype,
            text=text_of(msgtype, body),
            body=body,
        )
        return {}

    # --- orders ---

    def robot_add(self, *, key: str, group: str = "群") -> dict[str, Any]:
        """A robot joins a group."""
        self.keys[key] = group
        return {"key": key}

    def robot_remove(self, *, key: str) -> dict[str, Any]:
        """It is removed: 93000."""
        return {"removed": self.keys.pop(key, None) is not None}


def _whole_corp(app: App) -> None:
    """Only an app whose visible range is the root party may use groups."""
    if app.scope is not None:
        raise Refused(48002)
