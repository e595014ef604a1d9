"""What the handlers of `/v1/groups` share: who may touch a group, which channel can make one, how a command becomes durable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from msgcenter.api.accept import kind_of
from msgcenter.api.problems import Fault, Problem
from msgcenter.api.views import AskedView, GroupView, SealView
from msgcenter.api.web import Call, when
from msgcenter.dissolution import command_envelope
from msgcenter.groups import CATEGORY, NOT_ACCEPTED, Event, step
from msgcenter.store import GroupRow, MessageRow, Seal, StoreError
from msgcenter.store.groups import Change
from protocols.payload import Payload


async def writable(call: Call, recipients: Sequence[str]) -> Mapping[str, GroupRow]:
    """Of the groups among these recipients, by id, those that the caller may write to."""
    ids = [to.removeprefix("group:") for to in recipients if to.startswith("group:")]
    if not ids:
        return {}
    rows = await call.api.groups.find(ids)
    return {one: row for one, row in rows.items() if may_write(call, row)}


async def rooms_of(call: Call, replied: Iterable[MessageRow]) -> Mapping[str, GroupRow]:
    """By message id, the group in which each of these was said, if there is one that the caller may write to."""
    rooms: dict[str, GroupRow] = {}
    for row in replied:
        channel = call.terms.config.channels.get(row.channel)
        if not row.chat or channel is None:
            continue
        home = channel.accounts_of or row.channel
        group = await call.api.deps.store.group_of_chat(home, row.chat)
        if group is not None and may_write(call, group):
            rooms[row.id] = group
    return rooms


def may_write(call: Call, row: GroupRow) -> bool:
    """Groups read in for nobody in particular belong to everybody who may write to groups at all."""
    return row.caller in (call.caller, "") or call.has("admin")


async def get_group(call: Call) -> GroupRow:
    row = (await call.api.deps.store.groups_by_id([call.id])).get(call.id)
    reads = call.route.method == "GET" and call.sees_all
    if row is None or not (may_write(call, row) or reads):
        raise Problem("not_found", what="group", id=call.id)
    return row


async def change_group(call: Call, group: str, work: Change) -> GroupRow:
    row = await call.api.deps.store.change_group(group, work)
    call.api.groups.forget(group)
    if row is None:
        raise Problem("not_found", what="group", id=group)
    return row


def kind_for(call: Call, asked: str | None, faults: list[Fault]) -> str:
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


def need_ability(call: Call, row: GroupRow, ability: str) -> None:
    kinds, kind = call.terms.kinds, kind_of(row, call.terms)
    if kind not in kinds or ability not in kinds[kind].groups:
        known = [name for name, spec in kinds.items() if ability in spec.groups]
        raise Problem("group_unsupported", kind=kind, ability=ability, known=known)


def channel_of(call: Call, kind: str, account: str) -> str:
    """The account's own channel, else the one that the routes give."""
    config = call.terms.config
    if account and config.accounts[account].kind == kind:
        return config.accounts[account].channel
    return config.channel_for(kind, CATEGORY, call.caller) or ""


def asked_again(row: GroupRow, now: int) -> GroupRow:
    """A repeat of a create request that was not accepted the first time."""
    if row.state == "failed" and row.code == NOT_ACCEPTED:
        return replace(row, state="creating", code="", since=now, updated_at=now)
    return row


async def not_accepted(call: Call, group: str, now: int, command: str) -> None:
    """The command may not be on the bus, and the caller is told so; should it be carried out all the same, the registry
    learns of it from its record."""

    def change(row: GroupRow) -> GroupRow:
        if row.command != command:
            return row
        event: Event = "refused" if row.state == "creating" else "kept"
        return step(row, event, now, code=NOT_ACCEPTED)

    with suppress(StoreError):
        await call.api.deps.store.change_group(group, change)


async def publish(
    call: Call, row: GroupRow, message: str, payload: Payload, *, reference: str = ""
) -> None:
    """Make a command durable. Raises Problem."""
    envelope = command_envelope(
        row,
        call.terms.config,
        message,
        payload,
        call.api.deps.clock.now_ms(),
        caller=call.caller,
        reference=reference,
        trace=call.trace,
    )
    await call.api.bundler.submit([envelope])


def who(call: Call) -> str:
    """Caller and key, as the audit log names them."""
    return f"{call.caller}/{call.identity.keyid}"


async def audit(call: Call, what: str, group: str, detail: Mapping[str, object]) -> None:
    deps = call.api.deps
    await deps.store.audit(who(call), what, group, detail, deps.clock.now_ms())


def group_view(row: GroupRow, message: str = "") -> GroupView:
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
        dissolve=_asked_view(row),
        seal=SealView(**seal_fields(row.seal)) if row.seal else None,
        created_at=when(row.created_at),
        updated_at=when(row.updated_at),
        message=message or None,
    )


def _asked_view(row: GroupRow) -> AskedView | None:
    if row.asked is None:
        return None
    return AskedView(
        asked_by=row.asked.by,
        asked_at=when(row.asked.at),
        reason=row.asked.reason or None,
        needs="approval" if row.unapproved_since else None,
        approved_by=row.asked.approved_by or None,
    )


def seal_fields(seal: Seal) -> dict[str, Any]:
    """The members of a SealView."""
    return {
        "at": when(seal.at),
        "messages": seal.messages,
        "first_at": when(seal.first_at),
        "last_at": when(seal.last_at),
        "sha256": seal.sha256,
    }


def group_body(row: GroupRow, message: str = "") -> bytes:
    return group_view(row, message).model_dump_json(exclude_none=True).encode()
