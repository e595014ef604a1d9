"""Temporary media: uploads checked by size and content, kept three days, downloads in ranges."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any
from urllib.parse import quote

import aiohttp
from aiohttp import web

from adapters.sim.wecom.calls import Answer, Call, Endpoint
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.world import World

MB = 1024 * 1024
#: type -> (largest, code when it is larger)
SIZES = {
    "image": (10 * MB, 40009),
    "voice": (2 * MB, 40006),
    "video": (10 * MB, 40011),
    "file": (20 * MB, 40006),
}
LEAST = 5
CHUNK = 20 * MB
_TYPES = {"image": "image/jpeg", "voice": "audio/amr", "video": "video/mp4"}
_AMR_FRAMES = (12, 13, 15, 17, 19, 20, 26, 31, 5, 6, 5, 5, 0, 0, 0, 0)


@dataclass(slots=True)
class Medium:
    """One upload. `robot`: the webhook key that alone may use it, "" for all apps of the corp."""

    media_id: str
    kind: str
    name: str
    data: bytes
    created: int
    robot: str = ""
    expired: bool = False


class Media:
    """`get(media_id)` refuses what is unknown or older than three days (40007)."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher
        self._kept: dict[str, Medium] = {}
        self._images: dict[str, bytes] = {}
        self._jobs: dict[str, dict[str, Any]] = {}

    def endpoints(self) -> dict[str, Endpoint]:
        return {
            "media/upload": Endpoint("POST", self._upload, json=False),
            "media/upload_attachment": Endpoint("POST", self._upload, json=False),
            "media/uploadimg": Endpoint("POST", self._uploadimg, json=False),
            "media/get": Endpoint("GET", self._get),
            "media/upload_by_url": Endpoint("POST", self._by_url),
            "media/get_upload_by_url_result": Endpoint("POST", self._by_url_result),
            "webhook/upload_media": Endpoint("POST", self._robot_upload, json=False, token=False),
        }

    def get(self, media_id: str, kinds: Iterable[str] = (), robot: str = "") -> Medium:
        """Raises Refused (40007): unknown, expired, of another type, or of another robot."""
        medium = self._kept.get(media_id)
        if medium is None or medium.expired or medium.robot != robot:
            raise Refused(40007)
        if self._world.now() - medium.created >= self._world.limits.media_life:
            raise Refused(40007)
        if kinds and medium.kind not in kinds:
            raise Refused(40007)
        return medium

    def add(self, kind: str, name: str, data: bytes, robot: str = "") -> Medium:
        """Keep without checks; what customers send arrives so."""
        media_id = self._world.new_id("3", 63)
        medium = Medium(media_id, kind, name, data, self._world.now(), robot)
        self._kept[media_id] = medium
        return medium

    def image(self, name: str) -> bytes | None:
        """A permanent picture."""
        return self._images.get(name)

    async def _upload(self, call: Call) -> Answer:
        kind = call.query.get("type") or call.query.get("media_type", "")
        name, data = await _part(call.request)
        check(kind, data)
        medium = self.add(kind, name, data)
        return {"type": kind, "media_id": medium.media_id, "created_at": str(medium.created)}

    async def _robot_upload(self, call: Call) -> Answer:
        kind = call.query.get("type", "")
        if kind not in {"file", "voice"}:
            raise Refused(40004)
        name, data = await _part(call.request)
        check(kind, data)
        medium = self.add(kind, name, data, call.query["key"])
        return {"type": kind, "media_id": medium.media_id, "created_at": str(medium.created)}

    async def _uploadimg(self, call: Call) -> Answer:
        limits = self._world.limits
        _, data = await _part(call.request)
        check("image", data, 2 * MB)
        full = self._world.windows.take(
            "uploadimg", {"day": limits.uploadimg_day, "month": limits.uploadimg_month}
        )
        if full:
            raise Refused(45009)
        key = hashlib.sha256(data).hexdigest()[:40]
        self._images[key] = data
        return {"url": f"{self._world.base_url}/sim-images/{key}"}

    async def _get(self, call: Call) -> Answer:
        medium = self.get(call.query.get("media_id", ""))
        size = len(medium.data)
        headers = {
            "Content-Type": _TYPES.get(medium.kind, "application/octet-stream"),
            "Content-disposition": f'attachment; filename="{quote(medium.name)}"',
            "Accept-Ranges": "bytes",
        }
        asked = re.fullmatch(
            r"bytes=([0-9]{1,12})-([0-9]{0,12})", call.request.headers.get("Range", "")
        )
        if asked is None:
            if size > CHUNK:
                raise Refused(830002)
            return web.Response(body=medium.data, headers=headers)
        first = int(asked[1])
        last = min(int(asked[2]) if asked[2] else size - 1, size - 1)
        if first > last:
            return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
        if last - first + 1 > CHUNK:
            raise Refused(830002)
        headers["Content-Range"] = f"bytes {first}-{last}/{size}"
        return web.Response(status=206, body=medium.data[first : last + 1], headers=headers)

    async def _by_url(self, call: Call) -> Answer:
        fields = call.fields
        fields.number("scene", low=1, high=1)
        kind = fields.string("type")
        if kind not in {"video", "file"}:
            raise fields.wrong("type", "invalid", 40004)
        name = fields.string("filename", most=128)
        url = fields.string("url", most=1024)
        md5 = fields.string("md5").lower()
        jobid = self._world.new_id("job", 32)
        job = {"status": 1, "agentid": call.app.agentid}
        self._jobs[jobid] = job
        self._world.later(3600, partial(self._forget, jobid))
        self._world.spawn(self._fetch(jobid, job, kind, name, url, md5))
        return {"jobid": jobid}

    def _forget(self, jobid: str) -> None:
        self._jobs.pop(jobid, None)

    async def _fetch(
        self, jobid: str, job: dict[str, Any], kind: str, name: str, url: str, md5: str
    ) -> None:
        error, data = 0, b""
        try:
            limit = aiohttp.ClientTimeout(total=30)
            async with aiohttp.ClientSession(timeout=limit) as session, session.get(url) as found:
                data = await found.content.read(200 * MB + 1)
                error = 0 if found.status in (200, 206) else 830001
        except (aiohttp.ClientError, TimeoutError, ValueError):
            error = 830001
        if not error and len(data) > 200 * MB:
            error = 40006
        if not error and hashlib.md5(data, usedforsecurity=False).hexdigest() != md5:
            error = 830003
        if error:
            job |= {"status": 3, "errcode": error}
        else:
            job |= {"status": 2, "media_id": self.add(kind, name, data).media_id}
        job["created_at"] = str(self._world.now())
        self._pusher.emit(
            {
                "ToUserName": self._world.corp,
                "FromUserName": "sys",
                "CreateTime": self._world.now(),
                "MsgType": "event",
                "Event": "upload_media_job_finish",
                "JobId": jobid,
            },
            agentid=job["agentid"],
        )

    async def _by_url_result(self, call: Call) -> Answer:
        job = self._jobs.get(call.fields.string("jobid"))
        if job is None:
            raise call.fields.wrong("jobid", "invalid")
        detail = {
            "errcode": job.get("errcode", 0),
            "errmsg": "failed" if job.get("errcode") else "ok",
            "media_id": job.get("media_id", ""),
            "created_at": job.get("created_at", ""),
        }
        return {"status": job["status"], "detail": detail}

    # --- orders ---

    def media_expire(self, *, media_id: str = "") -> dict[str, Any]:
        """One medium (or all) is older than three days."""
        ended = [m for m in self._kept.values() if media_id in ("", m.media_id)]
        for medium in ended:
            medium.expired = True
        return {"expired": len(ended)}

    def media_add(self, *, kind: str, name: str, size: int) -> dict[str, Any]:
        """A medium of so many octets, whatever the limits say: for downloads in ranges."""
        return {"media_id": self.add(kind, name, self._world.rng.randbytes(size)).media_id}


