"""One signed command to the gateway, and what is known when it does not answer as it should."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import aiohttp

from adapters.wecom.hosted.settings import WeComHostedSettings
from msgcenter.adapter import Malformed, Port, Rejected, Retry, Unknown
from protocols.hosted import answers, commands
from protocols.hosted.answers import Answer
from protocols.hosted.commands import Command
from protocols.webhook.results import seconds_of


class Failed(Exception):
    """There is no answer to go by. `outcome`: what that means for the message; `unreachable`: no octet left."""

    def __init__(self, outcome: Retry | Unknown | Rejected, *, unreachable: bool = False) -> None:
        super().__init__(outcome.detail)
        self.outcome = outcome
        self.unreachable = unreachable


class Gateway:
    """The far end; usable inside `open`. Connections are bounded by the calls that accounts may have under way."""

    def __init__(self, settings: WeComHostedSettings, port: Port) -> None:
        self._settings = settings
        self._port = port
        self._url = settings.gateway + commands.PATH
        self._secrets: Sequence[str] = [each.reveal() for each in settings.command_secrets]
        self._session: aiohttp.ClientSession | None = None

    @property
    def is_open(self) -> bool:
        return self._session is not None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._settings.connect)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15.0),
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session:
            self._session = session
            try:
                yield
            finally:
                self._session = None

    def http(self) -> aiohttp.ClientSession:
        """The client, for files. Raises Failed while it is closed."""
        if self._session is None:
            told = "hosted gateway: no session"
            raise Failed(Retry("channel", told, 0.0, "unreachable"), unreachable=True)
        return self._session

    def new_id(self, purpose: str) -> str:
        """The id of a question: never that of a command, whose first answer would come again."""
        return f"{purpose}-{self._port.random.getrandbits(80):020x}"

    async def run(self, command: Command, command_id: str) -> Answer:
        """Raises Failed; Malformed when the command cannot be written."""
        http = self.http()
        now = self._port.clock.now_ms() // 1000
        call = commands.call(command, command_id, self._secrets, now)
        try:
            async with (
                asyncio.timeout(self._settings.total),
                http.post(
                    self._url, data=call.body, headers=call.headers, allow_redirects=False
                ) as response,
            ):
                body = await _read(response)
                status, after = response.status, response.headers.get("Retry-After", "")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failed(error) from error
        if status != 200:
            outcome = answers.outcome_of_status(status)
            if isinstance(outcome, Retry):
                wait = seconds_of(after, now)
                outcome = Retry(outcome.scope, outcome.detail, wait, outcome.code)
            assert isinstance(outcome, Retry | Unknown | Rejected)
            raise Failed(outcome)
        try:
            return answers.read_answer(body)
        except Malformed as error:
            told = f"hosted gateway: the answer cannot be read: {error}"
            raise Failed(Unknown(told)) from error


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """At most one octet more than an answer may have."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > answers.MAX_BYTES:
            response.close()
            break
    return bytes(body)


def _failed(error: Exception) -> Failed:
    """What an exception says about the octets: only a connection that never was proves that none left."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        told = f"no connection to the hosted gateway: {name}"
        return Failed(Retry("channel", told, 0.0, "unreachable"), unreachable=True)
    if isinstance(error, aiohttp.InvalidURL):
        return Failed(Retry("channel", "the gateway's address cannot be called", 600.0, "bad_url"))
    return Failed(Unknown(f"no answer from the hosted gateway: {name}"))
