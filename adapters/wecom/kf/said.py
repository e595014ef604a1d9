"""What stands in a page of kf/sync_msg as what the platform is told: who said what to whom, receipts, events; no I/O.

A customer's message is from him to the account; what a servicer typed is from that person to the customer, in the same
conversation. A type without a payload of its own is a `Native` with its fields exactly as they came, an event a
`Happening` of kind `kf_<event_type>`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from msgcenter.adapter import Received, Report
from protocols.address import Address
from protocols.fields import as_list, as_text
from protocols.payload import (
    DeliveryReport,
    Happening,
    Link,
    Media,
    MediaKind,
    MiniProgram,
    Native,
    Payload,
    Text,
)
from protocols.wecom import kf_items as items
from protocols.wecom.kf import ON_EVENT

#: change_type of session_status_change -> the occasion that its msg_code is for.
_OCCASIONS: Mapping[int, str] = {1: "assigned", 3: "ended"}


@dataclass(frozen=True, slots=True)
class Code:
    """A code for one answer to an event. `until`: epoch milliseconds."""

    occasion: str
    code: str
    until: int


@dataclass(frozen=True, slots=True)
class Said:
    """One item of a page. `raw`: what stands under its msgtype, as it came."""

    item: items.Item
    raw: Mapping[str, Any]
    open_kfid: str

    @property
    def talk(self) -> str:
        """The conversation, `open_kfid/external_userid`; of what concerns the whole account only the former."""
        customer = self.item.external_userid
        return f"{self.open_kfid}/{customer}" if customer else self.open_kfid

    @property
    def msgid(self) -> str:
        if self.item.msgid:
            return self.item.msgid
        text = json.dumps([self.raw, self.talk, self.item.sent_at], sort_keys=True)
        return f"none-{hashlib.sha256(text.encode()).hexdigest()[:32]}"

    @property
    def at(self) -> int:
        """Epoch milliseconds, 0 = not said."""
        return self.item.sent_at * 1000

    @property
    def is_from_customer(self) -> bool:
        return self.item.origin == items.CUSTOMER and self.item.msgtype != "event"

    @property
    def file(self) -> tuple[MediaKind, str] | None:
        """(kind, media_id) of the file that has to be fetched to tell it."""
        match self.item.content:
            case items.Media(kind=kind, media_id=media_id) if media_id:
                return cast(MediaKind, kind), media_id
            case items.MiniProgram(thumb_media_id=thumb) if thumb:
                return "image", thumb
            case _:
                return None

    @property
    def code(self) -> Code | None:
        match self.item.content:
            case items.EnterSession(welcome_code=code) if code:
                occasion = "welcome"
            case items.SessionChanged(msg_code=code, change_type=change) if code:
                occasion = _OCCASIONS.get(change, "ended")
            case _:
                return None
        return Code(occasion, code, self.at + ON_EVENT[occasion][1] * 1000)

    def told(self, channel: str, file: str | Payload, more: Mapping[str, Any]) -> Received | Report:
        """`file`: of what has one, its id in our media store, or what stands in its place. `more`: fields of an event that
        only we know."""
        content = self.item.content
        customer = Address("kf", self.talk)
        if isinstance(content, items.SendFailed):
            code = f"kf_fail_{content.fail_type}" if content.fail_type in items.FAIL_TYPES else ""
            report = DeliveryReport(content.msgid, "undelivered", code or "kf_fail", self.at)
            return Report(report, customer)
        payload = file if not isinstance(file, str) else self._payload(file, more)
        recipient = None
        sender = customer
        if self.item.origin == items.SERVICER:
            sender, recipient = Address("staff", self.item.servicer or "unknown"), customer
        # Both directions of a conversation in one order.
        key = f"{channel}|{self.open_kfid}|{customer}"
        return Received(
            sender, self.open_kfid, payload, self.msgid, self.at, order_key=key, recipient=recipient
        )

    def _payload(self, file: str, more: Mapping[str, Any]) -> Payload:
        msgtype = self.item.msgtype or "unknown"
        if msgtype == "event":
            return Happening(f"kf_{self.item.event_type or 'unknown'}", _json({**self.raw, **more}))
        match self.item.content:
            case items.Text(content=content, menu_id=""):
                return Text(content)
            case items.Media(kind=kind) if file:
                return Media(cast(MediaKind, kind), file)
            case items.Link(title=title, url=url, desc=desc, pic_url=picture):
                return Link(title, url, desc, picture)
            case items.MiniProgram(app_id=appid, page_path=page, title=title):
                return MiniProgram(appid, page, title, file)
            case _:
                return Native(msgtype, _json(self.raw))


def said_in(fields: Mapping[str, Any], open_kfid: str) -> Iterator[Said]:
    """The items of an answer of kf/sync_msg, in their order."""
    for tree in as_list(fields.get("msg_list")):
        if isinstance(tree, Mapping):
            whole = _readable(tree)
            raw = whole.get(as_text(whole.get("msgtype")))
            item = items.item(whole)
            yield Said(item, raw if isinstance(raw, Mapping) else {}, item.open_kfid or open_kfid)


def _json(fields: Mapping[str, Any]) -> str:
    return json.dumps(fields, ensure_ascii=False, sort_keys=True)


def _readable(tree: Mapping[str, Any]) -> Mapping[str, Any]:
    """Half a character (a lone surrogate) fits into no envelope; it must not hold up everything behind it."""
    text = json.dumps(tree, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        clean: Mapping[str, Any] = json.loads(text.encode("utf-8", "replace"))
        return clean
    return tree
