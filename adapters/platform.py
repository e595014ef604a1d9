"""Callbacks: events go to a caller's callback as signed HTTP POSTs (Standard
Webhooks, CloudEvents JSON).

A receiver knows a repeat by `webhook-id`, the event's own id, which every try of it carries: so an
unknown outcome is settled by sending again. One subscriber that is down or slow never makes the
channel unreachable for the others.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from pydantic import BaseModel, ConfigDict, Field, field_validator

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Retry,
    Spec,
    Subscriber,
    Unavailable,
    Unknown,
    Unreachable,
)
from protocols.egress import Network, may_call, networks
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Notice
from protocols.webhook import results, signing

MAX_ANSWER = 64 * 1024
_HEADERS = {
    "Content-Type": "application/cloudevents+json; charset=utf-8",
    "Accept-Encoding": "identity",
    "User-Agent": "msgcenter",
}
_MODEL = ConfigDict(
    frozen=True, extra="forbid", hide_input_in_errors=True, use_attribute_docstrings=True
)


class Egress(BaseModel):
    """Where callbacks may lead: global addresses, and the networks in `allow` (CIDR)."""

    model_config = _MODEL

    allow: tuple[str, ...] = ()
    """Networks (CIDR) that callbacks may lead to beside public addresses, as 10.0.0.0/8."""
    https_only: bool = True
    """false: plain http as well."""

    @field_validator("allow")
    @classmethod
    def _readable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        networks(value)
        return value


class PlatformSettings(BaseModel):
    """Settings of kind `platform`. Times in seconds."""

    model_config = _MODEL

    egress: Egress = Egress()
    """Where callbacks may lead."""
    connect_s: float = Field(default=3.0, gt=0)
    """Longest time to connect."""
    read_s: float = Field(default=10.0, gt=0)
    """Longest silence while the answer is awaited."""
    total_s: float = Field(default=20.0, gt=0)
    """Longest time for one call, whatever drips."""
    per_host: int = Field(default=16, ge=1)
    """Calls at once to one host, so that a slow one keeps its share only."""
    connections: int = Field(default=256, ge=1)
    """Connections at once, to all hosts together."""


class EgressRefused(OSError):
    """The callback's address is not one that may be called."""


