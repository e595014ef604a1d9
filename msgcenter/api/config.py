"""`/v1/config`: which rules are in force and since when, what waits for approval; approve, apply, break the glass, roll back."""

from __future__ import annotations

import re

from aiohttp import web

from msgcenter.api.models import ApplyRequest, ApproveRequest, RollbackRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import (
    ConfigVersionsView,
    ConfigVersionView,
    LackingView,
    RolloutView,
)
from msgcenter.api.web import Call, Route, shown, when
from msgcenter.reask import NOT_OURS
from msgcenter.rollout import NoSuchVersion, Rollout
from msgcenter.store import ConfigVersion

_NUMBER = re.compile(r"[0-9]{1,15}")


async def standing(call: Call) -> web.Response:
    """Of this process; the others come to the same within seconds."""
    call.query()
    return shown(await _view(call, _rollout(call)))


async def history(call: Call) -> web.Response:
    """What came into force, newest first."""
    call.query()
    versions = await call.api.deps.store.config_versions(100)
    return shown(ConfigVersionsView(items=[_version(one) for one in versions]))


async def one(call: Call) -> web.Response:
    """One version with its texts; secrets are references in them."""
    call.query()
    try:
        version = await _rollout(call).version(int(call.id) if _NUMBER.fullmatch(call.id) else 0)
    except NoSuchVersion as error:
        raise Problem("not_found", what="version", id=call.id) from error
    texts = await call.api.deps.store.config_texts(version)
    told = {name: body.decode(errors="replace") for name, body in texts.items()}
    return shown(_version(version).model_copy(update={"texts": told}))


async def approve(call: Call) -> web.Response:
    """For exactly the texts that lie in the folder now: another edit needs another approval."""
    call.query()
    request = await call.model(ApproveRequest)
    roles = call.terms.caller.roles
    if request.role not in roles:
        facts = {"known": ", ".join(roles) or "none: callers.yaml gives this caller no `roles`"}
        raise refused([Fault("role", "not_one_of", request.role, facts)])
    rollout = _rollout(call)

    async def work(_: str) -> tuple[int, bytes]:
        await rollout.approve([request.role], _who(call), reject=request.reject)
        return 200, await _now(call, rollout)

    return await call.once(request.model_dump_json().encode(), work)


async def apply(call: Call) -> web.Response:
    """Without `break_glass` this only looks at once instead of within seconds."""
    call.query()
    request = await call.model(ApplyRequest)
    faults = [
        Fault(name, "missing", None, {"name": name})
        for name in ("reason", "lasts")
        if request.break_glass and not getattr(request, name)
    ]
    if faults:
        raise refused(faults)
    rollout = _rollout(call)

    async def work(_: str) -> tuple[int, bytes]:
        if request.break_glass:
            await _look(call)
            await rollout.break_glass(_who(call), request.reason, request.lasts or 0.0)
        return 200, await _now(call, rollout)

    return await call.once(request.model_dump_json().encode(), work)


async def roll_back(call: Call) -> web.Response:
    """In force in every process within seconds, until the folder's text changes."""
    call.query()
    request = await call.model(RollbackRequest)
    rollout = _rollout(call)

    async def work(_: str) -> tuple[int, bytes]:
        await _look(call)
        try:
            await rollout.roll_back(_who(call), request.reason, request.version or 0)
        except NoSuchVersion as error:
            facts = {"why": str(error)}
            raise refused([Fault("version", "invalid", request.version, facts)]) from error
        return 200, await _now(call, rollout)

    return await call.once(request.model_dump_json().encode(), work)


async def _look(call: Call) -> None:
    if call.api.deps.reload is not None:
        await call.api.deps.reload()


async def _now(call: Call, rollout: Rollout) -> bytes:
    await _look(call)
    return (await _view(call, rollout)).model_dump_json(exclude_none=True).encode()


async def _view(call: Call, rollout: Rollout) -> RolloutView:
    deps, now = call.api.deps, rollout.standing
    changed = now.changed or {}
    return RolloutView(
        in_force=_version(now.version) if now.version else None,
        folder=now.folder,
        waiting=now.why or None,
        lacking=[
            LackingView(
                file=one.file,
                role=one.role,
                rule=one.rule,
                sha256=changed.get(one.file, ""),
                rejected_by=one.rejected_by or None,
            )
            for one in now.lacking
        ],
        result=dict(deps.last_reload()),
        held=await deps.store.count_held(NOT_OURS),
    )


def _version(version: ConfigVersion) -> ConfigVersionView:
    return ConfigVersionView(
        version=version.number,
        hash=version.hash,
        at=when(version.at) or "",
        how=version.how,
        who=version.who or None,
        reason=version.reason or None,
        until=when(version.until),
    )


def _rollout(call: Call) -> Rollout:
    rollout = call.api.deps.rollout
    if rollout is None:
        raise Problem("not_found", what="configuration history", id="-")
    return rollout


def _who(call: Call) -> str:
    return f"{call.caller}/{call.identity.keyid}"


_WRITES = ("validation_failed", "json_invalid", "content_type", "not_found", "store_unavailable")

ROUTES = (
    Route(
        "GET",
        "/v1/config",
        standing,
        "Which rules are in force, and what waits for whom",
        "operations",
        {200: RolloutView},
        scope="admin",
        problems=("not_found", "store_unavailable"),
    ),
    Route(
        "GET",
        "/v1/config/versions",
        history,
        "What was in force before",
        "operations",
        {200: ConfigVersionsView},
        scope="admin",
        problems=("store_unavailable",),
    ),
    Route(
        "GET",
        "/v1/config/versions/{id}",
        one,
        "One version, with its texts",
        "operations",
        {200: ConfigVersionView},
        scope="admin",
        problems=("not_found", "store_unavailable"),
    ),
    Route(
        "POST",
        "/v1/config:approve",
        approve,
        "Approve, or refuse, the changed rule files that wait",
        "operations",
        {200: RolloutView},
        scope="",
        body=ApproveRequest,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        "/v1/config:apply",
        apply,
        "Look at the folder now; break the glass",
        "operations",
        {200: RolloutView},
        scope="admin",
        body=ApplyRequest,
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        "/v1/config:rollback",
        roll_back,
        "Put an earlier version in force",
        "operations",
        {200: RolloutView},
        scope="admin",
        body=RollbackRequest,
        writes=True,
        problems=_WRITES,
    ),
)
