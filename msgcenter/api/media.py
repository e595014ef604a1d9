"""`/v1/media`: files in, files out (whole, in ranges, or by a short signed link), streamed both ways."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import BinaryIO
from urllib.parse import quote

from aiohttp import BodyPartReader, ClientPayloadError, hdrs, web
from aiohttp.http_exceptions import HttpProcessingError

from msgcenter.api.models import LinkRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import MediaLinkView, MediaView
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.media import MediaError
from msgcenter.media.links import LONGEST_S
from msgcenter.store import MediaRow

MOST_NAME = 200
PIECE = 256 << 10
LINK_S = 600
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)
_MULTIPART = "multipart/form-data"
_PLAIN_PARTS = ("", "binary", "8bit", "7bit")
_NAME_CHARACTERS = "!#$&+-.^_`|~"

NAME = Param(
    "name",
    "the file's name, when it is the body itself (else the part's own is taken)",
    {"type": "string", "maxLength": MOST_NAME},
)
_LINK_PARAMS = (
    Param("exp", "when the link ends, Unix seconds", {"type": "string"}),
    Param("sig", "the signature", {"type": "string"}),
)
_READ_PROBLEMS = ("not_found", "range_unsatisfiable", "media_unavailable", "store_unavailable")


# -- in -----------------------------------------------------------------------------------------


async def upload(call: Call) -> web.Response:
    """Keep a file. The same content again gives the same id. The body is the file itself, or
    multipart/form-data whose first part with a file name is taken."""
    given = call.query("name").get("name", "")
    if len(given) > MOST_NAME:
        raise refused([Fault("name", "too_long", given, {"limit": MOST_NAME})])
    request = call.request
    if encoding := request.headers.get(hdrs.CONTENT_ENCODING, ""):
        raise Problem("content_encoding", value=encoding[:40])
    mime = request.headers.get(hdrs.CONTENT_TYPE, "")
    data, name = _chunks(request), given
    if request.content_type == _MULTIPART:
        part = await _file_part(request)
        mime, name = part.headers.get(hdrs.CONTENT_TYPE, ""), given or part.filename or ""
        data = _part_chunks(part)
    row = await call.api.deps.media.accept(data, mime=mime, name=name, caller=call.caller)
    response = shown(_view(row), 201)
    response.headers["Location"] = f"/v1/media/{row.id}"
    return response


async def _chunks(request: web.Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.content.iter_chunked(64 << 10):
            yield chunk
    except (ClientPayloadError, ConnectionError) as error:
        raise Problem("media_malformed", why="the upload ended early") from error


async def _file_part(request: web.Request) -> BodyPartReader:
    """The first part that has a file name. Raises Problem."""
    try:
        reader = await request.multipart()
        async for part in reader:
            if isinstance(part, BodyPartReader) and part.filename is not None:
                if part.headers.get("Content-Transfer-Encoding", "").lower() not in _PLAIN_PARTS:
                    raise Problem("media_malformed", why="a part must not be encoded")
                return part
    except ValueError as error:
        raise Problem("media_malformed", why="the part cannot be read") from error
    except HttpProcessingError as error:
        raise Problem("media_malformed", why="the head of a part cannot be read") from error
    raise Problem("media_malformed", why="no part has a file name")


async def _part_chunks(part: BodyPartReader) -> AsyncIterator[bytes]:
    try:
        while chunk := await part.read_chunk(64 << 10):
            yield chunk
        if not part.at_eof():
            raise ValueError("the part has no end")
    except (ClientPayloadError, ConnectionError) as error:
        raise Problem("media_malformed", why="the upload ended early") from error
    except HttpProcessingError as error:
        raise Problem("media_malformed", why="the head of a part cannot be read") from error
    except ValueError as error:
        raise Problem("media_malformed", why="the part cannot be read") from error


def _view(row: MediaRow) -> MediaView:
    return MediaView(
        id=row.id,
        type=row.mime,
        name=row.name,
        size=row.size,
        sha256=row.sha256,
        created_at=when(row.created_at) or "",
    )


# -- out ----------------------------------------------------------------------------------------


async def download(call: Call) -> web.StreamResponse:
    """The file; `Range`, `If-Range` and `If-None-Match` are heeded. A key reads its own caller's files and those that came in."""
    call.query()
    return await _send(call, await _visible(call))


async def link(call: Call) -> web.Response:
    """A link to the file for somebody without a key; good until it ends."""
    call.query()
    asked = await call.model(LinkRequest)
    row = await _visible(call)
    seconds = LINK_S if asked.expires_in is None else round(asked.expires_in)
    if seconds > LONGEST_S:
        facts = {"least": "1s", "most": "7d"}
        raise refused([Fault("expires_in", "duration_invalid", asked.expires_in, facts)])
    ends = call.api.deps.clock.now_ms() // 1000 + seconds
    url = call.api.links.path(row.id, ends)
    return shown(MediaLinkView(url=url, expires_at=when(ends * 1000) or ""))


