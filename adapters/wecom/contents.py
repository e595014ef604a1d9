"""A payload as a WeCom message body: which files it needs at the far end, and the body once their media_ids are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from msgcenter.adapter import Malformed
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.payload import Card, Link, Markdown, Media, MiniProgram, Native, Payload, Text
from protocols.wecom import bodies
from protocols.wecom.bodies import Article, Body, PageArticle

FileKind: TypeAlias = Literal["image", "voice", "video", "file", "picture"]
"""What a file is uploaded as; a `picture` becomes a lasting URL."""
Need: TypeAlias = tuple[FileKind, str]
"""(kind, id in our media store)"""

#: Kinds of `Native` that become a message body.
NATIVE = frozenset({"template_card", "news", "mpnews", "miniprogram_notice"})


def is_ours(reference: str) -> bool:
    """Whether a picture or thumb is named by an id of our media store."""
    return reference.startswith("med_")


def needs(payload: Payload) -> list[Need]:
    """The files a payload refers to. Raises Malformed for one that cannot be read."""
    match payload:
        case Media(kind=kind, media=media):
            return [(kind, media)]
        case Link(picture=picture) if is_ours(picture):
            return [("picture", picture)]
        case Native(kind="mpnews", body=body):
            thumbs = [
                as_text(each.get("thumb_media_id")) for each in _articles(parse(body.encode()))
            ]
            return [("image", thumb) for thumb in dict.fromkeys(thumbs) if is_ours(thumb)]
        case Native(kind="news", body=body):
            pictures = [as_text(each.get("picurl")) for each in _articles(parse(body.encode()))]
            return [("picture", one) for one in dict.fromkeys(pictures) if is_ours(one)]
        case _:
            return []


def body_of(payload: Payload, files: Mapping[Need, str]) -> Body:
    """`files`: for every one of `needs` its media_id (its URL, for a picture). Raises Malformed."""
    match payload:
        case Text(text=text):
            return bodies.text(text)
        case Markdown(text=text):
            return bodies.markdown(text)
        case Media(kind="video", title=title, description=description):
            return bodies.video(files["video", payload.media], title, description)
        case Media(kind="image"):
            return bodies.image(files["image", payload.media])
        case Media(kind="voice"):
            return bodies.voice(files["voice", payload.media])
        case Media(kind="file"):
            return bodies.file(files["file", payload.media])
        case Link(title=title, url=url, description=description):
            picture = _picture(payload.picture, files)
            return bodies.news([Article(title, description, url, picture)])
        case MiniProgram(appid=appid, page=page, title=title):
            return bodies.miniprogram_notice(appid, title, page)
        case Card(title=title, description=description, url=url, button=button):
            return bodies.textcard(title, description, url, button)
        case Native(kind=kind, body=body):
            return _native(kind, parse(body.encode()), files)
        case _:
            raise Malformed(f"WeCom: {type(payload).__name__} is not a message")


def checked(payload: Payload) -> Body:
    """The body with stand-ins for its files: to check everything else before anything is claimed. Raises Malformed."""
    return body_of(payload, dict.fromkeys(needs(payload), "https://checked"))


def _native(kind: str, fields: Mapping[str, Any], files: Mapping[Need, str]) -> Body:
    match kind:
        case "template_card":
            return bodies.template_card(fields)
        case "news":
            return bodies.news([_article(each, files) for each in _articles(fields)])
        case "mpnews":
            return bodies.mpnews([_page(each, files) for each in _articles(fields)])
        case "miniprogram_notice":
            items = fields.get("content_item", [])
            if not isinstance(items, list):
                raise Malformed("miniprogram_notice.content_item: a list expected")
            pairs = [
                (as_text(each.get("key")), as_text(each.get("value")))
                for each in items
                if isinstance(each, Mapping)
            ]
            return bodies.miniprogram_notice(
                as_text(fields.get("appid")),
                as_text(fields.get("title")),
                as_text(fields.get("page")),
                as_text(fields.get("description")),
                pairs,
                bool(fields.get("emphasis_first_item", False)),
            )
        case _:
            raise Malformed(f"native {kind[:40]!r}: one of {', '.join(sorted(NATIVE))}")


def _articles(fields: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    articles = fields.get("articles")
    if not isinstance(articles, list) or not all(isinstance(one, Mapping) for one in articles):
        raise Malformed("articles: a list of objects expected")
    return articles


def _article(fields: Mapping[str, Any], files: Mapping[Need, str]) -> Article:
    return Article(
        as_text(fields.get("title")),
        as_text(fields.get("description")),
        as_text(fields.get("url")),
        _picture(as_text(fields.get("picurl")), files),
        as_text(fields.get("appid")),
        as_text(fields.get("pagepath")),
    )


def _page(fields: Mapping[str, Any], files: Mapping[Need, str]) -> PageArticle:
    thumb = as_text(fields.get("thumb_media_id"))
    return PageArticle(
        as_text(fields.get("title")),
        files["image", thumb] if is_ours(thumb) else thumb,
        as_text(fields.get("content")),
        as_text(fields.get("author")),
        as_text(fields.get("content_source_url")),
        as_text(fields.get("digest")),
    )


def _picture(reference: str, files: Mapping[Need, str]) -> str:
    if is_ours(reference):
        return files["picture", reference]
    if reference and not reference.startswith(("https://", "http://")):
        raise Malformed("picture: an https address or an id of the media store")
    return reference
