"""Callbacks on their way out: encrypted, signed, at most 5 s each, three attempts; addresses are verified by echo first."""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from xml.etree.ElementTree import ParseError

import aiohttp
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from yarl import URL

from adapters.sim.wecom.faults import Faults
from adapters.sim.wecom.world import World
from protocols.errors import Malformed
from protocols.wecom.crypto import Crypt

#: A value: text goes out as CDATA, a number bare, a list repeats its element, a mapping nests.
Fields = Mapping[str, Any]


@dataclass(slots=True)
class Target:
    """Where one app (or one set of abilities) gets its callbacks. `form`: xml or json envelope."""

    agentid: int
    url: str
    token: str
    aes_key: str
    crypt: Crypt
    form: str = "xml"


@dataclass(slots=True)
class Push:
    """One callback and what became of it; `statuses` has one entry per attempt (0: no answer in time, -1: no link)."""

    agentid: int
    plain: str
    statuses: list[int] = field(default_factory=list)
    took: list[float] = field(default_factory=list)
    done: bool = False
    taken: bool = False


class Pusher:
    """`emit` returns at once. `pushes` are the newest 20,000 callbacks; `drained` waits until none is under way."""

    def __init__(self, world: World, faults: Faults) -> None:
        self._world = world
        self._faults = faults
        self.targets: dict[int, Target] = {}
        self.pushes: deque[Push] = deque(maxlen=20_000)
        self._session: aiohttp.ClientSession | None = None
        self._lanes = asyncio.Semaphore(64)
        self._held: list[tuple[Target, Push]] = []
        self._under_way: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(trust_env=False)

    async def stop(self) -> None:
        for task in set(self._under_way):
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def emit(self, event: Fields, *, ability: str = "", agentid: int | None = None) -> None:
        """Push to one app, or to every app that has the ability and an address.

        `AgentID` on the envelope is the app's for its own messages, else empty (2000004 for the archive).
        """
        for target in self.targets.values():
            app = self._world.apps.get(target.agentid)
            if agentid is not None:
                if target.agentid != agentid:
                    continue
                shown = str(agentid)
            elif app is None or ability not in app.abilities:
                continue
            else:
                shown = "2000004" if ability == "archive" else ""
            self._send(target, xml(event), shown)

    async def drained(self) -> None:
        while self._under_way:
            await asyncio.wait(set(self._under_way))

    # --- orders ---

    async def callback_set(
        self, *, agentid: int, url: str, token: str = "", aes_key: str = "", form: str = "xml"
    ) -> dict[str, Any]:
        """Save an address for an app as the admin console does: only if it echoes. Raises ValueError when it does not."""
        options = self._world.options
        token, aes_key = token or options.callback_token, aes_key or options.aes_key
        if form not in {"xml", "json"} or urlsplit(url).scheme not in {"http", "https"}:
            raise ValueError("form: xml or json; url: http(s)")
        try:
            crypt = Crypt(token, aes_key, self._world.corp)
        except Malformed as error:
            raise ValueError(str(error)) from None
        target = Target(agentid, url, token, aes_key, crypt, form)
        echo = self._world.new_id("", 20)
        timestamp, nonce = str(self._world.now()), self._nonce()
        sealed = crypt.encrypt(echo.encode(), timestamp, nonce, self._noise())
        query = {
            "msg_signature": sealed.signature,
            "timestamp": timestamp,
            "nonce": nonce,
            "echostr": sealed.encrypt,
        }
        assert self._session is not None, "start first"
        limit = aiohttp.ClientTimeout(total=options.echo_timeout)
        try:
            async with self._session.get(_with(url, query), timeout=limit) as response:
                status, said = response.status, await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ValueError(f"no echo from {url}: {type(error).__name__}") from None
        if status != 200 or said != echo.encode():
            raise ValueError(f"{url} answered {status} and not the echo")
        self.targets[agentid] = target
        return {"agentid": agentid, "url": url}

    def callback_drop(self, *, agentid: int) -> dict[str, Any]:
        """No more callbacks to this app."""
        return {"dropped": self.targets.pop(agentid, None) is not None}

    def callbacks(self, *, limit: int = 100) -> dict[str, Any]:
        """The newest callbacks: plain text, status of each attempt."""
        newest = list(self.pushes)[-limit:] if limit > 0 else []
        return {
            "pushes": [
                {"agentid": p.agentid, "plain": p.plain, "statuses": p.statuses, "done": p.done}
                for p in newest
            ]
        }

    def member_writes(
        self,
        *,
        userid: str,
        text: str = "",
        agentid: int = 0,
        msgtype: str = "text",
        fields: dict[str, Any] | None = None,
        msgid: str = "",
    ) -> dict[str, Any]:
        """A member writes to an app. `fields`: the XML elements of other types (`{"MediaId": …}`)."""
        agent = agentid or self._world.options.agent
        given = msgid or str(self._world.rng.getrandbits(62) | 1 << 62)
        event: dict[str, Any] = self._common(userid, msgtype)
        event |= {"Content": text} if msgtype == "text" else dict(fields or {})
        event |= {"MsgId": int(given) if given.isdigit() else given, "AgentID": agent}
        self.emit(event, agentid=agent)
        return {"msgid": given}

    def member_event(
        self, *, userid: str, event: str, agentid: int = 0, fields: dict[str, Any] | None = None
    ) -> dict[str, Any]:
        """An app event without MsgId: subscribe, click, template_card_event, change_contact …"""
        agent = agentid or self._world.options.agent
        body = self._common(userid, "event") | {"Event": event} | dict(fields or {})
        self.emit(body | {"AgentID": agent}, agentid=agent)
        return {}

    def _common(self, sender: str, msgtype: str) -> dict[str, Any]:
        return {
            "ToUserName": self._world.corp,
            "FromUserName": sender,
            "CreateTime": self._world.now(),
            "MsgType": msgtype,
        }

    # --- on the way ---

    def _send(self, target: Target, plain: str, shown_agent: str) -> None:
        push = Push(target.agentid, plain)
        self.pushes.append(push)
        faults = self._faults
        if faults.callback("drop") is not None:
            push.done = True
            return
        if faults.callback("reorder") is not None:
            self._held.append((target, push))
            return
        twice = faults.callback("duplicate") is not None
        delay = faults.callback("delay") or 0.0
        forged = faults.callback("bad_signature") is not None
        held, self._held = self._held, []

        async def run() -> None:
            await self._world.clock.sleep(delay)
            async with self._lanes:
                await self._push(target, push, shown_agent, forged)
                if twice:
                    await self._push(target, push, shown_agent, False)
                for other, late in held:
                    await self._push(other, late, shown_agent, False)

        task = asyncio.get_running_loop().create_task(run())
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _push(self, target: Target, push: Push, shown_agent: str, forged: bool) -> None:
        timestamp, nonce = str(self._world.now()), self._nonce()
        sealed = target.crypt.encrypt(push.plain.encode(), timestamp, nonce, self._noise())
        signature = "0" * 40 if forged else sealed.signature
        query = {"msg_signature": signature, "timestamp": timestamp, "nonce": nonce}
        corp = self._world.corp
        if target.form == "json":
            body = json.dumps(
                {"tousername": corp, "encrypt": sealed.encrypt, "agentid": shown_agent}
            )
        else:
            body = xml({"ToUserName": corp, "Encrypt": sealed.encrypt, "AgentID": shown_agent})
        url = _with(target.url, query)
        for attempt in range(self._world.options.callback_tries):
            if attempt:
                await self._world.clock.sleep(self._world.options.callback_pause)
            push.statuses.append(await self._attempt(target, url, body, push))
            if push.statuses[-1] == 200:
                push.taken = True
                break
        push.done = True

    async def _attempt(self, target: Target, url: URL, body: str, push: Push) -> int:
        assert self._session is not None
        limit = aiohttp.ClientTimeout(total=self._world.options.callback_timeout)
        kind = "application/json" if target.form == "json" else "text/xml"
        began = self._world.clock.monotonic()
        try:
            async with self._session.post(
                url, data=body.encode(), headers={"Content-Type": kind}, timeout=limit
            ) as response:
                answer = await response.read()
                if response.status == 200 and answer.strip():
                    self._passive(target, answer)
                return response.status
        except TimeoutError:
            return 0
        except aiohttp.ClientError:
            return -1
        finally:
            push.took.append(self._world.clock.monotonic() - began)

    def _passive(self, target: Target, answer: bytes) -> None:
        """An encrypted reply in the answer reaches the member; anything else is counted and ignored."""
        world = self._world
        try:
            outer = fromstring(answer.decode())
            plain = target.crypt.decrypt(
                outer.findtext("MsgSignature", ""),
                outer.findtext("TimeStamp", ""),
                outer.findtext("Nonce", ""),
                outer.findtext("Encrypt", ""),
            )
            inner = fromstring(plain.decode())
        except (ValueError, ParseError, DefusedXmlException):
            world.counters["bad_passive_replies"] += 1
            return
        world.deliver(
            "passive",
            inner.findtext("ToUserName", ""),
            f"agent:{target.agentid}",
            msgtype=inner.findtext("MsgType", ""),
            text=inner.findtext("Content", ""),
            body=plain.decode(),
        )

    def _nonce(self) -> str:
        return str(self._world.rng.randrange(10**9, 10**10))

    def _noise(self) -> bytes:
        return self._world.rng.randbytes(16)


def xml(fields: Fields, root: str = "xml") -> str:
    """Elements as the platform writes them."""
    return f"<{root}>{''.join(_element(name, value) for name, value in fields.items())}</{root}>"


def _element(name: str, value: Any) -> str:
    if isinstance(value, Mapping):
        return xml(value, name)
    if isinstance(value, (list, tuple)):
        return "".join(_element(name, one) for one in value)
    if isinstance(value, (int, float)):
        return f"<{name}>{value}</{name}>"
    return f"<{name}><![CDATA[{str(value).replace(']]>', ']]]]><![CDATA[>')}]]></{name}>"


def _with(url: str, query: Mapping[str, str]) -> URL:
    parts = urlsplit(url)
    joined = urlencode([*parse_qsl(parts.query, keep_blank_values=True), *query.items()])
    return URL(parts._replace(query=joined).geturl(), encoded=True)
