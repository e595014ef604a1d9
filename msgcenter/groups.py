"""Groups: how a group's state follows from what is asked, what became of its commands, and what the far end tells; pure.

| state | becomes | when |
|---|---|---|
| creating | active · failed · uncertain | the create command was sent · was refused · may or may not have been taken |
| active | dissolving | somebody asks for it, and another key approves it where policy.yaml wants that; the command waits |
| dissolving | dissolved · active · uncertain | the command was sent ("already gone" too) · undone or refused · outcome unknown |
| failed, uncertain | active | late good news: the far end took it after all, or shows the group |
| any but failed | dissolved | the far end says that it is gone; this is the end, nothing leads out of it |

While a dissolution waits for its approval the group stays active. When it begins to wait for its time, what was said is sealed.
A group's commands and messages share its id as order_key, so they are carried out in the order in which they were asked for.
What the far end tells arrives as `Happening` of a kind in `HAPPENINGS`, its body a JSON object: `chat` (the far end's id), and
where known `name`, `owner`, `members` (all of them), or `add` and `remove`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal, TypeAlias

from msgcenter.store import Asked, GroupRow, GroupState, Seal
from protocols.envelope import Envelope, Record, hashed
from protocols.outcome import Rejected, Sent, Suppressed, Unknown, reason_of
from protocols.payload import CreateGroup, DissolveGroup, Happening, Payload, UpdateGroup

Event: TypeAlias = Literal[
    "created",
    "refused",
    "create_lost",
    "seen",
    "dissolve",
    "undo",
    "gone",
    "kept",
    "dissolve_lost",
]
EVENTS: tuple[Event, ...] = (
    "created",
    "refused",
    "create_lost",
    "seen",
    "dissolve",
    "undo",
    "gone",
    "kept",
    "dissolve_lost",
)

#: (state, event) -> next state; a pair that is not here changes nothing.
TABLE: Mapping[tuple[GroupState, Event], GroupState] = {
    ("creating", "created"): "active",
    ("creating", "seen"): "active",
    ("creating", "refused"): "failed",
    ("creating", "create_lost"): "uncertain",
    ("creating", "gone"): "dissolved",
    ("active", "dissolve"): "dissolving",
    ("active", "gone"): "dissolved",
    ("dissolving", "undo"): "active",
    ("dissolving", "kept"): "active",
    ("dissolving", "gone"): "dissolved",
    ("dissolving", "dissolve_lost"): "uncertain",
    ("uncertain", "created"): "active",
    ("uncertain", "seen"): "active",
    ("uncertain", "refused"): "failed",
    ("uncertain", "dissolve"): "dissolving",
    ("uncertain", "gone"): "dissolved",
    ("failed", "created"): "active",
    ("failed", "seen"): "active",
}

#: Statuses that are the end of a command which was not carried out.
_REFUSALS = frozenset({"rejected", "suppressed", "expired", "cancelled"})
COMMANDS = (CreateGroup, UpdateGroup, DissolveGroup)
HAPPENINGS = frozenset(
    {"group_created", "group_updated", "group_member_changed", "group_dismissed"}
)
CATEGORY = "command"
TIER = 1


def is_command(payload: Payload) -> bool:
    return isinstance(payload, COMMANDS)


def step(row: GroupRow, event: Event, at: int, *, code: str = "", chat: str = "") -> GroupRow:
    """The group after `event`. `chat` is learned once and never changed. A group without chat cannot be dissolved."""
    if event == "dissolve" and not row.chat:
        return row
    if chat and not row.chat and row.state != "dissolved":
        row = replace(row, chat=chat, updated_at=at)
    state = TABLE.get((row.state, event))
    if state is None:
        return row
    waits = row.unapproved_since if state in ("active", "uncertain") else 0
    ending = state in ("dissolving", "dissolved", "uncertain")
    return replace(
        row,
        state=state,
        code=code,
        since=at,
        updated_at=at,
        undo_until=0 if state != "dissolving" else row.undo_until,
        asked=row.asked if ending or waits else None,
        unapproved_since=waits,
        seal=row.seal if ending else None,
    )


def asks(row: GroupRow, asked: Asked, command: str) -> GroupRow:
    """The group when its dissolution is wanted and has to be approved; one that waits already stays as it is."""
    if row.state not in ("active", "uncertain") or not row.chat or row.unapproved_since:
        return row
    return replace(
        row, asked=asked, unapproved_since=asked.at, command=command, updated_at=asked.at
    )


def starts(row: GroupRow, asked: Asked, command: str, seal: Seal, at: int) -> GroupRow:
    """The group when the waiting period of its dissolution begins."""
    after = step(row, "dissolve", at)
    if after.state == row.state:
        return row
    until = at + round(asked.undo_for_s * 1000)
    return replace(
        after, command=command, undo_until=until, asked=asked, unapproved_since=0, seal=seal
    )


def unasked(row: GroupRow, at: int, code: str = "") -> GroupRow:
    """The group when the request to dissolve it is taken back, or nobody approved it in time."""
    if not row.unapproved_since:
        return row
    return replace(row, asked=None, unapproved_since=0, code=code, updated_at=at)


def verdict(record: Record) -> Literal["", "done", "lost", "refused"]:
    """What a record of a command says of it as its last word; "" = none. Other passes' records may already carry the status,
    but not what the far end answered."""
    status = record.status
    match record.outcome:
        case Sent():
            return "done"
        case Unknown() | Rejected() | Suppressed() if status == "unknown":
            return "lost"
        case Rejected() | Suppressed() if status in _REFUSALS:
            return "refused"
        case _:
            return ""


def after_command(row: GroupRow, record: Record) -> GroupRow:
    """The group after a record of one of its commands; records that are no last word change nothing."""
    payload, at, word = record.envelope.payload, record.at, verdict(record)
    code = "unknown" if word == "lost" else reason_of(record.outcome)
    if not word:
        return row
    match payload:
        case CreateGroup() if word == "done":
            return step(row, "created", at, chat=_chat(record))
        case CreateGroup() if word == "lost":
            return step(row, "create_lost", at, code=code, chat=_chat(record))
        case CreateGroup():
            return step(row, "refused", at, code=code)
        case UpdateGroup() if word == "done":
            return changed(
                row,
                at,
                name=payload.name,
                owner=payload.owner,
                add=payload.add,
                remove=payload.remove,
            )
        case UpdateGroup():
            return replace(row, code=f"update_{code}", updated_at=at)
        case DissolveGroup() if row.command != record.envelope.id:
            return row  # an earlier one, undone meanwhile
        case DissolveGroup() if word == "done":
            return step(row, "gone", at)
        case DissolveGroup() if word == "lost":
            return step(row, "dissolve_lost", at, code=code)
        case DissolveGroup():
            return step(row, "kept", at, code="" if code == UNDONE else f"dissolve_{code}")
        case _:
            return row


UNDONE = "undone"
"""The suppression rule of a dissolve command that was taken back."""
LAPSED = "dissolve_lapsed"
"""Code of a group whose dissolution nobody approved in time."""
APPROVAL_MS = 86_400_000
"""How long a dissolution waits for its approval."""
NOT_ACCEPTED = "not_accepted"
"""Code of a group whose command the bus did not confirm: its caller was told so, or nothing at all, and may ask again."""


def _chat(record: Record) -> str:
    """The far end's id; a far end that names none knows the group by ours."""
    outcome = record.outcome
    ids = outcome.remote_ids if isinstance(outcome, Sent | Unknown) else ()
    if ids:
        return ids[0]
    payload = record.envelope.payload
    return payload.group if isinstance(outcome, Sent) and isinstance(payload, CreateGroup) else ""


