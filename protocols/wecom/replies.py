"""Passive replies: the XML that may answer a member's message to an app within 5 s, before it is sealed (doc 90930)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from protocols.wecom.limits import at_most, between
from protocols.wecom.xmltext import Writable, write


@dataclass(frozen=True, slots=True)
class Article:
    title: str
    description: str = ""
    pic_url: str = ""
    url: str = ""


def _reply(
    to_user: str, corp: str, created: int, msg_type: str, fields: Mapping[str, Writable]
) -> bytes:
    head: dict[str, Writable] = {
        "ToUserName": to_user,
        "FromUserName": corp,
        "CreateTime": created,
        "MsgType": msg_type,
    }
    return write({**head, **fields})


def text(to_user: str, corp: str, created: int, content: str) -> bytes:
    """`created`: seconds since the epoch, as in all of these. Raises Malformed over the limit, as all of these."""
    at_most("app.text.content", content)
    return _reply(to_user, corp, created, "text", {"Content": content})


def image(to_user: str, corp: str, created: int, media_id: str) -> bytes:
    return _reply(to_user, corp, created, "image", {"Image": {"MediaId": media_id}})


def voice(to_user: str, corp: str, created: int, media_id: str) -> bytes:
    return _reply(to_user, corp, created, "voice", {"Voice": {"MediaId": media_id}})


def video(
    to_user: str, corp: str, created: int, media_id: str, title: str = "", description: str = ""
) -> bytes:
    at_most("app.video.title", title)
    at_most("app.video.description", description)
    inner = {"MediaId": media_id, "Title": title, "Description": description}
    return _reply(to_user, corp, created, "video", {"Video": inner})


def news(to_user: str, corp: str, created: int, articles: Sequence[Article]) -> bytes:
    between("app.news.articles", articles)
    items = [
        {
            "Title": each.title,
            "Description": each.description,
            "PicUrl": each.pic_url,
            "Url": each.url,
        }
        for each in articles
    ]
    for each in articles:
        at_most("app.news.title", each.title)
        at_most("app.news.description", each.description)
        at_most("app.news.url", each.url)
    fields: dict[str, Writable] = {"ArticleCount": len(items), "Articles": {"item": items}}
    return _reply(to_user, corp, created, "news", fields)


def update_button(to_user: str, corp: str, created: int, replace_name: str) -> bytes:
    """Makes all buttons of the card that was answered grey and gives them one text."""
    return _reply(
        to_user, corp, created, "update_button", {"Button": {"ReplaceName": replace_name}}
    )


def update_template_card(
    to_user: str, corp: str, created: int, card: Mapping[str, Writable]
) -> bytes:
    """Replaces the card that was answered. `card`: the elements below TemplateCard, in the documentation's XML names."""
    return _reply(to_user, corp, created, "update_template_card", {"TemplateCard": card})
