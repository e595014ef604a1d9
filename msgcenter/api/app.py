"""The API as an aiohttp application: its services, wired once, and its routes."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import web
from prometheus_client import Counter, Histogram

from msgcenter.api import (
    accounts,
    callers,
    channels,
    config,
    customers,
    dead,
    dissolve,
    events,
    explaining,
    groups,
    health,
    history,
    hooks,
    inbox,
    keys,
    media,
    messages,
    openapi,
    opportunities,
    pauses,
    preferences,
    recall,
    reconciliation,
    reviews,
    schemas,
    short_links,
    signals,
    status,
    subscriptions,
)
from msgcenter.api.accept import Acceptor
from msgcenter.api.auth import Keyring
from msgcenter.api.bundle import Bundler
from msgcenter.api.deps import Deps
from msgcenter.api.fair import FairQueue
from msgcenter.api.health import Readiness
from msgcenter.api.problems import Problem
from msgcenter.api.quota import Quotas
from msgcenter.api.repeats import Repeats
from msgcenter.api.stream import Streams
from msgcenter.api.terms import TermsBook
from msgcenter.api.waits import Waits
from msgcenter.api.web import Route, endpoint, frame
from msgcenter.lookup import GroupLookup
from msgcenter.media import Links
from msgcenter.metrics import Metrics
from msgcenter.pauses import Pauses
from msgcenter.signed import Signed
from msgcenter.state import Snapshot
from msgcenter.status import Meta, derive, is_final, plan_open, plan_over
from msgcenter.subscriptions import Subscriptions

ROUTES: tuple[Route, ...] = (
    *messages.ROUTES,
    *explaining.ROUTES,
    *recall.ROUTES,
    *short_links.ROUTES,
    *signals.ROUTES,
    *opportunities.ROUTES,
    *media.ROUTES,
    *history.ROUTES,
    *events.ROUTES,
    *subscriptions.ROUTES,
    *schemas.ROUTES,
    *inbox.ROUTES,
    *channels.ROUTES,
    *accounts.ROUTES,
    *callers.ROUTES,
    *reconciliation.ROUTES,
    *reviews.ROUTES,
    *groups.ROUTES,
    *dissolve.ROUTES,
    *customers.ROUTES,
    *preferences.ROUTES,
    *dead.ROUTES,
    *keys.ROUTES,
    *config.ROUTES,
    *pauses.ROUTES,
    *status.ROUTES,
    *health.ROUTES,
    *openapi.ROUTES,
)
"""Everything that /openapi.json describes."""

PRESSURE_RETRY_S = 5.0


class Api:
    """The services that handlers use; one per process."""

    def __init__(self, deps: Deps) -> None:
        process = deps.live.current.process
        self.deps = deps
        self.partitions = process.bus.partitions
        self.keyring = Keyring(deps.store, deps.pepper, deps.clock, deps.log)
        self.fair = FairQueue(deps.clock)
        self.repeats = Repeats(deps.log)
        self.book = TermsBook(deps.specs, deps.ways)
        self.acceptor = Acceptor(deps.clock, deps.ids)
        self.groups = GroupLookup(deps.store, deps.clock)
        self.pauses = Pauses(deps.state, deps.store, deps.clock)
        self.subscriptions = Subscriptions(deps.state, deps.store, deps.clock, deps.pepper)
        self.quotas = Quotas(deps.state, deps.clock, lambda: deps.live.current.policy.zone)
        self.hours = callers.Hours()
        self.waits = Waits(deps.state, self.final, deps.clock)
        self.readiness = Readiness(deps.bus, deps.state, deps.store, deps.clock, deps.draining)
        self.streams = Streams()
        self.bundler = Bundler(
            deps.bus,
            deps.state,
            clock=deps.clock,
            metrics=deps.metrics,
            partitions=self.partitions,
            max_items=process.api.bundle,
        )
        self.links = Links(deps.pepper)
        self.short = Signed(deps.pepper, "short links")
        self.wishes = Signed(deps.pepper, "preference pages")
        self.openapi = openapi.rendered(ROUTES, deps.version)
        self._counters: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def final(self, snapshot: Snapshot) -> bool:
        """Whether the status of a message is its last one, as far as its channels report anything after `sent`."""
        status = derive(snapshot)
        if plan_open(snapshot) or plan_over(snapshot):
            return plan_over(snapshot)
        if status != "sent":
            return is_final(status, receipts=True)
        meta = Meta.unpack(snapshot.meta)
        receipts = any(
            spec.receipts for kind in meta.channels for spec in self.deps.ways(kind, meta.account)
        )
        return is_final(status, receipts=receipts)

    def refuse_under_pressure(self, caller: str, more: int) -> None:
        """Raises Problem `overloaded` past the soft mark, while leaving, or when `more` would not
        fit the backlog; `caller_overloaded` when they would not fit the caller's share of it."""
        if self.deps.draining():
            raise Problem("overloaded", retry_after=PRESSURE_RETRY_S, why="shutting down")
        if (
            self.deps.pressure()
        ):  # /readyz says what it is; it may name what is no business of callers
            raise Problem(
                "overloaded", retry_after=PRESSURE_RETRY_S, why="the bus takes nothing at present"
            )
        self.bundler.refuse_if_full(caller, more)

    def observe(self, metrics: Metrics, route: str, method: str, status: int, took: float) -> None:
        """Count a request; the labelled children are looked up once."""
        key = (route, method, status)
        found = self._counters.get(key)
        if found is None:
            labels = {"route": route, "method": method}
            found = self._counters[key] = (
                metrics.api_requests_total.labels(**labels, status=str(status)),
                metrics.api_request_duration_seconds.labels(**labels),
            )
        found[0].inc()
        found[1].observe(took)

    async def close(self) -> None:
        """Finish what was accepted, let waiters go."""
        await self.waits.close()
        await self.bundler.close()


def build_app(deps: Deps) -> web.Application:
    """The application, ready for a runner. `app[API]` is the Api; its clean-up flushes what is in
    flight."""
    api = Api(deps)
    app = web.Application(
        middlewares=[frame(api)], client_max_size=deps.live.current.process.api.max_body
    )
    app[API] = api
    for route in (*ROUTES, *openapi.PAGES, *short_links.PAGES, *preferences.PAGES):
        app.router.add_route(route.method, route.pattern, endpoint(api, route))
    for route in hooks.HOOKS:
        app.router.add_route(route.method, hooks.PATTERN, endpoint(api, route))

    async def running(_: web.Application) -> AsyncIterator[None]:
        yield
        await api.close()

    app.cleanup_ctx.append(running)
    return app


API = web.AppKey("api", Api)
