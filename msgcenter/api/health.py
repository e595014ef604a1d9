"""Health: alive (the event loop turns), ready (what the process needs answers), metrics, version;
none of them needs a key."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Callable

from aiohttp import web

from msgcenter.api.views import (
    CheckView,
    ReadyView,
    VersionView,
)
from msgcenter.api.web import Call, Param, Route, respond, shown
from msgcenter.bus import Bus
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.log import said
from msgcenter.metrics import CONTENT_TYPE
from msgcenter.state import State, StateError
from msgcenter.store import StoreError
from msgcenter.store.store import Store

CHECK_S = 1.0
BELIEVED_S = 1.0
VERBOSE = Param("verbose", "list every check", {"type": "string"})


class Readiness:
    """The checks, asked at most once a second however many ask."""

    def __init__(
        self, bus: Bus, state: State, store: Store, clock: Clock, draining: Callable[[], bool]
    ) -> None:
        self._bus = bus
        self._parts: dict[str, State | Store] = {"state": state, "store": store}
        self._clock = clock
        self._draining = draining
        self._lock = asyncio.Lock()
        self._at = float("-inf")
        self._checks: list[CheckView] = []

    async def checks(self) -> list[CheckView]:
        async with self._lock:
            now = self._clock.monotonic()
            if now - self._at >= BELIEVED_S:
                self._checks = await self._ask()
                self._at = now
        # leaving is known at once
        draining = self._draining()
        detail = "shutting down" if draining else None
        return [*self._checks, CheckView(name="accepting", ok=not draining, detail=detail)]

    async def view(self, verbose: bool) -> ReadyView:
        """What /readyz shows: what fails, or with `verbose` every check."""
        checks = await self.checks()
        shown_checks = [check for check in checks if verbose or not check.ok]
        return ReadyView(ready=all(check.ok for check in checks), checks=shown_checks)

    async def _ask(self) -> list[CheckView]:
        bus = self._bus.healthy()
        return [
            CheckView(name="bus", ok=not bus, detail=bus or None),
            await self._ping("state"),
            await self._ping("store"),
        ]

    async def _ping(self, name: str) -> CheckView:
        try:
            async with asyncio.timeout(CHECK_S):
                await self._parts[name].ping()
        except (StateError, StoreError) as error:
            return CheckView(name=name, ok=False, detail=said(error))
        except TimeoutError:
            return CheckView(name=name, ok=False, detail=f"no answer within {CHECK_S:g} s")
        return CheckView(name=name, ok=True)


async def live(call: Call) -> web.Response:
    """The process can answer; says nothing about others."""
    return respond(200, b'{"live":true}')


async def ready(call: Call) -> web.Response:
    """200 when this process can do its work, else 503."""
    view = await call.api.readiness.view("verbose" in call.request.query)
    return shown(view, 200 if view.ready else 503)


async def metrics(call: Call) -> web.Response:
    """Prometheus text format."""
    body = call.api.deps.metrics.render()
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})


async def version(call: Call) -> web.Response:
    """What runs here."""
    deps = call.api.deps
    return shown(version_view(deps.version, deps.live.current))


def version_view(number: str, config: Config) -> VersionView:
    return VersionView(
        version=number,
        python=platform.python_version(),
        config_hash=config.hash,
        config_generation=config.generation,
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
