"""A WeCom simulator under test, a client that only knows HTTP, and a listener for callbacks that opens them with wechatpy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import xmltodict
from aiohttp import web
from wechatpy.enterprise.crypto import WeChatCrypto

from adapters.sim.wecom import Limits, WeComOptions, WeComSim
from msgcenter.simulator import Journal


class Api:
    """Calls by path and JSON, as any language's client would."""

    def __init__(self, sim: WeComSim, session: aiohttp.ClientSession) -> None:
        self.sim, self.session = sim, session
        self.token = ""

    async def login(self, secret: str = "") -> None:
        options = self.sim.options
        answer = await self.get(
            "gettoken", corpid=options.corp, corpsecret=secret or options.secret
        )
        assert answer["errcode"] == 0, answer
        self.token = answer["access_token"]

    def url(self, name: str) -> str:
        return f"{self.sim.url}/cgi-bin/{name}"

    async def get(self, name: str, /, **query: str) -> dict[str, Any]:
        token = {"access_token": self.token} if self.token and name != "gettoken" else {}
        async with self.session.get(self.url(name), params=token | query) as response:
            return await response.json(content_type=None)

    async def post(self, name: str, body: Any = None, /, **fields: Any) -> dict[str, Any]:
        query = {"access_token": self.token} if self.token else {}
        async with self.session.post(
            self.url(name), params=query, json=fields if body is None else body
        ) as response:
            return await response.json(content_type=None)

    async def code(self, name: str, /, **fields: Any) -> int:
        return int((await self.post(name, **fields))["errcode"])

    async def upload(
        self, data: bytes, kind: str = "image", name: str = "media/upload", **query: str
    ) -> dict[str, Any]:
        form = aiohttp.FormData()
        form.add_field("media", data, filename=f"a.{kind}", content_type="application/octet-stream")
        params = {"access_token": self.token, "type": kind} | query
        async with self.session.post(self.url(name), params=params, data=form) as response:
            return await response.json(content_type=None)


class Listener:
    """An address for callbacks. `statuses` are the next answers (else 200), `slow` seconds before each; `heard` are the
    plain callbacks as dictionaries, `forged` counts those whose signature was wrong.
    """

    def __init__(self, sim: WeComSim) -> None:
        options = sim.options
        self.crypto = WeChatCrypto(options.callback_token, options.aes_key, options.corp)
        self.heard: list[dict[str, Any]] = []
        self.envelopes: list[dict[str, Any]] = []
        self.forged = 0
        self.statuses: list[int] = []
        self.slow = 0.0
        self.reply = ""
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        query = request.query
        if request.method == "GET":
            plain = self.crypto.check_signature(
                query["msg_signature"], query["timestamp"], query["nonce"], query["echostr"]
            )
            return web.Response(text=plain)
        await asyncio.sleep(self.slow)
        status = self.statuses.pop(0) if self.statuses else 200
        body = await request.text()
        if status != 200:
            return web.Response(status=status)
        try:
            plain = self.crypto.decrypt_message(
                body, query["msg_signature"], query["timestamp"], query["nonce"]
            )
        except Exception:  # noqa: BLE001 - wechatpy's own class of errors has no common parent
            self.forged += 1
            return web.Response(status=403)
        self.envelopes.append(xmltodict.parse(body)["xml"])
        self.heard.append(xmltodict.parse(plain)["xml"])
        return web.Response(text=self.reply)

    def named(self, event: str) -> list[dict[str, Any]]:
        return [one for one in self.heard if one.get("Event") == event]


@asynccontextmanager
async def running(
    limits: dict[str, int] | None = None, **options: Any
) -> AsyncIterator[tuple[WeComSim, Api]]:
    """A started simulator and a client that has a token. It is noon (UTC+8), so that no day ends by accident."""
    sim = WeComSim(WeComOptions(limits=Limits(**(limits or {})), **options), Journal())
    sim.world.clock.jump((4 * 3600 - sim.world.now()) % 86_400)
    await sim.start()
    try:
        async with aiohttp.ClientSession() as session:
            api = Api(sim, session)
            await api.login()
            yield sim, api
    finally:
        await sim.stop()


@asynccontextmanager
async def listening(sim: WeComSim, agentid: int = 0) -> AsyncIterator[Listener]:
    """A listener that is saved as the callback address of the app."""
    listener = Listener(sim)
    app = web.Application()
    app.router.add_route("*", "/cb", listener.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        listener.url = f"http://127.0.0.1:{runner.addresses[0][1]}/cb?tenant=1"
        await sim.control(
            "callback_set", {"agentid": agentid or sim.options.agent, "url": listener.url}
        )
        yield listener
    finally:
        await runner.cleanup()


async def until(holds: Callable[[], bool], seconds: float = 5.0) -> None:
    """Wait until it holds. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.01)
