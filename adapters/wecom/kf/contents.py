"""A payload as a kf message: the body of kf/send_msg, which files it needs, and the answers to events and session calls."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.wecom.contents import Need, is_ours
from msgcenter.adapter import Malformed
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.payload import Link, Media, MiniProgram, Native, Payload, Text
from protocols.wecom import kf
from protocols.wecom.bodies import Body

EVENT_MESSAGE = "event_message"
"""The `Native` that answers an event: `{"occasion": "welcome", "code": …, "text": {…} | "msgmenu": {…}}`; `deadline` (epoch
milliseconds, as the event said) may be given with it."""
TRANSFER = "session_transfer"
"""The `Native` that moves a session: `{"service_state": 0-4, "servicer_userid": …}`."""
STATE = "session_state"
"""The `Native` that asks how a session stands: `{}`."""
BODIES = frozenset(
    {"text", "link", "miniprogram", "msgmenu", "location", "business_card", "ca_link"}
)
NATIVE = BODIES | {EVENT_MESSAGE, TRANSFER, STATE}


def needs(payload: Payload) -> list[Need]:
    """The files a payload refers to. Raises Malformed for one that cannot be read."""
    match payload:
        case Media(kind=kind, media=media):
            return [(kind, media)]
        case Link(picture=picture) | MiniProgram(picture=picture):
            return [("image", _ours(picture))]
        case Native(kind="link" | "miniprogram", body=body):
            thumb = as_text(parse(body.encode()).get("thumb_media_id"))
            return [("image", thumb)] if is_ours(thumb) else []
        case _:
            return []


def body_of(payload: Payload, files: Mapping[Need, str]) -> Body:
    """`files`: for every one of `needs` its media_id. Raises Malformed."""
    match payload:
        case Text(text=text):
            return kf.text(text)
        case Media(kind=kind, media=media):
            return kf.media(kind, files[kind, media])
        case Link(title=title, url=url, description=description, picture=picture):
            return kf.link(title, url, files["image", picture], description)
        case MiniProgram(appid=appid, page=page, title=title, picture=picture):
            return kf.miniprogram(appid, files["image", picture], page, title)
        case Native(kind=kind, body=body):
            return _native(kind, parse(body.encode()), files)
        case _:
            raise Malformed(f"kf: {type(payload).__name__} is not a message")


def checked(payload: Payload) -> Body:
    """The body with stand-ins for its files: to check everything else before anything is claimed. Raises Malformed."""
    return body_of(payload, dict.fromkeys(needs(payload), "checked"))


def _ours(picture: str) -> str:
    if not is_ours(picture):
        raise Malformed("kf: picture: an id of the media store is needed, WeCom takes no address")
    return picture


def _native(kind: str, fields: Mapping[str, Any], files: Mapping[Need, str]) -> Body:
    def word(name: str) -> str:
        return as_text(fields.get(name))

    match kind:
        case "text":
            return kf.text(word("content"), word("menu_id"))
        case "link":
            return kf.link(word("title"), word("url"), _thumb(fields, files), word("desc"))
        case "miniprogram":
            thumb = _thumb(fields, files)
            return kf.miniprogram(word("appid"), thumb, word("pagepath"), word("title"))
        case "msgmenu":
            return _menu(fields)
        case "location":
            latitude, longitude = _degrees(fields, "latitude"), _degrees(fields, "longitude")
            return kf.location(latitude, longitude, word("name"), word("address"))
        case "business_card":
            return kf.business_card(word("userid"))
        case "ca_link":
            return kf.ca_link(word("link_url"))
        case _:
            raise Malformed(f"native {kind[:40]!r}: one of {', '.join(sorted(NATIVE))}")


def _degrees(fields: Mapping[str, Any], name: str) -> float:
    value = fields.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Malformed(f"kf.location.{name}: a number expected")
    return float(value)


def _thumb(fields: Mapping[str, Any], files: Mapping[Need, str]) -> str:
    thumb = as_text(fields.get("thumb_media_id"))
    return files["image", thumb] if is_ours(thumb) else thumb


def _menu(fields: Mapping[str, Any]) -> Body:
    rows = fields.get("list", [])
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
        raise Malformed("msgmenu.list: a list of objects expected")
    return kf.msgmenu(
        [_item(row) for row in rows],
        as_text(fields.get("head_content")),
        as_text(fields.get("tail_content")),
    )


def _item(row: Mapping[str, Any]) -> kf.Item:
    kind = as_text(row.get("type"))
    inner = row.get(kind)
    if not isinstance(inner, Mapping):
        raise Malformed(f"msgmenu.list: type {kind[:20]!r} without an object of that name")
    content = as_text(inner.get("content"))
    match kind:
        case "click":
            return kf.Click(as_text(inner.get("id")), content)
        case "view":
            return kf.View(as_text(inner.get("url")), content)
        case "miniprogram":
            page = as_text(inner.get("pagepath"))
            return kf.MiniProgramItem(as_text(inner.get("appid")), page, content)
        case "text":
            return kf.Words(content, bool(inner.get("no_newline", False)))
        case _:
            raise Malformed(f"msgmenu.list: type {kind[:20]!r}: click, view, miniprogram or text")


@dataclass(frozen=True, slots=True)
class OnEvent:
    """An answer to an event. `deadline`: epoch milliseconds, 0 = not said."""

    occasion: str
    code: str
    body: Body
    deadline: int = 0


def on_event(body: str) -> OnEvent:
    """Read an `event_message`. Raises Malformed."""
    fields = parse(body.encode())
    said = [kind for kind in ("text", "msgmenu") if isinstance(fields.get(kind), Mapping)]
    if len(said) != 1:
        raise Malformed("event_message: one object `text` or `msgmenu` expected")
    occasion, code = as_text(fields.get("occasion")), as_text(fields.get("code"))
    deadline = fields.get("deadline", 0)
    if isinstance(deadline, bool) or not isinstance(deadline, int):
        raise Malformed("event_message.deadline: epoch milliseconds expected")
    made = _native(said[0], fields[said[0]], {})
    kf.send_on_event(occasion, code, made)  # checks the rest
    return OnEvent(occasion, code, made, deadline)


def transfer(open_kfid: str, external_userid: str, body: str) -> bytes:
    """Read a `session_transfer` into its request. Raises Malformed."""
    fields = parse(body.encode())
    state = fields.get("service_state")
    if isinstance(state, bool) or not isinstance(state, int):
        raise Malformed("session_transfer.service_state: 0 to 4")
    servicer = as_text(fields.get("servicer_userid"))
    return kf.state_trans(open_kfid, external_userid, state, servicer)
