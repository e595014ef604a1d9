"""What a message may say: the `content` of a request as models, one for each type, and the payload each becomes."""

from __future__ import annotations

import json
import re
from typing import Annotated, Any, Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field

from msgcenter.api.body import Body, wrong
from protocols.payload import (
    Card,
    Link,
    Markdown,
    Media,
    MediaKind,
    MiniProgram,
    Native,
    Payload,
    Template,
)
from protocols.payload import Text as PlainText

MAX_TEXT_OCTETS = 64 * 1024
MAX_NATIVE_OCTETS = 32 * 1024
"""Enough for any far end's card; what is larger is a file."""
MAX_NATIVE_DEPTH = 20
MAX_LINKS = 5
_NOT_IN_A_TARGET = re.compile(r"[\x00-\x20\x7f\\]")


def _octets(value: object) -> object:
    if isinstance(value, str) and len(value) * 3 > MAX_TEXT_OCTETS:
        try:
            size = len(value.encode())
        except UnicodeEncodeError as error:
            raise wrong("invalid", why="lone surrogate") from error
        if size > MAX_TEXT_OCTETS:
            raise wrong("too_long", limit=f"{MAX_TEXT_OCTETS} octets")
    return value


def _web(value: str) -> str:
    try:
        url = urlsplit(value)
        host = url.hostname
    except ValueError as error:
        raise wrong("invalid", why="it is not a URL") from error
    if url.scheme not in ("http", "https") or not host:
        raise wrong("invalid", why="it must be an http or https URL")
    return value


def _picture(value: str) -> str:
    return value if value.startswith("med_") else _web(value)


def _media_id(value: str) -> str:
    if not value.startswith("med_"):
        raise wrong("media_unknown")
    return value


LongText = Annotated[str, BeforeValidator(_octets), Field(min_length=1)]
Title = Annotated[str, Field(min_length=1, max_length=256)]
Words = Annotated[str, Field(max_length=2048)]
Url = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_web)]


def _target(value: str) -> str:
    if _NOT_IN_A_TARGET.search(value) or not value.isascii():
        raise wrong(
            "invalid", why="it holds blanks, backslashes or letters that are to be %-encoded"
        )
    return _web(value)


LinkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,19}$")]
Target = Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_target)]
Links = Annotated[dict[LinkName, Target], Field(min_length=1, max_length=MAX_LINKS)]
MediaId = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_media_id)]


class TextContent(Body):
    """Plain text."""

    type: Literal["text"]
    text: LongText = Field(
        description="at most 64 KB in UTF-8; a long text goes out in as many parts as needed"
    )

    links: Links | None = Field(
        None,
        description="name -> http or https URL; `{name}` in the text becomes a short link that is counted and expires",
        examples=[{"offer": "https://wap.10086.cn/offers/8"}],
    )

    def payload(self) -> PlainText:
        return PlainText(self.text)


class MarkdownContent(Body):
    """Markdown, in the far end's own dialect."""

    type: Literal["markdown"]
    text: LongText = Field(description="at most 64 KB in UTF-8; far ends take less")

    def payload(self) -> Markdown:
        return Markdown(self.text)


class MediaContent(Body):
    """A file, uploaded before with POST /v1/media."""

    type: Literal["media"]
    kind: MediaKind = Field(description="how it is shown; it must suit the file's type")
    media: MediaId = Field(
        description="id of the file", examples=["med_0v1b2c3d4e5f6g7h8j9k0m1n2p"]
    )
    name: Annotated[str, Field(max_length=200)] = Field("", description="default: the file's own")
    title: Annotated[str, Field(max_length=256)] = Field("", description="of a video")
    description: Words = ""

    def payload(self) -> Media:
        return Media(self.kind, self.media, self.name, self.title, self.description)


class LinkContent(Body):
    """A page with a preview."""

    type: Literal["link"]
    title: Title
    url: Url
    description: Words = ""
    picture: (
        Annotated[str, Field(min_length=1, max_length=2048), AfterValidator(_picture)] | None
    ) = Field(None, description="an https URL, or the id of an uploaded file")

    def payload(self) -> Link:
        return Link(self.title, self.url, self.description, self.picture or "")


