"""Mass messages (企业群发, doc 92135): a task that members confirm in their clients; results per customer, a monthly allowance."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from adapters.sim.wecom.attachments import read_mass
from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields, paged
from adapters.sim.wecom.chats import CustomerChats
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.windows import days_of_month
from adapters.sim.wecom.world import Relation, World

UNSENT, SENT, NO_FRIEND, ALLOWANCE = range(4)


@dataclass(slots=True)
class Part:
    """What one member has to confirm. `results`: target -> (status, time in s)."""

    userid: str
    results: dict[str, tuple[int, int]] = field(default_factory=dict)
    confirmed: int = 0


@dataclass(slots=True)
class Task:
    """`chat_type` single or group; `parts` by userid."""

    msgid: str
    chat_type: str
    creator: str
    created_ms: int
    text: str
    attachments: list[dict[str, Any]]
    parts: dict[str, Part] = field(default_factory=dict)
    cancelled: bool = False


class Tasks:
    """Journal `kind` mass (`to` a customer) or mass_group (`to` a chat_id), `from` the member who confirmed."""

    def __init__(self, world: World, media: Media, chats: CustomerChats) -> None:
        self._world = world
        self._media = media
        self._chats = chats
        self.tasks: dict[str, Task] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        posts = {
            "externalcontact/add_msg_template": self._add,
            "externalcontact/get_groupmsg_list_v2": self._list,
            "externalcontact/get_groupmsg_task": self._task_list,
            "externalcontact/get_groupmsg_send_result": self._result,
            "externalcontact/remind_groupmsg_send": self._remind,
            "externalcontact/cancel_groupmsg_send": self._cancel,
        }
        return {name: Endpoint("POST", call, "contact") for name, call in posts.items()}

    # --- the API ---

    async def _add(self, call: Call) -> Answer:
        fields, world = call.fields, self._world
        chat_type = fields.string("chat_type", need=False) or "single"
        if chat_type not in {"single", "group"}:
            raise fields.wrong("chat_type", "invalid")
        text, attachments = read_mass(fields, self._media)
        sender = self._sender(fields)
        if chat_type == "single":
            assigned, failed = self._customers(fields, sender)
        else:
            assigned, failed = self._groups(fields, sender)
        if not any(assigned.values()):
            raise Refused(41048, fail_list=failed)
        msgid = world.new_id("msg", 40)
        now = world.clock.now_ms()
        creator = sender or next(iter(assigned))
        task = Task(msgid, chat_type, creator, now, text, attachments)
        for userid, targets in assigned.items():
            task.parts[userid] = Part(userid, dict.fromkeys(targets, (UNSENT, 0)))
        self.tasks[msgid] = task
        return {"fail_list": failed, "msgid": msgid}

    def _sender(self, fields: Fields) -> str:
        userid = fields.string("sender", need=False)
        if not userid:
            return ""
        member = self._world.member(userid)
        if member is None:
            raise Refused(60111)
        if not member.active:
            raise Refused(41054, "member is not activated")
        if not member.contact:
            raise Refused(84074)
        return member.userid

    def _customers(self, fields: Fields, sender: str) -> tuple[dict[str, list[str]], list[str]]:
        """Member -> his customers of this task, and who cannot be reached."""
        world = self._world
        asked = fields.strings("external_userid", most=10_000)
        if not asked:
            if not sender:
                raise fields.wrong("external_userid", "and sender are both empty", 40063)
            asked = [one.external_userid for one in world.customers_of(sender)]
        tags = self._tags(fields)
        assigned: dict[str, list[str]] = {}
        failed = []
        for external_userid in asked:
            known = [one for one in world.relations_of(external_userid) if one.reachable]
            if sender:
                known = [one for one in known if one.userid == sender]
            known = [one for one in known if all(set(one.tags) & group for group in tags)]
            if not known:
                failed.append(external_userid)
                continue
            asked_one = max(known, key=_closeness)
            assigned.setdefault(asked_one.userid, []).append(external_userid)
        return assigned, failed

    def _groups(self, fields: Fields, sender: str) -> tuple[dict[str, list[str]], list[str]]:
        if not sender:
            raise fields.wrong("sender", "missing", 40063)
        own = [chat.chat_id for chat in self._chats.chats.values() if chat.owner == sender]
        asked = fields.strings("chat_id_list", most=2000) or own
        failed = [chat_id for chat_id in asked if chat_id not in own]
        return {sender: [chat_id for chat_id in asked if chat_id in own]}, failed

    @staticmethod
    def _tags(fields: Fields) -> list[set[str]]:
        if "tag_filter" not in fields:
            return []
        groups = fields.object("tag_filter").objects("group_list")
        return [set(group.strings("tag_list", most=100)) for group in groups]

    def _task(self, fields: Fields) -> Task:
        task = self.tasks.get(fields.string("msgid", empty=41046))
        if task is None:
            raise Refused(41046)
        age = self._world.clock.now_ms() - task.created_ms
        if age < self._world.limits.mass_dispatch * 1000:
            raise Refused(41063)
        return task

    async def _list(self, call: Call) -> Answer:
        fields = call.fields
        chat_type = fields.string("chat_type")
        begin, end = fields.number("start_time"), fields.number("end_time")
        if not 0 <= end - begin <= 31 * 86_400:
            raise Refused(41052, "invalid time range")
        creator = fields.string("creator", need=False).lower()
        rows = [
            {
                "msgid": task.msgid,
                "creator": task.creator,
                "create_time": str(task.created_ms // 1000),
                "create_type": 0,
                "text": {"content": task.text},
                "attachments": task.attachments,
            }
            for task in self.tasks.values()
            if task.chat_type == chat_type
            and begin <= task.created_ms // 1000 <= end
            and creator in ("", task.creator.lower())
        ]
        page, cursor = paged(rows, fields, 50, 100)
        return {"group_msg_list": page, "next_cursor": cursor}

    async def _task_list(self, call: Call) -> Answer:
        task = self._task(call.fields)
        rows: list[dict[str, Any]] = []
        for part in task.parts.values():
            row: dict[str, Any] = {"userid": part.userid, "status": 2 if part.confirmed else 0}
            rows.append(row | ({"send_time": part.confirmed} if part.confirmed else {}))
        page, cursor = paged(rows, call.fields, 500, 1000)
        return {"task_list": page, "next_cursor": cursor}

    async def _result(self, call: Call) -> Answer:
        task = self._task(call.fields)
        part = task.parts.get(call.fields.string("userid", empty=60111))
        if part is None:
            raise Refused(60111)
        if task.cancelled and not part.confirmed:
            raise Refused(41093)
        rows: list[dict[str, Any]] = []
        key = "external_userid" if task.chat_type == "single" else "chat_id"
        for target, (status, time) in part.results.items():
            row: dict[str, Any] = {key: target, "userid": part.userid, "status": status}
            rows.append(row | ({"send_time": time} if time else {}))
        page, cursor = paged(rows, call.fields, 500, 1000)
        return {"send_list": page, "next_cursor": cursor}

    async def _remind(self, call: Call) -> Answer:
        task = self._task(call.fields)
        if task.cancelled:
            raise Refused(41093)
        most = self._world.limits.remind_day
        if self._world.windows.take(f"remind:{task.msgid}", {"day": most}):
            raise Refused(41094)
        for part in task.parts.values():
            if not part.confirmed:
                self._world.deliver("remind", part.userid, "sys", text="", msgid=task.msgid)
        return {}

    async def _cancel(self, call: Call) -> Answer:
        self._task(call.fields).cancelled = True
        return {}

    # --- orders ---

    def member_confirms(
        self, *, msgid: str, userid: str = "", only: list[str] | None = None
    ) -> dict[str, Any]:
        """A member (or every one) presses send for his part, perhaps for some targets `only`. Answers target -> status:
        1 sent, 2 not a friend, 3 the month's allowance is used up, 0 left out.
        """
        task = self.tasks.get(msgid)
        if task is None or task.cancelled:
            raise ValueError("no such task, or it is cancelled")
        if userid and userid not in task.parts:
            raise ValueError(f"{userid} has no part in it")
        for part in task.parts.values():
            if userid not in ("", part.userid) or part.confirmed:
                continue
            part.confirmed = self._world.now()
            for target in part.results:
                if only is None or target in only:
                    status = self._send(task, part, target)
                    part.results[target] = (status, part.confirmed if status == SENT else 0)
        return {
            target: status
            for part in task.parts.values()
            for target, (status, _) in part.results.items()
        }

    def mass_tasks(self) -> dict[str, Any]:
        """All tasks: who has to confirm what."""
        return {
            task.msgid: {
                "chat_type": task.chat_type,
                "text": task.text,
                "cancelled": task.cancelled,
                "parts": {p.userid: [*p.results] for p in task.parts.values()},
            }
            for task in self.tasks.values()
        }

    def _send(self, task: Task, part: Part, target: str) -> int:
        world = self._world
        if task.chat_type == "single":
            relation = world.relation(part.userid, target)
            if relation is None or relation.deleted_by or relation.half:
                return NO_FRIEND
        elif target not in self._chats.chats:
            return NO_FRIEND
        most = world.limits.mass_month or days_of_month(world.clock.now_ms())
        if world.windows.take(f"mass:{target}", {"month": most}):
            return ALLOWANCE
        world.deliver(
            "mass" if task.chat_type == "single" else "mass_group",
            target,
            part.userid,
            msgtype="text" if task.text else task.attachments[0]["msgtype"],
            text=task.text,
            body={"attachments": task.attachments},
            msgid=task.msgid,
        )
        return SENT


def _closeness(relation: Relation) -> tuple[int, int]:
    """Of several members the one who chatted last is asked."""
    return relation.last_chat_ms, relation.createtime
