"""`/v1/groups/{id}:dissolve`, `:approve`, `:undo` and `/seal`: how a group ends, slowly enough to notice that it is the wrong one.

Where policy.yaml wants an approval, `:dissolve` only asks, and `:approve` by another key begins. When it begins the archive is
sealed first (`msgcenter.store.seals`): the seal is in the audit log before the group is closed to messages and before the
command is on the bus. What is stored later is counted apart by the check of the seal; commands and the notice to the group are
the core's own and no part of what was said.
"""

from __future__ import annotations

from dataclasses import replace

from aiohttp import web

from msgcenter.api.accept import batch_item_id
from msgcenter.api.grouping import (
    audit,
    change_group,
    get_group,
    group_body,
    need_ability,
    not_accepted,
    seal_fields,
    who,
)
from msgcenter.api.groups import CHANGE_PROBLEMS, READ_PROBLEMS
from msgcenter.api.models import DissolveRequest
from msgcenter.api.problems import Problem
from msgcenter.api.views import GroupView, SealCheckView
from msgcenter.api.web import Call, Route, shown
from msgcenter.dissolution import asked_for, dissolving, part_id
from msgcenter.groups import APPROVAL_MS, UNDONE, asks, starts, step, unasked
from msgcenter.state import Suppression
from msgcenter.store import Asked, GroupRow, Seal
from msgcenter.store.groups import Change
from msgcenter.store.seals import PREFIX

UNDONE_KEPT_S = 3 * 86400.0


async def dissolve(call: Call) -> web.Response:
    """End a group, when the time to undo it is over; where the policy wants it, after another key approved it. Idempotent: a
    group that is being or was dissolved is answered as it is."""
    call.query()
    request = await call.model(DissolveRequest)
    terms = call.terms.config.policy.groups.dissolve

    async def work(command: str) -> tuple[int, bytes]:
        row = await get_group(call)
        need_ability(call, row, "dissolve")
        if row.state == "dissolved":
            return 200, group_body(row, row.command)
        undo_for = terms.undo_for if request.undo_for is None else request.undo_for
        now = call.api.deps.clock.now_ms()
        asked = Asked(who(call), now, undo_for, request.reason, request.reference or "")
        message = batch_item_id(command, 0, f"group:{row.id}")
        if terms.approval and row.state != "dissolving":
            row = await _ask(call, row, asked, message)
        else:
            row = await _begin(call, row, asked, message)
        detail = {"reason": request.reason, "undo_for_s": undo_for, "message": row.command}
        what = "group.dissolve_ask" if row.unapproved_since else "group.dissolve"
        await audit(call, what, row.id, detail)
        return 202, group_body(row, row.command)

    canonical = request.model_dump_json(exclude_unset=True).encode()
    return await call.once(canonical, work, prefix="cmd")


async def approve(call: Call) -> web.Response:
    """Let a dissolution that another key asked for begin. Idempotent: one that has begun is answered as it is."""
    call.query()

    async def work(_: str) -> tuple[int, bytes]:
        row = await get_group(call)
        if row.state == "dissolved":
            return 200, group_body(row, row.command)
        asked, now = row.asked, call.api.deps.clock.now_ms()
        waits = row.unapproved_since and now < row.unapproved_since + APPROVAL_MS
        begun = asked and asked.approved_by and row.state == "dissolving"
        if asked is None or not (waits or begun):
            raise Problem("approval_not_asked", id=row.id)
        if asked.by == who(call):
            raise Problem("approval_same_key", id=row.id)
        need_ability(call, row, "dissolve")
        row = await _begin(call, row, replace(asked, approved_by=who(call)), row.command)
        await audit(call, "group.approve", row.id, {"message": row.command})
        return 202, group_body(row, row.command)

    return await call.once(b"", work)


async def _ask(call: Call, row: GroupRow, asked: Asked, message: str) -> GroupRow:
    """Keep the request and tell of it; one that waits already stays, and is told of again under the same id."""

    def change(kept: GroupRow) -> GroupRow:
        lapsed = kept.unapproved_since and asked.at >= kept.unapproved_since + APPROVAL_MS
        return asks(unasked(kept, asked.at) if lapsed else kept, asked, message)

    row = await change_group(call, row.id, change)
    if not row.unapproved_since:
        raise Problem("group_state", id=row.id, state=row.state)
    await call.api.bundler.submit(asked_for(row, call.terms.config, asked.at, call.trace))
    return row


