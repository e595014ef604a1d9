"""What WeCom pushes to an app: verified, opened, turned into what a person said or what happened, and made durable before the 200.

A file is not fetched inside the callback, which must be answered at once: a doorbell made durable in its place has it
fetched right after (`fetch`), within the three days that WeCom keeps it.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import fields, is_dataclass
from email.message import Message as Headers
from typing import Any
from urllib.parse import unquote

import aiohttp

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.seconds import Seconds
from adapters.wecom.settings import CallbackSettings
from msgcenter.adapter import (
    Malformed,
    Port,
    Received,
    Rejected,
    Request,
    Response,
    Retry,
    Sent,
    Unknown,
)
from protocols.address import Address
from protocols.outcome import Outcome
from protocols.payload import Happening, Link, Media, MediaKind, Native, Payload, Pull, Text
from protocols.wecom import callbacks, inbound
from protocols.wecom.callbacks import Inbound
from protocols.wecom.crypto import Crypt, Refused, is_fresh
from protocols.wecom.envelopes import open_push
from protocols.wecom.limits import MB

CHUNK = 512 * 1024
RANGE = 16 * MB
"""Asked for at once: below the size from which WeCom insists on ranges."""
SOURCE = "file:"
CONTACT_EVENTS = frozenset(
    {"change_external_contact", "change_external_chat", "change_external_tag"}
)


class Inbox:
    """`handle` answers the callback address; `fetch` answers the doorbells that it rang."""

    def __init__(
        self,
        port: Port,
        crypt: Crypt,
        settings: CallbackSettings,
        **bells: str,
    ) -> None:
        """`bells`: doorbells of this channel that its settings do not name, by field of `Doorbells`."""
        self._port = port
        self._crypt = crypt
        self._agent = str(settings.agent_id)
        self._skew_s = settings.callback_skew_s
        self._doorbells = settings.doorbells.model_copy(update=bells)
        self._seconds = Seconds()
        self.refused = 0
        """Callbacks that were not from WeCom, not for us, or damaged."""

    async def handle(self, request: Request) -> Response:
        """200 only when it is durable; 403 in one and the same form for whatever is wrong with a callback.

        Raises what `Port.emit` and `Port.ring` raise: the far end is to repeat it.
        """
        query = request.query
        signature, timestamp, nonce = (
            query.get(name, "") for name in ("msg_signature", "timestamp", "nonce")
        )
        try:
            if not is_fresh(timestamp, self._port.clock.now_ms() // 1000, self._skew_s):
                raise Refused("signature")
            if request.method == "GET":
                plain = self._crypt.echo(signature, timestamp, nonce, query.get("echostr", ""))
                return Response(200, plain)
            _, plain = open_push(self._crypt, request.body, signature, timestamp, nonce)
            heard = callbacks.parse(plain)
        except Refused as refused:
            self.refused += 1
            self._port.log.warning("callback_refused", check=refused.check)
            return Response(403, b"callback refused")
        except Malformed as error:
            # Signed, so it is WeCom's own: it stays in its log as undelivered, and in ours.
            self._port.log.error("callback_unreadable", detail=str(error))
            return Response(400, b"callback unreadable")
        channel, pull = self._doorbell(heard, plain)
        file = _file_of(heard)
        if channel:
            await self._port.ring(pull, channel=channel)
        elif file is None:
            await self.relay(heard, plain)
        else:
            kind, media_id = file
            ticket = {
                "agent": heard.agent_id or self._agent,
                "at": self._at(heard),
                "key": heard.key,
                "kind": kind,
                "media_id": media_id,
                "sender": heard.sender,
            }
            # A source of its own: doorbells of one source are answered once for all of them.
            await self._port.ring(Pull(f"{SOURCE}{heard.key}", json.dumps(ticket)))
        return Response(200)

    async def relay(self, heard: Inbound, plain: bytes) -> None:
        """Make a callback without a file durable; `plain`: as it was decrypted, for kinds that read it once more."""
        await self._port.emit([self._received(heard, payload_of(heard))])

    def _doorbell(self, heard: Inbound, plain: bytes) -> tuple[str, Pull]:
        """Whom a callback rings, "" = nobody, and with what."""
        match heard:
            case inbound.KfNotified(open_kfid=open_kfid, token=token):
                return self._doorbells.kf, Pull(f"kf:{open_kfid}", token)
            case inbound.ArchiveNotified():
                return self._doorbells.archive, Pull("archive")
            case _ if heard.kind.lower() in CONTACT_EVENTS:
                # All of it: such a callback is the news itself, and nothing else would tell it again.
                return self._doorbells.contact, Pull(
                    f"contact:{heard.key}", plain.decode("utf-8-sig")
                )
            case _:
                return "", Pull("")

    async def fetch(self, pull: Pull, api: WeComApi) -> Outcome:
        """Bring the file of one callback home and emit the message. Retry when it could not be had just now."""
        try:
            ticket = json.loads(pull.token)
            kind, media_id, key = ticket["kind"], str(ticket["media_id"]), str(ticket["key"])
            sender, at = Address("staff", str(ticket["sender"])), int(ticket["at"])
            account = str(ticket["agent"])
        except (ValueError, KeyError, TypeError) as error:
            return Rejected("message", f"doorbell: {type(error).__name__}", "malformed")
        payload: Payload
        try:
            payload = Media(kind, await brought_home(self._port, api, kind, media_id))
        except Malformed as error:
            payload = file_lost(kind, media_id, "not_kept", str(error))
        except Refusal as refusal:
            outcome = refusal.outcome
            if isinstance(outcome, Retry | Unknown):
                after = outcome.after if isinstance(outcome, Retry) else 0.0
                return Retry("message", outcome.detail, after, "wecom_download")
            payload = file_lost(kind, media_id, outcome.code, outcome.detail)
        await self._port.emit([Received(sender, account, payload, key, at)])
        return Sent()

    def _received(self, heard: Inbound, payload: Payload) -> Received:
        sender = Address("staff", heard.sender or "sys")
        account = heard.agent_id or self._agent
        return Received(sender, account, payload, heard.key, self._at(heard))

    def _at(self, heard: Inbound) -> int:
        return self._seconds(heard.sender, heard.created, heard.key)


def crypt_of(settings: CallbackSettings) -> Crypt | None:
    """What opens the callbacks of an app, None = they do not come to us. Raises Malformed for an EncodingAESKey that is none."""
    token, key = settings.callback_token, settings.callback_aes_key
    if token is None or key is None:
        return None
    return Crypt(token.reveal(), key.reveal(), settings.corp)


def payload_of(heard: Inbound) -> Payload:
    """What a callback says: what somebody wrote, or a `Happening` of kind `wecom_<event>` with every field as JSON."""
    match heard:
        case inbound.TextMessage(content=content):
            return Text(content)
        case inbound.LinkMessage():
            return Link(heard.title, heard.url, heard.description, heard.pic_url)
        case inbound.LocationMessage():
            return Native("location", _json(heard))
        case inbound.UnknownMessage(kind=kind):
            return Native(kind or "unknown", _json(heard))
        case _:
            return Happening(f"wecom_{heard.kind.lower()}", _json(heard))


def _file_of(heard: Inbound) -> tuple[MediaKind, str] | None:
    match heard:
        case inbound.ImageMessage(media_id=media_id):
            return "image", media_id
        case inbound.VoiceMessage(media_id=media_id):
            return "voice", media_id
        case inbound.VideoMessage(media_id=media_id):
            return "video", media_id
        case _:
            return None


async def brought_home(port: Port, api: WeComApi, kind: MediaKind, media_id: str) -> str:
    """A file of WeCom's in our media store: its id there. Raises Refusal, and Malformed for what our store does not take."""
    async with api.download(media_id, 0, RANGE - 1) as response:
        mime, name = response.content_type, _name_of(response, kind)
        data = _chunks(response, api, media_id, _total(response))
        return await port.keep_media(data, mime=mime, name=name)


