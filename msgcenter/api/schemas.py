"""`GET /v1/schemas`: what the events of each type hold, as JSON Schema; the same for pull, stream and callbacks."""

from __future__ import annotations

import json

from aiohttp import web

from msgcenter.api.problems import Problem
from msgcenter.api.views import SchemasView, SchemaView
from msgcenter.api.web import Call, Route, shown
from msgcenter.archive.event_schemas import MODELS, schema_of


async def everything(call: Call) -> web.Response:
    """Every type of event, with where its schema is."""
    call.query()
    items = [
        SchemaView(
            type=kind, title=" ".join((model.__doc__ or "").split()), url=f"/v1/schemas/{kind}"
        )
        for kind, model in MODELS.items()
    ]
    return shown(SchemasView(items=items))


async def one(call: Call) -> web.Response:
    """The schema of one type."""
    call.query()
    kind = call.request.match_info["type"]
    if kind not in MODELS:
        raise Problem("route_not_found", path=call.request.path)
    body = json.dumps(schema_of(kind), ensure_ascii=False).encode()
    return web.Response(body=body, content_type="application/schema+json")


ROUTES = (
    Route(
        "GET",
        "/v1/schemas",
        everything,
        "Types of events, each with its JSON Schema",
        "events",
        {200: SchemasView},
    ),
    Route(
        "GET",
        "/v1/schemas/{type}",
        one,
        "The JSON Schema of one type of event",
        "events",
        {200: None},
        problems=("route_not_found",),
        media="application/schema+json",
    ),
)
