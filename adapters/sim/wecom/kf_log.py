"""The log of each customer-service account (docs 94670, 94699): pulled by cursor, announced by a doorbell, kept three days."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World

PAGE = 1000


@dataclass(slots=True)
class Servicer:
    """Someone who serves an account's customers. `receiving`: takes new sessions; `suspended`: only paused."""

    userid: str
    receiving: bool = True
    suspended: bool = False


@dataclass(slots=True)
class Account:
    """`log` holds (time in ms, item); `gone` items before it are older than three days. `msgids`: used by send_msg."""

    open_kfid: str
    name: str
    servicers: dict[str, Servicer] = field(default_factory=dict)
    log: deque[tuple[int, dict[str, Any]]] = field(default_factory=deque)
    gone: int = 0
    msgids: set[str] = field(default_factory=set)
    mute: bool = False
    granted: bool = True
    welcomed: dict[str, int] = field(default_factory=dict)


class KfLog:
    """`append` writes an item and rings the callbacks of all apps with the ability kf."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher
        self.accounts: dict[str, Account] = {}
        self._tokens: dict[str, int] = {}  # token -> ms
        self._salt = world.new_id("", 26)
        self._was_empty: set[str] = set()

    def endpoints(self) -> dict[str, Endpoint]:
        return {"kf/sync_msg": Endpoint("POST", self._sync, "kf")}

    def account(self, open_kfid: str) -> Account:
        """Raises Refused: 95000, 48007."""
        found = self.accounts.get(open_kfid)
        if found is None:
            raise Refused(95000)
        if not found.granted:
            raise Refused(48007)
        return found

    def known(self, open_kfid: str) -> Account:
        """For orders. Raises ValueError."""
        found = self.accounts.get(open_kfid)
        if found is None:
            raise ValueError(f"no account {open_kfid}")
        return found

    def append(
        self,
        account: Account,
        origin: int,
        msgtype: str,
        body: dict[str, Any],
        external_userid: str = "",
        servicer: str = "",
        msgid: str = "",
    ) -> str:
        """Origin: 3 customer, 4 event, 5 servicer. An event carries the ids inside itself. Returns the msgid."""
        now = self._world.clock.now_ms()
        msgid = msgid or self._world.new_id("", 32)
        item: dict[str, Any] = {"msgid": msgid, "send_time": now // 1000, "origin": origin}
        if origin == 4:
            body = {**body, "open_kfid": account.open_kfid}
            if external_userid:
                body["external_userid"] = external_userid
        else:
            item |= {"open_kfid": account.open_kfid, "external_userid": external_userid}
        if servicer:
            item["servicer_userid"] = servicer
        item |= {"msgtype": msgtype, msgtype: body}
        account.log.append((now, item))
        self.ring(account)
        return msgid

    def event(
        self, account: Account, event_type: str, external_userid: str, facts: dict[str, Any]
    ) -> str:
        """An item of origin 4 with these facts beside its ids. Returns its msgid."""
        body = {"event_type": event_type, **facts}
        return self.append(account, 4, "event", body, external_userid)

    def ring(self, account: Account) -> None:
        """The callback: something new is there, and a token to fetch it with."""
        if account.mute:
            return
        now = self._world.clock.now_ms()
        token = self._world.new_id("ENC", 63)
        self._tokens[token] = now + self._world.limits.kf_token_life * 1000
        while self._tokens[oldest := next(iter(self._tokens))] <= now:
            del self._tokens[oldest]
        self._pusher.emit(
            {
                "ToUserName": self._world.corp,
                "CreateTime": now // 1000,
                "MsgType": "event",
                "Event": "kf_msg_or_event",
                "Token": token,
                "OpenKfId": account.open_kfid,
            },
            ability="kf",
        )

    async def _sync(self, call: Call) -> Answer:
        fields, world = call.fields, self._world
        cursor = fields.string("cursor", most=64, need=False)
        token = fields.string("token", most=128, need=False)
        limit = fields.number("limit", PAGE, 0, PAGE) or PAGE
        fields.number("voice_format", 0, 0, 1)
        account = self.account(fields.string("open_kfid", empty=95000))
        self._forget_old(account)
        position = self._position(account, cursor, fields)
        if token:
            if self._tokens.get(token, 0) <= world.clock.now_ms():
                raise Refused(95007)
        else:
            bare = f"kf/sync_msg bare:{account.open_kfid}"
            if world.windows.take(bare, {"minute": world.limits.kf_bare_minute}):
                raise Refused(45009)
        start = max(position - account.gone, 0)
        page = list(islice(account.log, start, start + limit))
        more = bool(page)
        empty = more and account.open_kfid not in self._was_empty
        if empty and world.chance(world.options.kf_empty_pages):
            self._was_empty.add(account.open_kfid)  # never two in a row: the reader must get on
            page = []
        else:
            self._was_empty.discard(account.open_kfid)
            if len(page) > 1 and world.chance(world.options.kf_short_pages):
                page = page[: world.rng.randrange(1, len(page))]
        reached = account.gone + start + len(page)
        left = account.gone + len(account.log) - reached
        return {
            "next_cursor": self._cursor(account, reached),
            "has_more": int(left > 0),
            "msg_list": [item for _, item in page],
        }

    def _forget_old(self, account: Account) -> None:
        oldest = self._world.clock.now_ms() - self._world.limits.kf_retention * 1000
        while account.log and account.log[0][0] < oldest:
            account.log.popleft()
            account.gone += 1

    def _mark(self, account: Account, position: int) -> bytes:
        text = f"{self._salt}/{account.open_kfid}/{position}"
        return hashlib.sha256(text.encode()).digest()[:9]

    def _cursor(self, account: Account, position: int) -> str:
        noise = self._world.rng.randbytes(4)
        packed = self._mark(account, position) + position.to_bytes(8, "big") + noise
        return base64.urlsafe_b64encode(packed).decode()

    def _position(self, account: Account, cursor: str, fields: Fields) -> int:
        """Where a cursor of ours points; "" is the oldest there is. Raises Refused for one that is not of this account."""
        if not cursor:
            return account.gone
        try:
            packed = base64.urlsafe_b64decode(cursor)
        except (binascii.Error, ValueError):
            raise fields.wrong("cursor", "invalid") from None
        position = int.from_bytes(packed[9:17], "big")
        if len(packed) != 21 or packed[:9] != self._mark(account, position):
            raise fields.wrong("cursor", "invalid")
        return position

    # --- orders ---

    def kf_tokens_expire(self) -> dict[str, Any]:
        """All tokens of doorbells are older than ten minutes."""
        count = len(self._tokens)
        self._tokens.clear()
        return {"expired": count}

    def kf_grant(
        self, *, add: list[str] | None = None, remove: list[str] | None = None
    ) -> dict[str, Any]:
        """The admin lets apps manage these accounts, or takes that away (48007)."""
        for granted, open_kfids in ((True, add or []), (False, remove or [])):
            for open_kfid in open_kfids:
                self.known(open_kfid).granted = granted
        self._pusher.emit(
            {
                "ToUserName": self._world.corp,
                "CreateTime": self._world.now(),
                "MsgType": "event",
                "Event": "kf_account_auth_change",
                "AuthAddOpenKfId": add or [],
                "AuthDelOpenKfId": remove or [],
            },
            ability="kf",
        )
        return {"accounts": {one.open_kfid: one.granted for one in self.accounts.values()}}

    def kf_mute(self, *, open_kfid: str, mute: bool = True) -> dict[str, Any]:
        """No doorbells for this account: what is written is only found by pulling."""
        self.known(open_kfid).mute = mute
        return {"open_kfid": open_kfid, "mute": mute}

    def kf_ring(self, *, open_kfid: str, times: int = 1) -> dict[str, Any]:
        """Doorbells without anything new."""
        for _ in range(min(times, 1000)):
            self.ring(self.known(open_kfid))
        return {"rung": times}

    def kf_logged(self, *, open_kfid: str, limit: int = 100) -> dict[str, Any]:
        """The newest items of the log."""
        log = self.known(open_kfid).log
        start = max(len(log) - limit, 0)
        return {"items": [item for _, item in islice(log, start, None)], "total": len(log)}
