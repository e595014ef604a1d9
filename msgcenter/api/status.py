"""`GET /v1/status`: one screen for operators: queues with depth and age, links, held, parked, dead,
checks, configuration."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.channels import channel_views
from msgcenter.api.problems import Problem
from msgcenter.api.views import (
    BacklogView,
    QueueView,
    StatusView,
)
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.store import Backlog


async def read(call: Call) -> web.Response:
    """Everything at once; queues that are empty are listed too."""
    call.query()
    if not (call.has("admin") or call.has("read:all")):
        raise Problem("scope_missing", needed="admin", scopes=call.terms.caller.scopes)
    deps = call.api.deps
    queues = list(deps.queues())
    depths = await deps.bus.depths(queues) if queues else {}
    store = deps.store
    held, parked, dead = (
        await store.count_due(),
        await store.count_parked(),
        await store.count_dead(),
    )
    checks = await call.api.readiness.checks()
    config = deps.live.current
    return shown(
        StatusView(
            version=deps.version,
            time=when(deps.clock.now_ms()) or "",
            ready=all(check.ok for check in checks),
            checks=checks,
            queues=[
                QueueView(
                    name=queue.name,
                    topic=queue.topic,
                    lane=queue.lane,
                    ready=depths[queue.name].ready,
                    leased=depths[queue.name].leased,
                    oldest_seconds=depths[queue.name].oldest,
                )
                for queue in queues
                if queue.name in depths
            ],
            channels=channel_views(deps),
            held=_backlog(held),
            parked=_backlog(parked),
            dead=dead.count,
            config={
                "hash": config.hash,
                "generation": config.generation,
                "loaded_at": when(config.loaded_at),
                "restart_needed": list(config.restart_needed),
                "last_reload": dict(deps.last_reload()),
                "waiting": deps.rollout.standing.why if deps.rollout else "",
            },
        )
    )


def _backlog(backlog: Backlog) -> BacklogView:
    return BacklogView(count=backlog.count, oldest_at=when(backlog.oldest_ms or 0))


ROUTES = (
    Route(
        "GET",
        "/v1/status",
        read,
        "The state of everything, for operators",
        "operations",
        {200: StatusView},
        scope="",
        problems=("store_unavailable", "bus_unavailable"),
    ),
)
