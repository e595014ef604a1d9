"""Requests of 微信客服: sending, sessions, pulling, accounts and servicers (docs 94670, 94669, 96427, 96428, 95159).

All builders raise Malformed naming field and limit. Sending is allowed in session states 0 and 1, five times after each message
of the customer and within 48 h of it; the answer 0 is acceptance, a later `msg_send_fail` in sync_msg takes it back.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocols.errors import Malformed
from protocols.jsontext import write
from protocols.wecom.bodies import Body, needed, present
from protocols.wecom.limits import at_most, between, user_ids

_MSGID = re.compile(r"[0-9A-Za-z_-]{1,32}")
#: Session states: 0 new, 1 bot, 2 queue, 3 a person, 4 ended.
STATES = frozenset({0, 1, 2, 3, 4})
#: From state to the states that the API may set; those after the first row of the documentation are as operated.
TRANSITIONS: Mapping[int, frozenset[int]] = {
    0: frozenset({1, 2, 3, 4}),
    1: frozenset({2, 3, 4}),
    2: frozenset({3, 4}),
    3: frozenset({3, 4}),
    4: frozenset(),
}
MAY_SEND = frozenset({0, 1})
#: What may be said with a code: (types, seconds the code lives).
ON_EVENT: Mapping[str, tuple[frozenset[str], int]] = {
    "welcome": (frozenset({"text", "msgmenu"}), 20),
    "queued": (frozenset({"text"}), 48 * 3600),
    "assigned": (frozenset({"text"}), 48 * 3600),
    "ended": (frozenset({"text", "msgmenu"}), 20),
}
TYPES = frozenset(
    {
        *("text", "image", "voice", "video", "file", "link", "miniprogram", "msgmenu"),
        *("location", "business_card", "ca_link"),
    }
)


# -- bodies -------------------------------------------------------------------------------------------------------------


def text(content: str, menu_id: str = "") -> Body:
    at_most("kf.text.content", content)
    return Body("text", present(content=content, menu_id=menu_id))


def media(msgtype: str, media_id: str) -> Body:
    """`msgtype`: image, voice, video or file."""
    if msgtype not in ("image", "voice", "video", "file"):
        raise Malformed(f"kf: {msgtype[:20]!r} has no media_id")
    return Body(msgtype, {"media_id": needed(f"{msgtype}.media_id", media_id)})


def link(title: str, url: str, thumb_media_id: str, desc: str = "") -> Body:
    at_most("kf.link.title", title)
    at_most("kf.link.desc", desc)
    at_most("kf.link.url", url)
    needed("kf.link.thumb_media_id", thumb_media_id)
    return Body("link", present(title=title, desc=desc, url=url, thumb_media_id=thumb_media_id))


def miniprogram(app_id: str, thumb_media_id: str, page_path: str, title: str = "") -> Body:
    at_most("kf.miniprogram.title", title)
    return Body(
        "miniprogram",
        present(
            appid=needed("kf.miniprogram.appid", app_id),
            title=title,
            thumb_media_id=needed("kf.miniprogram.thumb_media_id", thumb_media_id),
            pagepath=needed("kf.miniprogram.pagepath", page_path),
        ),
    )


def location(latitude: float, longitude: float, name: str = "", address: str = "") -> Body:
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise Malformed("kf.location: latitude -90 to 90, longitude -180 to 180")
    fields = present(name=name, address=address)
    return Body("location", {**fields, "latitude": latitude, "longitude": longitude})


def business_card(userid: str) -> Body:
    return Body("business_card", {"userid": needed("kf.business_card.userid", userid)})


def ca_link(link_url: str) -> Body:
    """A customer acquisition link (获客链接)."""
    return Body("ca_link", {"link_url": needed("kf.ca_link.link_url", link_url)})


@dataclass(frozen=True, slots=True)
class Click:
    """A menu item that answers with a text message carrying `id`."""

    id: str
    content: str


@dataclass(frozen=True, slots=True)
class View:
    url: str
    content: str


@dataclass(frozen=True, slots=True)
class MiniProgramItem:
    app_id: str
    page_path: str
    content: str


@dataclass(frozen=True, slots=True)
class Words:
    """Plain words between menu items."""

    content: str
    no_newline: bool = False


Item: TypeAlias = Click | View | MiniProgramItem | Words


def msgmenu(items: Sequence[Item], head: str = "", tail: str = "") -> Body:
    at_most("kf.msgmenu.head_content", head)
    at_most("kf.msgmenu.tail_content", tail)
    between("kf.msgmenu.list", items)
    if not (items or head or tail):
        raise Malformed("kf.msgmenu: empty")
    fields = present(head_content=head, list=[_item(each) for each in items], tail_content=tail)
    return Body("msgmenu", fields)


def _item(item: Item) -> dict[str, Any]:
    match item:
        case Click(id=ident, content=content):
            at_most("kf.msgmenu.click.id", ident)
            at_most("kf.msgmenu.click.content", content)
            return {"type": "click", "click": {"id": ident, "content": content}}
        case View(url=url, content=content):
            at_most("kf.link.url", url)
            return {"type": "view", "view": {"url": url, "content": content}}
        case MiniProgramItem(app_id=app_id, page_path=page_path, content=content):
            fields = {"appid": app_id, "pagepath": page_path, "content": content}
            return {"type": "miniprogram", "miniprogram": fields}
        case Words(content=content, no_newline=no_newline):
            return {"type": "text", "text": {"content": content, "no_newline": int(no_newline)}}


# -- requests -----------------------------------------------------------------------------------------------------------


def _msgid(msgid: str) -> dict[str, str]:
    if msgid and not _MSGID.fullmatch(msgid):
        raise Malformed("kf.msgid: 1-32 of digits, letters, _ and -")
    return present(msgid=msgid)


def send(open_kfid: str, to_user: str, body: Body, msgid: str = "") -> bytes:
    """kf/send_msg. `msgid`: our own, unique in the kf account: a repeat is refused instead of being sent twice."""
    if body.msgtype not in TYPES:
        raise Malformed(f"kf/send_msg: msgtype {body.msgtype} is not for kf")
    return write(
        {
            "touser": needed("kf.touser", to_user),
            "open_kfid": needed("kf.open_kfid", open_kfid),
            "msgtype": body.msgtype,
            body.msgtype: dict(body.fields),
            **_msgid(msgid),
        }
    )


def send_on_event(occasion: str, code: str, body: Body, msgid: str = "") -> bytes:
    """kf/send_msg_on_event. `occasion`: a name in ON_EVENT, which says the types; the code can be used once."""
    if occasion not in ON_EVENT:
        raise Malformed(f"kf occasion: one of {', '.join(ON_EVENT)}")
    types, _ = ON_EVENT[occasion]
    if body.msgtype not in types:
        raise Malformed(f"kf/send_msg_on_event: {body.msgtype} may not be sent when {occasion}")
    return write(
        {
            "code": needed("kf.code", code),
            "msgtype": body.msgtype,
            body.msgtype: dict(body.fields),
            **_msgid(msgid),
        }
    )


def sync(
    open_kfid: str, cursor: str = "", token: str = "", limit: int = 1000, silk: bool = False
) -> bytes:
    """kf/sync_msg. `cursor` "": the oldest of the last 3 days. `token`: of the callback, 10 min; without it the call is throttled."""
    at_most("kf.cursor", cursor)
    at_most("kf.token", token)
    between("kf.limit", limit)
    fields: dict[str, Any] = present(cursor=cursor, token=token)
    return write(
        {
            **fields,
            "open_kfid": needed("kf.open_kfid", open_kfid),
            "limit": limit,
            "voice_format": int(silk),
        }
    )


def state_get(open_kfid: str, external_userid: str) -> bytes:
    return write(_session(open_kfid, external_userid))


def state_trans(
    open_kfid: str, external_userid: str, state: int, servicer_userid: str = ""
) -> bytes:
    """kf/service_state/trans. State 3 needs a servicer."""
    if state not in STATES:
        raise Malformed("kf.service_state: 0 to 4")
    if state == 3 and not servicer_userid:
        raise Malformed("kf.servicer_userid: state 3 needs one")
    fields = present(servicer_userid=servicer_userid)
    return write({**_session(open_kfid, external_userid), "service_state": state, **fields})


def _session(open_kfid: str, external_userid: str) -> dict[str, str]:
    return {
        "open_kfid": needed("kf.open_kfid", open_kfid),
        "external_userid": needed("kf.external_userid", external_userid),
    }


def customers(external_userids: Sequence[str], with_context: bool = False) -> bytes:
    """kf/customer/batchget; only customers active within 48 h."""
    between("kf.customer.batchget", external_userids)
    fields: dict[str, Any] = {"external_userid_list": list(external_userids)}
    return write({**fields, "need_enter_session_context": int(with_context)})


def account_add(name: str, media_id: str) -> bytes:
    at_most("kf.account.name", name)
    return write({"name": name, "media_id": needed("kf.media_id", media_id)})


def account_del(open_kfid: str) -> bytes:
    return write({"open_kfid": needed("kf.open_kfid", open_kfid)})


def account_update(open_kfid: str, name: str = "", media_id: str = "") -> bytes:
    if name:
        at_most("kf.account.name", name)
    fields = present(name=name, media_id=media_id)
    return write({"open_kfid": needed("kf.open_kfid", open_kfid), **fields})


def account_list(offset: int = 0, limit: int = 100) -> bytes:
    between("kf.account.list.limit", limit)
    return write({"offset": offset, "limit": limit})


def add_contact_way(open_kfid: str, scene: str = "") -> bytes:
    at_most("kf.scene", scene)
    return write({"open_kfid": needed("kf.open_kfid", open_kfid), **present(scene=scene)})


def servicers(open_kfid: str, userids: Sequence[str], departments: Sequence[int] = ()) -> bytes:
    """kf/servicer/add and kf/servicer/del alike."""
    if userids:
        user_ids("kf.servicer.userid_list", userids)
    elif not departments:
        raise Malformed("kf.servicer: userids or departments")
    fields = present(userid_list=list(userids), department_id_list=list(departments))
    return write({"open_kfid": needed("kf.open_kfid", open_kfid), **fields})
