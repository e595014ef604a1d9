"""`/v1/pauses`: the stop button: hold all that is of one campaign, caller, category, template or channel, list what is held, resume."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.models import PauseRequest
from msgcenter.api.problems import Fault, refused
from msgcenter.api.views import PausesView, PauseView, ResumedView
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.pauses import SCOPES, gate_of
from msgcenter.store import PauseRow

MOST_SPREAD_S = 86400.0


async def begin(call: Call) -> web.Response:
    """When this answers nothing more of it leaves, in any process. A pause that runs already gets the new end and reason."""
    call.query()
    request = await call.model(PauseRequest)
    _check(call, request.scope, request.value)

    async def work(_: str) -> tuple[int, bytes]:
        gate = gate_of(request.scope, request.value)
        who = f"{call.caller}/{call.identity.keyid}"
        row = await call.api.pauses.pause(gate, who, request.why, request.lasts or 0.0)
        return 201, _view(row, 0).model_dump_json(exclude_none=True).encode()

    return await call.once(request.model_dump_json().encode(), work)


async def many(call: Call) -> web.Response:
    """All pauses in force."""
    call.query()
    running = await call.api.pauses.running()
    return shown(PausesView(items=[_view(row, held) for row, held in running]))


async def end(call: Call) -> web.Response:
    """Let it go again, each message once; idempotent. Messages of one campaign leave in the order in which they were accepted."""
    given = call.query("scope", "value")
    faults = [
        Fault(name, "missing", None, {"name": name})
        for name in ("scope", "value")
        if name not in given
    ]
    if given.get("scope", SCOPES[0]) not in SCOPES:
        faults.append(Fault("scope", "not_one_of", given["scope"], {"known": ", ".join(SCOPES)}))
    if faults:
        raise refused(faults)
    scope, value = given["scope"], given["value"]
    spread = call.seconds("spread", MOST_SPREAD_S) if call.request.query.get("spread") else None

    async def work(_: str) -> tuple[int, bytes]:
        done = await call.api.pauses.resume(
            gate_of(scope, value),  # type: ignore[arg-type]
            f"{call.caller}/{call.identity.keyid}",
            spread,
            call.api.deps.live.current.policy.spread,
        )
        view = ResumedView(
            scope=scope,
            value=value,
            ended=done.ended,
            released=done.released,
            spread_seconds=round(done.spread_s, 3),
        )
        return 200, view.model_dump_json().encode()

    return await call.once(f"{scope}\x1f{value}".encode(), work)


def _check(call: Call, scope: str, value: str) -> None:
    """A mistyped name would stop nothing: what the configuration knows must be in it. Raises Problem."""
    config = call.api.deps.live.current
    kinds = {channel.kind for channel in config.channels.values()}
    known = {
        "caller": sorted(config.callers),
        "category": sorted(config.policy.categories),
        "channel": sorted({*config.channels, *kinds}),
    }.get(scope)
    if known is not None and value not in known:
        raise refused([Fault("value", "not_one_of", value, {"known": ", ".join(known)})])


def _view(row: PauseRow, held: int) -> PauseView:
    scope, _, value = row.gate.partition(":")
    return PauseView(
        scope=scope,
        value=value,
        since=when(row.since) or "",
        until=when(row.until),
        by=row.by,
        why=row.why or None,
        held=held,
    )


_AWAY = ("state_unavailable", "store_unavailable")
_TEXT = {"type": "string"}

ROUTES = (
    Route(
        "POST",
        "/v1/pauses",
        begin,
        "Stop a campaign, caller, category, template or channel: held, not dropped",
        "operations",
        {201: PauseView},
        scope="admin",
        body=PauseRequest,
        writes=True,
        problems=("validation_failed", "json_invalid", "content_type", *_AWAY),
    ),
    Route(
        "GET",
        "/v1/pauses",
        many,
        "What is stopped, and how much each holds",
        "operations",
        {200: PausesView},
        scope="admin",
        problems=("store_unavailable",),
    ),
    Route(
        "DELETE",
        "/v1/pauses",
        end,
        "Resume: let out what is held, spread",
        "operations",
        {200: ResumedView},
        scope="admin",
        params=(
            Param("scope", "what was stopped", {"type": "string", "enum": list(SCOPES)}),
            Param("value", "its name", _TEXT),
            Param(
                "spread", "seconds over which to let out what is held; default by its number", _TEXT
            ),
        ),
        writes=True,
        problems=("validation_failed", *_AWAY),
    ),
)
