"""The message archive (会话内容存档, docs 91774, 91361): what the native library would fetch, over HTTP paths of our own.

`POST /sim-archive/chatdata` {corpid, secret, seq, limit} answers as GetChatData does: items after `seq`, of the last five days.
`POST /sim-archive/mediadata` {corpid, secret, indexbuf, sdkfileid} answers {outindexbuf, is_finish, data: base64} with at most
512 KB. Failures carry the library's codes in `errcode`. The cipher is `archive_cipher`: simulator only.

One file, for what people do writes the very items that the two paths read.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import deque
from dataclasses import dataclass
from typing import Any

from aiohttp import web
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from adapters.sim.wecom.archive_cipher import load_public, new_key, seal
from adapters.sim.wecom.faults import Faults
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.world import App, World

AGENT = 2_000_004
CHUNK = 524_288
#: The object of these types has another name.
_OBJECTS = {
    "docmsg": "doc",
    "external_redpacket": "redpacket",
    **dict.fromkeys(("markdown", "news", "voiptext", "qydiskfile"), "info"),
}
_INDEX = re.compile(r"Range:bytes=([0-9]{1,12})-([0-9]{1,12})")


@dataclass(frozen=True, slots=True)
class _Item:
    seq: int
    time_ms: int
    msgid: str
    version: int
    key: str
    message: str


class Archive:
    """Items have strictly rising `seq`. `private_keys` are the PEM texts of the key pairs made here, by version."""

    def __init__(self, world: World, pusher: Pusher, faults: Faults) -> None:
        self._world = world
        self._pusher = pusher
        self._faults = faults
        self._items: deque[_Item] = deque()
        self._seq = 0
        self._public: dict[int, RSAPublicKey] = {}
        self._version = 0
        self._media: dict[str, tuple[int, bytes]] = {}
        self._last_notice = -(10**15)
        self._notice_due = False
        self._plain: dict[str, dict[str, Any]] = {}
        self.private_keys: dict[int, str] = {}
        self.consents: dict[tuple[str, str], str] = {}
        self.permitted: set[str] | None = None
        world.apps.setdefault(AGENT, App(AGENT, world.options.archive_secret, {"archive"}))

    async def chatdata(self, request: web.Request) -> web.StreamResponse:
        """GetChatData."""
        asked = await self._asked(request, "sim-archive/chatdata")
        if isinstance(asked, web.StreamResponse):
            return asked
        seq, limit = asked.get("seq", 0), asked.get("limit", 1000)
        if not isinstance(seq, int) or not isinstance(limit, int) or not 1 <= limit <= 1000:
            return _failed(10000, "seq or limit")
        minute = self._world.limits.archive_minute
        if self._world.windows.take("archive", {"minute": minute}):
            return _failed(10001, "api freq out of limit")
        oldest = self._world.clock.now_ms() - self._world.limits.archive_retention * 1000
        while self._items and self._items[0].time_ms < oldest:
            self._items.popleft()
        first = self._items[0].seq if self._items else self._seq + 1
        start = max(seq + 1 - first, 0)
        chosen = [self._items[at] for at in range(start, min(start + limit, len(self._items)))]
        rows = [
            {
                "seq": item.seq,
                "msgid": item.msgid,
                "publickey_ver": item.version,
                "encrypt_random_key": item.key,
                "encrypt_chat_msg": item.message,
            }
            for item in chosen
        ]
        return web.json_response({"errcode": 0, "errmsg": "ok", "chatdata": rows})

    async def mediadata(self, request: web.Request) -> web.StreamResponse:
        """GetMediaData."""
        asked = await self._asked(request, "sim-archive/mediadata")
        if isinstance(asked, web.StreamResponse):
            return asked
        kept, data = self._media.get(str(asked.get("sdkfileid", "")), (0, None))
        if data is None:
            return _failed(10005, "sdkfileid")
        age = self._world.clock.now_ms() - kept
        if age >= self._world.limits.archive_retention * 1000:
            return _failed(10010, "expired")
        start, index = 0, str(asked.get("indexbuf", ""))
        if index:
            match = _INDEX.fullmatch(index)
            if match is None or int(match[1]) >= max(len(data), 1):
                return _failed(10000, "indexbuf")
            start = int(match[1])
        end = min(start + CHUNK, len(data))
        finished = end >= len(data)
        after = "" if finished else f"Range:bytes={end}-{min(end + CHUNK, len(data)) - 1}"
        return web.json_response(
            {
                "errcode": 0,
                "errmsg": "ok",
                "outindexbuf": after,
                "is_finish": int(finished),
                "data": base64.b64encode(data[start:end]).decode(),
            }
        )

    async def _asked(self, request: web.Request, name: str) -> dict[str, Any] | web.StreamResponse:
        for fault in self._faults.take(name):
            if fault.kind == "delay":
                await self._world.clock.sleep(fault.seconds)
            elif fault.kind == "errcode":
                return _failed(fault.errcode, "ordered")
            else:
                return web.Response(status=fault.status)
        try:
            asked = await request.json()
        except ValueError:
            return _failed(10000, "json")
        if not isinstance(asked, dict) or asked.get("corpid") != self._world.corp:
            return _failed(10000, "corpid")
        if asked.get("secret") != self._world.options.archive_secret:
            return _failed(10003, "secret")
        return asked

    # --- writing ---

    def record(self, message: dict[str, Any], *, control_chars: bool = False) -> int:
        """Append a message as it will be decrypted; returns its seq. `control_chars` puts raw ones into the JSON."""
        version, public = self._key()
        text = json.dumps(message, ensure_ascii=False)
        if control_chars:
            text = text.replace('": "', '": "\x02\x1f', 1)
        key, sealed = seal(text.encode(), public, self._world.rng)
        self._seq += 1
        now = self._world.clock.now_ms()
        self._items.append(_Item(self._seq, now, message["msgid"], version, key, sealed))
        self._plain[message["msgid"]] = message
        self._notify()
        return self._seq

    def chatted(self, sender: str, to: str, text: str) -> None:
        """A member and a customer chat: archived when both sides allow."""
        self.archive_message(sender=sender, to=[to], text=text)

    def _key(self) -> tuple[int, RSAPublicKey]:
        if not self._version:
            self.archive_key()
        return self._version, self._public[self._version]

    def _notify(self) -> None:
        """At most one event per 15 s; what comes in between is told at the end of them."""
        if self._notice_due:
            return
        gap = self._world.limits.archive_notify_gap
        since = (self._world.clock.now_ms() - self._last_notice) / 1000
        if since >= gap:
            self._tell()
        else:
            self._notice_due = True
            self._world.later(gap - since, self._tell)

    def _tell(self) -> None:
        self._notice_due = False
        self._last_notice = self._world.clock.now_ms()
        self._pusher.emit(
            {
                "ToUserName": self._world.corp,
                "FromUserName": "sys",
                "CreateTime": self._world.now(),
                "MsgType": "event",
                "Event": "msgaudit_notify",
                "AgentID": AGENT,
            },
            ability="archive",
        )

    # --- orders ---

    def archive_key(self, *, public_pem: str = "", version: int = 0) -> dict[str, Any]:
        """Enter a public key as the next version (or a given one); without one a pair is made here."""
        version = version or self._version + 1
        private = ""
        if not public_pem:
            private, public_pem = new_key()
            self.private_keys[version] = private
        self._public[version] = load_public(public_pem)
        self._version = version
        return {"version": version, "private_pem": private}

    def archive_message(
        self,
        *,
        sender: str,
        to: list[str],
        text: str = "",
        msgtype: str = "text",
        body: dict[str, Any] | None = None,
        roomid: str = "",
        msgid: str = "",
        msgtime: int = 0,
        data: str = "",
        size: int = 0,
        control_chars: bool = False,
        beside: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Somebody writes in a client. `data` (base64) or `size` makes the file behind sdkfileid; `beside` is what stands
        beside the object (voiceid, voteid …). Not archived when no permitted member takes part or the customer does not
        agree: then `seq` is 0.
        """
        everybody = [sender, *to]
        outside = [one for one in everybody if self._world.member(one) is None]
        inside = [one for one in everybody if self._world.member(one) is not None]
        permitted = [one for one in inside if self.permitted is None or one in self.permitted]
        refused = [
            pair
            for member in inside
            for pair in [(member, outsider) for outsider in outside]
            if self.consents.get(pair) == "Disagree"
        ]
        if not permitted or refused:
            return {"seq": 0, "msgid": "", "sdkfileid": ""}
        content: dict[str, Any] = dict(body or ({"content": text} if msgtype == "text" else {}))
        if data or size:
            octets = base64.b64decode(data) if data else self._world.rng.randbytes(size)
            content |= self.keep(octets, msgtype)
        suffix = "_external" if outside else ""
        given = msgid or self._world.new_id("", 20) + suffix
        message = {
            "msgid": given,
            "action": "send",
            "from": sender,
            "tolist": to,
            "roomid": roomid,
            "msgtime": msgtime or self._world.clock.now_ms(),
            "msgtype": msgtype,
        }
        message[_OBJECTS.get(msgtype, msgtype)] = content
        message |= beside or {}
        seq = self.record(message, control_chars=control_chars)
        return {"seq": seq, "msgid": given, "sdkfileid": content.get("sdkfileid", "")}

    def keep(self, octets: bytes, msgtype: str = "file") -> dict[str, Any]:
        """Store a file; returns its sdkfileid, md5sum and size as a message carries them."""
        sdkfileid = self._world.new_id("CtY", 80)
        self._media[sdkfileid] = (self._world.clock.now_ms(), octets)
        named = {"voice": "voice_size", "emotion": "imagesize"}.get(msgtype, "filesize")
        md5 = hashlib.md5(octets, usedforsecurity=False).hexdigest()
        return {"sdkfileid": sdkfileid, "md5sum": md5, named: len(octets)}

    def archive_recall(self, *, msgid: str) -> dict[str, Any]:
        """The sender takes a message back."""
        before = self._plain.get(msgid)
        if before is None:
            raise ValueError(f"no message {msgid}")
        suffix = "_external" if msgid.endswith("_external") else ""
        message = {
            "msgid": self._world.new_id("", 20) + suffix,
            "action": "recall",
            "from": before["from"],
            "tolist": before["tolist"],
            "roomid": before["roomid"],
            "msgtime": self._world.clock.now_ms(),
            "msgtype": "revoke",
            "revoke": {"pre_msgid": msgid},
        }
        return {"seq": self.record(message), "msgid": message["msgid"]}

    def archive_switch(self, *, userid: str) -> dict[str, Any]:
        """A member changes to another corp."""
        message = {
            "msgid": self._world.new_id("", 20),
            "action": "switch",
            "time": self._world.clock.now_ms(),
            "user": userid,
        }
        return {"seq": self.record(message), "msgid": message["msgid"]}

    def archive_repeat(self, *, msgid: str) -> dict[str, Any]:
        """The same message comes once more under a new seq."""
        if msgid not in self._plain:
            raise ValueError(f"no message {msgid}")
        return {"seq": self.record(self._plain[msgid])}

    def archive_consent(
        self, *, userid: str, external_userid: str, status: str = "Agree"
    ) -> dict[str, Any]:
        """Agree, Disagree or Default_Agree."""
        if status not in {"Agree", "Disagree", "Default_Agree"}:
            raise ValueError("Agree, Disagree or Default_Agree")
        self.consents[userid, external_userid] = status
        return {"status": status}

    def archive_permit(self, *, userids: list[str] | None = None) -> dict[str, Any]:
        """Whose chats are archived; None: everybody's."""
        self.permitted = None if userids is None else set(userids)
        return {"userids": userids}


def _failed(errcode: int, errmsg: str) -> web.Response:
    return web.json_response({"errcode": errcode, "errmsg": errmsg})