def check(kind: str, data: bytes, most: int = 0) -> None:
    """Raises Refused when the type is unknown, the content is not of the type, or the size does not fit."""
    if kind not in SIZES:
        raise Refused(40004)
    if not data:
        raise Refused(44001)
    if len(data) <= LEAST:
        raise Refused(40006)
    largest, errcode = SIZES[kind]
    if len(data) > (most or largest):
        raise Refused(errcode)
    fits = {
        "image": data.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")),
        "voice": data.startswith(b"#!AMR"),
        "video": data[4:8] == b"ftyp",
        "file": True,
    }
    if not fits[kind]:
        raise Refused(40005)
    if kind == "voice" and _amr_seconds(data) > 60:
        raise Refused(45007)


def _amr_seconds(data: bytes) -> float:
    """Length of a narrow-band AMR recording: frames of 20 ms."""
    at, frames = len(b"#!AMR\n"), 0
    while at < len(data):
        at += 1 + _AMR_FRAMES[data[at] >> 3 & 15]
        frames += 1
    return frames * 0.02


async def _part(request: web.Request) -> tuple[str, bytes]:
    """Name and content of the multipart part `media`. Raises Refused (44001)."""
    if not request.content_type.startswith("multipart/"):
        raise Refused(44001)
    try:
        reader = await request.multipart()
        async for part in reader:
            if isinstance(part, aiohttp.BodyPartReader) and part.name == "media":
                if not part.filename:
                    raise Refused(44001, "filename of the media part is missing")
                return part.filename, bytes(await part.read(decode=False))
    except ValueError:
        raise Refused(44001) from None
    raise Refused(44001)
