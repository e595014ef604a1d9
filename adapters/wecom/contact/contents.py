"""A payload as the text and attachments of a mass or welcome message: which files it needs, and what is said once they are known."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.wecom.contents import Need, is_ours
from msgcenter.adapter import Malformed
from protocols.address import Address
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.payload import Link, Media, MiniProgram, Native, Payload, Text
from protocols.wecom import contact as requests
from protocols.wecom.bodies import Body

MASS = "mass"
"""The `Native` that says several things at once: `{"text": "…", "attachments": [{"msgtype": "image", "image": {…}}, …]}`."""

#: Of each type of attachment: its fields that name a file, and what that is uploaded as.
_FILES: Mapping[str, Mapping[str, str]] = {
    "image": {"media_id": "image", "pic_url": "picture"},
    "link": {"picurl": "picture"},
    "miniprogram": {"pic_media_id": "image"},
    "video": {"media_id": "video"},
    "file": {"media_id": "file"},
}


@dataclass(frozen=True, slots=True)
class Content:
    """`text` and attachments (type, fields) as WeCom writes them, files still by our own ids."""

    text: str
    attachments: tuple[tuple[str, Mapping[str, Any]], ...] = ()

    @property
    def needs(self) -> list[Need]:
        found: dict[Need, None] = {}
        for kind, fields in self.attachments:
            for name, upload in _FILES[kind].items():
                if is_ours(as_text(fields.get(name))):
                    found[upload, as_text(fields[name])] = None  # type: ignore[index]
        return list(found)

    @property
    def digest(self) -> str:
        """What WeCom lists of a task, as far as it can be compared with what was asked for."""
        return digest_of(self.text, [kind for kind, _ in self.attachments])

    def bodies(self, files: Mapping[Need, str]) -> list[Body]:
        """`files`: for every one of `needs` its media_id or URL. Raises Malformed."""
        made = []
        for kind, fields in self.attachments:
            given = {name: as_text(value) for name, value in fields.items()}
            for name, upload in _FILES[kind].items():
                if is_ours(given.get(name, "")):
                    given[name] = files[upload, given[name]]  # type: ignore[index]
            made.append(_body(kind, given))
        return made

    def checked(self) -> Content:
        """Itself, once everything but the files was checked. Raises Malformed."""
        requests.welcome("checked", self.text, self.bodies(dict.fromkeys(self.needs, "checked")))
        return self


def digest_of(text: str, kinds: Sequence[str]) -> str:
    return hashlib.sha256("\x1f".join([text, *kinds]).encode()).hexdigest()[:26]


def content_of(payload: Payload) -> Content:
    """Raises Malformed for what a mass message cannot carry."""
    match payload:
        case Text(text=text):
            return Content(text)
        case Media(kind="voice"):
            raise Malformed("a mass message takes no voice; send it as a file")
        case Media(kind=kind, media=media, description=description):
            return Content(description, ((kind, {"media_id": media}),))
        case Link(title=title, url=url, description=description, picture=picture):
            fields = {"title": title, "url": url, "desc": description, "picurl": picture}
            return Content("", (("link", fields),))
        case MiniProgram(appid=appid, page=page, title=title, picture=picture):
            fields = {"title": title, "appid": appid, "page": page, "pic_media_id": picture}
            return Content("", (("miniprogram", fields),))
        case Native(kind=kind, body=body) if kind == MASS:
            return content_in(parse(body.encode()))
        case _:
            raise Malformed(f"WeCom: {type(payload).__name__} is no mass message")


def content_in(fields: Mapping[str, Any]) -> Content:
    """The content in `text` (a string, or WeCom's `{"content": …}`) and `attachments`. Raises Malformed."""
    text = fields.get("text", "")
    if isinstance(text, Mapping):
        text = text.get("content", "")
    attachments = fields.get("attachments", [])
    if not isinstance(text, str) or not isinstance(attachments, list | tuple):
        raise Malformed("text: a string, and attachments: a list expected")
    found: list[tuple[str, Mapping[str, Any]]] = []
    for each in attachments:
        kind = as_text(each.get("msgtype")) if isinstance(each, Mapping) else ""
        inner = each.get(kind) if kind in _FILES else None
        if not isinstance(inner, Mapping):
            raise Malformed(
                f"attachments: each needs msgtype ({', '.join(sorted(_FILES))}) and an object of that name"
            )
        found.append((kind, inner))
    return Content(text, tuple(found))


def _body(kind: str, given: Mapping[str, str]) -> Body:
    get = given.get
    match kind:
        case "image":
            return requests.image(get("media_id", ""), get("pic_url", ""))
        case "link":
            return requests.link(
                get("title", ""), get("url", ""), get("desc", ""), get("picurl", "")
            )
        case "miniprogram":
            return requests.miniprogram(
                get("title", ""), get("pic_media_id", ""), get("appid", ""), get("page", "")
            )
        case "video":
            return requests.video(get("media_id", ""))
        case _:
            return requests.file(get("media_id", ""))


def customer_of(address: Address, corp: str) -> str:
    """The external_userid of a `wecom:<corp>/<external_userid>` (an app may stand between). Raises Malformed for one of
    another corp."""
    first, _, rest = address.value.partition("/")
    customer = rest.rpartition("/")[2]
    if address.scheme != "wecom" or not customer:
        raise Malformed("a customer's address is wecom:<corp>/<external_userid>")
    if first != corp:
        raise Malformed(f"the customer is one of corp {first[:40]!r}, this channel's is {corp!r}")
    return customer
