"""What kf/sync_msg returns: pages of messages and events as values (docs 94670, 96426).

`has_more` may be set on an empty page: loop on it, never on the number of items, and keep `next_cursor` only once the page is
stored. What we sent through the API is not in these pages; what a servicer typed is (origin 5).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocols.fields import (
    as_list,
    as_text,
    flag,
    flatten,
    load,
    many,
    number,
    other,
    real,
    text,
)

CUSTOMER, SYSTEM, SERVICER = 3, 4, 5

FAIL_TYPES: Mapping[int, str] = {
    0: "unknown",
    1: "kf account deleted",
    2: "app closed",
    4: "session expired after 48 h",
    5: "session closed",
    6: "more than 5 messages",
    7: "no video channel bound",
    8: "corp not verified",
    9: "video channel not verified",
    10: "customer refuses",
    11: "no member logged in to the app",
    12: "type banned by a component",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """`menu_id` is set when the customer tapped a menu item."""

    content: str = text("content")
    menu_id: str = text("menu_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """`kind`: image, voice, video or file. The media_id lives 3 days: fetch at once."""

    kind: str = ""
    media_id: str = text("media_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    latitude: float = real("latitude")
    longitude: float = real("longitude")
    name: str = text("name")
    address: str = text("address")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    title: str = text("title")
    desc: str = text("desc")
    url: str = text("url")
    pic_url: str = text("pic_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusinessCard:
    userid: str = text("userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgram:
    title: str = text("title")
    app_id: str = text("appid")
    page_path: str = text("pagepath")
    thumb_media_id: str = text("thumb_media_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class MenuItem:
    kind: str = text("type")
    id: str = text("click/id")
    content: str = text("click/content", "view/content", "miniprogram/content", "text/content")
    url: str = text("view/url")
    app_id: str = text("miniprogram/appid")
    page_path: str = text("miniprogram/pagepath")


@dataclass(frozen=True, slots=True, kw_only=True)
class Menu:
    head: str = text("head_content")
    items: tuple[MenuItem, ...] = many(MenuItem, "list")
    tail: str = text("tail_content")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopProduct:
    product_id: str = text("product_id")
    title: str = text("title")
    head_img: str = text("head_img", "head_image")
    sales_price: str = text("sales_price")
    shop_nickname: str = text("shop_nickname")
    shop_head_img: str = text("shop_head_img", "shop_head_image")


@dataclass(frozen=True, slots=True, kw_only=True)
class ShopOrder:
    order_id: str = text("order_id")
    product_titles: str = text("product_titles")
    price_wording: str = text("price_wording")
    state: str = text("state")
    image_url: str = text("image_url")
    shop_nickname: str = text("shop_nickname")


@dataclass(frozen=True, slots=True, kw_only=True)
class MergedItem:
    """`content`: a JSON text, as it came."""

    sent_at: int = number("send_time")
    msgtype: str = text("msgtype")
    sender_name: str = text("sender_name")
    content: str = text("msg_content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    title: str = text("title")
    items: tuple[MergedItem, ...] = many(MergedItem, "item")


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoChannel:
    sub_type: int = number("sub_type")
    nickname: str = text("nickname")
    title: str = text("title")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A type without a form of its own (meeting, schedule, note, whatever is new): every field as (path, text)."""

    kind: str = ""
    fields: tuple[tuple[str, str], ...] = ()


# -- events -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class EnterSession:
    """`welcome_code`: for one message within 20 s; only if nothing was said in the last 48 h."""

    scene: str = text("scene")
    scene_param: str = text("scene_param")
    welcome_code: str = text("welcome_code")
    channel_nickname: str = text("wechat_channels/nickname")
    channel_shop: str = text("wechat_channels/shop_nickname")
    channel_scene: int = number("wechat_channels/scene")
    """1-5: where in a video channel the customer came from; 0 = not from one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SendFailed:
    """A message that was accepted did not arrive; `fail_type` as in FAIL_TYPES."""

    msgid: str = text("fail_msgid")
    fail_type: int = number("fail_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionChanged:
    """A servicer in the client: 1 took it from the queue, 2 passed it on, 3 ended it, 4 took it up again."""

    change_type: int = number("change_type")
    old_servicer: str = text("old_servicer_userid")
    new_servicer: str = text("new_servicer_userid")
    msg_code: str = text("msg_code")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicerChanged:
    """`status`: 1 receiving, 2 stopped; `stop_type`: 0 stopped, 1 suspended."""

    servicer: str = text("servicer_userid")
    status: int = number("status")
    stop_type: int = number("stop_type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """`servicer` "": the customer took it back."""

    msgid: str = text("recall_msgid")
    servicer: str = text("servicer_userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalChanged:
    """The customer refuses (or accepts again) messages of this account."""

    servicer: str = text("servicer_userid")
    refuses: bool = flag("reject_switch")


Content: TypeAlias = (
    Text
    | Media
    | Location
    | Link
    | BusinessCard
    | MiniProgram
    | Menu
    | ShopProduct
    | ShopOrder
    | Merged
    | VideoChannel
    | EnterSession
    | SendFailed
    | SessionChanged
    | ServicerChanged
    | Recalled
    | RefusalChanged
    | Opaque
)

_CONTENTS: Mapping[str, Callable[..., Content]] = {
    "text": Text,
    "image": Media,
    "voice": Media,
    "video": Media,
    "file": Media,
    "location": Location,
    "link": Link,
    "business_card": BusinessCard,
    "miniprogram": MiniProgram,
    "msgmenu": Menu,
    "channels_shop_product": ShopProduct,
    "channels_shop_order": ShopOrder,
    "merged_msg": Merged,
    "channels": VideoChannel,
}
_EVENTS: Mapping[str, Callable[..., Content]] = {
    "enter_session": EnterSession,
    "msg_send_fail": SendFailed,
    "session_status_change": SessionChanged,
    "servicer_status_change": ServicerChanged,
    "user_recall_msg": Recalled,
    "servicer_recall_msg": Recalled,
    "reject_customer_msg_switch_change": RefusalChanged,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One message or event. Of events the ids stand inside `event`; here they are always filled the same way."""

    msgid: str = text("msgid")
    open_kfid: str = text("open_kfid", "event/open_kfid")
    external_userid: str = text("external_userid", "event/external_userid")
    sent_at: int = number("send_time")
    """Seconds since the epoch."""
    origin: int = number("origin")
    """3 customer, 4 system, 5 servicer."""
    servicer: str = text("servicer_userid")
    msgtype: str = text("msgtype")
    event_type: str = text("event/event_type")
    content: Content = Opaque()


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    next_cursor: str = text("next_cursor")
    has_more: bool = flag("has_more")
    items: tuple[Item, ...] = other(lambda value: tuple(_items(value)), (), "msg_list")


def _items(value: Any) -> list[Item]:
    return [item(each) for each in as_list(value) if isinstance(each, Mapping)]


def item(tree: Mapping[str, Any]) -> Item:
    """One entry of msg_list; a type that is not known keeps all its fields as Opaque."""
    msgtype = as_text(tree.get("msgtype"))
    inner = tree.get(msgtype)
    inner = inner if isinstance(inner, Mapping) else {}
    name = as_text(inner.get("event_type")) if msgtype == "event" else msgtype
    kind = (_EVENTS if msgtype == "event" else _CONTENTS).get(name)
    content: Content
    if kind is None:
        content = Opaque(kind=name, fields=tuple(flatten(inner)))
    elif kind is Media:
        content = load(Media, inner, kind=name)
    else:
        content = load(kind, inner)
    return load(Item, tree, content=content)
