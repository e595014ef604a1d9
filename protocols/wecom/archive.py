"""会话内容存档: pages of encrypted items, and the decrypted message as a value of a closed set (doc 91774).

Decrypting is the native library's (or the simulator's) work; this reads what comes out. `msgid` is the key for duplicates: pulling
from an old seq brings the same items again. Control characters below U+0020 are stripped before parsing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from protocols.errors import Malformed
from protocols.fields import as_text, flatten, load, many, number, text, texts
from protocols.jsontext import MAX_BYTES, parse, write
from protocols.wecom import archive_contents as c
from protocols.wecom.answers import Model
from protocols.wecom.limits import BOUNDS, between

_CONTROLS = re.compile(r"[\x00-\x1f]")

# -- encrypted pages ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Encrypted:
    """One item as it is fetched. `key_version`: which of our RSA keys opens `random_key` (base64, PKCS#1 v1.5)."""

    seq: int = number("seq")
    msgid: str = text("msgid")
    key_version: int = number("publickey_ver")
    random_key: str = text("encrypt_random_key")
    chat_msg: str = text("encrypt_chat_msg")


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Model):
    """GetChatData: items after the asked seq; keep the largest seq once they are stored."""

    items: tuple[Encrypted, ...] = many(Encrypted, "chatdata")


#: SDK return codes -> (words, worth another try).
SDK_RETURNS: Mapping[int, tuple[str, bool]] = {
    0: ("ok", False),
    10000: ("parameter", False),
    10001: ("network", True),
    10002: ("parse", True),
    10003: ("system", True),
    10004: ("key or encrypt", False),
    10005: ("fileid", False),
    10006: ("decrypt", False),
    10007: ("private key of that version missing", False),
    10008: ("encrypt_key parse", False),
    10009: ("our IP is not allowed", False),
    10010: ("data expired", False),
    10011: ("certificate", False),
}

# -- decrypted messages -------------------------------------------------------------------------------------------------

