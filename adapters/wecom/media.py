"""Our files at the far end: uploaded once for all processes, remembered while WeCom keeps them, uploaded anew when it does not."""

from __future__ import annotations

import asyncio
import io
import re
from collections import OrderedDict
from collections.abc import Iterable
from functools import partial
from typing import Protocol

import aiohttp

from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.contents import Need
from msgcenter.adapter import Malformed, MediaFile, Port, Rejected, Retry
from protocols.wecom import answers
from protocols.wecom.limits import WINDOWS_S, between

MARGIN_S = 6 * 3600.0
"""A media_id is not used in its last hours: the message that carries it may wait, or be repeated."""
PICTURE_S = 180 * 86_400.0
"""How long the URL of a picture is believed; WeCom names no end."""
KEPT = 2_000
_BOUNDS: dict[str, str] = {
    "image": "media.image",
    "voice": "media.voice",
    "video": "media.video",
    "file": "media.file",
    "picture": "media.kf.image",  # uploadimg takes 2 MB, as that one
}
WAIT_S = 60.0


_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\\/]')


class Upload(Protocol):
    """How a file is brought to the far end: answers what `media/upload` or `media/uploadimg` answers. Raises Refusal."""

    async def __call__(self, need: Need, form: FormMaker) -> answers.Answer: ...


class FormMaker(Protocol):
    def __call__(self) -> aiohttp.FormData: ...


class Uploads:
    """`media_ids(needs)` -> media_id (or URL) of each. `scope`: whose media_ids they are; ids of one scope are not another's."""

    def __init__(self, port: Port, upload: Upload, scope: str = "") -> None:
        self._port = port
        self._upload = upload
        self._scope = scope
        self._known: OrderedDict[Need, tuple[str, int]] = OrderedDict()

    async def media_ids(self, needs: Iterable[Need]) -> dict[Need, str]:
        """Raises Refusal: no such file, not one WeCom takes, or it could not be brought there."""
        with nothing_left("files at WeCom"):
            return {need: await self._media_id(need) for need in needs}

    async def forget(self, needs: Iterable[Need]) -> None:
        """WeCom does not know these any more (40007): the next `media_ids` uploads them again."""
        with nothing_left("files at WeCom"):
            for need in needs:
                self._known.pop(need, None)
                await self._port.remember(self._key(need), b"", 0.0)

    async def _media_id(self, need: Need) -> str:
        found = await self._remembered(need)
        if found:
            return found
        async with self._port.turn(f"upload:{self._key(need)}", wait_s=WAIT_S) as mine:
            found = await self._remembered(need)
            if found:
                return found
            if not mine:
                told = "WeCom: another process is uploading this file"
                raise Refusal(Retry("message", told, 5.0, "wecom_upload"))
            return await self._bring(need)

    async def _remembered(self, need: Need) -> str:
        now = self._port.clock.now_ms()
        known = self._known.get(need)
        if known is None:
            value = await self._port.memo(self._key(need))
            if not value:
                return ""
            until, _, media_id = value.decode().partition("|")
            known = (media_id, int(until))
        if known[1] <= now:
            self._known.pop(need, None)
            return ""
        self._keep(need, known)
        return known[0]

    def _keep(self, need: Need, known: tuple[str, int]) -> None:
        self._known[need] = known
        self._known.move_to_end(need)
        while len(self._known) > KEPT:
            self._known.popitem(last=False)

    async def _bring(self, need: Need) -> str:
        kind, media = need
        try:
            file = await self._port.media(media)
            between(_BOUNDS[kind], file.size)
        except Malformed as error:
            raise Refusal(Rejected("message", str(error), "media_refused")) from None
        # At most 20 MB, checked above: simpler than a file that every try has to rewind.
        data = await asyncio.to_thread(file.path.read_bytes)
        answer = answers.Media.of(await self._upload(need, partial(_form, data, file)))
        value = answer.url if kind == "picture" else answer.media_id
        if not value:
            raise Refusal(Retry("message", "WeCom: an upload without an id", 5.0, "wecom_upload"))
        seconds = PICTURE_S if kind == "picture" else WINDOWS_S["media"] - MARGIN_S
        until = self._port.clock.now_ms() + round(seconds * 1000)
        self._keep(need, (value, until))
        await self._port.remember(self._key(need), f"{until}|{value}".encode(), seconds)
        return value

    def _key(self, need: Need) -> str:
        return f"media:{self._scope}:{need[0]}:{need[1]}"


def _form(data: bytes, file: MediaFile) -> aiohttp.FormData:
    """Made for every try, because a form can be sent once."""
    # Names stand in UTF-8 as they are: percent signs would be shown to the member.
    form = aiohttp.FormData(quote_fields=False)
    name = _UNSAFE.sub("_", file.name) or file.id
    form.add_field("media", io.BytesIO(data), filename=name, content_type=file.type)
    return form
