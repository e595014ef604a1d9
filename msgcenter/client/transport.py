"""Transport: one HTTP call with its retries: when to try again, how long to wait, and which Idempotency-Key every try carries.

| answer | tried again |
|---|---|
| 429, 503 | yes, after `Retry-After`: the API has done nothing, or knows the key |
| 409 `idempotency_busy` | yes: an earlier try is still being worked on |
| no answer, 500, 502, 504 | only what may be repeated: GET, HEAD, PUT, DELETE, or a call with an Idempotency-Key |
| anything else | no |
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import aiohttp
from yarl import URL

from msgcenter.client.errors import ApiError, NotReached
from msgcenter.client.sse import ServerEvent, read_events
from protocols.webhook.signing import sign

PIECE = 256 << 10
_REPEATABLE = frozenset({"GET", "HEAD", "PUT", "DELETE"})
Upload = bytes | Path | BinaryIO


@dataclass(frozen=True, slots=True)
class Retries:
    """How stubborn a client is. `most`: tries after the first; waits double from `first_s` to `longest_s`, half of each by
    chance; a longer `Retry-After` than `patience_s` is not waited for but raised."""

    most: int = 5
    first_s: float = 0.2
    longest_s: float = 10.0
    patience_s: float = 60.0


class Transport:
    """Keeps connections to one msgcenter. Use as `async with`."""

    def __init__(
        self,
        base: str,
        key: str,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        language: str = "en",
        signing_secret: str | None = None,
        now: Callable[[], float] = time.time,  # noqa: TID251 - a client has the machine's clock
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        token: Callable[[], str] = lambda: secrets.token_hex(16),
        chance: Callable[[], float] = lambda: secrets.randbelow(1 << 20) / (1 << 20),
    ) -> None:
        """`base`: where the API is, such as `https://msgcenter.internal`; `key`: `mck_…`, sent to that host only;
        `signing_secret`: `whsec_…`, for a caller whose requests are signed."""
        self._base = URL(base)
        self._headers = {
            "Authorization": f"Bearer {key}",
            "Accept-Language": language,
            "User-Agent": "msgcenter-client",
        }
        self._timeout = aiohttp.ClientTimeout(total=timeout_s)
        self._retries = retries or Retries()
        self._signing_secret = signing_secret
        self._now = now
        self._sleep = sleep
        self._token = token
        self._chance = chance
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Idempotent."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    # -- calls ----------------------------------------------------------------------------------

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, object] | None = None,
        body: object = None,
        idempotency_key: str | None = None,
        keyed: bool = False,
    ) -> Any:
        """The JSON answer. `keyed`: the operation takes an Idempotency-Key; one is made when none is given, the same for all
        tries. Raises ApiError, NotReached."""
        headers = {}
        if keyed:
            headers["Idempotency-Key"] = idempotency_key or self._token()
        data = None
        if body is not None:
            data = json.dumps(body, ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        raw = await self._tried(method, path, query, headers, lambda: data, keyed)
        return json.loads(raw) if raw else None

    async def text(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None
    ) -> str:
        """The answer as text. Raises ApiError, NotReached."""
        return (await self._tried(method, path, query, {}, lambda: None, False)).decode()

    async def download(
        self, method: str, path: str, *, query: Mapping[str, object] | None = None
    ) -> bytes:
        """A file, whole. Raises ApiError, NotReached."""
        return await self._tried(method, path, query, {}, lambda: None, False)

    async def save(self, path: str, to: Path) -> None:
        """A file, in pieces, into `to`; what had arrived when a connection broke is not asked for again."""
        tries = 0
        with to.open("wb") as file:
            while True:
                at = file.tell()
                headers = {"Range": f"bytes={at}-"} if at else {}
                try:
                    async with await self._open("GET", path, None, headers, None) as response:
                        if response.status == 416 and at:
                            return
                        if response.status >= 400:
                            raise await _error(response)
                        if at and response.status != 206:
                            file.seek(0)
                            file.truncate()
                        async for piece in response.content.iter_chunked(PIECE):
                            file.write(piece)
                        return
                except (aiohttp.ClientError, TimeoutError) as error:
                    tries += 1
                    if tries > self._retries.most:
                        raise NotReached(f"GET {path}: {type(error).__name__}") from error
                    await self._sleep(self._pause(tries))

    async def upload(
        self,
        method: str,
        path: str,
        data: Upload,
        *,
        content_type: str,
        query: Mapping[str, object] | None = None,
    ) -> Any:
        """Send a file as the body. The same content gives the same id, so it may be repeated; an open file must be able to seek.
        Raises ApiError, NotReached."""
        start = 0 if isinstance(data, bytes | Path) else data.tell()

        def body() -> object:
            if isinstance(data, Path):
                return data.open("rb")
            if isinstance(data, bytes):
                return data
            data.seek(start)
            return data.read()

        headers = {"Content-Type": content_type}
        return json.loads(await self._tried(method, path, query, headers, body, True))

    async def stream(
        self, path: str, query: Mapping[str, object] | None = None, last_id: str = ""
    ) -> AsyncIterator[ServerEvent]:
        """Server-sent events without end: a broken connection is made again behind the last event. Raises ApiError,
        NotReached."""
        tries = 0
        while True:
            headers = {"Accept": "text/event-stream"}
            if last_id:
                headers["Last-Event-ID"] = last_id
            try:
                response = await self._open("GET", path, query, headers, None, endless=True)
                async with response:
                    if response.status >= 400:
                        error = await _error(response)
                        if response.status not in (429, 503) or tries >= self._retries.most:
                            raise error
                    else:
                        async for event in read_events(response.content):
                            tries = 0
                            last_id = event.id or last_id
                            yield event
            except (aiohttp.ClientError, TimeoutError) as error:
                if tries >= self._retries.most:
                    raise NotReached(f"GET {path}: {type(error).__name__}") from error
            tries += 1
            await self._sleep(self._pause(tries))

    # -- tries ----------------------------------------------------------------------------------

    async def _tried(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
        body: Callable[[], object],
        keyed: bool,
    ) -> bytes:
        repeatable = keyed or method in _REPEATABLE
        for number in range(1, self._retries.most + 2):
            last = number > self._retries.most
            try:
                async with await self._open(method, path, query, headers, body()) as response:
                    if response.status < 400:
                        return await response.read()
                    error = await _error(response)
            except aiohttp.ClientConnectorError as gone:
                # nothing was sent
                if last:
                    raise NotReached(f"{method} {path}: {gone}") from gone
                await self._sleep(self._pause(number))
                continue
            except (aiohttp.ClientError, TimeoutError) as gone:
                if last or not repeatable:
                    raise NotReached(f"{method} {path}: {type(gone).__name__}") from gone
                await self._sleep(self._pause(number))
                continue
            wait = _retry_after(error)
            if last or not _again(error, repeatable) or wait > self._retries.patience_s:
                raise error
            await self._sleep(max(wait, self._pause(number)))
        raise AssertionError("the last try returns or raises")

    async def _open(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None,
        headers: Mapping[str, str],
        data: object,
        endless: bool = False,
    ) -> aiohttp.ClientResponse:
        if self._session is None:
            self._session = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        given = {k: _query(v) for k, v in (query or {}).items() if v is not None}
        url = self._base.join(URL(path, encoded=True)).with_query(given)
        if self._signing_secret is not None:
            # every try with an id of its own; a file is not signed, its id follows from its content
            signed = f"{method} {url.raw_path_qs}\n".encode()
            if isinstance(data, bytes) and headers.get("Content-Type") == "application/json":
                signed += data
            marks = sign([self._signing_secret], f"req_{self._token()}", int(self._now()), signed)
            headers = {**headers, **marks}
        timeout = aiohttp.ClientTimeout(total=None, sock_read=45.0) if endless else self._timeout
        # a redirect would carry the key to another host
        return await self._session.request(
            method,
            url,
            data=data,
            headers={**self._headers, **headers},
            timeout=timeout,
            allow_redirects=False,
        )

    def _pause(self, number: int) -> float:
        longest = min(self._retries.first_s * 2 ** (number - 1), self._retries.longest_s)
        return float(longest * (0.5 + self._chance() / 2))


def _again(error: ApiError, repeatable: bool) -> bool:
    if error.status in (429, 503):
        return repeatable or error.status == 429
    if error.status == 409:
        return error.code == "idempotency_busy"
    return repeatable and error.status in (500, 502, 504)


def _retry_after(error: ApiError) -> float:
    text = error.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0


def _query(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


async def _error(response: aiohttp.ClientResponse) -> ApiError:
    raw = await response.read()
    try:
        problem = json.loads(raw)
    except ValueError:
        problem = {}
    if not isinstance(problem, dict):
        problem = {}
    problem.setdefault("detail", raw[:200].decode(errors="replace"))
    return ApiError(response.status, problem, response.headers)