async def _begin(call: Call, row: GroupRow, asked: Asked, message: str) -> GroupRow:
    """Seal, close the group, then tell, give notice and command in one piece. Begun again, the same is published again: its
    pipeline knows it, and a crash between the two is made good."""
    deps, config, now = call.api.deps, call.terms.config, call.api.deps.clock.now_ms()
    before, seal = row, None
    if row.state != "dissolving":
        seal = await deps.store.seal_group(
            deps.ids.new(PREFIX), row.id, row.chat, _readers(call, row), now
        )
        await audit(call, "group.seal", row.id, {"message": message, **seal_fields(seal)})
        row = await change_group(call, row.id, _starting(asked, message, seal, now))
        if row.seal != seal:
            await deps.store.forget_seal(seal.id)
    if row.state != "dissolving":
        raise Problem("group_state", id=row.id, state=row.state)
    try:
        await call.api.bundler.submit(dissolving(row, config, now, call.trace))
    except Problem:
        if before.state != "dissolving":
            await not_accepted(call, row.id, now, row.command)
        raise
    return row


def _starting(asked: Asked, message: str, seal: Seal, now: int) -> Change:
    def change(kept: GroupRow) -> GroupRow:
        if asked.approved_by and (kept.command != message or not kept.unapproved_since):
            return kept  # taken back meanwhile, or approved by a third
        return starts(kept, asked, message, seal, now)

    return change


def _readers(call: Call, row: GroupRow) -> list[str]:
    """The group's channel, and those that read along what is said there."""
    channels = call.terms.config.channels
    return [row.channel, *(n for n, one in channels.items() if one.accounts_of == row.channel)]


async def undo(call: Call) -> web.Response:
    """Take a dissolution back while there is time, or the request for it. Idempotent: an active group is answered as it is."""
    call.query()

    async def work(_: str) -> tuple[int, bytes]:
        deps = call.api.deps
        row = await get_group(call)
        now, command = deps.clock.now_ms(), row.command
        if row.unapproved_since:

            def taken_back(kept: GroupRow) -> GroupRow:
                return unasked(kept, now) if kept.command == command else kept

            row = await change_group(call, row.id, taken_back)
            if row.state != "dissolving":  # approved meanwhile
                await audit(call, "group.undo", row.id, {"message": command})
                return 200, group_body(row)
        if row.state == "active":
            return 200, group_body(row)
        if row.state != "dissolving" or row.undo_until <= now:
            raise Problem("undo_late", id=row.id)
        left = (row.undo_until - now) / 1000
        gates = [
            Suppression(f"message:{one}", UNDONE, left + UNDONE_KEPT_S)
            for one in (command, part_id(command, "notice"))
        ]
        if command in (await deps.state.suppress(gates)).late:
            raise Problem("undo_late", id=row.id)

        def undone(kept: GroupRow) -> GroupRow:
            return step(kept, "undo", now) if kept.command == command else kept

        row = await change_group(call, row.id, undone)
        await audit(call, "group.undo", row.id, {"message": command})
        return 200, group_body(row)

    return await call.once(b"", work)


async def seal_check(call: Call) -> web.Response:
    """The seal of a group that was dissolved, compared with what is there now. Reads every message that was sealed."""
    call.query()
    row = await get_group(call)
    if row.seal is None:
        raise Problem("not_sealed", id=row.id)
    check = await call.api.deps.store.check_seal(row.seal, row.id, row.chat, _readers(call, row))
    return shown(
        SealCheckView(
            **seal_fields(row.seal),
            intact=check.intact,
            changed=check.changed,
            missing=check.missing,
            after=check.after,
        )
    )


_ACTED = {200: GroupView, 202: GroupView}

ROUTES = (
    Route(
        "POST",
        "/v1/groups/{id}:dissolve",
        dissolve,
        "Dissolve a group, with time to undo it",
        "groups",
        _ACTED,
        scope="groups",
        body=DissolveRequest,
        body_optional=True,
        writes=True,
        problems=CHANGE_PROBLEMS,
    ),
    Route(
        "POST",
        "/v1/groups/{id}:approve",
        approve,
        "Approve a dissolution that another key asked for",
        "groups",
        _ACTED,
        scope="groups",
        writes=True,
        problems=(
            *READ_PROBLEMS,
            "approval_not_asked",
            "approval_same_key",
            "group_state",
            "group_unsupported",
            "overloaded",
            "bus_unavailable",
            "state_unavailable",
        ),
    ),
    Route(
        "POST",
        "/v1/groups/{id}:undo",
        undo,
        "Take a dissolution back, or the request for it",
        "groups",
        {200: GroupView},
        scope="groups",
        writes=True,
        problems=(*READ_PROBLEMS, "undo_late", "state_unavailable"),
    ),
    Route(
        "GET",
        "/v1/groups/{id}/seal",
        seal_check,
        "Check the seal of a dissolved group",
        "groups",
        {200: SealCheckView},
        scope="read",
        problems=(*READ_PROBLEMS, "not_sealed"),
    ),
)
