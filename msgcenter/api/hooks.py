"""`/hooks/<channel>/<suffix>`: where far ends call; no key, as each channel checks its far end's signature itself."""

from __future__ import annotations

import asyncio

from aiohttp import hdrs, web

from msgcenter.adapter import Request
from msgcenter.api.problems import Problem
from msgcenter.api.web import Call, Route
from msgcenter.hooks import MAX_BODY, NoHook

READ_S = 5.0
PATTERN = "/hooks/{channel}{suffix:(/.*)?}"


async def take(call: Call) -> web.Response:
    """Hand the call to its channel."""
    request, hooks = call.request, call.api.deps.hooks
    channel, suffix = request.match_info["channel"], request.match_info["suffix"]
    if hooks is None:
        raise Problem("route_not_found", path=request.path)
    query = request.query
    asked = Request(
        request.method,
        request.path,
        {name: query[name] for name in query},
        request.headers,
        await _body(request),
    )
    try:
        answer = await hooks.call(channel, suffix, asked)
    except NoHook as error:
        raise Problem("route_not_found", path=request.path) from error
    headers = {hdrs.CONTENT_TYPE: answer.content_type} if answer.body else {}
    return web.Response(status=answer.status, body=answer.body, headers=headers)


async def _body(request: web.Request) -> bytes:
    if (request.content_length or 0) > MAX_BODY:
        raise Problem("body_too_large", limit=MAX_BODY)
    body = bytearray()
    try:
        async with asyncio.timeout(READ_S):
            async for chunk in request.content.iter_any():
                body += chunk
                if len(body) > MAX_BODY:
                    raise Problem("body_too_large", limit=MAX_BODY)
    except TimeoutError as error:
        raise Problem("body_slow", limit=f"{READ_S:g} s") from error
    return bytes(body)


#: Served, but no part of the API: the far ends' own protocols.
HOOKS = tuple(
    Route(method, "/hooks/{channel}", take, "A far end calls", "hooks", {200: None})
    for method in ("GET", "POST")
)
