"""`GET /v1/messages`: one message with its status, deliveries and decisions; lists of messages by
what they have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from msgcenter.api.plan_views import plan_view
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.recipient import read_recipient
from msgcenter.api.views import (
    DecisionView,
    DeliveryView,
    MessagesView,
    MessageView,
    PartView,
    SourceView,
    TraceView,
)
from msgcenter.api.waits import MOST_S
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.plans import PlanCell
from msgcenter.settle import OWN_COPY, SECOND_SOURCE
from msgcenter.state import Accepted, Snapshot, StateError
from msgcenter.status import PLAN, Meta, derive, reason
from msgcenter.store import DueFilter, MessageFilter, MessageRow, RecordRow, StoreError, Traced
from msgcenter.store.rows import RECALLED
from protocols import wire
from protocols.envelope import Envelope
from protocols.errors import Malformed

MESSAGE_PROBLEMS = ("not_found", "state_unavailable", "store_unavailable")
_TEXT = {"type": "string"}
_TIME = {"type": "string", "format": "date-time"}
LIMIT = Param(
    "limit", "how many at most", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}
)
CURSOR = Param("cursor", "next_cursor of the answer before", _TEXT)
_FILTERS = ("account", "channel", "category", "campaign", "status", "order_key")


async def one(call: Call) -> web.Response:
    """One message as it is now."""
    call.query("wait")
    wait = call.seconds("wait", MOST_S)
    snapshot, meta, traced = await _find(call, call.id)
    if wait and snapshot.exists and not call.api.final(snapshot):
        await call.api.waits.final(call.id, wait)
        snapshot, meta, traced = await _find(call, call.id)
    view = _view(call, call.id, snapshot, meta, traced)
    if meta is not None and meta.kind == PLAN:
        [(version, value)] = await call.api.deps.state.plans([call.id])
        if version:
            view = view.model_copy(update={"plan": plan_view(PlanCell.unpack(value))})
    return shown(view)


async def many(call: Call) -> web.Response:
    """Messages, newest first."""
    given = call.query(*_FILTERS, "address", "customer", "caller", "direction", "cursor")
    faults: list[Fault] = []
    fields: dict[str, Any] = {name: given[name] for name in _FILTERS if name in given}
    if "address" in given:
        address = read_recipient(given["address"], "address")
        if isinstance(address, Fault):
            faults.append(address)
        fields["address"] = str(address)
    if "customer" in given:
        fields["person"] = f"customer:{given['customer'].removeprefix('customer:')}"
    if "direction" in given:
        fields["direction"] = given["direction"]
        if given["direction"] not in ("in", "out", "staff"):
            known = {"known": "in, out, staff"}
            faults.append(Fault("direction", "not_one_of", given["direction"], known))
    if faults:
        raise refused(faults)
    fields["caller"] = given.get("caller", "") if call.sees_all else call.caller
    if not call.sees_all and given.get("caller", call.caller) != call.caller:
        raise Problem("scope_missing", needed="read:all", scopes=call.terms.caller.scopes)
    filters = MessageFilter(**fields, from_ms=call.time("after"), to_ms=call.time("before"))
    page = await call.api.deps.store.messages(filters, given.get("cursor", ""), call.limit())
    items = [_of_row(row) for row in page.items]
    return shown(MessagesView(items=items, next_cursor=page.next_cursor or None))


async def owned(call: Call, message_id: str) -> tuple[Snapshot, Meta]:
    """A message that State knows, or that still waits, and the key may see. Raises Problem not_found
    (also for somebody else's), StateError, StoreError."""
    state = call.api.deps.state
    [snapshot] = await state.get_many([message_id])
    meta = _meta(snapshot)
    if meta is None and (waiting := await _waiting(call, message_id)) is not None:
        # It waits for longer than State remembers.
        await state.accepted([Accepted(message_id, Meta.packed(waiting))])
        [snapshot] = await state.get_many([message_id])
        meta = _meta(snapshot)
    if meta is None or not (meta.caller == call.caller or call.sees_all):
        raise Problem("not_found", what="message", id=message_id)
    return snapshot, meta


async def _waiting(call: Call, message_id: str) -> Envelope | None:
    """The message itself, while it is held or its plan runs."""
    [(version, value)] = await call.api.deps.state.plans([message_id])
    if version:
        return PlanCell.unpack(value).whole
    page = await call.api.deps.store.list_due(DueFilter(message=message_id))
    for row in page.items:
        try:
            held = wire.open_sealed(row.body)
        except Malformed:  # the schedule role puts it aside, and says so
            continue
        if isinstance(held, Envelope) and held.id == message_id:
            return held
    return None


async def _find(call: Call, message_id: str) -> tuple[Snapshot, Meta | None, Traced | None]:
    """What State and Store know. One of them may be away as long as the other knows the message."""
    deps = call.api.deps
    away: Exception | None = None
    snapshot, traced = Snapshot(), None
    try:
        snapshot = (await deps.state.get_many([message_id]))[0]
    except StateError as error:
        away = error
    try:
        traced = await deps.store.message(message_id)
    except StoreError as error:
        away = error
    meta = _meta(snapshot)
    if traced is not None and not traced.message.known:
        traced = None
    owner = meta.caller if meta else traced.message.caller if traced else None
    if owner is None and away is not None:
        raise away
    if owner is None or not (owner == call.caller or call.sees_all):
        raise Problem("not_found", what="message", id=message_id)
    return snapshot, meta, traced


def _meta(snapshot: Snapshot) -> Meta | None:
    if not snapshot.exists or not snapshot.meta:
        return None
    return Meta.unpack(snapshot.meta)


def _view(
    call: Call, message_id: str, snapshot: Snapshot, meta: Meta | None, traced: Traced | None
) -> MessageView:
    """State speaks for the status while it remembers the message; the Store for everything else, as
    soon as it has it."""
    records = traced.records if traced else ()
    fields: dict[str, Any] = {}
    if traced is not None:
        fields = _row_fields(traced.message)
    if meta is not None:
        fields |= {
            "status": derive(snapshot),
            "final": call.api.final(snapshot),
            "code": reason(snapshot) or None,
            "direction": fields.get("direction", "out"),
            "to": fields.get("to") or meta.to or None,
            "account": fields.get("account") or meta.account or None,
            "category": meta.category,
            "channels": [kind for kind in meta.channels if kind != PLAN] or None,
            "campaign": meta.campaign or None,
            "reference": meta.reference or None,
            "created_at": when(meta.created_at),
            "send_at": when(meta.not_before),
            "expires_at": when(meta.expires_at),
        }
    channels = {(r.step, r.attempt): r.channel for r in records if r.channel and not r.receipt}
    fields["deliveries"] = _deliveries(snapshot, channels)
    fields["sources"] = _sources(records)
    fields["recalled_at"] = next((when(r.at) for r in records if r.code == RECALLED), None)
    fields["trace"] = [_trace(record) for record in records] or None
    return MessageView(id=message_id, **fields)


def _row_fields(row: MessageRow) -> dict[str, Any]:
    return {
        "status": row.status,
        "final": row.final,
        "code": row.code or None,
        "direction": row.direction,
        "to": row.to or None,
        "sender": row.sender or None,
        "account": row.account or None,
        "category": row.category or None,
        "channel": row.channel or None,
        "campaign": row.campaign or None,
        "reference": row.reference or None,
        "reply_to": row.reply_to or None,
        "chat": row.chat or None,
        "mentions": list(row.mentions) or None,
        "created_at": when(row.created_at),
        "updated_at": when(row.updated_at),
        "content": dict(row.content) or None,
    }


def _of_row(row: MessageRow) -> MessageView:
    return MessageView(id=row.id, **_row_fields(row))


def _deliveries(
    snapshot: Snapshot, channels: Mapping[tuple[int, int], str]
) -> list[DeliveryView] | None:
    out = [
        DeliveryView(
            step=step,
            attempt=attempt,
            channel=channels.get((step, attempt)),
            parts=[
                PartView(part=part, evidence=evidence, code=code or None, at=when(at))
                for part, (evidence, code, at) in sorted(parts.items())
            ],
        )
        for (step, attempt), parts in sorted(snapshot.deliveries.items())
    ]
    return out or None


def _sources(records: Sequence[RecordRow]) -> list[SourceView] | None:
    """Who read the message, in the order in which they told of it."""
    return [
        SourceView(channel=record.channel, remote_id=remote_id, at=when(record.at))
        for record in records
        if (record.pipeline == "inbound" and record.kind == "routed" and not record.receipt)
        or record.code in (SECOND_SOURCE, OWN_COPY)
        for remote_id in record.remote_ids
    ] or None


def _trace(record: RecordRow) -> TraceView:
    return TraceView(
        at=when(record.at) or "",
        pipeline=record.pipeline,
        step=record.step,
        attempt=record.attempt,
        outcome=record.kind,
        code=record.code or None,
        detail=record.detail or None,
        channel=record.channel or None,
        receipt=record.receipt or None,
        until=when(record.until),
        remote_ids=list(record.remote_ids) or None,
        decisions=[_decision(decision) for decision in record.decisions] or None,
    )


def _decision(decision: Mapping[str, Any]) -> DecisionView:
    facts = decision.get("facts") or {}
    return DecisionView(
        stage=str(decision.get("stage", "")),
        rule=str(decision.get("rule", "")),
        verdict=str(decision.get("verdict", "")),
        detail=decision.get("detail") or None,
        next_at=when(int(decision.get("next_at") or 0)),
        facts={str(name): str(fact) for name, fact in dict(facts).items()} or None,
    )


ROUTES = (
    Route(
        "GET",
        "/v1/messages/{id}",
        one,
        "One message: status, deliveries, decisions",
        "messages",
        {200: MessageView},
        scope="read",
        params=(
            Param(
                "wait",
                "answer only when the status is final, or after this long (at most 30s)",
                {"type": "string", "pattern": r"^\d{1,6}(\.\d{1,3})?(ms|s)?$"},
            ),
        ),
        problems=MESSAGE_PROBLEMS,
    ),
    Route(
        "GET",
        "/v1/messages",
        many,
        "Messages, newest first",
        "messages",
        {200: MessagesView},
        scope="read",
        params=(
            Param("address", "the other side: recipient or sender", _TEXT),
            Param("customer", "customer id", _TEXT),
            Param("account", "our account", _TEXT),
            Param(
                "direction",
                "out, in, or staff: typed by the account's own human",
                {"type": "string", "enum": ["out", "in", "staff"]},
            ),
            Param("channel", "channel name", _TEXT),
            Param("category", "category", _TEXT),
            Param("campaign", "campaign", _TEXT),
            Param("status", "status", _TEXT),
            Param("order_key", "conversation", _TEXT),
            Param("caller", "another caller's (needs read:all)", _TEXT),
            Param("after", "created at or after", _TIME),
            Param("before", "created before", _TIME),
            LIMIT,
            CURSOR,
        ),
        problems=("validation_failed", "store_unavailable"),
    ),
)
