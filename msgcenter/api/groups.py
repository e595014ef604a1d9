"""`/v1/groups`: make groups, change them, dissolve them with a time to undo it; each command travels as a message to the group,
in order with everything that is sent there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from aiohttp import web

from msgcenter.api.accept import DAY_MS, batch_item_id, kind_of
from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.models import DissolveRequest, GroupChange, GroupRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import GroupsView, GroupView
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.groups import CATEGORY, TIER, UNDONE, step
from msgcenter.state import Suppression
from msgcenter.store import GROUP_STATES, GroupFilter, GroupRow, StoreError
from msgcenter.store.groups import Change
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import CreateGroup, DissolveGroup, Payload, UpdateGroup

NOT_ACCEPTED = "not_accepted"
"""Code of a group whose command the bus did not confirm: the caller was told so, and may ask again."""
UNDONE_KEPT_S = 3 * 86400.0
_FILTERS = ("kind", "channel", "account", "state", "chat")


async def writable(call: Call, recipients: Sequence[str]) -> Mapping[str, GroupRow]:
    """Of the groups among these recipients, by id, those that the caller may write to."""
    ids = [to.removeprefix("group:") for to in recipients if to.startswith("group:")]
    if not ids:
        return {}
    rows = await call.api.groups.find(ids)
    return {one: row for one, row in rows.items() if _may(call, row)}


async def create(call: Call) -> web.Response:
    """Make a group. 202 means durable: it will become `active` or `failed`; what is sent to it meanwhile waits. With an
    Idempotency-Key a repeat makes no second group."""
    call.query()
    request = await call.model(GroupRequest)
    faults: list[Fault] = []
    kind = _kind(call, request.kind, faults)
    account = ""
    if kind:
        account = call.terms.account(request.from_, [kind], faults)
    members = tuple(dict.fromkeys(request.members))
    if faults:
        raise refused(faults)
    call.api.refuse_under_pressure(1)
    now = call.api.deps.clock.now_ms()

    async def work(group: str) -> tuple[int, bytes]:
        row = GroupRow(
            id=group,
            caller=call.caller,
            name=request.name,
            owner=request.owner or "",
            members=members,
            kind=kind,
            channel=_channel(call, kind, account),
            account=account,
            created_at=now,
            updated_at=now,
            since=now,
        )
        row = await call.api.deps.store.add_group(row, lambda kept: _again(kept, now))
        payload = CreateGroup(group, row.name, row.owner, row.members)
        message = batch_item_id(group, 0, f"group:{group}")
        try:
            await _command(call, row, message, payload, reference=request.reference or "")
        except Problem:
            await _not_accepted(call, group, now)
            raise
        await _audit(call, "group.create", group, {"kind": kind, "account": account})
        return 202, _body(row, message)

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
    items = [_view(row) for row in page.items]
    return shown(GroupsView(items=items, next_cursor=page.next_cursor or None))


async def one(call: Call) -> web.Response:
    """One group as the registry knows it."""
    call.query()
    return shown(_view(await _get(call)))


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
        row = await _get(call)
        _able(call, row, "update")
        if row.state not in ("creating", "active"):
            raise Problem("group_state", id=row.id, state=row.state)
        add, remove = tuple(request.add or ()), tuple(request.remove or ())
        if request.members is not None:
            add = tuple(m for m in dict.fromkeys(request.members) if m not in row.members)
            remove = tuple(m for m in row.members if m not in request.members)
        payload = UpdateGroup(row.id, request.name or "", request.owner or "", add, remove)
        message = batch_item_id(command, 0, f"group:{row.id}")
        await _command(call, row, message, payload, reference=request.reference or "")
        detail = {"add": len(add), "remove": len(remove), "name": bool(request.name)}
        await _audit(call, "group.update", row.id, detail)
        return 202, _body(row, message)

    return await call.once(request.model_dump_json(exclude_unset=True).encode(), work, prefix="cmd")


async def dissolve(call: Call) -> web.Response:
    """End a group, when the time to undo it is over. Idempotent: a group that is being or was dissolved is answered as it is."""
    call.query()
    request = await call.model(DissolveRequest)

    async def work(command: str) -> tuple[int, bytes]:
        row = await _get(call)
        _able(call, row, "dissolve")
        if row.state == "dissolved":
            return 200, _body(row, row.command)
        now = call.api.deps.clock.now_ms()
        message = batch_item_id(command, 0, f"group:{row.id}")
        until = now + round(request.undo_for * 1000)

        def asked(kept: GroupRow) -> GroupRow:
            after = step(kept, "dissolve", now)
            if after.state == kept.state:
                return kept
            return replace(after, command=message, undo_until=until)

        before, row = row, await _change(call, row.id, asked)
        if row.state != "dissolving":
            raise Problem("group_state", id=row.id, state=row.state)
        # Asked again, the same command is published again: its pipeline knows it, and a crash between the two is made good.
        try:
            await _command(
                call,
                row,
                row.command,
                DissolveGroup(row.id),
                not_before=row.undo_until if row.undo_until > now else 0,
                reference=request.reference or "",
            )
        except Problem:
            if before.state != "dissolving":
                await _not_accepted(call, row.id, now, row.command)
            raise
        detail = {"reason": request.reason, "undo_for_s": request.undo_for, "message": row.command}
        await _audit(call, "group.dissolve", row.id, detail)
        return 202, _body(row, row.command)

    canonical = request.model_dump_json(exclude_unset=True).encode()
    return await call.once(canonical, work, prefix="cmd")


async def undo(call: Call) -> web.Response:
    """Take a dissolution back while there is time. Idempotent: an active group is answered as it is."""
    call.query()

    async def work(_: str) -> tuple[int, bytes]:
        deps = call.api.deps
        row = await _get(call)
        if row.state == "active":
            return 200, _body(row)
        now = deps.clock.now_ms()
        if row.state != "dissolving" or row.undo_until <= now:
            raise Problem("undo_late", id=row.id)
        left = (row.undo_until - now) / 1000
        gate = Suppression(f"message:{row.command}", UNDONE, left + UNDONE_KEPT_S)
        if row.command in (await deps.state.suppress([gate])).late:
            raise Problem("undo_late", id=row.id)
        command = row.command

        def undone(kept: GroupRow) -> GroupRow:
            return step(kept, "undo", now) if kept.command == command else kept

        row = await _change(call, row.id, undone)
        await _audit(call, "group.undo", row.id, {"message": command})
        return 200, _body(row)

    return await call.once(b"", work)


# -- pieces -------------------------------------------------------------------------------------


def _may(call: Call, row: GroupRow) -> bool:
    """Groups read in for nobody in particular belong to everybody who may write to groups at all."""
    return row.caller in (call.caller, "") or call.has("admin")


async def _get(call: Call) -> GroupRow:
    row = (await call.api.deps.store.groups_by_id([call.id])).get(call.id)
    reads = call.route.method == "GET" and call.sees_all
    if row is None or not (_may(call, row) or reads):
        raise Problem("not_found", what="group", id=call.id)
    return row


async def _change(call: Call, group: str, work: Change) -> GroupRow:
    row = await call.api.deps.store.change_group(group, work)
    call.api.groups.forget(group)
    if row is None:
        raise Problem("not_found", what="group", id=group)
    return row


def _kind(call: Call, asked: str | None, faults: list[Fault]) -> str:
    kinds = call.terms.kinds
    able = [kind for kind, spec in kinds.items() if "create" in spec.groups]
    if asked is not None:
        if asked not in kinds:
            faults.append(Fault("kind", "channel_unknown", asked, {"known": able}))
        elif asked not in able:
            faults.append(Fault("kind", "group_kind_unable", asked, {"known": able}))
        return asked if asked in able else ""
    if len(able) == 1:
        return able[0]
    code = "group_kind_needed" if able else "group_kind_unable"
    faults.append(Fault("kind", code, facts={"known": able}))
    return ""


def _able(call: Call, row: GroupRow, ability: str) -> None:
    kinds, kind = call.terms.kinds, kind_of(row, call.terms)
    if kind not in kinds or ability not in kinds[kind].groups:
        known = [name for name, spec in kinds.items() if ability in spec.groups]
        raise Problem("group_unsupported", kind=kind, ability=ability, known=known)


def _channel(call: Call, kind: str, account: str) -> str:
    """The account's own channel, else the one that the routes give."""
    config = call.terms.config
    if account and config.accounts[account].kind == kind:
        return config.accounts[account].channel
    return config.channel_for(kind, CATEGORY, call.caller) or ""