class MiniProgramContent(Body):
    """A mini program card (小程序卡片)."""

    type: Literal["miniprogram"]
    appid: Annotated[str, Field(min_length=1, max_length=64)]
    page: Annotated[str, Field(min_length=1, max_length=1024)]
    title: Title
    picture: MediaId | None = Field(None, description="id of an uploaded picture")

    def payload(self) -> MiniProgram:
        return MiniProgram(self.appid, self.page, self.title, self.picture or "")


class CardContent(Body):
    """A text card with one button."""

    type: Literal["card"]
    title: Title
    description: Annotated[str, Field(min_length=1, max_length=2048)]
    url: Url
    button: Annotated[str, Field(max_length=64)] = ""

    def payload(self) -> Card:
        return Card(self.title, self.description, self.url, self.button)


def _native(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(json.dumps(value, ensure_ascii=False).encode())
    except (UnicodeEncodeError, RecursionError) as error:
        raise wrong("invalid", why="it cannot be written as JSON in UTF-8") from error
    if size > MAX_NATIVE_OCTETS:
        raise wrong("too_long", limit=f"{MAX_NATIVE_OCTETS} octets")
    if _depth(value) > MAX_NATIVE_DEPTH:
        raise wrong("invalid", why=f"it is nested deeper than {MAX_NATIVE_DEPTH}")
    return value


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[object] = []
        for one in level:
            if isinstance(one, dict):
                inner += one.values()
            elif isinstance(one, list):
                inner += one
        level = inner
    return depth


class NativeContent(Body):
    """A kind of message that one far end alone knows; checked and sent by its channel as it is."""

    type: Literal["native"]
    kind: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9_.-]+$")]
    body: Annotated[dict[str, Any], AfterValidator(_native)]

    def payload(self) -> Native:
        body = json.dumps(self.body, ensure_ascii=False, separators=(",", ":"))
        return Native(self.kind, body)


MAX_VARIABLES_OCTETS = 16 * 1024


def _variables(value: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(json.dumps(value, ensure_ascii=False, allow_nan=False).encode())
    except (UnicodeEncodeError, RecursionError, ValueError) as error:
        raise wrong("invalid", why="it cannot be written as JSON in UTF-8") from error
    if size > MAX_VARIABLES_OCTETS:
        raise wrong("too_long", limit=f"{MAX_VARIABLES_OCTETS} octets")
    return value


class TemplateContent(Body):
    """Words that operators keep in `templates/`, in the version valid when the message is sent."""

    type: Literal["template"]
    template: Annotated[
        str,
        Field(
            pattern=r"^[a-z0-9][a-z0-9_-]{0,63}(@[1-9][0-9]{0,5})?$",
            description="name; with @ and a number for this very version",
            examples=["bill-due", "bill-due@2"],
        ),
    ]
    variables: Annotated[dict[str, Any], AfterValidator(_variables)] = Field(
        default_factory=dict, description="by name, each of the type that the template declares"
    )

    def payload(self) -> Template:
        name, _, version = self.template.partition("@")
        variables = json.dumps(self.variables, ensure_ascii=False, separators=(",", ":"))
        return Template(name, int(version or 0), variables)


Content: TypeAlias = Annotated[
    TextContent
    | MarkdownContent
    | MediaContent
    | LinkContent
    | MiniProgramContent
    | CardContent
    | NativeContent
    | TemplateContent,
    Field(discriminator="type", description="what is said"),
]
AnyContent: TypeAlias = (
    TextContent
    | MarkdownContent
    | MediaContent
    | LinkContent
    | MiniProgramContent
    | CardContent
    | NativeContent
    | TemplateContent
)

PAYLOADS: dict[str, type[Payload]] = {
    "text": PlainText,
    "markdown": Markdown,
    "media": Media,
    "link": Link,
    "miniprogram": MiniProgram,
    "card": Card,
    "native": Native,
    "template": Template,
}
"""`type` of a content -> its payload."""


def files_of(content: AnyContent) -> dict[str, tuple[str, MediaKind]]:
    """The files that a content names: field -> (id, the kind it is used as)."""
    match content:
        case MediaContent(media=media, kind=kind):
            return {"content.media": (media, kind)}
        case LinkContent(picture=str(picture)) | MiniProgramContent(picture=str(picture)) if (
            picture.startswith("med_")
        ):
            return {"content.picture": (picture, "image")}
        case _:
            return {}
