"""One HTTP call to WeCom, and what it tells: an answer with an errcode, or a `Refusal` that says what became of the request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import aiohttp

from adapters.wecom.settings import HttpSettings
from msgcenter.adapter import Malformed, Rejected, Retry, Unknown
from protocols.wecom.answers import Answer, read
from protocols.wecom.errcodes import outcome_of_status

MAX_ANSWER = 16 * 1024 * 1024
_JSON = {"Content-Type": "application/json; charset=utf-8", "Accept-Encoding": "identity"}


class Refusal(Exception):
    """A call that did not succeed. `outcome`: what that means for the message. `errcode` 0: there was no readable answer.
    `unreachable`: there was no connection, so nothing left. `answer`: of a refusal with an errcode.
    """

    def __init__(
        self,
        outcome: Retry | Unknown | Rejected,
        *,
        errcode: int = 0,
        unreachable: bool = False,
        answer: Answer | None = None,
    ) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome
        self.errcode = errcode
        self.unreachable = unreachable
        self.answer = answer


@contextmanager
def nothing_left(what: str) -> Iterator[None]:
    """For what is done before a message leaves: whatever goes wrong in the block (our shared memory is away), the message
    is still here, so it is a Refusal that asks for another try.
    """
    try:
        yield
    except (Refusal, Malformed):
        raise
    except Exception as error:
        told = f"{what}: {type(error).__name__}"
        raise Refusal(Retry("channel", told, 1.0, "not_ready")) from error


class Http:
    """The adapter's own client: no redirects, no cookies, every time bounded; it lives as long as `open`."""

    def __init__(self, settings: HttpSettings) -> None:
        self._settings = settings
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        settings = self._settings
        connector = aiohttp.TCPConnector(limit=settings.connections, keepalive_timeout=15.0)
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_s, sock_read=settings.read_s
        )
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    async def call(
        self,
        api: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        *,
        form: Callable[[], aiohttp.FormData] | None = None,
        sends: bool = False,
    ) -> Answer:
        """GET, or POST with `body` or `form`. `sends`: the call causes something, so that a lost answer leaves open
        whether it did. An errcode other than 0 is returned, not raised. Raises Refusal.
        """
        async with self.stream(api, query, body, form=form, sends=sends) as response:
            octets = await response.content.read(MAX_ANSWER + 1)
            while not response.content.at_eof() and len(octets) <= MAX_ANSWER:
                octets += await response.content.read(MAX_ANSWER + 1 - len(octets))
            status = response.status
        return answer_in(octets, status, sends)

    @asynccontextmanager
    async def stream(
        self,
        api: str,
        query: Mapping[str, str],
        body: bytes | None = None,
        *,
        form: Callable[[], aiohttp.FormData] | None = None,
        sends: bool = False,
        headers: Mapping[str, str] | None = None,
        seconds: float = 0.0,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The response itself, its body unread; what goes wrong while the block reads it is a Refusal, too."""
        session = self._session
        if session is None:
            raise Refusal(
                Retry("channel", "WeCom: no session", 0.0, "unreachable"), unreachable=True
            )
        data: Any = form() if form is not None else body
        try:
            async with (
                asyncio.timeout(seconds or self._settings.total_s * (3 if form else 1)),
                session.request(
                    "GET" if data is None else "POST",
                    self._settings.base_url + api,
                    params=dict(query),
                    data=data,
                    headers=dict(headers or (_JSON if form is None else {})),
                    allow_redirects=False,
                ) as response,
            ):
                yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _refusal_of(error, sends) from error


def answer_in(octets: bytes, status: int, sends: bool) -> Answer:
    """The answer in a body. Raises Refusal when there is none that may be believed."""
    try:
        answer = read(octets)
    except Malformed:
        answer = None
    told = answer is not None and "errcode" in answer.fields
    if answer is None or (not told and sends) or (status != 200 and not answer.errcode):
        outcome = outcome_of_status(status, sends)
        assert isinstance(outcome, Retry | Unknown)
        raise Refusal(outcome)
    return answer


def _refusal_of(error: Exception, sends: bool) -> Refusal:
    """What an exception says about the bytes: only a connection that never was proves that none left."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        told = f"no connection to WeCom: {name}"
        return Refusal(Retry("channel", told, 0.0, "unreachable"), unreachable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Refusal(Retry("channel", "base_url cannot be called", 600.0, "bad_base_url"))
    if sends:
        return Refusal(Unknown(f"no readable answer from WeCom: {name}"))
    return Refusal(Retry("channel", f"no readable answer from WeCom: {name}", 0.0, "no_answer"))
