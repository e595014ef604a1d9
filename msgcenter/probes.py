"""Probes: a small listener in every process, whatever its roles, for orchestrators and Prometheus: /livez, /readyz, /metrics, /version."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import web
from pydantic import BaseModel

from msgcenter.api.health import Readiness, version_view
from msgcenter.config import Config
from msgcenter.metrics import CONTENT_TYPE, Metrics


class Probes:
    """`await start()` listens on `host`:`port` (0: a free one), `port` is then the one taken; `await stop()`. Raises OSError when
    the port is not to be had."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        readiness: Readiness,
        metrics: Metrics,
        version: str,
        config: Callable[[], Config],
    ) -> None:
        self.port = port
        self._host = host
        self._readiness = readiness
        self._metrics = metrics
        self._version = version
        self._config = config
        app = web.Application()
        app.router.add_get("/livez", self._live)
        app.router.add_get("/readyz", self._ready)
        app.router.add_get("/metrics", self._render)
        app.router.add_get("/version", self._told)
        self._runner = web.AppRunner(app, access_log=None, handle_signals=False)

    async def start(self) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, self.port)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _live(self, _: web.Request) -> web.Response:
        return web.json_response({"live": True})

    async def _ready(self, request: web.Request) -> web.Response:
        view = await self._readiness.view("verbose" in request.query)
        return _shown(view, 200 if view.ready else 503)

    async def _render(self, _: web.Request) -> web.Response:
        return web.Response(body=self._metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def _told(self, _: web.Request) -> web.Response:
        return _shown(version_view(self._version, self._config()))


def _shown(view: BaseModel, status: int = 200) -> web.Response:
    text = view.model_dump_json(exclude_none=True)
    return web.Response(text=text, status=status, content_type="application/json")