class Platform(Adapter):
    """Delivers `Notice` to `caller:<name>`; within a batch events with one order_key go one
    after the other.
    """

    spec = Spec(
        kind="platform",
        title="Callbacks of subscribers (平台回调)",
        payloads=frozenset({Notice}),
        schemes=frozenset({"caller"}),
        max_batch=100,
        in_flight=4,
        idempotent=True,
        limits={"body": "answers are read up to 64 KiB", "redirects": "never followed"},
    )
    Settings = PlatformSettings
    settings: PlatformSettings

    @classmethod
    def refuses(cls, settings: PlatformSettings, address: str) -> str:
        """Of a subscriber's URL: a wrong scheme, a login in it, or an address literal where no call may lead. A name is looked up
        at every call, and what it leads to then is checked then."""
        try:
            host = _checked(address, settings.egress.https_only)
        except Malformed as error:
            return str(error)
        literal = host.strip("[]")
        local = literal.rstrip(".").lower()
        if local == "localhost" or local.endswith(".localhost"):
            literal = "127.0.0.1"
        if _is_literal(literal) and not may_call(literal, networks(settings.egress.allow)):
            return "it leads to an address that may not be called"
        return ""

    def __init__(self, settings: PlatformSettings, port: Port) -> None:
        super().__init__(settings, port)
        self._allow: tuple[Network, ...] = networks(settings.egress.allow)
        self._http: aiohttp.ClientSession | None = None

    async def session(self, up: Callable[[bool], None]) -> None:
        """Keep the HTTP client with the guarded connector; up from the start, never over."""
        settings = self.settings
        connector = aiohttp.TCPConnector(
            limit=settings.connections,
            limit_per_host=settings.per_host,
            keepalive_timeout=15.0,
            socket_factory=self._socket,
        )
        timeout = aiohttp.ClientTimeout(
            total=None, sock_connect=settings.connect_s, sock_read=settings.read_s
        )
        async with aiohttp.ClientSession(
            connector=connector,
            timeout=timeout,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            headers=_HEADERS,
        ) as http:
            self._http = http
            try:
                up(True)
                await self.port.clock.sleep(float("inf"))
            finally:
                self._http = None

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        """The guard: called with the very address about to be connected to, literal or resolved."""
        family, kind, protocol, _, address = info
        if not may_call(str(address[0]), self._allow):
            raise EgressRefused("the callback leads to an address that may not be called")
        made = socket.socket(family, kind, protocol)
        made.setblocking(False)
        return made

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """POST each; different conversations at once, one conversation in order.

        Raises Unreachable only when the session is not running.
        """
        http = self._http
        if http is None:
            raise Unreachable("platform: no session")
        outcomes: list[Outcome] = [
            Retry("recipient", "an earlier event of this conversation was not taken", 0.0, "waits")
        ] * len(batch)
        chains: dict[tuple[str, str, int], list[int]] = {}
        for index, item in enumerate(batch):
            key = item.envelope.order_key
            chains.setdefault((item.envelope.to.value, key, 0 if key else index), []).append(index)

        async def run(chain: list[int]) -> None:
            for index in chain:
                outcome = outcomes[index] = await self._post(http, batch[index].envelope)
                if isinstance(outcome, Retry | Unknown):
                    return

        if len(chains) == 1:
            await run(next(iter(chains.values())))
        else:
            async with asyncio.TaskGroup() as group:
                for chain in chains.values():
                    group.create_task(run(chain))
        return outcomes

    async def _post(self, http: aiohttp.ClientSession, envelope: Envelope) -> Outcome:
        caller = envelope.to.value
        try:
            subscriber = await self.port.subscriber(caller)
        except Unavailable as error:
            return Retry("channel", str(error), 0.0, "unavailable")
        if subscriber is None:
            return Rejected("recipient", f"{caller} has no place for events", "no_subscriber")
        payload = envelope.payload
        if not isinstance(payload, Notice):
            return Rejected("message", "only events can be sent to a subscriber", "wrong_payload")
        body = payload.body.encode()
        now = self.port.clock.now_ms() // 1000
        try:
            url = self._url(subscriber)
            headers = signing.sign(subscriber.secrets, payload.event_id, now, body)
        except Malformed as error:
            return Rejected("recipient", str(error), "bad_subscription")
        try:
            async with (
                asyncio.timeout(self.settings.total_s),
                http.post(url, data=body, headers=headers, allow_redirects=False) as response,
            ):
                outcome = results.outcome_of(
                    response.status, response.headers.get("Retry-After", ""), now
                )
                await _drop_body(response)
                return outcome
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return _outcome_of(error)

    def _url(self, subscriber: Subscriber) -> str:
        _checked(subscriber.url, self.settings.egress.https_only)
        return subscriber.url


def _checked(address: str, https_only: bool) -> str:
    """The host of a URL that has the form of one to call. Raises Malformed."""
    try:
        url = urlsplit(address)
        host, _ = url.hostname, url.port
    except ValueError as error:
        raise Malformed(f"callback URL: {error}") from error
    allowed = ("https",) if https_only else ("https", "http")
    if url.scheme not in allowed or not host:
        raise Malformed(f"callback URL: needs {' or '.join(allowed)} and a host")
    if url.username is not None or url.password is not None:
        raise Malformed("callback URL: credentials do not belong in a URL")
    return host


def _is_literal(host: str) -> bool:
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


async def _drop_body(response: aiohttp.ClientResponse) -> None:
    """Read a small answer so that the connection can be used again; close on a large or broken one.

    The status line has come and is the answer: what happens to the body cannot change it.
    """
    left = MAX_ANSWER
    try:
        while left > 0:
            chunk = await response.content.read(left)
            if not chunk:
                return
            left -= len(chunk)
    except (aiohttp.ClientError, TimeoutError):
        pass
    response.close()


def _outcome_of(error: Exception) -> Outcome:
    """What an exception says about the bytes (measured: a connector error means that none left)."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError):
        if isinstance(error.os_error, EgressRefused):
            return Rejected("recipient", str(error.os_error), "egress_refused")
        return Retry("recipient", f"no connection to the subscriber: {name}", 0.0, "unreachable")
    if isinstance(error, aiohttp.ConnectionTimeoutError):
        return Retry("recipient", "no connection to the subscriber in time", 0.0, "unreachable")
    if isinstance(error, aiohttp.InvalidURL):
        return Rejected("recipient", "callback URL: not one that can be called", "bad_subscription")
    return Unknown(f"no readable answer from the subscriber: {name}")


__all__ = ["Egress", "EgressRefused", "Platform", "PlatformSettings"]
