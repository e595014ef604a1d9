"""Calls to a push engine: signed in as its profile says, one attempt each, and what an exception says about the bytes."""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

import aiohttp

from adapters.push.settings import PushSettings
from msgcenter.adapter import Port, Retry, Unknown
from protocols.errors import Malformed
from protocols.outcome import Outcome
from protocols.push import answers, signing
from protocols.push.profile import Call, Profile
from protocols.push.template import fill, text

MAX_ANSWER = 1024 * 1024
EARLY = 0.1
"""A token with less than this share of its life left is renewed before it is used."""


class Failed(Exception):
    """A call that brought no answer. `outcome`: what that means for a message; `nothing_left`: not one octet of it went out."""

    def __init__(self, outcome: Outcome, *, nothing_left: bool) -> None:
        super().__init__(getattr(outcome, "detail", ""))
        self.outcome = outcome
        self.nothing_left = nothing_left


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    body: bytes
    headers: Mapping[str, str]


class Engine:
    """`call` makes one request of the profile with its facts. The token, where there is one, is fetched once for all processes."""

    def __init__(self, settings: PushSettings, port: Port) -> None:
        self._settings = settings
        self._port = port
        self._profile: Profile = settings.made
        self._token: tuple[str, int] = ("", 0)
        """Value, and when it is renewed."""
        self._fetching: asyncio.Task[str] | None = None
        print_ = (
            f"{settings.profile}\x1f{settings.app}\x1f{settings.key}\x1f{settings.secret.reveal()}"
        )
        self._name = f"token:{hashlib.sha256(print_.encode()).hexdigest()[:20]}"

    def facts(self) -> dict[str, Any]:
        """What every template may name."""
        settings, now = self._settings, self._port.clock.now_ms()
        return {
            "app": settings.app,
            "key": settings.key,
            "secret": settings.secret.reveal(),
            "timestamp": now // 1000,
            "timestamp_ms": now,
            "nonce": f"{self._port.random.getrandbits(96):024x}",
            "dry_run": settings.dry_run,
        }

    async def call(self, call: Call, facts: Mapping[str, Any]) -> Reply:
        """One request; signed in anew and made again once when the engine says that the token is over (then it took nothing).
        Raises Failed, Malformed (a template names an unknown fact, or the body is too large)."""
        auth = self._profile.auth
        if auth.mode != "exchange":
            return await self._send(call, facts, "")
        token = await self._signed_in("")
        reply = await self._send(call, facts, token)
        if self._verdict(reply) == "refresh":
            reply = await self._send(call, facts, await self._signed_in(token))
        return reply

    def _verdict(self, reply: Reply) -> str:
        return answers.read(self._profile.answers, reply.status, reply.body).verdict

    async def _send(self, call: Call, facts: Mapping[str, Any], token: str) -> Reply:
        auth = self._profile.auth
        known = {**self.facts(), **facts}
        path = text(call.path, known)
        url = self._settings.base_url + path
        body = _body(call, known)
        if len(body) > self._profile.max_body + 64 * len(known.get("tokens") or ()):
            raise Malformed(
                f"push: {len(body)} octets, at most {self._profile.max_body} and devices"
            )
        headers: dict[str, str] = {}
        match auth.mode:
            case "basic":
                headers[auth.header] = signing.basic(known["key"], known["secret"])
            case "header":
                headers[auth.header] = auth.prefix + known["secret"]
            case "exchange":
                headers[auth.header] = auth.prefix + token
            case "sign":
                assert auth.signature is not None
                signed = {
                    **known,
                    "method": call.method,
                    "path_url": url,
                    "body_text": body.decode(),
                }
                signed["sign"] = auth.signature.of(signed)
                headers |= {name: text(value, signed) for name, value in auth.headers.items()}
                if auth.query:
                    url += f"{'&' if '?' in url else '?'}{auth.query}={signed['sign']}"
            case "none":
                pass
        return await self._request(call, url, body, headers)

    async def _request(
        self, call: Call, url: str, body: bytes, headers: dict[str, str], *, sends: bool = True
    ) -> Reply:
        if body:
            kind = "application/x-www-form-urlencoded" if call.form else "application/json"
            headers = {**headers, "Content-Type": f"{kind}; charset=utf-8"}
        try:
            async with (
                asyncio.timeout(self._settings.total),
                self._port.http().request(
                    call.method,
                    url,
                    data=body or None,
                    headers=headers,
                    allow_redirects=False,
                    ssl=self._tls,
                ) as response,
            ):
                return Reply(response.status, await _read(response), dict(response.headers))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _failed(error, sends) from error

    @cached_property
    def _tls(self) -> ssl.SSLContext | bool:
        tls = self._settings.tls
        if tls is None:
            return True
        context = ssl.create_default_context(cafile=str(tls.ca) if tls.ca else None)
        context.load_cert_chain(tls.certificate, tls.key)
        return context

    # -- the token ------------------------------------------------------------------------------

    async def _signed_in(self, stale: str) -> str:
        """The token; another one than `stale`. One fetch at a time. Raises Failed."""
        value, until = self._token
        if value and value != stale and self._port.clock.now_ms() < until:
            return value
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._fetch(stale))
        try:
            return await asyncio.shield(self._fetching)
        except Failed:
            raise
        except Exception as error:  # our shared memory is away: the message is still here
            told = f"push token: {type(error).__name__}"
            raise Failed(Retry("channel", told, 1.0, "not_ready"), nothing_left=False) from error

    async def _fetch(self, stale: str) -> str:
        async with self._port.turn(self._name, wait_s=10.0) as mine:
            now = self._port.clock.now_ms()
            kept = await self._port.memo(self._name)
            if kept:
                value, until = json.loads(kept)
                if value != stale and now < until:
                    self._token = (value, until)
                    return str(value)
            if not mine:
                raise Failed(
                    Retry("channel", "another process signs in", 2.0, "push_token"),
                    nothing_left=False,
                )
            value, lasts = await self._exchange()
            self._token = (value, now + round(lasts * (1 - EARLY) * 1000))
            await self._port.remember(self._name, json.dumps(self._token).encode(), lasts)
            return value

    async def _exchange(self) -> tuple[str, float]:
        """(token, seconds)."""
        auth, facts = self._profile.auth, self.facts()
        assert auth.call is not None
        if auth.signature is not None:
            facts["sign"] = auth.signature.of(facts)
        base = self._settings.auth_url or self._settings.base_url
        url = base + text(auth.call.path, facts)
        try:
            reply = await self._request(auth.call, url, _body(auth.call, facts), {}, sends=False)
        except Failed:
            self._port.count("token_refreshes", "failed")
            raise
        tree = answers.parse(reply.body)
        token = answers.look(tree, auth.token)
        if reply.status != 200 or not isinstance(token, str) or not token:
            self._port.count("token_refreshes", "refused")
            told = answers.read(self._profile.answers, reply.status, reply.body).detail
            outcome = Retry("channel", f"push engine gives no token: {told}", 60.0, "push_account")
            raise Failed(outcome, nothing_left=False)
        self._port.count("token_refreshes", "ok")
        lasts = answers.look(tree, auth.lasts) if auth.lasts else None
        return token, float(lasts) if isinstance(lasts, int | float) and lasts > 0 else auth.lasts_s


