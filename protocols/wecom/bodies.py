"""What an app message or an internal group message says: one builder for each msgtype of message/send and appchat/send (docs 90236, 90248).

Each checks its limits and raises Malformed naming the field and the limit; nothing is ever cut. `image`, `voice` and `file` take
a media_id that is at most 3 days old.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocols.errors import Malformed
from protocols.wecom.limits import at_most, between

APP_TYPES = frozenset(
    {
        *("text", "image", "voice", "video", "file", "textcard", "news", "mpnews", "markdown"),
        *("miniprogram_notice", "template_card"),
    }
)
APPCHAT_TYPES = APP_TYPES - {"miniprogram_notice", "template_card"}
CARD_TYPES = frozenset(
    {"text_notice", "news_notice", "button_interaction", "vote_interaction", "multiple_interaction"}
)
INTERACTIVE = frozenset({"button_interaction", "vote_interaction", "multiple_interaction"})


@dataclass(frozen=True, slots=True)
class Body:
    """A checked body: `msgtype` and what stands under that name in the request."""

    msgtype: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Article:
    """One article of `news`. Either `url`, or `app_id` and `page_path` of a mini-program."""

    title: str
    description: str = ""
    url: str = ""
    pic_url: str = ""
    app_id: str = ""
    page_path: str = ""


@dataclass(frozen=True, slots=True)
class PageArticle:
    """One article of `mpnews`, kept by WeCom. `content`: HTML."""

    title: str
    thumb_media_id: str
    content: str
    author: str = ""
    source_url: str = ""
    digest: str = ""


def present(**fields: Any) -> dict[str, Any]:
    """The fields that say something: without the empty texts and lists, so that leaving one out and giving "" is the same bytes."""
    return {name: value for name, value in fields.items() if value not in ("", (), [], None)}


def needed(name: str, value: str) -> str:
    """Raises Malformed when an id or address is missing."""
    if not value:
        raise Malformed(f"{name}: missing")
    return value


def text(content: str) -> Body:
    at_most("app.text.content", content)
    return Body("text", {"content": content})


def markdown(content: str) -> Body:
    """Shown in the WeCom client only."""
    at_most("app.markdown.content", content)
    return Body("markdown", {"content": content})


def image(media_id: str) -> Body:
    return Body("image", {"media_id": needed("image.media_id", media_id)})


def voice(media_id: str) -> Body:
    return Body("voice", {"media_id": needed("voice.media_id", media_id)})


def file(media_id: str) -> Body:
    return Body("file", {"media_id": needed("file.media_id", media_id)})


def video(media_id: str, title: str = "", description: str = "") -> Body:
    at_most("app.video.title", title)
    at_most("app.video.description", description)
    needed("video.media_id", media_id)
    return Body("video", present(media_id=media_id, title=title, description=description))


def textcard(title: str, description: str, url: str, button: str = "") -> Body:
    """`button` "": the client shows 详情."""
    at_most("app.textcard.title", title)
    at_most("app.textcard.description", description)
    at_most("app.textcard.url", url)
    at_most("app.textcard.btntxt", button)
    return Body("textcard", present(title=title, description=description, url=url, btntxt=button))


def news(articles: Sequence[Article]) -> Body:
    between("app.news.articles", articles)
    items = []
    for each in articles:
        at_most("app.news.title", each.title)
        at_most("app.news.description", each.description)
        at_most("app.news.url", each.url)
        if not each.url and not (each.app_id and each.page_path):
            raise Malformed("app.news.url: missing, and no app_id with page_path instead")
        items.append(
            present(
                title=each.title,
                description=each.description,
                url=each.url,
                picurl=each.pic_url,
                appid=each.app_id,
                pagepath=each.page_path,
            )
        )
    return Body("news", {"articles": items})


def mpnews(articles: Sequence[PageArticle]) -> Body:
    between("app.mpnews.articles", articles)
    items = []
    for each in articles:
        at_most("app.mpnews.title", each.title)
        at_most("app.mpnews.author", each.author)
        at_most("app.mpnews.content", each.content)
        at_most("app.mpnews.digest", each.digest)
        items.append(
            present(
                title=each.title,
                thumb_media_id=needed("app.mpnews.thumb_media_id", each.thumb_media_id),
                author=each.author,
                content_source_url=each.source_url,
                content=each.content,
                digest=each.digest,
            )
        )
    return Body("mpnews", {"articles": items})


def miniprogram_notice(
    app_id: str,
    title: str,
    page: str = "",
    description: str = "",
    items: Sequence[tuple[str, str]] = (),
    emphasise_first: bool = False,
) -> Body:
    """Only with the token of the app that the mini-program is linked to. `items`: (key, value)."""
    needed("miniprogram_notice.appid", app_id)
    at_most("app.miniprogram_notice.title", title)
    if description:
        at_most("app.miniprogram_notice.description", description)
    between("app.miniprogram_notice.content_item", items)
    for key, value in items:
        at_most("app.miniprogram_notice.key", key)
        at_most("app.miniprogram_notice.value", value)
    fields = present(
        appid=app_id,
        page=page,
        title=title,
        description=description,
        content_item=[{"key": key, "value": value} for key, value in items],
    )
    if emphasise_first:
        fields["emphasis_first_item"] = True
    return Body("miniprogram_notice", fields)


def template_card(card: Mapping[str, Any]) -> Body:
    """`card` in WeCom's own field names; its type, task id and the lengths of its lists are checked.

    An interactive card needs a `task_id` of its own: 1-128 of letters, digits and `_-@`.
    """
    card_type = card.get("card_type")
    if card_type not in CARD_TYPES:
        raise Malformed(f"template_card.card_type: one of {', '.join(sorted(CARD_TYPES))}")
    if card_type in INTERACTIVE and not card.get("task_id"):
        raise Malformed(f"template_card.task_id: {card_type} needs one")
    for name in ("horizontal_content_list", "jump_list", "button_list", "select_list"):
        if name in card:
            items = card[name]
            if not isinstance(items, list | tuple):
                raise Malformed(f"template_card.{name}: a list expected")
            between(f"app.card.{name}", items)
    return Body("template_card", dict(card))
