"""`/v1/dead-letters`: what was given up on, with its cause; send it in again, one by one or by what
they have in common."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from aiohttp import web

from msgcenter.api.history import CURSOR, LIMIT
from msgcenter.api.models import ReplayManyRequest, ReplayRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import (
    DeadsView,
    DeadView,
    ReplayView,
)
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.bus import Frame
from msgcenter.bus.topology import INBOUND, SUBMIT, place
from msgcenter.store import DeadFilter, DeadRow
from protocols import wire
from protocols.envelope import Envelope
from protocols.errors import Malformed

CHUNK = 100
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}


async def many(call: Call) -> web.Response:
    """Newest first."""
    given = call.query("channel", "code", "message", "replayed", "cursor")
    replayed = given.get("replayed")
    if replayed not in (None, "true", "false"):
        raise refused([Fault("replayed", "not_one_of", replayed, {"known": "true, false"})])
    filters = DeadFilter(
        channel=given.get("channel", ""),
        code=given.get("code", ""),
        message=given.get("message", ""),
        from_ms=call.time("after"),
        to_ms=call.time("before"),
        replayed=None if replayed is None else replayed == "true",
    )
    page = await call.api.deps.store.list_dead(
        None if call.sees_all else call.caller, filters, given.get("cursor", ""), call.limit()
    )
    items = [_view(row) for row in page.items]
    return shown(DeadsView(items=items, next_cursor=page.next_cursor or None))


async def one(call: Call) -> web.Response:
    """One dead letter."""
    call.query()
    return shown(_view(await _get(call)))


async def replay(call: Call) -> web.Response:
    """Send one in again, as its message's next attempt."""
    call.query()
    _need(call)
    request = await call.model(ReplayRequest)

    async def work(_: str) -> tuple[int, bytes]:
        row = await _get(call)
        if row.caller != call.caller and not call.has("admin"):
            raise Problem("scope_missing", needed="admin", scopes=call.terms.caller.scopes)
        if row.replayed_at:
            raise Problem("already_replayed", id=row.id)
        view = await replay_rows(call, [row], request.expires_in)
        if row.id in view.skipped:
            raise Problem("not_replayable", id=row.id, why=view.skipped[row.id])
        return 202, json.dumps({"replayed": [row.id], "skipped": {}}).encode()

    return await call.once(request.model_dump_json(exclude_unset=True).encode(), work)


async def replay_many(call: Call) -> web.Response:
    """Send in again all that fit, oldest attempts included, at most `limit`."""
    call.query()
    _need(call)
    request = await call.model(ReplayManyRequest)

    async def work(_: str) -> tuple[int, bytes]:
        filters = DeadFilter(
            channel=request.channel or "",
            code=request.code or "",
            message=request.message or "",
            from_ms=round(request.after.timestamp() * 1000) if request.after else 0,
            to_ms=round(request.before.timestamp() * 1000) if request.before else 0,
            replayed=False,
        )
        caller = None if call.has("admin") else call.caller
        replayed: list[str] = []
        skipped: dict[str, str] = {}
        cursor = ""
        while True:
            room = min(CHUNK, request.limit - len(replayed) - len(skipped))
            if room <= 0:
                break
            page = await call.api.deps.store.list_dead(caller, filters, cursor, room)
            view = await replay_rows(call, page.items, request.expires_in)
            replayed += view.replayed
            skipped |= view.skipped
            cursor = page.next_cursor
            if not cursor:
                break
        return 202, json.dumps({"replayed": replayed, "skipped": skipped}).encode()

    return await call.once(request.model_dump_json(exclude_unset=True).encode(), work)


