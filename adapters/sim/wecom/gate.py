"""What every API call passes: faults, source address, token, frequency, concurrency, JSON; and the shape of every answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from adapters.sim.wecom.calls import Answer, Call, Endpoint, Fields
from adapters.sim.wecom.faults import Fault, Faults
from adapters.sim.wecom.refusals import TEXTS, Refused
from adapters.sim.wecom.tokens import Tokens
from adapters.sim.wecom.windows import Span
from adapters.sim.wecom.world import App, World

_NOBODY = App(0, "", set())


class Gate:
    """`calls` counts by API, `refused` by (API, errcode), `most_at_once` is the highest number of calls of one API."""

    def __init__(self, world: World, tokens: Tokens, faults: Faults, robots: Mapping[str, str]):
        self._world = world
        self._tokens = tokens
        self._faults = faults
        self._robots = robots
        self._endpoints: dict[str, Endpoint] = {}
        self._busy: Counter[str] = Counter()
        self.calls: Counter[str] = Counter()
        self.refused: Counter[tuple[str, int]] = Counter()
        self.most_at_once: Counter[str] = Counter()

    def add(self, endpoints: Mapping[str, Endpoint]) -> None:
        self._endpoints.update(endpoints)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """One request under /cgi-bin/."""
        name = request.match_info["name"]
        self.calls[name] += 1
        faults = self._faults.take(name)
        self._busy[name] += 1
        at_once = self._busy[name]
        self.most_at_once[name] = max(self.most_at_once[name], at_once)
        try:
            early = await self._before(request, faults)
            if early is not None:
                return early
            answer = await self._answer(request, name, at_once)
            return await self._after(request, faults, answer)
        finally:
            self._busy[name] -= 1

    async def _before(self, request: web.Request, faults: list[Fault]) -> web.StreamResponse | None:
        for fault in faults:
            match fault.kind:
                case "delay":
                    await self._world.clock.sleep(fault.seconds)
                case "errcode":
                    text = TEXTS.get(fault.errcode, "error")
                    return self._json(request, {"errcode": fault.errcode, "errmsg": text})
                case "http":
                    return web.Response(status=fault.status, text="<html>bad gateway</html>")
                case "lost":
                    return _cut(request)
                case _:
                    pass  # strikes after the effect
        return None

    async def _after(
        self, request: web.Request, faults: list[Fault], answer: web.StreamResponse
    ) -> web.StreamResponse:
        for fault in faults:
            match fault.kind:
                case "timeout":
                    await self._world.clock.sleep(fault.seconds)
                    return _cut(request)
                case "malformed":
                    return web.Response(
                        text='{"errcode":0,"errmsg":"ok",', content_type="text/html"
                    )
                case "errmsg":
                    odd = 'ok "\u2028 \\u0000 <b>错</b>'
                    return web.json_response({"errcode": 0, "errmsg": odd})
                case _:
                    pass
        return answer

    async def _answer(self, request: web.Request, name: str, at_once: int) -> web.StreamResponse:
        try:
            answer = await self._run(request, name, at_once)
        except Refused as refused:
            self.refused[name, refused.errcode] += 1
            fields = {"errcode": refused.errcode, "errmsg": refused.text}
            return self._json(request, fields | refused.extra)
        if isinstance(answer, dict):
            return self._json(request, {"errcode": 0, "errmsg": "ok"} | answer)
        return answer

    async def _run(self, request: web.Request, name: str, at_once: int) -> Answer:
        address = request.remote or ""
        if name == "gettoken":
            return self._tokens.gettoken(request.query, address)
        endpoint = self._endpoints.get(name)
        if endpoint is None:
            raise Refused(40066, "invalid url")
        app = self._caller(request, endpoint, address)
        if endpoint.counted:
            self._count(request, name, address)
        most = self._world.limits.concurrency
        if most and at_once > most:
            raise Refused(45033)
        if request.method != endpoint.method:
            raise Refused(40058, f"{endpoint.method} is required. invalid Request Parameter")
        raw = b""
        if endpoint.method == "POST" and endpoint.json:
            raw = await request.read()
        fields = Fields.parse(raw) if raw else Fields({})
        return await endpoint.handler(Call(name, request.query, fields, raw, app, request))

    def _caller(self, request: web.Request, endpoint: Endpoint, address: str) -> App:
        if not endpoint.token:
            if request.query.get("key", "") not in self._robots:
                raise Refused(93000)
            return _NOBODY
        self._tokens.check_address(address)
        app = self._tokens.check(request.query.get("access_token", ""))
        if endpoint.ability and endpoint.ability not in app.abilities:
            raise Refused(48002)
        return app

    def _count(self, request: web.Request, name: str, address: str) -> None:
        limits, windows = self._world.limits, self._world.windows
        per_corp: dict[Span, int] = {"minute": limits.api_minute, "hour": limits.api_hour}
        per_ip: dict[Span, int] = {"minute": limits.ip_minute, "hour": limits.ip_hour}
        if windows.take(f"corp:{name}", per_corp) or windows.take(f"ip:{address}:{name}", per_ip):
            raise Refused(45009)
        if request.query.get("debug") == "1" and windows.take(f"debug:{name}", {"minute": 5}):
            raise Refused(45009)

    def _json(self, request: web.Request, fields: dict[str, Any]) -> web.Response:
        if errcode := fields["errcode"]:
            hint = "".join(str(self._world.rng.randrange(10)) for _ in range(25))
            more = f"https://open.work.weixin.qq.com/devtool/query?e={errcode}"
            fields = fields | {
                "errmsg": f"{fields['errmsg']}, hint: [{hint}], from ip: {request.remote}, more info at {more}"
            }
        return web.json_response(fields)

    # --- orders ---

    def call_stats(self) -> dict[str, Any]:
        """Calls, refusals, and the most calls at once, per API."""
        return {
            "calls": dict(self.calls),
            "refused": {f"{name} {code}": count for (name, code), count in self.refused.items()},
            "most_at_once": dict(self.most_at_once),
        }


def _cut(request: web.Request) -> web.StreamResponse:
    """The caller gets no answer, only a connection that ends."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)
