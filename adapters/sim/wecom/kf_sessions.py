"""Customer-service sessions (docs 94669, 94698): their states, what may be sent when, and answers to events."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields
from adapters.sim.wecom.kf_log import Account, KfLog
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World, text_of

NEW, BOT, POOL, HUMAN, ENDED = range(5)
#: What the API may change; clients and customers change the rest.
TRANSITIONS = {
    NEW: {BOT, POOL, HUMAN, ENDED},
    BOT: {POOL, HUMAN, ENDED},
    POOL: {HUMAN, ENDED},
    HUMAN: {HUMAN, ENDED},
    ENDED: set[int](),
}
MSGID = re.compile(r"[0-9A-Za-z_-]{1,32}")
_MEDIA = {"image", "voice", "video", "file"}


@dataclass(slots=True)
class Conversation:
    """One customer with one account. `sent`: since his last message; `asked_ms`: when that was (0: never)."""

    account: Account
    external_userid: str
    state: int = ENDED
    servicer: str = ""
    asked_ms: int = 0
    sent: int = 0


@dataclass(slots=True)
class _Code:
    kind: str  # welcome, waiting, taken, ended
    conversation: Conversation
    until: int
    state: int


class KfSessions:
    """Journal `kind` kf: `to` the customer, `from` the account; `dropped` fail_N when it never arrives."""

    def __init__(self, world: World, log: KfLog, media: Media) -> None:
        self._world = world
        self._log = log
        self._media = media
        self._conversations: dict[tuple[str, str], Conversation] = {}
        self._codes: dict[str, _Code] = {}
        self._failures: list[tuple[str, str, int]] = []

    def endpoints(self) -> dict[str, Endpoint]:
        return {
            "kf/send_msg": Endpoint("POST", self._send, "kf"),
            "kf/send_msg_on_event": Endpoint("POST", self._send_on_event, "kf"),
            "kf/service_state/get": Endpoint("POST", self._get_state, "kf"),
            "kf/service_state/trans": Endpoint("POST", self._trans, "kf"),
        }

    def conversation(self, open_kfid: str, external_userid: str) -> Conversation:
        """Raises Refused: 95000, 40096. A session ends by itself after 48 h."""
        account = self._log.account(open_kfid)
        if external_userid not in self._world.customers:
            raise Refused(40096)
        key = (open_kfid, external_userid)
        found = self._conversations.setdefault(key, Conversation(account, external_userid))
        if found.state != ENDED and not self.consulting(found):
            found.state, found.servicer = ENDED, ""
        return found

    def consulting(self, conversation: Conversation) -> bool:
        """Whether the customer wrote within the last 48 h."""
        window = self._world.limits.kf_window * 1000
        asked = conversation.asked_ms
        return asked > 0 and self._world.clock.now_ms() - asked < window

    def consulted(self, external_userid: str) -> bool:
        """Whether this customer wrote to any account within the last 48 h."""
        return any(
            talk.external_userid == external_userid and self.consulting(talk)
            for talk in self._conversations.values()
        )

    def asked(self, conversation: Conversation) -> None:
        """The customer wrote: the count begins anew, an ended session opens."""
        conversation.asked_ms, conversation.sent = self._world.clock.now_ms(), 0
        if conversation.state == ENDED:
            conversation.state, conversation.servicer = NEW, ""

    def code(self, kind: str, conversation: Conversation) -> str:
        """A single-use code: 20 s for a welcome or a farewell, 48 h for the others."""
        limits = self._world.limits
        life = limits.kf_welcome if kind in {"welcome", "ended"} else limits.kf_window
        code = self._world.new_id("CODE", 40)
        until = self._world.clock.now_ms() + life * 1000
        self._codes[code] = _Code(kind, conversation, until, conversation.state)
        return code

    async def _send(self, call: Call) -> Answer:
        fields, world = call.fields, self._world
        talk = self.conversation(
            fields.string("open_kfid", empty=95000), fields.string("touser", empty=40096)
        )
        msgid = self._fresh_msgid(fields, talk.account)
        msgtype, body = self._body(fields)
        if not self.consulting(talk):
            raise Refused(95002)
        if talk.sent >= world.limits.kf_messages:
            raise Refused(95001)
        if talk.state not in (NEW, BOT):
            raise Refused(95018)
        talk.sent += 1
        self._deliver(talk, msgid, msgtype, body, "kf")
        return {"msgid": msgid}

    async def _send_on_event(self, call: Call) -> Answer:
        fields = call.fields
        code = self._codes.get(fields.string("code"))
        if code is None:
            raise Refused(41049)
        if code.until <= self._world.clock.now_ms():
            raise Refused(41050)
        if code.kind != "welcome" and code.conversation.state != code.state:
            raise Refused(95018)
        msgid = self._fresh_msgid(fields, code.conversation.account)
        allowed = {"text", "msgmenu"} if code.kind in {"welcome", "ended"} else {"text"}
        msgtype, body = self._body(fields, allowed)
        del self._codes[fields.string("code")]
        if code.kind == "welcome":
            account = code.conversation.account
            account.welcomed[code.conversation.external_userid] = self._world.clock.now_ms()
        self._deliver(code.conversation, msgid, msgtype, body, "kf_event")
        return {"msgid": msgid}

    async def _get_state(self, call: Call) -> Answer:
        fields = call.fields
        talk = self.conversation(
            fields.string("open_kfid", empty=95000),
            fields.string("external_userid", empty=40096),
        )
        return {"service_state": talk.state, "servicer_userid": talk.servicer}

    async def _trans(self, call: Call) -> Answer:
        fields = call.fields
        talk = self.conversation(
            fields.string("open_kfid", empty=95000),
            fields.string("external_userid", empty=40096),
        )
        wanted = fields.number("service_state", low=0, high=4)
        if wanted not in TRANSITIONS[talk.state]:
            raise Refused(95016)
        servicer = ""
        if wanted == HUMAN:
            servicer = fields.string("servicer_userid", empty=95014)
            found = talk.account.servicers.get(servicer.lower())
            if found is None:
                raise Refused(95014)
            if not found.receiving:
                raise Refused(95019)
            if found.userid == talk.servicer:
                raise Refused(95016)
            servicer = found.userid
        first = wanted == ENDED or talk.state in (NEW, BOT)
        talk.state, talk.servicer = wanted, servicer
        kinds = {POOL: "waiting", HUMAN: "taken", ENDED: "ended"}
        if first and wanted in kinds:
            return {"msg_code": self.code(kinds[wanted], talk)}
        return {}

    def _fresh_msgid(self, fields: Fields, account: Account) -> str:
        msgid = fields.string("msgid", need=False, pattern=MSGID)
        if msgid in account.msgids:
            raise Refused(self._world.options.kf_duplicate_errcode, "msgid is used already")
        return msgid or self._world.new_id("", 32)

    def _deliver(
        self, talk: Conversation, msgid: str, msgtype: str, body: dict[str, Any], kind: str
    ) -> None:
        account, external_userid = talk.account, talk.external_userid
        account.msgids.add(msgid)
        fail = self._failure(account.open_kfid, external_userid)
        self._world.deliver(
            kind,
            external_userid,
            account.open_kfid,
            msgtype=msgtype,
            text=text_of(msgtype, body),
            body=body,
            msgid=msgid,
            dropped="" if fail is None else f"fail_{fail}",
        )
        if fail is not None:
            wait = self._world.options.kf_fail_delay
            self._world.later(wait, partial(self._failed, talk, msgid, fail))

    def _failed(self, talk: Conversation, msgid: str, fail_type: int) -> None:
        facts = {"fail_msgid": msgid, "fail_type": fail_type}
        self._log.event(talk.account, "msg_send_fail", talk.external_userid, facts)

    def _failure(self, open_kfid: str, external_userid: str) -> int | None:
        for failure in self._failures:
            if failure[0] in ("", open_kfid) and failure[1] in ("", external_userid):
                self._failures.remove(failure)
                return failure[2]
        return 10 if self._world.customers[external_userid].refuses else None

    def _body(self, fields: Fields, allowed: set[str] | None = None) -> tuple[str, dict[str, Any]]:
        msgtype = fields.string("msgtype", empty=40008)
        if msgtype not in (allowed if allowed is not None else KF_TYPES):
            raise Refused(95022)
        body = fields.object(msgtype)
        match msgtype:
            case "text":
                body.string("content", most=2048, empty=44004)
                body.string("menu_id", need=False)
            case "link":
                body.string("title", most=128)
                body.string("desc", most=512, need=False)
                body.string("url", most=2048)
                self._media.get(body.string("thumb_media_id", empty=40007), ("image",))
            case "miniprogram":
                body.string("appid")
                body.string("title", most=64, need=False)
                body.string("pagepath")
                self._media.get(body.string("thumb_media_id", empty=40007), ("image",))
            case "msgmenu":
                _menu(body)
            case "location":
                for name in ("latitude", "longitude"):
                    if not isinstance(body.values.get(name), (int, float)):
                        raise body.wrong(name, "is not a number")
            case "business_card":
                if self._world.member(body.string("userid")) is None:
                    raise Refused(60111)
            case "ca_link":
                body.string("link_url")
            case _:
                found = self._media.get(body.string("media_id", empty=40007), (msgtype,))
                return msgtype, body.values | {"name": found.name, "size": len(found.data)}
        return msgtype, body.values

    # --- orders ---

    def kf_fail_next(
        self,
        *,
        fail_type: int = 0,
        open_kfid: str = "",
        external_userid: str = "",
        times: int = 1,
    ) -> dict[str, Any]:
        """The next accepted messages (of this account, to this customer) never arrive: msg_send_fail follows."""
        self._failures += [(open_kfid, external_userid, fail_type)] * min(times, 100_000)
        return {"waiting": len(self._failures)}

    def kf_state(self, *, open_kfid: str, external_userid: str) -> dict[str, Any]:
        """The session as it stands."""
        self._log.known(open_kfid)
        try:
            talk = self.conversation(open_kfid, external_userid)
        except Refused as refused:
            raise ValueError(refused.text) from None
        return {"state": talk.state, "servicer": talk.servicer, "sent": talk.sent}


KF_TYPES = {
    "text",
    "link",
    "miniprogram",
    "msgmenu",
    "location",
    "business_card",
    "ca_link",
} | _MEDIA


def _menu(body: Fields) -> None:
    body.string("head_content", most=1024, need=False)
    body.string("tail_content", most=1024, need=False)
    for item in body.objects("list", 0, 10, 95008):
        match item.string("type", empty=95009):
            case "click":
                click = item.object("click")
                click.string("id", most=64, need=False)
                click.string("content", most=128)
            case "view":
                view = item.object("view")
                view.string("url", most=2048)
                view.string("content", most=1024)
            case "miniprogram":
                mini = item.object("miniprogram")
                mini.string("appid")
                mini.string("pagepath")
                mini.string("content", most=1024)
            case "text":
                item.object("text").string("content", most=256)
            case _:
                raise Refused(95009)
