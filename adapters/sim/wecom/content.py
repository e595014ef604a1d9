"""Message bodies of members' messages, group messages and robots, checked type by type as the documents list them."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from typing import Any

from adapters.sim.wecom.calls import Fields
from adapters.sim.wecom.media import MB, Media, check
from adapters.sim.wecom.refusals import Refused

APP_TYPES = frozenset(
    (
        "text",
        "image",
        "voice",
        "video",
        "file",
        "textcard",
        "news",
        "mpnews",
        "markdown",
        "miniprogram_notice",
        "template_card",
    )
)
CHAT_TYPES = APP_TYPES - {"miniprogram_notice", "template_card"}
ROBOT_TYPES = frozenset(
    (
        "text",
        "markdown",
        "markdown_v2",
        "image",
        "news",
        "file",
        "voice",
        "template_card",
    )
)
CARDS = frozenset(
    (
        "text_notice",
        "news_notice",
        "button_interaction",
        "vote_interaction",
        "multiple_interaction",
    )
)
INTERACTIVE = CARDS - {"text_notice", "news_notice"}
_TEXT = 2048


def read(
    fields: Fields, types: frozenset[str], media: Media, robot: str = ""
) -> tuple[str, dict[str, Any]]:
    """(msgtype, body as the recipient sees it: overlong text is cut). Raises Refused."""
    msgtype = fields.string("msgtype", empty=40008)
    if msgtype not in types:
        raise Refused(40008)
    body = fields.object(msgtype, 44004 if msgtype == "text" else 40058)
    reader = _ROBOT.get(msgtype) if robot else None
    return msgtype, (reader or _READERS[msgtype])(body, media, robot)


def cut(text: str, octets: int) -> str:
    """`text` shortened to so many octets of UTF-8, never inside a character."""
    return text.encode()[:octets].decode(errors="ignore")


def _text(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    return body.values | {"content": cut(body.string("content", empty=44004), _TEXT)}


def _medium(kind: str) -> Callable[[Fields, Media, str], dict[str, Any]]:
    def read_medium(body: Fields, media: Media, robot: str) -> dict[str, Any]:
        found = media.get(body.string("media_id", empty=40007), (kind,), robot)
        shown = dict(body.values)
        if kind == "video":
            body.string("title", most=128, need=False)
            body.string("description", most=512, need=False)
        return shown | {"name": found.name, "size": len(found.data)}

    return read_medium


def _textcard(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    body.string("title", most=128)
    body.string("description", most=512)
    body.string("url", most=2048)
    body.string("btntxt", chars=4, need=False)
    return body.values


def _news(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    for article in body.objects("articles", 1, 8, 45008):
        article.string("title", most=128)
        article.string("description", most=512, need=False)
        if "appid" in article:
            article.string("pagepath")
        else:
            article.string("url", most=2048)
        article.string("picurl", need=False)
    return body.values


def _mpnews(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    for article in body.objects("articles", 1, 8, 45008):
        article.string("title", most=128)
        media.get(article.string("thumb_media_id", empty=40007), ("image",))
        article.string("author", most=64, need=False)
        article.string("content", most=666 * 1024)
        article.string("digest", most=512, need=False)
    return body.values


def _markdown(most: int) -> Callable[[Fields, Media, str], dict[str, Any]]:
    def read_markdown(body: Fields, media: Media, robot: str) -> dict[str, Any]:
        body.string("content", most=most)
        return body.values

    return read_markdown


def _notice(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    body.string("appid")
    title = body.string("title", chars=12)
    if len(title) < 4:
        raise body.wrong("title", "is too short")
    body.string("description", chars=12, need=False)
    for item in body.objects("content_item", 0, 10):
        item.string("key", chars=10)
        item.string("value", chars=30)
    return body.values


def _card(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    kind = body.string("card_type")
    if kind not in CARDS or (robot and kind in INTERACTIVE):
        raise body.wrong("card_type", "invalid")
    if kind in INTERACTIVE:
        body.string("task_id", most=128)
    if "main_title" not in body and "sub_title_text" not in body:
        raise body.wrong("main_title", "missing")
    if "main_title" in body:
        body.object("main_title")
    body.objects("horizontal_content_list", 0, 6)
    body.objects("jump_list", 0, 3)
    if kind == "button_interaction":
        for button in body.objects("button_list", 1, 6):
            button.string("text")
    if kind == "multiple_interaction":
        body.objects("select_list", 1, 3)
    if kind == "vote_interaction":
        body.object("checkbox").objects("option_list", 1, 20)
    if kind in {"vote_interaction", "multiple_interaction"}:
        body.object("submit_button").string("text")
    if kind in {"text_notice", "news_notice"}:
        body.object("card_action")
    return body.values


def _inline_image(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(body.string("base64"), validate=True)
    except (binascii.Error, ValueError):
        raise body.wrong("base64", "invalid") from None
    check("image", data, 2 * MB)
    if hashlib.md5(data, usedforsecurity=False).hexdigest() != body.string("md5").lower():
        raise body.wrong("md5", "does not fit")
    return {"md5": body.values["md5"], "size": len(data)}


_READERS: dict[str, Callable[[Fields, Media, str], dict[str, Any]]] = {
    "text": _text,
    "image": _medium("image"),
    "voice": _medium("voice"),
    "video": _medium("video"),
    "file": _medium("file"),
    "textcard": _textcard,
    "news": _news,
    "mpnews": _mpnews,
    "markdown": _markdown(2048),
    "miniprogram_notice": _notice,
    "template_card": _card,
}


def _robot_text(body: Fields, media: Media, robot: str) -> dict[str, Any]:
    body.string("content", most=_TEXT, empty=44004)
    body.strings("mentioned_list")
    body.strings("mentioned_mobile_list")
    return body.values


_ROBOT: dict[str, Callable[[Fields, Media, str], dict[str, Any]]] = {
    "text": _robot_text,
    "markdown": _markdown(4096),
    "markdown_v2": _markdown(4096),
    "image": _inline_image,
}