def _again(row: GroupRow, now: int) -> GroupRow:
    """A repeat of a create request that was not accepted the first time."""
    if row.state == "failed" and row.code == NOT_ACCEPTED:
        return replace(row, state="creating", code="", since=now, updated_at=now)
    return row


async def _not_accepted(call: Call, group: str, now: int, command: str = "") -> None:
    """The command may not be on the bus, and the caller is told so; should it be carried out all the same, the registry
    learns of it from its record."""

    def change(row: GroupRow) -> GroupRow:
        if row.command != command:
            return row
        return step(row, "kept" if command else "refused", now, code=NOT_ACCEPTED)

    with suppress(StoreError):
        await call.api.deps.store.change_group(group, change)


async def _command(
    call: Call,
    row: GroupRow,
    message: str,
    payload: Payload,
    *,
    not_before: int = 0,
    reference: str = "",
) -> None:
    """Make the command durable. Raises Problem."""
    now = call.api.deps.clock.now_ms()
    envelope = Envelope(
        id=message,
        caller=row.caller or call.caller,
        to=Address("group", row.id),
        category=CATEGORY,
        tier=TIER,
        payload=payload,
        created_at=now,
        person=f"group:{row.id}",
        account=row.account,
        channels=(kind_of(row, call.terms),),
        order_key=row.id,
        not_before=not_before,
        expires_at=(not_before or now) + DAY_MS,
        reference=reference,
        trace=call.trace,
    )
    await call.api.bundler.submit([envelope])


