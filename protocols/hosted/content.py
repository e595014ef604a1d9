"""What is said in a hosted conversation: a closed set of contents, and the conversation itself; read and written the same at both ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from protocols.errors import Malformed
from protocols.fields import as_text, load, number, text

MAX_TEXT = 4096
"""Octets of a text: what the client itself takes."""
MAX_ID = 128
MAX_URL = 2048
MediaKind: TypeAlias = Literal["image", "voice", "video", "file"]
ChatKind: TypeAlias = Literal["customer", "group"]
_CHATS: tuple[ChatKind, ...] = get_args(ChatKind)


def required(name: str, value: str, most: int = MAX_ID) -> str:
    """Raises Malformed naming the field when it is empty, too long (octets) or holds control characters."""
    if not value:
        raise Malformed(f"{name}: missing")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Malformed(f"{name}: not valid Unicode") from None
    if size > most:
        raise Malformed(f"{name}: {size} octets, at most {most}")
    if most <= MAX_URL and any(ord(char) < 0x20 for char in value):
        raise Malformed(f"{name}: control characters")
    return value


def optional(name: str, value: str, most: int = MAX_ID) -> str:
    """The same for a field that may be empty."""
    return required(name, value, most) if value else ""


@dataclass(frozen=True, slots=True)
class Chat:
    """A conversation: with a customer (1:1) or in a group, by the gateway's stable id."""

    kind: ChatKind
    id: str

    def check(self) -> None:
        if self.kind not in _CHATS:
            raise Malformed("chat.kind: customer or group")
        required("chat.id", self.id)

    def fields(self) -> dict[str, Any]:
        return {"kind": self.kind, "id": self.id}


def read_chat(tree: Any) -> Chat:
    """Raises Malformed."""
    if not isinstance(tree, Mapping):
        raise Malformed("chat: an object expected")
    word = as_text(tree.get("kind"))
    kind = next((each for each in _CHATS if each == word), None)
    if kind is None:
        raise Malformed("chat.kind: customer or group")
    chat = Chat(kind, as_text(tree.get("id")))
    chat.check()
    return chat


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """At most 4,096 octets."""

    text: str = text("text")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """A file at an https address. `size` in octets; `sha256`: hex, of the file; both may be left out by a gateway that cannot know.

    `play_s`: seconds, of voice and video.
    """

    kind: MediaKind = "file"
    url: str = text("url")
    name: str = text("name")
    mime: str = text("mime")
    size: int = number("size")
    sha256: str = text("sha256")
    play_s: int = number("play_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    title: str = text("title")
    url: str = text("url")
    description: str = text("description")
    image_url: str = text("image_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiniProgram:
    app_id: str = text("app_id")
    page: str = text("page")
    title: str = text("title")
    image_url: str = text("image_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A business card of a member."""

    user_id: str = text("user_id")


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """What a client shows and this protocol has no form for; only in events. `type`: the gateway's word for it."""

    type: str = text("type")
    description: str = text("description")


Content: TypeAlias = Text | Media | Link | MiniProgram | Card | Other
_MEDIA: tuple[MediaKind, ...] = get_args(MediaKind)


def type_of(content: Content) -> str:
    match content:
        case Text():
            return "text"
        case Media(kind=kind):
            return kind
        case Link():
            return "link"
        case MiniProgram():
            return "miniprogram"
        case Card():
            return "card"
        case Other(type=word):
            return word


def write_content(content: Content) -> dict[str, Any]:
    """The content as an object, empty fields left out. Raises Malformed naming field and limit."""
    check(content)
    fields: dict[str, Any]
    match content:
        case Text():
            fields = {"text": content.text}
        case Media():
            fields = {
                "url": content.url,
                "name": content.name,
                "mime": content.mime,
                "size": content.size,
                "sha256": content.sha256,
                "play_s": content.play_s,
            }
        case Link():
            fields = {
                "title": content.title,
                "url": content.url,
                "description": content.description,
                "image_url": content.image_url,
            }
        case MiniProgram():
            fields = {
                "app_id": content.app_id,
                "page": content.page,
                "title": content.title,
                "image_url": content.image_url,
            }
        case Card():
            fields = {"user_id": content.user_id}
        case Other():
            fields = {"description": content.description}
    kept = {name: value for name, value in fields.items() if value not in ("", 0)}
    return {"type": type_of(content), **kept}


def read_content(tree: Any, *, may_be_other: bool) -> Content:
    """Raises Malformed; an unknown type is `Other` in events (`may_be_other`) and refused in commands."""
    if not isinstance(tree, Mapping):
        raise Malformed("content: an object expected")
    word = required("content.type", as_text(tree.get("type")))
    content: Content
    media = next((kind for kind in _MEDIA if kind == word), None)
    if media is not None:
        content = load(Media, tree, kind=media)
    elif word == "text":
        content = load(Text, tree)
    elif word == "link":
        content = load(Link, tree)
    elif word == "miniprogram":
        content = load(MiniProgram, tree)
    elif word == "card":
        content = load(Card, tree)
    elif may_be_other:
        content = load(Other, tree)
    else:
        raise Malformed(f"content.type: {word[:20]!r} is not known")
    check(content)
    return content


def check(content: Content) -> None:
    """Raises Malformed naming field and limit."""
    match content:
        case Text(text=words):
            required("text", words, MAX_TEXT)
        case Media():
            _https("url", content.url)
            optional("name", content.name, 256)
            if content.sha256 and not (
                len(content.sha256) == 64 and set(content.sha256) <= set("0123456789abcdef")
            ):
                raise Malformed("sha256: 64 lower-case hex digits")
        case Link():
            required("title", content.title, 256)
            _https("url", content.url)
            optional("description", content.description, 1024)
        case MiniProgram():
            required("app_id", content.app_id)
            required("page", content.page, 1024)
            required("title", content.title, 256)
        case Card(user_id=user_id):
            required("user_id", user_id)
        case Other(type=word):
            required("content.type", word)


def _https(name: str, url: str) -> None:
    required(name, url, MAX_URL)
    # Whether the address may be called is decided where it is called; http is for a gateway on the same host.
    if not url.startswith(("https://", "http://")):
        raise Malformed(f"{name}: an http(s) address expected")