def _body(call: Call, facts: Mapping[str, Any]) -> bytes:
    if call.body is None:
        return b""
    filled = fill(call.body, facts)
    if call.form:
        return urlencode(filled).encode()
    return json.dumps(filled, ensure_ascii=False, separators=(",", ":")).encode()


async def _read(response: aiohttp.ClientResponse) -> bytes:
    octets = b""
    while len(octets) <= MAX_ANSWER:
        chunk = await response.content.read(MAX_ANSWER + 1 - len(octets))
        if not chunk:
            break
        octets += chunk
    return octets


def _failed(error: Exception, sends: bool) -> Failed:
    """Only a connection that never was proves that nothing left."""
    name = type(error).__name__
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        told = f"no connection to the push engine: {name}"
        return Failed(Retry("channel", told, 0.0, "unreachable"), nothing_left=True)
    if isinstance(error, aiohttp.InvalidURL):
        outcome: Outcome = Retry("channel", "base_url cannot be called", 600.0, "bad_base_url")
        return Failed(outcome, nothing_left=False)
    if not sends:
        told = f"no readable answer from the push engine: {name}"
        return Failed(Retry("channel", told, 5.0, "no_answer"), nothing_left=False)
    return Failed(Unknown(f"no readable answer from the push engine: {name}"), nothing_left=False)