async def linked(call: Call) -> web.StreamResponse:
    """The file behind a link."""
    given = call.query("exp", "sig")
    ends = call.api.links.good(call.id, given.get("exp", ""), given.get("sig", ""))
    if not ends:
        raise Problem("link_invalid")
    if ends * 1000 <= call.api.deps.clock.now_ms():
        raise Problem("link_expired")
    rows = await call.api.deps.media.rows(call.id)
    if not rows:
        raise Problem("not_found", what="media", id=call.id[:40])
    return await _send(call, rows[0])


async def _visible(call: Call) -> MediaRow:
    media = call.api.deps.media
    found = await media.visible([call.id], call.caller, all_=call.sees_all)
    if call.id not in found:
        raise Problem("not_found", what="media", id=call.id[:40])
    return found[call.id]


async def _send(call: Call, row: MediaRow) -> web.StreamResponse:
    request = call.request
    etag = f'"{row.sha256}"'
    headers = {
        hdrs.ETAG: etag,
        hdrs.ACCEPT_RANGES: "bytes",
        hdrs.CACHE_CONTROL: "private, max-age=3600",
        hdrs.CONTENT_DISPOSITION: _disposition(row.name),
        # whatever it holds, no browser is to run it as a page of ours
        "X-Content-Type-Options": "nosniff",
        "Content-Security-Policy": "sandbox; default-src 'none'",
    }
    tags = [
        tag.strip().removeprefix("W/")
        for tag in request.headers.get("If-None-Match", "").split(",")
    ]
    if etag in tags or "*" in tags:
        return web.Response(status=304, headers=headers)
    asked = request.headers.get(hdrs.RANGE, "")
    if asked and request.headers.get(hdrs.IF_RANGE, etag) != etag:
        asked = ""
    span = range_of(asked, row.size)
    if span is None:
        start, stop = 0, row.size
    else:
        start, stop = span
        if start >= stop:
            raise Problem(
                "range_unsatisfiable",
                headers={hdrs.CONTENT_RANGE: f"bytes */{row.size}"},
                size=row.size,
            )
        headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{row.size}"
    path = call.api.deps.media.path(row.id)
    try:
        file = await asyncio.to_thread(path.open, "rb")
    except OSError as error:
        call.api.deps.log.error("media file not readable", media=row.id, error=error)
        raise MediaError(f"{row.id}: {error.strerror}") from error
    response = web.StreamResponse(status=200 if span is None else 206, headers=headers)
    response.content_type = row.mime
    response.content_length = stop - start
    try:
        await response.prepare(request)
        with suppress(ConnectionError):  # the reader went away: nothing is left to do
            if await _pour(file, start, stop, response):
                await response.write_eof()
            elif request.transport is not None:
                request.transport.abort()
    finally:
        await asyncio.to_thread(file.close)
    return response


async def _pour(file: BinaryIO, start: int, stop: int, response: web.StreamResponse) -> bool:
    """False when the file is shorter than its row says: the answer is cut off, never padded."""
    await asyncio.to_thread(file.seek, start)
    while start < stop:
        piece = await asyncio.to_thread(file.read, min(PIECE, stop - start))
        if not piece:
            return False
        await response.write(piece)
        start += len(piece)
    return True


def range_of(header: str, size: int) -> tuple[int, int] | None:
    """(start, stop) of the one range asked for; start >= stop when it lies outside. None = send the whole: nothing asked,
    several ranges, or a header that is none (RFC 9110 14.2 lets a server ignore those)."""
    match = _RANGE.fullmatch(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        last = int(match[2])
        return (max(0, size - last), size) if last else (size, size)
    start = int(match[1])
    if match[2] and int(match[2]) < start:
        return None
    return start, min(size, int(match[2]) + 1) if match[2] else size


def _disposition(name: str) -> str:
    if not name:
        return "attachment"
    plain = re.sub(r'[^\x20-\x7e]|["\\%]', "_", name)
    return (
        f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe=_NAME_CHARACTERS)}"
    )


ROUTES = (
    Route(
        "POST",
        "/v1/media",
        upload,
        "Keep a file to be sent",
        "media",
        {201: MediaView},
        scope="send",
        params=(NAME,),
        problems=(
            "media_too_large",
            "media_refused",
            "media_malformed",
            "media_unavailable",
            "content_encoding",
        ),
        upload=(_MULTIPART, "application/octet-stream", "image/*", "audio/amr", "video/mp4"),
    ),
    Route(
        "GET",
        "/v1/media/{id}",
        download,
        "A file, or a range of it",
        "media",
        {200: None, 206: None, 304: None},
        scope="read",
        problems=_READ_PROBLEMS,
        media="*/*",
    ),
    Route(
        "POST",
        "/v1/media/{id}:link",
        link,
        "A short-lived link to a file that needs no key",
        "media",
        {200: MediaLinkView},
        scope="read",
        body=LinkRequest,
        body_optional=True,
        problems=("not_found", "validation_failed", "json_invalid", "content_type"),
    ),
    Route(
        "GET",
        "/m/{id}",
        linked,
        "The file behind a link",
        "media",
        {200: None, 206: None, 304: None},
        params=_LINK_PARAMS,
        problems=(*_READ_PROBLEMS, "link_invalid", "link_expired"),
        media="*/*",
    ),
)
