"""`/v1/groups`: make groups, list and change them; each command travels as a message to the group, in order with everything
that is sent there. How they end is in `msgcenter.api.dissolve`."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.accept import batch_item_id
from msgcenter.api.grouping import (
    asked_again,
    audit,
    channel_of,
    get_group,
    group_body,
    group_view,
    kind_for,
    need_ability,
    not_accepted,
    publish,
)
from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.models import GroupChange, GroupRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import GroupsView, GroupView
from msgcenter.api.web import Call, Param, Route, shown
from msgcenter.store import GROUP_STATES, GroupFilter, GroupRow
from protocols.payload import CreateGroup, UpdateGroup

_FILTERS = ("kind", "channel", "account", "state", "chat")


async def create(call: Call) -> web.Response:
    """Make a group. 202 means durable: it will become `active` or `failed`; what is sent to it meanwhile waits. With an
    Idempotency-Key a repeat makes no second group."""
    call.query()
    request = await call.model(GroupRequest)
    faults: list[Fault] = []
    kind = kind_for(call, request.kind, faults)
    account = ""
    if kind:
        account = call.terms.account(request.from_, [kind], faults)
    members = tuple(dict.fromkeys(request.members))
    if faults:
        raise refused(faults)
    call.api.refuse_under_pressure(call.caller, 1)
    now = call.api.deps.clock.now_ms()

    async def work(group: str) -> tuple[int, bytes]:
        message = batch_item_id(group, 0, f"group:{group}")
        row = GroupRow(
            id=group,
            caller=call.caller,
            name=request.name,
            owner=request.owner or "",
            members=members,
            kind=kind,
            channel=channel_of(call, kind, account),
            account=account,
            command=message,
            created_at=now,
            updated_at=now,
            since=now,
        )
        row = await call.api.deps.store.add_group(row, lambda kept: asked_again(kept, now))
        payload = CreateGroup(group, row.name, row.owner, row.members)
        try:
            await publish(call, row, message, payload, reference=request.reference or "")
        except Problem:
            await not_accepted(call, group, now, message)
            raise
        await audit(call, "group.create", group, {"kind": kind, "account": account})
        return 202, group_body(row, message)

    return await call.once(
        request.model_dump_json(by_alias=True, exclude_unset=True).encode(), work, prefix="grp"
    )


async def many(call: Call) -> web.Response:
    """Groups of this caller and those read in for nobody in particular (all groups, with read:all), newest first."""
    given = call.query(*_FILTERS, "caller", "cursor")
    if given.get("state", GROUP_STATES[0]) not in GROUP_STATES:
        known = {"known": ", ".join(GROUP_STATES)}
        raise refused([Fault("state", "not_one_of", given["state"], known)])
    if not call.sees_all and given.get("caller", call.caller) != call.caller:
        raise Problem("scope_missing", needed="read:all", scopes=call.terms.caller.scopes)
    caller = given.get("caller", "") if call.sees_all else call.caller
    fields = {k: given[k] for k in _FILTERS if k in given}
    filters = GroupFilter(caller=caller, or_unowned="caller" not in given, **fields)
    page = await call.api.deps.store.list_groups(filters, given.get("cursor", ""), call.limit())
    items = [group_view(row) for row in page.items]
    return shown(GroupsView(items=items, next_cursor=page.next_cursor or None))


async def one(call: Call) -> web.Response:
    """One group as the registry knows it."""
    call.query()
    return shown(group_view(await get_group(call)))


async def change(call: Call) -> web.Response:
    """Change name, owner or members, after what was asked for before. The group shows it when the far end has taken it."""
    call.query()
    request = await call.model(GroupChange)
    faults = []
    if request.members is not None:
        faults = [
            Fault(name, "members_conflict")
            for name in ("add", "remove")
            if getattr(request, name) is not None
        ]
    if not request.model_fields_set - {"reference"}:
        faults.append(Fault("(body)", "nothing_to_do"))
    if faults:
        raise refused(faults)

    async def work(command: str) -> tuple[int, bytes]:
        row = await get_group(call)
        need_ability(call, row, "update")
        if row.state not in ("creating", "active"):
            raise Problem("group_state", id=row.id, state=row.state)
        add, remove = tuple(request.add or ()), tuple(request.remove or ())
        if request.members is not None:
            add = tuple(m for m in dict.fromkeys(request.members) if m not in row.members)
            remove = tuple(m for m in row.members if m not in request.members)
        payload = UpdateGroup(row.id, request.name or "", request.owner or "", add, remove)
        message = batch_item_id(command, 0, f"group:{row.id}")
        await publish(call, row, message, payload, reference=request.reference or "")
        detail = {"add": len(add), "remove": len(remove), "name": bool(request.name)}
        await audit(call, "group.update", row.id, detail)
        return 202, group_body(row, message)

    return await call.once(request.model_dump_json(exclude_unset=True).encode(), work, prefix="cmd")


_TEXT = {"type": "string"}
READ_PROBLEMS = ("not_found", "store_unavailable")
WRITE_PROBLEMS = (
    "validation_failed",
    "json_invalid",
    "json_duplicate_key",
    "json_too_deep",
    "body_too_large",
    "content_type",
    "content_encoding",
    "overloaded",
    "bus_unavailable",
    "state_unavailable",
    "store_unavailable",
)
CHANGE_PROBLEMS = (*WRITE_PROBLEMS, "not_found", "group_state", "group_unsupported")

ROUTES = (
    Route(
        "POST",
        "/v1/groups",
        create,
        "Make a group",
        "groups",
        {202: GroupView},
        scope="groups",
        body=GroupRequest,
        writes=True,
        problems=WRITE_PROBLEMS,
    ),
    Route(
        "GET",
        "/v1/groups",
        many,
        "Groups, newest first",
        "groups",
        {200: GroupsView},
        scope="read",
        params=(
            Param("kind", "of this kind of channel", _TEXT),
            Param("channel", "on this channel", _TEXT),
            Param("account", "of this account", _TEXT),
            Param("state", "in this state", {"type": "string", "enum": list(GROUP_STATES)}),
            Param("chat", "with this id at the far end", _TEXT),
            Param("caller", "of this caller (needs read:all)", _TEXT),
            LIMIT,
            CURSOR,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "GET",
        "/v1/groups/{id}",
        one,
        "One group",
        "groups",
        {200: GroupView},
        scope="read",
        problems=READ_PROBLEMS,
    ),
    Route(
        "PATCH",
        "/v1/groups/{id}",
        change,
        "Change name, owner or members",
        "groups",
        {202: GroupView},
        scope="groups",
        body=GroupChange,
        writes=True,
        problems=CHANGE_PROBLEMS,
    ),
)