def file_lost(kind: str, media_id: str, code: str, detail: str) -> Happening:
    """What stands in the place of a message whose file could not be had."""
    body = {"kind": kind, "media_id": media_id, "code": code, "detail": detail[:200]}
    return Happening("wecom_file_lost", json.dumps(body, ensure_ascii=False, sort_keys=True))


def _json(heard: Inbound) -> str:
    return json.dumps(_plain(heard), ensure_ascii=False, sort_keys=True)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _name_of(response: aiohttp.ClientResponse, kind: str) -> str:
    headers = Headers()
    headers["Content-Disposition"] = response.headers.get("Content-Disposition", "")
    return unquote(headers.get_filename() or "") or kind


def _total(response: aiohttp.ClientResponse) -> int:
    """The size of the whole file; 0 = what comes is all there is."""
    _, slash, total = response.headers.get("Content-Range", "").rpartition("/")
    return int(total) if response.status == 206 and slash and total.isdigit() else 0


async def _chunks(
    response: aiohttp.ClientResponse, api: WeComApi, media_id: str, size: int
) -> AsyncIterator[bytes]:
    """The file in pieces: the first range is under way, the others follow."""
    have = 0
    async for chunk in response.content.iter_chunked(CHUNK):
        have += len(chunk)
        yield chunk
    while have < size:
        before = have
        async with api.download(media_id, have, min(have + RANGE, size) - 1) as more:
            async for chunk in more.content.iter_chunked(CHUNK):
                have += len(chunk)
                yield chunk
        if have == before:
            raise Refusal(Retry("message", "WeCom: an empty range", 5.0, "wecom_download"))
