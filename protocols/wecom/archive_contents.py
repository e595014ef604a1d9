"""What an archived message holds, one dataclass for each msgtype of doc 91774; an id of a file is fetched in chunks by the adapter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, Union

from protocols.fields import as_list, many, number, real, text, texts


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A quoted reply is plain text too: quotation, dashes, answer; its form differs between clients."""

    content: str = text("content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """`kind`: image (jpg), voice (amr), video (mp4) or file. `md5` can be empty or wrong: trust `size`."""

    kind: str = ""
    file_id: str = text("sdkfileid")
    md5: str = text("md5sum")
    size: int = number("filesize", "voice_size")
    play_s: int = number("play_length")
    name: str = text("filename")
    extension: str = text("fileext")


@dataclass(frozen=True, slots=True, kw_only=True)
class Emotion:
    """`form`: 1 gif, 2 png."""

    form: int = number("type")
    width: int = number("width")
    height: int = number("height")
    size: int = number("imagesize")
    file_id: str = text("sdkfileid")
    md5: str = text("md5sum")


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    """`msgid`: the message that was taken back."""

    msgid: str = text("pre_msgid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """The member changed corp."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """`kind`: agree or disagree. `at`: epoch milliseconds."""

    kind: str = ""
    userid: str = text("userid")
    at: int = number("agree_time", "disagree_time")


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    corp_name: str = text("corpname")
    userid: str = text("userid")


@dataclass(frozen=True, slots=True, kw_only=True)
class Location:
    latitude: float = real("latitude")
    longitude: float = real("longitude")
    address: str = text("address")
    title: str = text("title")
    zoom: int = number("zoom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    title: str = text("title")
    description: str = text("description")
    url: str = text("link_url")
    image_url: str = text("image_url")


@dataclass(frozen=True, slots=True, kw_only=True)
class WeApp:
    title: str = text("title")
    description: str = text("description")
    username: str = text("username")
    display_name: str = text("displayname")


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordItem:
    """`kind`: as in ChatRecordText; `content`: a JSON text as it came; `at`: seconds."""

    kind: str = text("type")
    content: str = text("content")
    at: int = number("msgtime")
    from_chatroom: str = text("from_chatroom")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRecord:
    title: str = text("title")
    items: tuple[RecordItem, ...] = many(RecordItem, "item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Todo:
    title: str = text("title")
    content: str = text("content")


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """`vote_type`: 101 begun, 102 taken part."""

    title: str = text("votetitle")
    items: tuple[str, ...] = texts("voteitem")
    vote_type: int = number("votetype")


@dataclass(frozen=True, slots=True, kw_only=True)
class RedPacket:
    """`amount`: 分."""

    form: int = number("type")
    wish: str = text("wish")
    count: int = number("totalcnt")
    amount: int = number("totalamount")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    title: str = text("title")
    url: str = text("link_url")
    creator: str = text("doc_creator")


@dataclass(frozen=True, slots=True, kw_only=True)
class Markdown:
    content: str = text("content")


@dataclass(frozen=True, slots=True, kw_only=True)
class NewsItem:
    title: str = text("title")
    description: str = text("description")
    url: str = text("url")
    pic_url: str = text("picurl")


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    items: tuple[NewsItem, ...] = many(NewsItem, "item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """`meeting_type`: 101 invitation, 102 answer."""

    topic: str = text("topic")
    starts_at: int = number("starttime")
    ends_at: int = number("endtime")
    address: str = text("address")
    remarks: str = text("remarks")
    meeting_type: int = number("meetingtype")
    meeting_id: str = text("meetingid")
    status: int = number("status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    title: str = text("title")
    creator: str = text("creatorname")
    attendees: tuple[str, ...] = texts("attendeename")
    starts_at: int = number("starttime")
    ends_at: int = number("endtime")
    place: str = text("place")
    remarks: str = text("remarks")


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectDetail:
    id: str = text("id")
    question: str = text("ques")
    kind: str = text("type")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collect:
    room_name: str = text("room_name")
    creator: str = text("creator")
    created_at: str = text("create_time")
    title: str = text("title")
    details: tuple[CollectDetail, ...] = many(CollectDetail, "details")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFile:
    name: str = text("filename")
    operator: str = text("demooperator", "sharescreenoperator")
    starts_at: int = number("starttime")
    ends_at: int = number("endtime")


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceCall:
    ends_at: int = number("endtime")
    file_id: str = text("sdkfileid")
    files: tuple[CallFile, ...] = many(CallFile, "demofiledata")
    screens: tuple[CallFile, ...] = many(CallFile, "sharescreendata")


@dataclass(frozen=True, slots=True, kw_only=True)
class DocShare:
    name: str = text("filename")
    md5: str = text("md5sum")
    size: int = number("filesize")
    file_id: str = text("sdkfileid")


@dataclass(frozen=True, slots=True, kw_only=True)
class ChannelFeed:
    """`feed_type`: 2 image, 4 video, 9 live."""

    feed_type: int = number("feed_type")
    name: str = text("sph_name")
    description: str = text("feed_desc")


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSummary:
    duration_s: int = number("callduration")
    invite_type: int = number("invitetype")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskFile:
    name: str = text("filename")


@dataclass(frozen=True, slots=True, kw_only=True)
class Opaque:
    """A msgtype without a form of its own: every field as (path, text)."""

    fields: tuple[tuple[str, str], ...] = ()


NOTHING = Opaque()


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a mixed message."""

    msgtype: str = ""
    content: Content = NOTHING


@dataclass(frozen=True, slots=True, kw_only=True)
class Mixed:
    parts: tuple[Part, ...] = ()


Content: TypeAlias = Union[  # noqa: UP007 - Part refers to it
    Text, Media, Emotion, Revoked, Switched, Consent, Card, Location, Link, WeApp, ChatRecord, Todo, Vote, RedPacket,
    Document, Markdown, News, Meeting, Calendar, Collect, VoiceCall, DocShare, ChannelFeed, CallSummary, DiskFile, Mixed,
    Opaque,
]  # fmt: skip


def parts_of(tree: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The items of a mixed message that are objects."""
    return [each for each in as_list(tree.get("item")) if isinstance(each, Mapping)]