async def _audit(call: Call, what: str, group: str, detail: Mapping[str, object]) -> None:
    deps = call.api.deps
    who = f"{call.caller}/{call.identity.keyid}"
    await deps.store.audit(who, what, group, detail, deps.clock.now_ms())


def _view(row: GroupRow, message: str = "") -> GroupView:
    return GroupView(
        id=row.id,
        address=f"group:{row.id}",
        name=row.name,
        owner=row.owner or None,
        members=list(row.members),
        kind=row.kind,
        channel=row.channel,
        account=row.account or None,
        chat=row.chat or None,
        state=row.state,
        code=row.code or None,
        imported=row.imported,
        caller=row.caller or None,
        undo_until=when(row.undo_until),
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
        message=message or None,
    )


def _body(row: GroupRow, message: str = "") -> bytes:
    return _view(row, message).model_dump_json(exclude_none=True).encode()


_TEXT = {"type": "string"}
_READ = ("not_found", "store_unavailable")
_WRITE = (
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
_ONE = (*_WRITE, "not_found", "group_state", "group_unsupported")

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
        problems=_WRITE,
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
        problems=_READ,
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
        problems=_ONE,
    ),
    Route(
        "POST",
        "/v1/groups/{id}:dissolve",
        dissolve,
        "Dissolve a group, with time to undo it",
        "groups",
        {200: GroupView, 202: GroupView},
        scope="groups",
        body=DissolveRequest,
        body_optional=True,
        writes=True,
        problems=_ONE,
    ),
    Route(
        "POST",
        "/v1/groups/{id}:undo",
        undo,
        "Take a dissolution back",
        "groups",
        {200: GroupView},
        scope="groups",
        writes=True,
        problems=(*_READ, "undo_late", "state_unavailable"),
    ),
)
