"""Dissolution: what is told and sent when a group is to be dissolved, as envelopes whose ids follow from the dissolve command.

All of it goes to the group in its order, so that the event is out before the notice, and the notice before the command. Made
again from the same row it is the same again: a repeated request and the sweep (`msgcenter.sweep`) publish it without harm.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from msgcenter.archive.events_sink import cloud_event, group_type, rfc3339
from msgcenter.config import Config
from msgcenter.groups import CATEGORY, TIER
from msgcenter.store import Event, GroupRow
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import DissolveGroup, Notice, Payload, Text

DAY_MS = 86_400_000


def part_id(command: str, part: Literal["notice", "dissolve_asked", "dissolving"]) -> str:
    """The id of what goes out beside a command; it has the command's time and shard."""
    return command[:-14] + hashed(command, part)[:14]


def command_envelope(
    row: GroupRow,
    config: Config,
    message: str,
    payload: Payload,
    now: int,
    *,
    caller: str = "",
    not_before: int = 0,
    reference: str = "",
    trace: str = "",
) -> Envelope:
    """Something for a group, in order with everything that is for it. `caller`: of a group that is nobody's."""
    channel = config.channels.get(row.channel)
    return Envelope(
        id=message,
        caller=row.caller or caller,
        to=Address("group", row.id),
        category=CATEGORY,
        tier=TIER,
        payload=payload,
        created_at=now,
        person=f"group:{row.id}",
        account=row.account,
        channels=(channel.kind if channel is not None else row.kind,),
        order_key=row.id,
        not_before=not_before,
        expires_at=(not_before or now) + DAY_MS,
        reference=reference,
        trace=trace,
    )


def asked_for(row: GroupRow, config: Config, now: int, trace: str = "") -> list[Envelope]:
    """The event that somebody wants to dissolve the group."""
    return [_event(row, config, "dissolve_asked", now, trace)]


def dissolving(row: GroupRow, config: Config, now: int, trace: str = "") -> list[Envelope]:
    """The event that it will be dissolved, the notice in the group if there is one, and the command."""
    terms, caller = config.policy.groups.dissolve, _asker(row)
    reference = row.asked.reference if row.asked else ""
    out = [_event(row, config, "dissolving", now, trace)]
    if terms.notice:
        zone = ZoneInfo(config.policy.zone)
        at = datetime.fromtimestamp(row.undo_until / 1000, zone).strftime("%Y-%m-%d %H:%M")
        text = Text(terms.notice.format(at=at, name=row.name))
        notice = part_id(row.command, "notice")
        out.append(command_envelope(row, config, notice, text, now, caller=caller, trace=trace))
    out.append(
        command_envelope(
            row,
            config,
            row.command,
            DissolveGroup(row.id),
            now,
            caller=caller,
            not_before=row.undo_until if row.undo_until > now else 0,
            reference=reference,
            trace=trace,
        )
    )
    return out


def _asker(row: GroupRow) -> str:
    return row.asked.by.partition("/")[0] if row.asked else ""


def _event(
    row: GroupRow,
    config: Config,
    word: Literal["dissolve_asked", "dissolving"],
    now: int,
    trace: str,
) -> Envelope:
    asked = row.asked
    data: dict[str, object] = {
        "group": row.id,
        "name": row.name,
        "owner": row.owner,
        "message": row.command,
        "account": row.account,
        "channel": row.channel,
    }
    if asked is not None:
        data |= {"by": asked.by, "reason": asked.reason, "reference": asked.reference}
        data |= {"approved_by": asked.approved_by} if asked.approved_by else {}
    data |= {"needs": "approval"} if word == "dissolve_asked" else {}
    data |= {"undo_until": rfc3339(row.undo_until)} if row.undo_until else {}
    event = Event(
        id=f"evt_{hashed(row.command, word, 'event')}",
        caller=row.caller or _asker(row),
        type=group_type(word),
        at=now,
        subject=row.id,
        message=row.command,
        data=data,
    )
    body = json.dumps(cloud_event(event), ensure_ascii=False, separators=(",", ":"))
    payload = Notice(event.id, event.type, body)
    message = part_id(row.command, word)
    return command_envelope(row, config, message, payload, now, caller=event.caller, trace=trace)
