"""Customer service around the sessions: accounts, servicers, customers (docs 95159, 96428), and what people do in their clients.

One file, for what people do in their clients is what the calls then show: both work on the same accounts.
"""

from __future__ import annotations

import base64
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields
from adapters.sim.wecom.kf_log import Account, KfLog, Servicer
from adapters.sim.wecom.kf_sessions import ENDED, HUMAN, POOL, Conversation, KfSessions
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World

_MOST_ACCOUNTS = 5000


class Kf:
    """Accounts to begin with: wk0001 with the first three members as servicers."""

    def __init__(self, world: World, log: KfLog, sessions: KfSessions, media: Media) -> None:
        self._world = world
        self._log = log
        self._sessions = sessions
        self._media = media
        self._contexts: dict[tuple[str, str], dict[str, Any]] = {}
        self.kf_account_add(open_kfid="wk0001", name="沙箱客服", servicers=list(world.members)[:3])

    def endpoints(self) -> dict[str, Endpoint]:
        posts = {
            "kf/account/add": self._add,
            "kf/account/del": self._delete,
            "kf/account/update": self._update,
            "kf/account/list": self._list,
            "kf/add_contact_way": self._contact_way,
            "kf/servicer/add": self._servicer_add,
            "kf/servicer/del": self._servicer_del,
            "kf/customer/batchget": self._customers,
            "kf/customer/upgrade_service": self._upgrade,
            "kf/customer/cancel_upgrade_service": self._upgrade,
        }
        gets = {
            "kf/servicer/list": self._servicers,
            "kf/get_corp_qualification": self._qualification,
            "kf/customer/get_upgrade_service_config": self._upgrade_config,
        }
        return {name: Endpoint("POST", call, "kf") for name, call in posts.items()} | {
            name: Endpoint("GET", call, "kf") for name, call in gets.items()
        }

    # --- the API ---

    async def _add(self, call: Call) -> Answer:
        name = call.fields.string("name", chars=16, empty=95006)
        if len(self._log.accounts) >= _MOST_ACCOUNTS:
            raise Refused(95005)
        if "media_id" in call.fields:
            self._media.get(call.fields.string("media_id"), ("image",))
        open_kfid = self._world.new_id("wk", 32)
        self._log.accounts[open_kfid] = Account(open_kfid, name)
        return {"open_kfid": open_kfid}

    async def _delete(self, call: Call) -> Answer:
        account = self._log.account(call.fields.string("open_kfid", empty=95000))
        del self._log.accounts[account.open_kfid]
        return {}

    async def _update(self, call: Call) -> Answer:
        account = self._log.account(call.fields.string("open_kfid", empty=95000))
        account.name = call.fields.string("name", chars=16, need=False) or account.name
        return {}

    async def _list(self, call: Call) -> Answer:
        offset = call.fields.number("offset", 0)
        limit = call.fields.number("limit", 100, 1, 100)
        chosen = list(self._log.accounts.values())[offset : offset + limit]
        return {
            "account_list": [
                {"open_kfid": a.open_kfid, "name": a.name, "avatar": "", "manage_privilege": True}
                for a in chosen
            ]
        }

    async def _contact_way(self, call: Call) -> Answer:
        account = self._log.account(call.fields.string("open_kfid", empty=95000))
        scene = call.fields.string("scene", most=32, need=False)
        suffix = f"&enc_scene={scene}" if scene else ""
        return {"url": f"{self._world.base_url}/sim-kf/{account.open_kfid}?{suffix}"}

    async def _servicer_add(self, call: Call) -> Answer:
        account, userids = self._named(call.fields)
        results = []
        for userid in userids:
            member = self._world.member(userid)
            if member is not None:
                account.servicers.setdefault(member.userid.lower(), Servicer(member.userid))
            results.append(_result(userid, 0 if member else 60111))
        return {"result_list": results}

    async def _servicer_del(self, call: Call) -> Answer:
        account, userids = self._named(call.fields)
        results = []
        for userid in userids:
            found = account.servicers.pop(userid.lower(), None)
            results.append(_result(userid, 0 if found else 95014))
        return {"result_list": results}

    def _named(self, fields: Fields) -> tuple[Account, list[str]]:
        account = self._log.account(fields.string("open_kfid", empty=95000))
        return account, fields.strings("userid_list", most=100, need=True)

    async def _servicers(self, call: Call) -> Answer:
        account = self._log.account(call.query.get("open_kfid", ""))
        return {
            "servicer_list": [
                {"userid": s.userid, "status": int(not s.receiving), "stop_type": int(s.suspended)}
                for s in account.servicers.values()
            ]
        }

    async def _customers(self, call: Call) -> Answer:
        fields = call.fields
        asked = fields.strings("external_userid_list", most=100, need=True)
        context = fields.number("need_enter_session_context", 0, 0, 1)
        found, invalid = [], []
        for external_userid in asked:
            customer = self._world.customers.get(external_userid)
            if customer is None or not self._sessions.consulted(external_userid):
                invalid.append(external_userid)
                continue
            row: dict[str, Any] = {
                "external_userid": external_userid,
                "nickname": customer.name,
                "avatar": "",
                "gender": customer.gender,
                "unionid": customer.unionid,
            }
            if context:
                row["enter_session_context"] = next(
                    (self._contexts[key] for key in self._contexts if key[1] == external_userid), {}
                )
            found.append(row)
        if not found:
            raise Refused(95031)
        return {"customer_list": found, "invalid_external_userid": invalid}

    async def _qualification(self, call: Call) -> Answer:
        return {"wechat_channels_binding": True}

    async def _upgrade_config(self, call: Call) -> Answer:
        members = [member.userid for member in self._world.members.values()][:3]
        return {"member_range": {"userid_list": members, "department_id_list": []}}

    async def _upgrade(self, call: Call) -> Answer:
        self._sessions.conversation(
            call.fields.string("open_kfid", empty=95000),
            call.fields.string("external_userid", empty=40096),
        )
        return {}

    # --- orders ---

    def kf_account_add(
        self, *, open_kfid: str, name: str = "客服", servicers: list[str] | None = None
    ) -> dict[str, Any]:
        """One more account, made in the admin console."""
        account = Account(open_kfid, name)
        for userid in servicers or []:
            member = self._world.member(userid)
            if member is None:
                raise ValueError(f"no member {userid}")
            account.servicers[member.userid.lower()] = Servicer(member.userid)
        self._log.accounts[open_kfid] = account
        return {"open_kfid": open_kfid}

    def customer_writes(
        self,
        *,
        open_kfid: str,
        external_userid: str,
        text: str = "",
        msgtype: str = "text",
        body: dict[str, Any] | None = None,
        menu_id: str = "",
        data: str = "",
        name: str = "",
        msgid: str = "",
    ) -> dict[str, Any]:
        """A customer writes to an account. `data` (base64) becomes a medium of the type `msgtype` called `name`. One who
        is not known yet becomes a customer.
        """
        account = self._log.known(open_kfid)
        self._meet(external_userid)
        talk = self._sessions.conversation(open_kfid, external_userid)
        self._sessions.asked(talk)
        if data:
            medium = self._media.add(msgtype, name or msgtype, base64.b64decode(data))
            body = {"media_id": medium.media_id} | (body or {})
        if msgtype == "text" and body is None:
            body = {"content": text} | ({"menu_id": menu_id} if menu_id else {})
        return {
            "msgid": self._log.append(account, 3, msgtype, body or {}, external_userid, msgid=msgid)
        }

    def customer_enters(
        self,
        *,
        open_kfid: str,
        external_userid: str,
        scene: str = "",
        scene_param: str = "",
        wechat_channels: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """A customer opens the chat. The event has a welcome_code unless he was welcomed or wrote within 48 h."""
        account = self._log.known(open_kfid)
        self._meet(external_userid)
        talk = self._sessions.conversation(open_kfid, external_userid)
        context: dict[str, Any] = {"scene": scene, "scene_param": scene_param}
        if wechat_channels:
            context["wechat_channels"] = wechat_channels
        self._contexts[open_kfid, external_userid] = context
        now, window = self._world.clock.now_ms(), self._world.limits.kf_window * 1000
        welcomed = account.welcomed.get(external_userid, -window)
        code = ""
        if not self._sessions.consulting(talk) and now - welcomed >= window:
            code = self._sessions.code("welcome", talk)
        more = context | ({"welcome_code": code} if code else {})
        self._log.event(account, "enter_session", external_userid, more)
        return {"welcome_code": code}

    def customer_recalls(
        self, *, open_kfid: str, external_userid: str, msgid: str
    ) -> dict[str, Any]:
        """He takes a message back."""
        account = self._log.known(open_kfid)
        self._log.event(account, "user_recall_msg", external_userid, {"recall_msgid": msgid})
        return {}

    def customer_refuses(
        self, *, external_userid: str, refuses: bool = True, open_kfid: str = ""
    ) -> dict[str, Any]:
        """He no longer takes messages: sends fail with type 10."""
        self._meet(external_userid)
        self._world.customers[external_userid].refuses = refuses
        return {"open_kfid": open_kfid, "refuses": refuses}

    def servicer(
        self,
        *,
        open_kfid: str,
        userid: str,
        action: str,
        external_userid: str = "",
        to: str = "",
        text: str = "",
        msgid: str = "",
    ) -> dict[str, Any]:
        """What a servicer does in the client. `action`: takes, transfers (`to`), ends, reenters, says (`text`), recalls
        (`msgid`), stops, suspends, starts, refuses, accepts. Raises ValueError when the session is not in that state.
        """
        account = self._log.known(open_kfid)
        found = account.servicers.get(userid.lower())
        if found is None:
            raise ValueError(f"{userid} is no servicer of {open_kfid}")
        if action in {"stops", "suspends", "starts"}:
            found.receiving, found.suspended = action == "starts", action == "suspends"
            facts: dict[str, Any] = {"servicer_userid": found.userid}
            facts["status"] = 1 if found.receiving else 2
            if not found.receiving:
                facts["stop_type"] = int(found.suspended)
            self._log.event(account, "servicer_status_change", "", facts)
            return {}
        if action in {"refuses", "accepts"}:
            facts = {"servicer_userid": found.userid, "reject_switch": int(action == "refuses")}
            self._log.event(account, "reject_customer_msg_switch_change", external_userid, facts)
            return {}
        self._meet(external_userid)
        talk = self._sessions.conversation(open_kfid, external_userid)
        return self._acts(talk, found.userid, action, to, text, msgid)

    def _acts(
        self, talk: Conversation, userid: str, action: str, to: str, text: str, msgid: str
    ) -> dict[str, Any]:
        account, customer = talk.account, talk.external_userid
        if action == "recalls":
            facts = {"recall_msgid": msgid, "servicer_userid": userid}
            self._log.event(account, "servicer_recall_msg", customer, facts)
            return {}
        if action == "says":
            if talk.state != HUMAN or talk.servicer != userid:
                raise ValueError(f"{userid} does not serve {customer}")
            sent = self._log.append(account, 5, "text", {"content": text}, customer, userid)
            self._world.deliver(
                "kf_servicer", customer, account.open_kfid, msgtype="text", text=text, msgid=sent
            )
            return {"msgid": sent}
        before = {"takes": POOL, "transfers": HUMAN, "ends": HUMAN, "reenters": ENDED}
        if action not in before or talk.state != before[action]:
            raise ValueError(f"{action} is not possible in state {talk.state}")
        old = talk.servicer
        change: dict[str, Any]
        match action:
            case "takes":
                talk.state, talk.servicer = HUMAN, userid
                code = self._sessions.code("taken", talk)
                change = {"change_type": 1, "new_servicer_userid": userid, "msg_code": code}
            case "transfers":
                if to.lower() not in account.servicers:
                    raise ValueError(f"{to} is no servicer")
                talk.servicer = account.servicers[to.lower()].userid
                change = {"change_type": 2, "old_servicer_userid": old}
                change["new_servicer_userid"] = talk.servicer
            case "ends":
                talk.state, talk.servicer = ENDED, ""
                code = self._sessions.code("ended", talk)
                change = {"change_type": 3, "old_servicer_userid": old, "msg_code": code}
            case _:
                talk.state, talk.servicer = HUMAN, userid
                change = {"change_type": 4, "old_servicer_userid": old}
                change["new_servicer_userid"] = userid
        self._log.event(account, "session_status_change", customer, change)
        return change

    def _meet(self, external_userid: str) -> None:
        if external_userid not in self._world.customers:
            self._world.add_customer(external_userid)


def _result(userid: str, errcode: int) -> dict[str, Any]:
    return {
        "userid": userid,
        "errcode": errcode,
        "errmsg": "success" if not errcode else Refused(errcode).text,
    }
