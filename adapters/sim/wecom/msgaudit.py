"""The HTTP helpers of the message archive (msgaudit/*): who is archived, who agreed, inner groups, robots."""

from __future__ import annotations

from typing import Any

from adapters.sim.wecom.archive import Archive
from adapters.sim.wecom.calls import Answer, Call, Endpoint
from adapters.sim.wecom.chats import CustomerChats
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World


class MsgAudit:
    """Answers for apps with the ability archive."""

    def __init__(self, world: World, archive: Archive, chats: CustomerChats) -> None:
        self._world = world
        self._archive = archive
        self._chats = chats
        self._rooms: dict[str, dict[str, Any]] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        posts = {
            "msgaudit/get_permit_user_list": self._permitted,
            "msgaudit/check_single_agree": self._single,
            "msgaudit/check_room_agree": self._room_agree,
            "msgaudit/groupchat/get": self._room,
        }
        found = {name: Endpoint("POST", call, "archive") for name, call in posts.items()}
        found["msgaudit/get_robot_info"] = Endpoint("GET", self._robot, "archive")
        return found

    async def _permitted(self, call: Call) -> Answer:
        call.fields.number("type", 1, 1, 3)
        everybody = [member.userid for member in self._world.members.values()]
        permitted = self._archive.permitted
        return {"ids": everybody if permitted is None else sorted(permitted)}

    async def _single(self, call: Call) -> Answer:
        rows = []
        for one in call.fields.objects("info", 1, 100, 301060):
            pair = (one.string("userid"), one.string("exteranalopenid"))
            rows.append(self._agreed(*pair) | {"userid": pair[0]})
        return {"agreeinfo": rows}

    async def _room_agree(self, call: Call) -> Answer:
        chat = self._chats.chats.get(call.fields.string("roomid"))
        if chat is None:
            raise Refused(40050)
        outsiders = [one for one, joined in chat.members.items() if joined["type"] == 2]
        return {"agreeinfo": [self._agreed(chat.owner, one) for one in outsiders]}

    def _agreed(self, userid: str, external_userid: str) -> dict[str, Any]:
        return {
            "status_change_time": self._world.now(),
            "exteranalopenid": external_userid,
            "agree_status": self._archive.consents.get((userid, external_userid), "Agree"),
        }

    async def _room(self, call: Call) -> Answer:
        room = self._rooms.get(call.fields.string("roomid"))
        if room is None:
            raise Refused(301059)
        return room

    async def _robot(self, call: Call) -> Answer:
        robot = call.query.get("robot_id", "")
        if not robot.startswith("wb"):
            raise Refused(40058)
        creator = next(iter(self._world.members.values())).userid
        return {"data": {"robot_id": robot, "name": "机器人", "creator_userid": creator}}

    # --- orders ---

    def archive_room(
        self, *, roomid: str, name: str, creator: str, members: list[str], notice: str = ""
    ) -> dict[str, Any]:
        """An inner group whose chats are archived."""
        now = self._world.now()
        self._rooms[roomid] = {
            "roomname": name,
            "creator": creator,
            "room_create_time": now,
            "notice": notice,
            "members": [{"memberid": one, "jointime": now} for one in members],
        }
        return {"roomid": roomid}
