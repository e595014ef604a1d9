"""Health: alive (the event loop turns), ready (what the process needs answers), metrics, version;
none of them needs a key."""

from __future__ import annotations

import asyncio
import platform

from aiohttp import web

from msgcenter.api.deps import Deps
from msgcenter.api.views import (
    CheckView,
    ReadyView,
    VersionView,
)
from msgcenter.api.web import Call, Param, Route, respond, shown
from msgcenter.metrics import CONTENT_TYPE
from msgcenter.state import StateError
from msgcenter.store import StoreError

CHECK_S = 1.0
BELIEVED_S = 1.0
VERBOSE = Param("verbose", "list every check", {"type": "string", "enum": ["", "1", "true"]})


class Readiness:
    """The checks, asked at most once a second however many ask."""

    def __init__(self, deps: Deps) -> None:
        self._deps = deps
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self._checks: list[CheckView] = []

    async def checks(self) -> list[CheckView]:
        async with self._lock:
            now = self._deps.clock.monotonic()
            if now - self._at >= BELIEVED_S:
                self._checks = await self._ask()
                self._at = now
        # leaving is known at once
        draining = self._deps.draining()
        detail = "shutting down" if draining else None
        return [*self._checks, CheckView(name="accepting", ok=not draining, detail=detail)]

    async def _ask(self) -> list[CheckView]:
        bus = self._deps.bus.healthy()
        return [
            CheckView(name="bus", ok=not bus, detail=bus or None),
            await self._ping("state"),
            await self._ping("store"),
        ]

    async def _ping(self, name: str) -> CheckView:
        part = self._deps.state if name == "state" else self._deps.store
        try:
            async with asyncio.timeout(CHECK_S):
                await part.ping()
        except (StateError, StoreError) as error:
            return CheckView(name=name, ok=False, detail=str(error) or type(error).__name__)
        except TimeoutError:
            return CheckView(name=name, ok=False, detail=f"no answer within {CHECK_S:g} s")
        return CheckView(name=name, ok=True)


async def live(call: Call) -> web.Response:
    """The process can answer; says nothing about others."""
    return respond(200, b'{"live":true}')


async def ready(call: Call) -> web.Response:
    """200 when this process can do its work, else 503."""
    checks = await call.api.readiness.checks()
    good = all(check.ok for check in checks)
    verbose = "verbose" in call.request.query
    shown_checks = [check for check in checks if verbose or not check.ok]
    return shown(ReadyView(ready=good, checks=shown_checks), 200 if good else 503)


async def metrics(call: Call) -> web.Response:
    """Prometheus text format."""
    body = call.api.deps.metrics.render()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def version(call: Call) -> web.Response:
    """What runs here."""
    deps = call.api.deps
    config = deps.live.current
    return shown(
        VersionView(
            version=deps.version,
            python=platform.python_version(),
            config_hash=config.hash,
            config_generation=config.generation,
        )
    )


ROUTES = (
    Route("GET", "/livez", live, "Is the process alive", "health", {200: None}),
    Route(
        "GET",
        "/readyz",
        ready,
        "Can the process do its work",
        "health",
        {200: ReadyView, 503: ReadyView},
        params=(VERBOSE,),
    ),
    Route(
        "GET",
        "/healthz",
        ready,
        "The same as /readyz",
        "health",
        {200: ReadyView, 503: ReadyView},
        params=(VERBOSE,),
    ),
    Route(
        "GET", "/metrics", metrics, "Prometheus metrics", "health", {200: None}, media="text/plain"
    ),
    Route("GET", "/version", version, "What runs here", "health", {200: VersionView}),
)
