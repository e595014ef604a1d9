"""The web hooks of one adapter at a port of their own, as the core would mount them: what far ends of rigs and tests call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager

from aiohttp import web

from msgcenter.adapter import Request, Response, Unavailable


class Hooks:
    """`start`, then whatever comes to `port` under a hook's name is given to that hook; 503 when it cannot be taken."""

    def __init__(self, hooks: Mapping[str, Callable[[Request], Awaitable[Response]]]) -> None:
        self._hooks = hooks
        self._runner: web.AppRunner | None = None
        self.port = 0

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{name}", self._take)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        body = await request.read()
        asked = Request(request.method, request.path, request.query, request.headers, body)
        try:
            answer = await self._hooks[request.match_info["name"]](asked)
        except (KeyError, Unavailable):  # what could not be made durable is repeated
            return web.Response(status=503)
        return web.Response(
            status=answer.status, body=answer.body, headers={"Content-Type": answer.content_type}
        )


@asynccontextmanager
async def mounted(
    hooks: Mapping[str, Callable[[Request], Awaitable[Response]]],
) -> AsyncIterator[Hooks]:
    """Hooks that are started here and stopped at the end."""
    there = Hooks(hooks)
    await there.start()
    try:
        yield there
    finally:
        await there.stop()


__all__ = ["Hooks", "mounted"]
