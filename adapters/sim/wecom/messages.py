"""Application messages to members (docs 90236, 94867, 94888): send, recall, card update, and everything that vanishes silently."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields
from adapters.sim.wecom.content import APP_TYPES, INTERACTIVE, read
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import App, Member, World, text_of

_DAY = 86_400


@dataclass(slots=True)
class _Message:
    msgid: str
    agentid: int
    sent: int
    recipients: list[str]
    recalled: bool = False


@dataclass(slots=True)
class _Card:
    agentid: int
    issued: int
    recipients: list[str]
    used: bool = False


@dataclass(slots=True)
class _Audience:
    members: list[Member] = field(default_factory=list)
    users: list[str] = field(default_factory=list)
    parties: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)


class Messages:
    """Journal entries are one per member: `kind` app; `dropped` is member_minute, member_hour or duplicate."""

    def __init__(self, world: World, media: Media) -> None:
        self._world = world
        self._media = media
        self._sent: dict[str, _Message] = {}
        self._cards: dict[str, _Card] = {}
        self._seen: dict[tuple[int, str], tuple[int, str]] = {}  # (agent, hash) -> until, msgid

    def endpoints(self) -> dict[str, Endpoint]:
        return {
            "message/send": Endpoint("POST", self._send, "app", counted=False),
            "message/recall": Endpoint("POST", self._recall, "app"),
            "message/update_template_card": Endpoint("POST", self._update, "app"),
            "message/get_statistics": Endpoint("POST", self._statistics, "app"),
        }

    async def _send(self, call: Call) -> Answer:
        fields, app = call.fields, call.app
        self._check_agent(fields, app)
        msgtype, body = read(fields, APP_TYPES, self._media)
        fields.number("safe", 0, 0, 2 if msgtype == "mpnews" else 1)
        audience = self._audience(fields, app)
        if not audience.members:
            raise Refused(
                81013,
                invaliduser="|".join(audience.users),
                invalidparty="|".join(audience.parties),
                invalidtag="|".join(audience.tags),
            )
        answer: dict[str, Any] = {
            "invaliduser": "|".join(audience.users),
            "invalidparty": "|".join(audience.parties),
            "invalidtag": "|".join(audience.tags),
            "unlicenseduser": "|".join(
                one.userid.lower() for one in audience.members if not one.licensed
            ),
        }
        recipients = [one.userid for one in audience.members if one.licensed]
        quota = self._world.limits.app_seats * 200
        if self._world.windows.take(f"app:{app.agentid}", {"day": quota}, len(recipients)):
            raise Refused(45009)
        repeated = self._repeated(fields, call)
        msgid = repeated or self._world.new_id("", 40)
        if not repeated:
            self._remember(fields, call, msgid)
            self._sent[msgid] = _Message(msgid, app.agentid, self._world.now(), recipients)
        for userid in recipients:
            dropped = "duplicate" if repeated else self._silently(app, userid)
            self._world.deliver(
                "app",
                userid,
                f"agent:{app.agentid}",
                msgtype=msgtype,
                text=text_of(msgtype, body),
                body=body,
                msgid=msgid,
                dropped=dropped,
            )
        if msgtype == "template_card" and body.get("card_type") in INTERACTIVE:
            code = self._world.new_id("", 43)
            self._cards[code] = _Card(app.agentid, self._world.now(), recipients)
            answer["response_code"] = code
        return answer | {"msgid": msgid}

    async def _recall(self, call: Call) -> Answer:
        message = self._sent.get(call.fields.string("msgid"))
        if message is None or message.agentid != call.app.agentid:
            raise call.fields.wrong("msgid", "invalid")
        if self._world.now() - message.sent > _DAY:
            raise Refused(42052)
        if not message.recalled:
            message.recalled = True
            for userid in message.recipients:
                self._world.deliver(
                    "recall", userid, f"agent:{call.app.agentid}", msgid=message.msgid, text=""
                )
        return {}

    async def _update(self, call: Call) -> Answer:
        fields, app = call.fields, call.app
        self._check_agent(fields, app)
        users = fields.strings("userids", most=1000)
        card = self._cards.get(fields.string("response_code", need=False))
        now = self._world.now()
        if card is None or card.used or card.agentid != app.agentid or now - card.issued > _DAY:
            raise Refused(60140)
        shown = fields.object("button" if "button" in fields else "template_card").values
        had = {userid.lower(): userid for userid in card.recipients}
        if fields.number("atall", 0, 0, 1) == 1:
            reached = list(had)
        else:
            inside = self._inside(fields, "partyids", "parties") | self._inside(
                fields, "tagids", "tags"
            )
            reached = [user.lower() for user in users]
            reached += [user for user in had if user in inside and user not in reached]
        invalid = [user for user in reached if user not in had]
        if reached and len(invalid) == len(reached):
            raise Refused(81013, invaliduser=invalid)
        card.used = True
        for user in reached:
            if user in had:
                self._world.deliver(
                    "card_update",
                    had[user],
                    f"agent:{app.agentid}",
                    msgtype="template_card",
                    text=str(shown.get("replace_name", "")),
                    body=shown,
                )
        return {"invaliduser": invalid}

    def _inside(self, fields: Fields, key: str, kind: str) -> set[str]:
        """Members (lower-case) of the parties or tags in a list of numbers."""
        ids = fields.values.get(key) or []
        if not isinstance(ids, list) or len(ids) > 100:
            raise fields.wrong(key, "is not a list of at most 100 numbers")
        wanted = {int(one) for one in ids if str(one).isdigit()}
        return {name for name, one in self._world.members.items() if getattr(one, kind) & wanted}

    async def _statistics(self, call: Call) -> Answer:
        agent = call.app.agentid
        today = self._world.windows.count(f"app:{agent}", "day")
        return {"statistics": [{"agentid": agent, "app_name": "sandbox", "count": today}]}

    def _check_agent(self, fields: Fields, app: App) -> None:
        if fields.number("agentid") != app.agentid:
            raise Refused(40056)

    def _audience(self, fields: Fields, app: App) -> _Audience:
        users = _split(fields.string("touser", need=False))
        parties = _split(fields.string("toparty", need=False))
        tags = _split(fields.string("totag", need=False))
        if not (users or parties or tags):
            raise Refused(82001)
        if len(users) > 1000:
            raise fields.wrong("touser", "exceed max count 1000")
        if len(parties) > 100:
            raise Refused(82002)
        if len(tags) > 100:
            raise Refused(82003)
        world, audience = self._world, _Audience()
        everybody: list[Member] = []
        if users == ["@all"] or parties or tags:
            seen = [world.visible(app, userid) for userid in list(world.members)]
            everybody = [member for member in seen if member is not None]
        if users == ["@all"]:
            audience.members = everybody
            return audience
        found: dict[str, Member] = {}
        for user in users:
            member = world.visible(app, user)
            if member is None:
                audience.users.append(user.lower())
            else:
                found[member.userid] = member
        for names, invalid, kind in (
            (parties, audience.parties, "parties"),
            (tags, audience.tags, "tags"),
        ):
            for name in names:
                inside = [m for m in everybody if name.isdigit() and int(name) in getattr(m, kind)]
                if not inside:
                    invalid.append(name)
                found.update({member.userid: member for member in inside})
        audience.members = list(found.values())
        return audience

    def _silently(self, app: App, userid: str) -> str:
        limits = self._world.limits
        full = self._world.windows.take(
            f"app:{app.agentid}:{userid}",
            {"minute": limits.member_minute, "hour": limits.member_hour},
        )
        return f"member_{full}" if full else ""

    def _key(self, call: Call) -> tuple[int, str]:
        return call.app.agentid, hashlib.sha256(call.raw).hexdigest()

    def _repeated(self, fields: Fields, call: Call) -> str:
        """The msgid of the first one, when this is an identical request JSON inside its interval."""
        if not fields.number("enable_duplicate_check", 0, 0, 1):
            return ""
        until, msgid = self._seen.get(self._key(call), (0, ""))
        return msgid if self._world.now() < until else ""

    def _remember(self, fields: Fields, call: Call, msgid: str) -> None:
        if fields.number("enable_duplicate_check", 0, 0, 1):
            most = self._world.limits.duplicate_max
            interval = fields.number("duplicate_check_interval", 1800, 0, most)
            self._seen[self._key(call)] = (self._world.now() + interval, msgid)


def _split(joined: str) -> list[str]:
    return list(dict.fromkeys(part.strip() for part in joined.split("|") if part.strip()))