async def replay_rows(call: Call, rows: Sequence[DeadRow], expires_in: float | None) -> ReplayView:
    """Publish the next attempt of each, then mark and audit. A repeat of an attempt is absorbed by
    the pipeline."""
    deps = call.api.deps
    now = deps.clock.now_ms()
    envelopes: dict[str, Envelope] = {}
    skipped: dict[str, str] = {}
    for row in rows:
        try:
            item = wire.open_sealed(row.body)
        except Malformed:
            skipped[row.id] = "it cannot be read"
            continue
        if not isinstance(item, Envelope):
            skipped[row.id] = "it is a record, not a message"
            continue
        expires_at = now + round(expires_in * 1000) if expires_in else item.expires_at
        if expires_at and expires_at <= now:
            skipped[row.id] = "it has expired; give expires_in"
            continue
        # The budgets of its tries and of its holds count from now.
        envelopes[row.id] = replace(
            item.again(counts=False), tries=0, expires_at=expires_at, not_before=now, held_since=0
        )
    if envelopes:
        frames = []
        for envelope in envelopes.values():
            topic = INBOUND if envelope.inbound else SUBMIT
            queue = place(topic, envelope, call.api.partitions)
            body = wire.pack_frame([wire.seal(envelope)])
            frames.append(Frame(queue.topic, queue.lane, queue.partition, body, 1))
        await deps.bus.publish(frames)
        await deps.store.mark_replayed(list(envelopes), now)
        who = f"{call.caller}/{call.identity.keyid}"
        for dead_id, envelope in envelopes.items():
            detail = {"message": envelope.id, "attempt": envelope.attempt}
            await deps.store.audit(who, "dead.replay", dead_id, detail, now)
    return ReplayView(replayed=list(envelopes), skipped=skipped)


def _need(call: Call) -> None:
    if not (call.has("send") or call.has("admin")):
        raise Problem("scope_missing", needed="send", scopes=call.terms.caller.scopes)


async def _get(call: Call) -> DeadRow:
    rows = await call.api.deps.store.get_dead([call.id])
    if not rows or not (rows[0].caller == call.caller or call.sees_all):
        raise Problem("not_found", what="dead letter", id=call.id)
    return rows[0]


def _view(row: DeadRow) -> DeadView:
    to = category = None
    try:
        item = wire.open_sealed(row.body)
    except Malformed:
        item = None
    if isinstance(item, Envelope):
        to, category = str(item.to), item.category
    return DeadView(
        id=row.id,
        message=row.message,
        caller=row.caller,
        channel=row.channel,
        code=row.code,
        detail=row.detail,
        at=when(row.at) or "",
        replayed_at=when(row.replayed_at),
        to=to,
        category=category,
    )


_PROBLEMS = ("not_found", "validation_failed", "store_unavailable")
_REPLAY = (*_PROBLEMS, "json_invalid", "content_type", "bus_unavailable", "state_unavailable")

ROUTES = (
    Route(
        "GET",
        "/v1/dead-letters",
        many,
        "Messages that were given up on, newest first",
        "dead letters",
        {200: DeadsView},
        scope="read",
        params=(
            Param("channel", "channel name", _TEXT),
            Param("code", "reason code", _TEXT),
            Param("message", "message id", _TEXT),
            Param("replayed", "true or false", {"type": "string", "enum": ["true", "false"]}),
            Param("after", "died at or after", _TIME),
            Param("before", "died before", _TIME),
            LIMIT,
            CURSOR,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
    Route(
        "POST",
        "/v1/dead-letters:replay",
        replay_many,
        "Send in again all that fit",
        "dead letters",
        {202: ReplayView},
        scope="",
        body=ReplayManyRequest,
        body_optional=True,
        writes=True,
        problems=_REPLAY,
    ),
    Route(
        "GET",
        "/v1/dead-letters/{id}",
        one,
        "One dead letter",
        "dead letters",
        {200: DeadView},
        scope="read",
        problems=_PROBLEMS,
    ),
    Route(
        "POST",
        "/v1/dead-letters/{id}:replay",
        replay,
        "Send one in again",
        "dead letters",
        {202: ReplayView},
        scope="",
        body=ReplayRequest,
        body_optional=True,
        writes=True,
        problems=(*_REPLAY, "already_replayed", "not_replayable"),
    ),
)
