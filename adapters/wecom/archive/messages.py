"""An archived message as what the core takes: its content as a payload, its files, and what is told when it cannot be read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

from adapters.wecom.archive.media import File, Lost
from protocols.fields import as_int, as_text
from protocols.payload import (
    Happening,
    Link,
    Markdown,
    Media,
    MediaKind,
    MiniProgram,
    Native,
    Payload,
    Text,
)
from protocols.wecom import archive_contents as c
from protocols.wecom.archive import Message

MOST_FILES = 100
"""Of one message; a forwarded record can hold many."""
MOST_OCTETS = 60 * 1024
"""Of a payload; a longer one is kept as a file, and the message says where."""
Homes = Mapping[str, str | Lost]
"""sdkfileid -> where the file is now, or why it is lost."""
_KINDS: Mapping[str, MediaKind] = {"image": "image", "voice": "voice", "video": "video"}


def files_of(message: Message) -> list[File]:
    """Every file that the message refers to, at most MOST_FILES."""
    found = {file.file_id: file for file in _files(message.msgtype, message.content)}
    return list(found.values())[:MOST_FILES]


def _files(msgtype: str, content: c.Content) -> Iterator[File]:
    match content:
        case c.Media(file_id=file_id) if file_id:
            kind = _KINDS.get(content.kind, "file")
            yield File(kind, file_id, _name(content), content.size, content.md5)
        case c.Emotion(file_id=file_id) if file_id:
            yield File("image", file_id, "", content.size, content.md5)
        case c.VoiceCall(file_id=file_id) if file_id:
            yield File("voice", file_id)
        case c.DocShare(file_id=file_id) if file_id:
            yield File("file", file_id, content.name, content.size, content.md5)
        case c.Mixed(parts=parts):
            for part in parts:
                yield from _files(part.msgtype, part.content)
        case c.ChatRecord(items=items):
            for item in items:
                yield from _inside(item.kind.removeprefix("ChatRecord").lower(), item.content)
        case c.Opaque(fields=given):
            # A type that is newer than this code, or a part kept as it came.
            for path, value in given:
                if path.rpartition("/")[2] == "sdkfileid" and value:
                    yield File("file", value)
                elif path == "content":
                    yield from _inside(msgtype, value)


def _inside(kind: str, text: str) -> Iterator[File]:
    """The file of an item whose content is JSON in a text."""
    try:
        tree = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return
    if isinstance(tree, Mapping) and (file_id := as_text(tree.get("sdkfileid"))):
        size = as_int(tree.get("filesize") or tree.get("voice_size"))
        name, md5 = as_text(tree.get("filename")), as_text(tree.get("md5sum"))
        yield File(_KINDS.get(kind, "file"), file_id, name, size, md5)


def _name(content: c.Media) -> str:
    if content.name or content.kind not in _KINDS:
        return content.name or f"file.{content.extension}".rstrip(".")
    return f"{content.kind}.{ {'image': 'jpg', 'voice': 'amr', 'video': 'mp4'}[content.kind] }"


def payload_of(message: Message, homes: Homes) -> Payload:
    """What a message says: the payload of its type, else `Native(msgtype)` with every field as JSON; what nobody wrote is a
    `Happening` of kind `wecom_archive_…`.

    A file that is lost leaves the message `Native`, with the reason under `media_files`.
    """
    content = message.content
    match content:
        case c.Text(content=text):
            return Text(text)
        case c.Media(file_id=file_id):
            home = homes.get(file_id)
            if isinstance(home, str):
                return Media(_KINDS.get(content.kind, "file"), home, content.name)
        case c.Emotion(file_id=file_id):
            home = homes.get(file_id)
            if isinstance(home, str):
                return Media("image", home)
        case c.Link():
            return Link(content.title, content.url, content.description, content.image_url)
        case c.WeApp():
            title = content.title or content.description or content.display_name
            return MiniProgram(content.username, "", title)
        case c.Card():
            # A person's card (名片), as a hosted account tells it; `Card` is a text with a button.
            card = {"user_id": content.userid, "corp_name": content.corp_name}
            return Native("business_card", dumped(card))
        case c.Markdown(content=text):
            return Markdown(text)
        case c.Revoked(msgid=msgid):
            return happening("recall", {"pre_msgid": msgid})
        case c.Switched():
            return happening("switch", {"user": message.user})
        case c.Consent(kind=kind):
            return happening(kind, {"userid": content.userid, "at": content.at})
        case _:
            pass
    body = plain(content)
    if message.top_id:
        body["top_id"] = message.top_id
    if homes:
        body["media_files"] = [
            {"file_id": one, "lost": home.code} if isinstance(home, Lost) else {"file_id": one, "media": home}
            for one, home in homes.items()
        ]  # fmt: skip
    return Native(message.msgtype or "unknown", dumped(body))


def lost_of(message: Message, file: File, lost: Lost) -> Happening:
    """What is told beside a message whose file is lost."""
    body = {
        "msgid": message.msgid,
        "kind": file.kind,
        "file_id": file.file_id,
        "name": file.name,
        "code": lost.code,
        "detail": lost.detail[:200],
    }
    return Happening("wecom_file_lost", dumped(body))


def happening(kind: str, body: Mapping[str, Any]) -> Happening:
    return Happening(f"wecom_archive_{kind}", dumped(body))


def plain(value: Any) -> Any:
    """A content as JSON can hold it."""
    if isinstance(value, c.Opaque):
        return dict(value.fields)
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return value


def dumped(body: Mapping[str, Any]) -> str:
    return json.dumps(body, ensure_ascii=False, sort_keys=True)


def sound(text: str) -> str:
    """A text that UTF-8 can carry: half of a surrogate pair, which JSON can spell, becomes a question mark."""
    return text.encode(errors="replace").decode()


def sound_payload(payload: Payload) -> tuple[Payload, int]:
    """The payload with sound texts, and its octets."""
    texts: dict[str, Any] = {
        each.name: sound(value)
        for each in fields(payload)
        if isinstance(value := getattr(payload, each.name), str)
    }
    octets = sum(len(text.encode()) for text in texts.values())
    return replace(payload, **texts), octets
