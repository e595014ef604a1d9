"""What a file is, told by its first octets, and how large each kind may be; all of it data.

Limits are those of WeCom's temporary media (the tightest far end, doc 90253): a caller learns at upload what no channel
would carry. What comes in is kept whatever it is, as the far end has let it through; only its size is bounded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from protocols.errors import Malformed
from protocols.payload import MediaKind

UNKNOWN = "application/octet-stream"
HEAD = 512
"""Octets of the beginning that `recognise` wants to see."""
LEAST = 6
"""A far end refuses files of five octets or less."""

LIMITS: Mapping[MediaKind, int] = {
    "image": 10 << 20,
    "voice": 2 << 20,
    "video": 10 << 20,
    "file": 20 << 20,
}
"""Largest upload of each kind, octets."""


class MediaRefused(Malformed):
    """This file is not taken; the text says why."""


class TooLarge(MediaRefused):
    """Larger than `limit` octets."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"the file is larger than {limit} octets")
        self.limit = limit


@dataclass(frozen=True, slots=True)
class FileType:
    """A type and how it begins: all of `magic` (offset, octets) hold. `also`: types that are stored in the same container,
    so only a declared type can tell them apart."""

    mime: str
    kind: MediaKind
    magic: tuple[tuple[int, bytes], ...]
    also: frozenset[str] = frozenset()


_OOXML = "application/vnd.openxmlformats-officedocument."
_ZIPPED = frozenset(
    {
        f"{_OOXML}wordprocessingml.document",
        f"{_OOXML}spreadsheetml.sheet",
        f"{_OOXML}presentationml.presentation",
        "application/vnd.oasis.opendocument.text",
        "application/vnd.oasis.opendocument.spreadsheet",
    }
)
_OLE = frozenset(
    {"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint"}
)

FILE_TYPES: tuple[FileType, ...] = (
    FileType("image/jpeg", "image", ((0, b"\xff\xd8\xff"),), frozenset({"image/jpg"})),
    FileType("image/png", "image", ((0, b"\x89PNG\r\n\x1a\n"),)),
    FileType("image/gif", "image", ((0, b"GIF87a"),)),
    FileType("image/gif", "image", ((0, b"GIF89a"),)),
    FileType("image/webp", "image", ((0, b"RIFF"), (8, b"WEBP"))),
    FileType("audio/amr", "voice", ((0, b"#!AMR\n"),), frozenset({"audio/amr-nb", "voice/amr"})),
    FileType("audio/amr-wb", "voice", ((0, b"#!AMR-WB\n"),)),
    FileType("audio/silk", "voice", ((0, b"#!SILK_V3"),)),
    FileType("audio/silk", "voice", ((1, b"#!SILK_V3"),)),
    FileType("audio/mpeg", "file", ((0, b"ID3"),), frozenset({"audio/mp3"})),
    FileType("audio/wav", "file", ((0, b"RIFF"), (8, b"WAVE")), frozenset({"audio/x-wav"})),
    FileType("audio/ogg", "file", ((0, b"OggS"),)),
    FileType("video/mp4", "video", ((4, b"ftyp"),), frozenset({"audio/mp4", "video/quicktime"})),
    FileType("application/pdf", "file", ((0, b"%PDF-"),)),
    FileType(
        "application/zip", "file", ((0, b"PK\x03\x04"),), _ZIPPED | {"application/x-zip-compressed"}
    ),
    FileType(
        "application/x-ole-storage", "file", ((0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),), _OLE
    ),
    FileType("application/vnd.rar", "file", ((0, b"Rar!\x1a\x07"),)),
    FileType("application/x-7z-compressed", "file", ((0, b"7z\xbc\xaf\x27\x1c"),)),
)
#: Types without a mark: taken as declared when the beginning is text that no browser runs.
TEXTS = frozenset({"text/plain", "text/csv"})
_ACTIVE = (b"<!doctype", b"<html", b"<script", b"<svg", b"<?xml", b"#!/")
_ALIASES = {"image/jpg": "image/jpeg", "voice/amr": "audio/amr", "audio/amr-nb": "audio/amr"}
_KINDS: Mapping[str, MediaKind] = {one.mime: one.kind for one in FILE_TYPES}


def plain_type(declared: str) -> str:
    """A Content-Type without parameters, lower case; octet-stream when it says nothing."""
    return declared.partition(";")[0].strip().lower() or UNKNOWN


def recognised(head: bytes) -> FileType | None:
    """The type whose mark the beginning carries."""
    for known in FILE_TYPES:
        if all(head[at : at + len(octets)] == octets for at, octets in known.magic):
            return known
    return None


def checked_upload(head: bytes, declared: str) -> str:
    """The type of a file that a caller brings. Raises MediaRefused: unknown, or not what it is declared as."""
    declared = plain_type(declared)
    known = recognised(head)
    if known is not None:
        if declared in known.also:
            return _ALIASES.get(declared, declared)
        if declared not in (UNKNOWN, known.mime):
            raise MediaRefused(f"declared as {declared[:60]}, but it is {known.mime}")
        return known.mime
    if declared in TEXTS and _is_plain_text(head):
        return declared
    takes = ", ".join(sorted({one.mime for one in FILE_TYPES} | TEXTS))
    raise MediaRefused(f"{declared[:60]}: not recognised as one of {takes}")


def kept_type(head: bytes, declared: str) -> str:
    """The type of a file that came in: what it is recognised as, else octets that nothing runs."""
    declared = plain_type(declared)
    known = recognised(head)
    if known is not None:
        return _ALIASES.get(declared, declared) if declared in known.also else known.mime
    return declared if declared in TEXTS and _is_plain_text(head) else UNKNOWN


def _is_plain_text(head: bytes) -> bool:
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    return b"\x00" not in head and not start.startswith(_ACTIVE)


def kind_of(mime: str) -> MediaKind:
    return _KINDS.get(mime, "file")


def suits(kind: MediaKind, mime: str) -> bool:
    """Whether a file of this type may be sent as this kind; as a `file` any may."""
    return kind in ("file", kind_of(mime))
