"""Customer contact (客户联系): who knows whom, remarks and tags, welcome messages (docs 92137, 92599), and what people do.

One file, for what people do here is what the calls then show: both work on the same relations.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from adapters.sim.wecom.attachments import read_mass
from adapters.sim.wecom.calls import Answer, Call, Endpoint, paged
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import Member, Relation, World

_FOLLOWERS = 500


@dataclass(slots=True)
class _Welcome:
    userid: str
    external_userid: str
    until: int
    state: str = "open"  # open, sending, sent, chatting
    agentid: int = 0


class Contacts:
    """Journal `kind` welcome. `on_chat` is called with every message of a member's chat (the archive listens)."""

    def __init__(self, world: World, pusher: Pusher, media: Media) -> None:
        self._world = world
        self._pusher = pusher
        self._media = media
        self._welcomes: dict[str, _Welcome] = {}
        self._tags: dict[str, dict[str, str]] = {
            "et0001": {"group_id": "eg0001", "group": "客户等级", "name": "重要"},
            "et0002": {"group_id": "eg0001", "group": "客户等级", "name": "一般"},
        }
        self.on_chat: list[Callable[[str, str, str], None]] = []

    def endpoints(self) -> dict[str, Endpoint]:
        gets = {
            "externalcontact/get_follow_user_list": self._follow_users,
            "externalcontact/list": self._list,
            "externalcontact/get": self._get,
        }
        posts = {
            "externalcontact/batch/get_by_user": self._by_user,
            "externalcontact/remark": self._remark,
            "externalcontact/mark_tag": self._mark_tag,
            "externalcontact/get_corp_tag_list": self._tag_list,
            "externalcontact/unionid_to_external_userid": self._by_unionid,
            "idconvert/unionid_to_external_userid": self._by_unionid_new,
            "externalcontact/send_welcome_msg": self._welcome,
        }
        return {name: Endpoint("GET", call, "contact") for name, call in gets.items()} | {
            name: Endpoint("POST", call, "contact") for name, call in posts.items()
        }

    # --- reading ---

    async def _follow_users(self, call: Call) -> Answer:
        return {"follow_user": [m.userid for m in self._world.members.values() if m.contact]}

    def _member(self, call: Call, userid: str) -> Member:
        member = self._world.visible(call.app, userid) if userid else None
        if member is None:
            raise Refused(60111)
        if not member.contact:
            raise Refused(84074)
        return member

    async def _list(self, call: Call) -> Answer:
        member = self._member(call, call.query.get("userid", ""))
        known = [one for one in self._world.customers_of(member.userid) if not one.deleted_by]
        if not known:
            raise Refused(84061)
        return {"external_userid": [one.external_userid for one in known]}

    async def _get(self, call: Call) -> Answer:
        external_userid = call.query.get("external_userid", "")
        if external_userid not in self._world.customers:
            raise Refused(40096)
        followers = [r for r in self._world.relations_of(external_userid) if not r.deleted_by]
        if not followers:
            raise Refused(84061)
        start = call.query.get("cursor", "")
        if start and not start.isdigit():
            raise Refused(40058)
        at = int(start or 0)
        answer: dict[str, Any] = {
            "external_contact": self._contact(external_userid),
            "follow_user": [self._follow(one) for one in followers[at : at + _FOLLOWERS]],
        }
        if len(followers) > at + _FOLLOWERS:
            answer["next_cursor"] = str(at + _FOLLOWERS)
        return answer

    async def _by_user(self, call: Call) -> Answer:
        fields = call.fields
        rows = []
        for userid in fields.strings("userid_list", most=100, need=True):
            member = self._member(call, userid)
            for one in self._world.customers_of(member.userid):
                if not one.deleted_by:
                    info = self._follow(one)
                    info["tag_id"] = [tag["tag_id"] for tag in info.pop("tags")]
                    contact = self._contact(one.external_userid)
                    rows.append({"external_contact": contact, "follow_info": info})
        page, cursor = paged(rows, fields, 50, 100)
        return {"external_contact_list": page, "next_cursor": cursor}

    def _contact(self, external_userid: str) -> dict[str, Any]:
        customer = self._world.customers[external_userid]
        return {
            "external_userid": external_userid,
            "name": customer.name,
            "avatar": "",
            "type": customer.type,
            "gender": customer.gender,
            "unionid": customer.unionid,
        }

    def _follow(self, relation: Relation) -> dict[str, Any]:
        tags = [
            {
                "group_name": self._tags[tag]["group"],
                "tag_name": self._tags[tag]["name"],
                "tag_id": tag,
                "type": 1,
            }
            for tag in relation.tags
        ]
        return {
            "userid": relation.userid,
            "remark": relation.remark,
            "description": relation.description,
            "createtime": relation.createtime,
            "tags": tags,
            "remark_corp_name": relation.remark_corp_name,
            "remark_mobiles": relation.remark_mobiles,
            "add_way": relation.add_way,
            "oper_userid": relation.userid,
            "state": relation.state,
        }

    async def _tag_list(self, call: Call) -> Answer:
        groups: dict[str, dict[str, Any]] = {}
        for tag_id, tag in self._tags.items():
            group = groups.setdefault(
                tag["group_id"],
                {"group_id": tag["group_id"], "group_name": tag["group"], "tag": []},
            )
            group["tag"].append({"id": tag_id, "name": tag["name"]})
        return {"tag_group": list(groups.values())}

    async def _by_unionid(self, call: Call) -> Answer:
        unionid = call.fields.string("unionid")
        for customer in self._world.customers.values():
            if customer.unionid == unionid and self._world.relations_of(customer.external_userid):
                return {"external_userid": customer.external_userid}
        raise Refused(610014, "unionid is invalid")

    async def _by_unionid_new(self, call: Call) -> Answer:
        unionid = call.fields.string("unionid")
        call.fields.string("openid")
        call.fields.number("subject_type", 0, 0, 1)
        for customer in self._world.customers.values():
            if customer.unionid == unionid:
                if self._world.relations_of(customer.external_userid):
                    return {"external_userid": customer.external_userid}
                return {"pending_id": f"pending{customer.external_userid}"}
        raise Refused(610014, "unionid is invalid")

    # --- changing ---

    def _relation(self, call: Call) -> Relation:
        member = self._member(call, call.fields.string("userid", empty=60111))
        external_userid = call.fields.string("external_userid", empty=40096)
        relation = self._world.relation(member.userid, external_userid)
        if relation is None or relation.deleted_by == "member":
            raise Refused(84061)
        return relation

    async def _remark(self, call: Call) -> Answer:
        fields, relation = call.fields, self._relation(call)
        for name, chars in (("remark", 20), ("description", 150)):
            if name in fields.values:
                setattr(relation, name, fields.string(name, chars=chars, need=False))
        if "remark_company" in fields.values:
            relation.remark_corp_name = fields.string("remark_company", chars=20, need=False)
        if "remark_mobiles" in fields.values:
            relation.remark_mobiles = fields.strings("remark_mobiles")
        return {}

    async def _mark_tag(self, call: Call) -> Answer:
        fields, relation = call.fields, self._relation(call)
        added, gone = fields.strings("add_tag"), fields.strings("remove_tag")
        if not added and not gone:
            raise Refused(40063)
        if not set(added) <= self._tags.keys():
            raise Refused(40068, "invalid tagid")
        kept = [tag for tag in relation.tags if tag not in gone]
        relation.tags = kept + [tag for tag in added if tag not in kept]
        return {}

    # --- welcome ---

    async def _welcome(self, call: Call) -> Answer:
        fields, world = call.fields, self._world
        welcome = self._welcomes.get(fields.string("welcome_code", empty=41049))
        if welcome is None:
            raise Refused(41049)
        if welcome.state in {"sent", "chatting"}:
            raise Refused(41051)
        if welcome.state == "sending":
            raise Refused(41096)
        if world.clock.now_ms() >= welcome.until:
            raise Refused(41050)
        text, attachments = read_mass(fields, self._media)
        welcome.state = "sending"
        try:
            await world.clock.sleep(world.options.welcome_delay)
        finally:
            welcome.state = "open"
        welcome.state, welcome.agentid = "sent", call.app.agentid
        world.deliver(
            "welcome",
            welcome.external_userid,
            welcome.userid,
            msgtype="text" if text else attachments[0]["msgtype"],
            text=text,
            body={"attachments": attachments},
        )
        return {}

    # --- orders ---

    def customer_adds(
        self,
        *,
        userid: str,
        external_userid: str,
        state: str = "",
        half: bool = False,
        add_way: int = 1,
    ) -> dict[str, Any]:
        """A customer adds a member; `half`: 免验证, not mutual. The event has a welcome code, unless the admin made a
        native welcome for the member.
        """
        world = self._world
        member = world.member(userid)
        if member is None:
            raise ValueError(f"no member {userid}")
        if external_userid not in world.customers:
            world.add_customer(external_userid)
        traits = {"state": state, "half": half, "add_way": add_way}
        world.relate(member.userid, external_userid, **traits)
        code = ""
        if not member.native_welcome:
            code = world.new_id("WC", 40)
            until = world.clock.now_ms() + world.limits.welcome_life * 1000
            self._welcomes[code] = _Welcome(member.userid, external_userid, until)
        change = "add_half_external_contact" if half else "add_external_contact"
        more = {"State": state} if state else {}
        self.event(change, member.userid, external_userid, **more, WelcomeCode=code)
        return {"welcome_code": code}

    def customer_edited(self, *, userid: str, external_userid: str) -> dict[str, Any]:
        """The member changed his remark by hand."""
        self._known(userid, external_userid)
        self.event("edit_external_contact", userid, external_userid)
        return {}

    def customer_deletes(self, *, userid: str, external_userid: str) -> dict[str, Any]:
        """The customer deletes the member: a one-way relation stays and the API still works."""
        self._known(userid, external_userid).deleted_by = "customer"
        self.event("del_follow_user", userid, external_userid)
        return {}

    def member_deletes(
        self, *, userid: str, external_userid: str, by_transfer: bool = False
    ) -> dict[str, Any]:
        """The member deletes the customer: 84061 from now on."""
        self._known(userid, external_userid).deleted_by = "member"
        more = {"Source": "DELETE_BY_TRANSFER"} if by_transfer else {}
        self.event("del_external_contact", userid, external_userid, **more)
        return {}

    def customer_chats(
        self, *, userid: str, external_userid: str, text: str = "", by: str = "customer"
    ) -> dict[str, Any]:
        """One of them writes to the other in the client: an open welcome code is void, and the archive may have it."""
        relation = self._known(userid, external_userid)
        relation.last_chat_ms = self._world.clock.now_ms()
        for welcome in self._welcomes.values():
            if welcome.external_userid == external_userid and welcome.state == "open":
                welcome.state = "chatting"
        ends = (external_userid, relation.userid)
        sender, to = ends if by == "customer" else ends[::-1]
        for listen in self.on_chat:
            listen(sender, to, text)
        return {}

    def tag_add(self, *, tag_id: str, name: str, group: str = "标签") -> dict[str, Any]:
        """A corp tag, made in the admin console."""
        self._tags[tag_id] = {"group_id": f"eg{group}", "group": group, "name": name}
        self._pusher.emit(
            self._frame("change_external_tag")
            | {"ChangeType": "create", "Id": tag_id, "TagType": "tag"},
            ability="contact",
        )
        return {"tag_id": tag_id}

    def event(self, change: str, userid: str, external_userid: str, **more: Any) -> None:
        """A change of the relation, to every app that may know."""
        facts = {"ChangeType": change, "UserID": userid, "ExternalUserID": external_userid}
        self._pusher.emit(self._frame("change_external_contact") | facts | more, ability="contact")

    def _frame(self, event: str) -> dict[str, Any]:
        return {
            "ToUserName": self._world.corp,
            "FromUserName": "sys",
            "CreateTime": self._world.now(),
            "MsgType": "event",
            "Event": event,
        }

    def _known(self, userid: str, external_userid: str) -> Relation:
        relation = self._world.relation(userid, external_userid)
        if relation is None:
            raise ValueError(f"{userid} and {external_userid} do not know each other")
        return relation
