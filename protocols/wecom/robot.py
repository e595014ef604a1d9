"""Requests of a group robot: webhook/send, 20 messages a minute (doc 99110). All builders raise Malformed naming field and limit."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from protocols.errors import Malformed
from protocols.jsontext import write
from protocols.wecom.bodies import Article, needed, present, template_card
from protocols.wecom.limits import at_most, between

CARD_TYPES = frozenset({"text_notice", "news_notice"})


def _request(msgtype: str, fields: Mapping[str, Any]) -> bytes:
    return write({"msgtype": msgtype, msgtype: fields})


def text(content: str, mention: Sequence[str] = (), mention_mobiles: Sequence[str] = ()) -> bytes:
    """`mention`: userids, or @all."""
    at_most("robot.text.content", content)
    return _request(
        "text",
        present(
            content=content,
            mentioned_list=list(mention),
            mentioned_mobile_list=list(mention_mobiles),
        ),
    )


def markdown(content: str) -> bytes:
    at_most("robot.markdown.content", content)
    return _request("markdown", {"content": content})


def markdown_v2(content: str) -> bytes:
    """Tables and more, but no `<@userid>` and no colours: with one of them the text would be shown as typed, so it is refused."""
    at_most("robot.markdown_v2.content", content)
    if "<@" in content or "<font" in content:
        raise Malformed("robot.markdown_v2.content: no <@userid> and no colours in this type")
    return _request("markdown_v2", {"content": content})


def image(data: bytes) -> bytes:
    """`data`: the file itself, jpg or png; its MD5 is of the raw octets."""
    at_most("robot.image", data)
    return _request(
        "image",
        {
            "base64": base64.b64encode(data).decode(),
            "md5": hashlib.md5(data, usedforsecurity=False).hexdigest(),
        },
    )


def news(articles: Sequence[Article]) -> bytes:
    between("robot.news.articles", articles)
    items = []
    for each in articles:
        at_most("robot.news.title", each.title)
        at_most("robot.news.description", each.description)
        at_most("robot.news.url", each.url)
        items.append(
            present(
                title=each.title, description=each.description, url=each.url, picurl=each.pic_url
            )
        )
    return _request("news", {"articles": items})


def file(media_id: str) -> bytes:
    """A media_id of webhook/upload_media of this very robot."""
    return _request("file", {"media_id": needed("file.media_id", media_id)})


def voice(media_id: str) -> bytes:
    return _request("voice", {"media_id": needed("voice.media_id", media_id)})


def card(fields: Mapping[str, Any]) -> bytes:
    """A template card; the interactive types need an app."""
    if fields.get("card_type") not in CARD_TYPES:
        raise Malformed(f"template_card.card_type: one of {', '.join(sorted(CARD_TYPES))}")
    return _request("template_card", template_card(fields).fields)