def changed(
    row: GroupRow,
    at: int,
    *,
    name: str = "",
    owner: str = "",
    members: Sequence[str] | None = None,
    add: Sequence[str] = (),
    remove: Sequence[str] = (),
) -> GroupRow:
    """The group with another name, owner or membership; empty = as it was. A repeat changes nothing more."""
    if row.state == "dissolved":
        return row
    kept = row.members if members is None else members
    gone = frozenset(remove)
    all_members = tuple(dict.fromkeys(m for m in (*kept, *add) if m not in gone))
    after = replace(row, name=name or row.name, owner=owner or row.owner, members=all_members)
    return row if after == row else replace(after, updated_at=at)


def body_of(payload: Happening) -> Mapping[str, Any] | None:
    """The body of what the far end tells of a group; None when it is about something else or names no chat."""
    if payload.kind not in HAPPENINGS:
        return None
    try:
        body = json.loads(payload.body)
    except ValueError:
        return None
    if not isinstance(body, dict) or not isinstance(body.get("chat"), str) or not body["chat"]:
        return None
    return body


def after_happening(row: GroupRow, kind: str, body: Mapping[str, Any], at: int) -> GroupRow:
    """The group after the far end told of it. What is older than the state it would end is only taken as a description."""
    chat = str(body["chat"])
    if kind == "group_dismissed":
        return step(row, "gone", at, chat=chat)
    if row.state != "uncertain" or at >= row.since:
        row = step(row, "seen", at, chat=chat)
    members = _texts(body.get("members"))
    return changed(
        row,
        at,
        name=_text(body.get("name")),
        owner=_text(body.get("owner")),
        members=members,
        add=_texts(body.get("add")) or (),
        remove=_texts(body.get("remove")) or (),
    )


def read_in(envelope: Envelope, channel: str, kind: str, chat: str, at: int) -> GroupRow:
    """A group that the far end told of and nobody here made. Its id follows from channel and chat."""
    return GroupRow(
        id=f"grp_{hashed('group', channel, chat)}",
        caller=envelope.caller,
        name="",
        owner="",
        members=(),
        kind=kind,
        channel=channel,
        account=envelope.account,
        chat=chat,
        state="active",
        imported=True,
        created_at=at,
        updated_at=at,
        since=at,
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _texts(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(one for one in value if isinstance(one, str))
