"""Files both ways: ours as links that end, for the gateway to fetch; what customers send, fetched from hosts that are configured."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator, Iterable
from urllib.parse import quote, urlsplit

import aiohttp

from adapters.wecom.hosted.calls import Failed, Gateway
from adapters.wecom.hosted.contents import Served
from adapters.wecom.hosted.settings import WeComHostedSettings
from msgcenter.adapter import Malformed, Port, Rejected, Request, Response, Retry
from protocols.hosted import content
from protocols.webhook import signing

PATH = "file"
CHUNK = 256 * 1024
FETCH_S = 20.0
"""Longest time for one file that comes in."""
_DEFAULT_PORTS = {"https": 443, "http": 80}


class Lost(Exception):
    """A customer's file that cannot be had, now or later. `code`: stable reason code."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class Later(Exception):
    """It could not be had just now."""


class Files:
    def __init__(self, settings: WeComHostedSettings, port: Port) -> None:
        self._settings = settings
        self._port = port
        keys = [signing.key_of(each.reveal()) for each in settings.command_secrets]
        self._keys = [hmac.digest(key, b"file links", hashlib.sha256) for key in keys]
        own = urlsplit(settings.gateway)
        self._hosts = frozenset(settings.media_hosts or (own.netloc.lower(),))

    # -- ours, for the gateway -----------------------------------------------------------------------------------------

    async def served(self, media: Iterable[str]) -> dict[str, Served]:
        """Links to files of our media store. Raises Failed."""
        found: dict[str, Served] = {}
        for one in media:
            try:
                file = await self._port.media(one)
            except Malformed as error:
                raise Failed(Rejected("message", str(error), "media_refused")) from None
            except Exception as error:
                told = f"files: {type(error).__name__}"
                raise Failed(Retry("channel", told, 1.0, "not_ready")) from error
            found[one] = Served(self._link(one), file.name, file.type, file.size)
        return found

    def _link(self, media: str) -> str:
        ends = self._port.clock.now_ms() // 1000 + round(self._settings.link_for)
        where = f"{self._settings.public_url}/hooks/{quote(self._port.channel)}/{PATH}"
        return f"{where}?media={media}&ends={ends}&mark={_mark(self._keys[0], media, str(ends))}"

    async def give(self, request: Request) -> Response:
        """The web hook that the links lead to: the file, or 404 for whatever is wrong with a link."""
        media, ends, mark = (request.query.get(name, "") for name in ("media", "ends", "mark"))
        good = False
        for key in self._keys:  # no way out early: the time taken tells nothing
            good |= hmac.compare_digest(_mark(key, media, ends).encode(), mark.encode())
        if not good or int(ends) * 1000 <= self._port.clock.now_ms():
            return Response(404, b"no such file")
        try:
            file = await self._port.media(media)
        except Malformed:
            return Response(404, b"no such file")
        return Response(200, await asyncio.to_thread(file.path.read_bytes), file.type)

    # -- a customer's, for us ------------------------------------------------------------------------------------------

    async def bring(self, said: content.Media, gateway: Gateway) -> str:
        """Keep the file; its id in our media store. Raises Lost, Later."""
        if not self._may_fetch(said.url):
            raise Lost("host_refused", "the file lies on a host that is not among media_hosts")
        try:
            async with (
                asyncio.timeout(FETCH_S),
                gateway.http().get(said.url, allow_redirects=False) as response,
            ):
                self._check(response)
                mime = said.mime or response.content_type
                data = self._checked(response, said.sha256)
                return await self._port.keep_media(data, mime=mime, name=said.name or said.kind)
        except Malformed as error:
            raise Lost("not_kept", str(error)) from None
        except aiohttp.InvalidURL:
            raise Lost("bad_url", "the file's address cannot be called") from None
        except (aiohttp.ClientError, TimeoutError, OSError, Failed) as error:
            raise Later(f"the file could not be fetched: {type(error).__name__}") from error

    def _may_fetch(self, address: str) -> bool:
        """Only hosts that are configured, whatever they resolve to: who says where files lie may not choose our targets."""
        try:
            url = urlsplit(address)
            port = url.port or _DEFAULT_PORTS.get(url.scheme, 0)
        except ValueError:
            return False
        host = (url.hostname or "").lower()
        name = f"[{host}]" if ":" in host else host
        standard = port == _DEFAULT_PORTS.get(url.scheme)
        wanted = {f"{name}:{port}"} | ({name} if standard else set())
        return url.username is None and bool(host) and not wanted.isdisjoint(self._hosts)

    def _check(self, response: aiohttp.ClientResponse) -> None:
        if response.status in (408, 425, 429) or response.status >= 500:
            raise Later(f"the file's host answered HTTP {response.status}")
        if response.status != 200:  # a redirect would leave the checked host
            raise Lost("not_there", f"the file's host answered HTTP {response.status}")
        if (response.content_length or 0) > self._settings.largest_file:
            raise Lost("too_large", f"{response.content_length} octets")

    async def _checked(self, response: aiohttp.ClientResponse, sha256: str) -> AsyncIterator[bytes]:
        have, digest = 0, hashlib.sha256()
        async for chunk in response.content.iter_chunked(CHUNK):
            have += len(chunk)
            if have > self._settings.largest_file:
                raise Lost("too_large", f"more than {self._settings.largest_file} octets")
            digest.update(chunk)
            yield chunk
        if sha256 and digest.hexdigest() != sha256:
            raise Later("the file is not the one whose hash was told")


def _mark(key: bytes, media: str, ends: str) -> str:
    digest = hmac.digest(key, f"{media}\n{ends}".encode(), hashlib.sha256)
    return base64.urlsafe_b64encode(digest[:18]).decode()