_KINDS: Mapping[str, tuple[str, Callable[..., c.Content]]] = {
    # msgtype -> (name of the object it stands in, kind)
    "text": ("text", c.Text),
    "image": ("image", c.Media),
    "voice": ("voice", c.Media),
    "video": ("video", c.Media),
    "file": ("file", c.Media),
    "emotion": ("emotion", c.Emotion),
    "revoke": ("revoke", c.Revoked),
    "agree": ("agree", c.Consent),
    "disagree": ("disagree", c.Consent),
    "card": ("card", c.Card),
    "location": ("location", c.Location),
    "link": ("link", c.Link),
    "weapp": ("weapp", c.WeApp),
    "chatrecord": ("chatrecord", c.ChatRecord),
    "mixed": ("mixed", c.Mixed),
    "todo": ("todo", c.Todo),
    "vote": ("vote", c.Vote),
    "redpacket": ("redpacket", c.RedPacket),
    "external_redpacket": ("redpacket", c.RedPacket),
    "docmsg": ("doc", c.Document),
    "markdown": ("info", c.Markdown),
    "news": ("info", c.News),
    "meeting": ("meeting", c.Meeting),
    "calendar": ("calendar", c.Calendar),
    "collect": ("collect", c.Collect),
    "meeting_voice_call": ("meeting_voice_call", c.VoiceCall),
    "voip_doc_share": ("voip_doc_share", c.DocShare),
    "sphfeed": ("sphfeed", c.ChannelFeed),
    "voiptext": ("info", c.CallSummary),
    "qydiskfile": ("info", c.DiskFile),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One archived message. `room_id` "" between two people; `at`: epoch milliseconds; `action`: send, recall or switch.

    A `switch` (member changed corp) has only msgid, `at` and `user`.
    """

    msgid: str = text("msgid")
    action: str = text("action")
    sender: str = text("from")
    recipients: tuple[str, ...] = texts("tolist")
    room_id: str = text("roomid")
    at: int = number("msgtime", "time")
    msgtype: str = text("msgtype")
    user: str = text("user")
    top_id: str = text("voiceid", "voipid", "voteid")
    """Of calls, shared documents and votes: their own id, which stands beside the message."""
    content: c.Content = c.NOTHING

    @property
    def is_external(self) -> bool:
        """Whether an outsider takes part."""
        return self.msgid.endswith("_external")


def read(decrypted: bytes) -> Message:
    """A decrypted message. Raises Malformed for what is no JSON object or has no msgid."""
    if len(decrypted) > MAX_BYTES:
        raise Malformed(f"archive message: {len(decrypted)} octets, at most {MAX_BYTES}")
    try:
        stripped = _CONTROLS.sub("", decrypted.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise Malformed("archive message: not UTF-8") from None
    return message(parse(stripped.encode()))


def message(tree: Mapping[str, Any]) -> Message:
    """The message in a parsed object; a msgtype that is not known keeps all its fields as Opaque."""
    if not as_text(tree.get("msgid")):
        raise Malformed("archive message: no msgid")
    msgtype = as_text(tree.get("msgtype"))
    if as_text(tree.get("action")) == "switch":
        return load(Message, tree, content=c.Switched())
    known = _KINDS.get(msgtype)
    if known is None:
        return load(Message, tree, content=c.Opaque(fields=tuple(flatten(tree.get(msgtype)))))
    name, kind = known
    # Some clients put the object under the msgtype, whatever the page says.
    inner = tree.get(name) or tree.get(msgtype)
    inner = inner if isinstance(inner, Mapping) else {}
    given = {"kind": msgtype} if kind in (c.Media, c.Consent) else {}
    return load(Message, tree, content=kind_of(kind, inner, given))


def kind_of(
    kind: Callable[..., c.Content], inner: Mapping[str, Any], given: Mapping[str, Any]
) -> c.Content:
    """One content; the parts of a mixed message are read in their turn, one level deep."""
    if kind is c.Mixed:
        return c.Mixed(parts=tuple(_part(each) for each in c.parts_of(inner)))
    return load(kind, inner, **given)


def _part(tree: Mapping[str, Any]) -> c.Part:
    msgtype = as_text(tree.get("type")).lower()
    raw = as_text(tree.get("content"))
    known = _KINDS.get(msgtype)
    try:
        inner = json.loads(raw, strict=False)
    except (ValueError, RecursionError):
        inner = None
    if known is None or not isinstance(inner, Mapping) or known[1] is c.Mixed:
        return c.Part(msgtype=msgtype, content=c.Opaque(fields=(("content", raw),)))
    given = {"kind": msgtype} if known[1] in (c.Media, c.Consent) else {}
    return c.Part(msgtype=msgtype, content=load(known[1], inner, **given))


# -- media --------------------------------------------------------------------------------------------------------------

Chunk: TypeAlias = tuple[bytes, str, bool]
"""GetMediaData: (data, index of the next chunk, whether this was the last)."""


def join(chunks: list[Chunk], size: int = 0) -> bytes:
    """The file in its chunks. Raises Malformed when one is too large, the last is missing, or `size` (0 = not told) differs.

    The MD5 that comes with a message can be empty or differ; size is what is checked.
    """
    most = BOUNDS["archive.chunk"].most
    if any(len(data) > most for data, _, _ in chunks):
        raise Malformed(f"archive media: a chunk over {most} octets")
    if not chunks or not chunks[-1][2] or any(last for _, _, last in chunks[:-1]):
        raise Malformed("archive media: not whole")
    data = b"".join(data for data, _, _ in chunks)
    if size and len(data) != size:
        raise Malformed(f"archive media: {len(data)} octets, {size} told")
    return data


def check_single_agree(pairs: list[tuple[str, str]]) -> bytes:
    """msgaudit/check_single_agree for (userid, external_userid) pairs; the misspelt key is WeCom's own. Raises Malformed."""
    between("archive.consent", pairs)
    return write({"info": [{"userid": user, "exteranalopenid": other} for user, other in pairs]})
