"""`/v1/messages`: send one, send up to 1,000, cancel; what is answered 202 is durable.

Long because single, batch and cancel share what is published, stored and answered.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from msgcenter.api.accept import Refused
from msgcenter.api.content import files_of
from msgcenter.api.grouping import rooms_of, writable
from msgcenter.api.history import MESSAGE_PROBLEMS, owned
from msgcenter.api.models import BatchRequest, MessageRequest
from msgcenter.api.planning import contents_of
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.short_links import keep_links, shorten
from msgcenter.api.strict import Invalid, read_item, read_json, read_model
from msgcenter.api.views import (
    AcceptedView,
    BatchView,
)
from msgcenter.api.waits import MOST_S
from msgcenter.api.web import Call, Param, Route, pack_answer, replayed, respond, when
from msgcenter.bus import Queue
from msgcenter.bus.topology import SUBMIT, place
from msgcenter.customers import Person
from msgcenter.customers.lookup import CUSTOMER
from msgcenter.plans import news
from msgcenter.stages.waited import CANCELLED, cancelled_name
from msgcenter.state import Snapshot, Suppression
from msgcenter.status import PLAN, Meta, derive, plan_over
from msgcenter.store import MediaRow, MessageRow, ShortLinkRow, Traced
from protocols.envelope import Envelope

CANCEL_KEPT_S = 3 * 86400.0
"""How much longer than the message's validity a cancellation is remembered."""
CHUNK = 100
ARCHIVE_LAG_S = 2.0
"""How long a message that State knows may take to reach the Store."""

WAIT = Param(
    "wait",
    "answer only when the status is final, or after this long (at most 30s)",
    {"type": "string", "pattern": r"^\d{1,6}(\.\d{1,3})?(ms|s)?$", "examples": ["5s"]},
)
WRITE_PROBLEMS = (
    "validation_failed",
    "json_invalid",
    "json_duplicate_key",
    "json_too_deep",
    "body_too_large",
    "content_type",
    "content_encoding",
    "category_not_granted",
    "quota_exceeded",
    "batch_over_quota",
    "caller_overloaded",
    "overloaded",
    "bus_unavailable",
    "state_unavailable",
    "store_unavailable",
)


async def send(call: Call) -> web.Response:
    """Accept one message."""
    api, terms = call.api, call.terms
    wait = 0.0
    if call.request.query_string:
        call.query("wait")
        wait = call.seconds("wait", MOST_S)
    raw = await call.body()
    try:
        request = read_model(MessageRequest, raw)
    except Invalid as invalid:
        raise refused(api.acceptor.also_wrong(invalid, terms)) from invalid
    links: list[ShortLinkRow] = []
    envelope = await envelope_of(call, request, links)
    key = call.idempotency_key()
    begin = None
    if key:
        canonical = request.model_dump_json(by_alias=True, exclude_unset=True).encode()
        begin = call.begin(key, canonical, envelope.id)
    if links:
        await keep_links(call, [(envelope, links)])
    async with call.spend(1) as unused:
        result = await api.bundler.submit([envelope], begin=begin, answer=stored_answer)
        if links and result.id != envelope.id and result.verdict == "fresh":
            await api.deps.store.move_links(envelope.id, result.id)
        if result.verdict == "done":
            unused(1)
            return replayed(result.answer)
    status = "accepted"
    if wait:
        await api.waits.final(result.id, wait)
        status = derive((await api.deps.state.get_many([result.id]))[0])
    headers = {"Location": f"/v1/messages/{result.id}"}
    return respond(202, accepted_body(envelope, result.id, status), headers)


async def envelope_of(
    call: Call, request: MessageRequest, links: list[ShortLinkRow] | None = None
) -> Envelope:
    """The message that a request asks for; `links` gets its short links, which are still to be kept (a dry run keeps none).
    Raises Problem with everything that is wrong with it."""
    replies = await _replies(call, [request]) if request.reply_to else None
    files = await files_named(call, [request])
    groups = await writable(call, [request.to or ""])
    rooms = await rooms_of(call, replies.values()) if replies else None
    people = await customers_named(call, [request.to or ""])
    try:
        said, made = shorten(call, request)
        if links is not None:
            links += made
        return call.api.acceptor.envelope(
            said,
            call.terms,
            trace=call.trace,
            replies=replies,
            files=files,
            groups=groups,
            rooms=rooms,
            people=people,
            key=call.identity.keyid,
        )
    except Refused as no:
        raise refused(no.faults) from no


async def send_batch(call: Call) -> web.Response:
    """Accept up to 1,000 messages; each item has its own result."""
    call.query()
    raw = await call.body()
    items = _items(raw)
    canonical = b""
    if call.idempotency_key():
        canonical = json.dumps(read_json(raw), sort_keys=True, separators=(",", ":")).encode()
    call.api.refuse_under_pressure(call.caller, len(items))

    async def work(batch_id: str) -> tuple[int, bytes]:
        return 202, await _batch(call, items, batch_id if canonical else "")

    return await call.once(canonical, work, prefix="bat")


async def cancel(call: Call) -> web.Response:
    """Stop a message that has not left yet; of a plan what has not left, and the plan."""
    call.query()

    async def work(_: str) -> tuple[int, bytes]:
        return 200, await _cancel(call, call.id)

    return await call.once(b"", work)


# -- one ----------------------------------------------------------------------------------------


def accepted_body(envelope: Envelope, message_id: str, status: str) -> bytes:
    """AcceptedView, written by hand: this is the one answer whose cost counts."""
    parts = [
        f'{{"id":"{message_id}","status":"{status}"',
        f'"created_at":"{when(envelope.created_at)}"',
    ]
    if envelope.expires_at:
        parts.append(f'"expires_at":"{when(envelope.expires_at)}"')
    if envelope.reference:
        parts.append(f'"reference":{json.dumps(envelope.reference, ensure_ascii=False)}')
    return (",".join(parts) + "}").encode()


def stored_answer(envelope: Envelope) -> bytes:
    return pack_answer(202, accepted_body(envelope, envelope.id, "accepted"))


async def archived(call: Call, message_id: str) -> Traced | None:
    """The message from the Store; one that State has heard of may be on its way there (its event can be quicker)."""
    deps = call.api.deps
    traced = await deps.store.message(message_id)
    if traced is None and (await deps.state.get_many([message_id]))[0].exists:
        deadline = deps.clock.monotonic() + ARCHIVE_LAG_S
        while traced is None and deps.clock.monotonic() < deadline:
            await deps.clock.sleep(0.05)
            traced = await deps.store.message(message_id)
    return traced


async def _replies(call: Call, requests: Iterable[MessageRequest]) -> dict[str, MessageRow]:
    """What is replied to: inbound messages, those that staff typed too; those of other callers left out."""
    wanted = dict.fromkeys(request.reply_to for request in requests if request.reply_to)
    rows: dict[str, MessageRow] = {}
    for message_id in wanted:
        traced = await archived(call, message_id)
        if (
            traced is not None
            and traced.message.direction in ("in", "staff")
            and (traced.message.caller == call.caller or call.sees_all)
        ):
            rows[message_id] = traced.message
    return rows


async def customers_named(call: Call, recipients: Iterable[str]) -> Mapping[str, Person]:
    """By id, the customers among these recipients."""
    wanted = [to for to in recipients if to.startswith(CUSTOMER)]
    if not wanted:
        return {}
    deps = call.api.deps
    found = await deps.customers.lookup.many(wanted, deps.clock.now_ms())
    return {to.removeprefix(CUSTOMER): person for to, person in found.items()}


async def files_named(call: Call, requests: Iterable[MessageRequest]) -> dict[str, MediaRow] | None:
    """The files these requests name, as far as the caller may use them; None when they name none."""
    named = [
        media
        for request in requests
        for _, content in contents_of(request)
        for media, _ in files_of(content).values()
    ]
    if not named:
        return None
    return await call.api.deps.media.visible(named, call.caller, all_=call.sees_all)


# -- many ---------------------------------------------------------------------------------------


def _items(raw: bytes) -> Sequence[MessageRequest | Invalid]:
    """Every item, read or not. Raises Problem when the body is not a batch at all."""
    try:
        return read_model(BatchRequest, raw).messages
    except Invalid as invalid:
        own = [fault for fault in invalid.faults if not fault.field.startswith("messages[")]
        if own:
            raise refused(own) from invalid
        data = invalid.data
    items: list[MessageRequest | Invalid] = []
    for item in data["messages"]:
        try:
            items.append(read_item(MessageRequest, item))
        except Invalid as one:
            items.append(one)
    return items


async def _batch(call: Call, items: Sequence[MessageRequest | Invalid], batch_id: str) -> bytes:
    """Accept what can be; the BatchView as JSON. With `batch_id` (a key was given) all or a
    problem: it can be repeated."""
    api, terms, trace = call.api, call.terms, call.trace
    replies: Mapping[str, MessageRow] = {}
    if any(isinstance(item, MessageRequest) and item.reply_to for item in items):
        replies = await _replies(call, [i for i in items if isinstance(i, MessageRequest)])
    files = await files_named(call, [item for item in items if isinstance(item, MessageRequest)])
    groups = await writable(call, [i.to or "" for i in items if isinstance(i, MessageRequest)])
    rooms = await rooms_of(call, replies.values())
    people = await customers_named(
        call, [i.to or "" for i in items if isinstance(i, MessageRequest)]
    )
    results: list[bytes] = [b""] * len(items)
    envelopes: dict[int, Envelope] = {}
    make = api.acceptor.envelope
    links: list[tuple[Envelope, list[ShortLinkRow]]] = []
    for index, item in enumerate(items):
        if index % CHUNK == CHUNK - 1:
            await asyncio.sleep(0)  # others want the loop too
        try:
            if isinstance(item, Invalid):
                raise Refused(api.acceptor.also_wrong(item, terms, replies))
            batch = (batch_id, index) if batch_id else None
            said, short = shorten(call, item)
            envelopes[index] = make(
                said,
                terms,
                trace=trace,
                replies=replies,
                files=files,
                groups=groups,
                rooms=rooms,
                people=people,
                batch=batch,
                key=call.identity.keyid,
            )
            if short:
                links.append((envelopes[index], short))
        except Refused as no:
            results[index] = _refused_item(call, index, no.faults, item)
    async with call.spend(len(envelopes)) as unused:
        if links:
            await keep_links(call, links)
        failed = await _publish(call, envelopes)
        unused(len(failed))
    if failed and (batch_id or len(failed) == len(envelopes)):
        raise next(iter(failed.values()))
    for index, envelope in envelopes.items():
        if (problem := failed.get(index)) is not None:
            results[index] = _failed_item(call, index, problem, envelope.reference)
        else:
            reference = (
                f',"reference":{json.dumps(envelope.reference)}' if envelope.reference else ""
            )
            results[index] = (
                f'{{"index":{index},"id":"{envelope.id}","status":"accepted"{reference}}}'.encode()
            )
    good = len(envelopes) - len(failed)
    head = f'{{"accepted":{good},"refused":{len(items) - good},"results":['.encode()
    return head + b",".join(results) + b"]}"


async def _publish(call: Call, envelopes: Mapping[int, Envelope]) -> dict[int, Problem]:
    """Hand everything to the bundler by queue; the items whose frame was not confirmed, with the
    reason."""
    api = call.api
    by_queue: dict[Queue, list[int]] = {}
    for index, envelope in envelopes.items():
        by_queue.setdefault(place(SUBMIT, envelope, api.partitions), []).append(index)
    failed: dict[int, Problem] = {}

    async def chunk(indexes: Sequence[int]) -> None:
        try:
            await api.bundler.submit([envelopes[index] for index in indexes])
        except Problem as problem:
            failed.update(dict.fromkeys(indexes, problem))

    async def in_order(indexes: Sequence[int]) -> None:
        # a later part of a conversation must not become durable before, or without, an earlier one
        for start in range(0, len(indexes), CHUNK):
            await chunk(indexes[start : start + CHUNK])
            if failed:
                problem = next(iter(failed.values()))
                failed.update(dict.fromkeys(indexes[start + CHUNK :], problem))
                return

    work = []
    for queue, indexes in by_queue.items():
        if queue.lane == "conv":
            work.append(in_order(indexes))
        else:
            starts = range(0, len(indexes), CHUNK)
            work += [chunk(indexes[start : start + CHUNK]) for start in starts]
    await asyncio.gather(*work)
    return failed


def _refused_item(
    call: Call, index: int, faults: Sequence[Fault], item: MessageRequest | Invalid
) -> bytes:
    reference = item.reference if isinstance(item, MessageRequest) else None
    return _failed_item(call, index, refused(faults), reference or "", "refused")


def _failed_item(
    call: Call, index: int, problem: Problem, reference: str, status: str = "failed"
) -> bytes:
    out: dict[str, Any] = {"index": index, "status": status}
    if reference:
        out["reference"] = reference
    out["problem"] = problem.document(call.language)
    return json.dumps(out, ensure_ascii=False).encode(errors="replace")


# -- cancel -------------------------------------------------------------------------------------


async def _cancel(call: Call, message_id: str) -> bytes:
    deps = call.api.deps
    snapshot, meta = await owned(call, message_id)
    status = derive(snapshot)
    if meta.kind == PLAN:
        return await _cancel_plan(call, message_id, snapshot, meta)
    if status != CANCELLED:
        if call.api.final(snapshot):
            if any(snapshot.deliveries.values()):
                raise Problem("too_late", id=message_id, status=status)
            raise Problem("already_final", id=message_id, status=status)
        left = max(0, meta.expires_at - deps.clock.now_ms()) / 1000
        gate = Suppression(f"message:{message_id}", CANCELLED, left + CANCEL_KEPT_S)
        if message_id in (await deps.state.suppress([gate])).late:
            status = derive((await deps.state.get_many([message_id]))[0])
            raise Problem("too_late", id=message_id, status=status)
        # a held message need not wait for its time to learn of it
        await deps.state.remember(cancelled_name(message_id), b"1", gate.ttl_s)
        await deps.store.retime_due([message_id], deps.clock.now_ms())
        status = CANCELLED
    return _stands(message_id, status, meta)


async def _cancel_plan(call: Call, message_id: str, snapshot: Snapshot, meta: Meta) -> bytes:
    """First nothing leaves any more, then its plan hears of it; what has left already is not too late for the rest."""
    deps = call.api.deps
    status = derive(snapshot)
    if plan_over(snapshot):
        if not snapshot.view.endswith(CANCELLED):
            raise Problem("already_final", id=message_id, status=status)
        return _stands(message_id, status, meta)
    now = deps.clock.now_ms()
    left = max(0, meta.expires_at - now) / 1000
    gate = Suppression(f"message:{message_id}", CANCELLED, left + CANCEL_KEPT_S)
    await deps.state.suppress([gate])
    told = news(message_id, "cancel", caller=meta.caller, at=now, trace=call.trace)
    await call.api.bundler.submit([told])
    await deps.store.retime_due([message_id], now)
    snapshot = (await deps.state.get_many([message_id]))[0]
    status = derive(snapshot) if any(snapshot.deliveries.values()) else CANCELLED
    return _stands(message_id, status, meta)


def _stands(message_id: str, status: str, meta: Meta) -> bytes:
    """What was cancelled, as it was answered when it was accepted."""
    view = AcceptedView(
        id=message_id,
        status=status,
        created_at=when(meta.created_at) or "",
        expires_at=when(meta.expires_at) if meta.expires_at else None,
        reference=meta.reference or None,
    )
    return view.model_dump_json(exclude_none=True).encode()


ROUTES = (
    Route(
        "POST",
        "/v1/messages",
        send,
        "Send one message to one recipient",
        "messages",
        {202: AcceptedView},
        scope="send",
        body=MessageRequest,
        params=(WAIT,),
        writes=True,
        spends=True,
        problems=WRITE_PROBLEMS,
    ),
    Route(
        "POST",
        "/v1/messages:batch",
        send_batch,
        "Send up to 1,000 messages, each with its own result",
        "messages",
        {202: BatchView},
        scope="send",
        body=BatchRequest,
        writes=True,
        spends=True,
        problems=WRITE_PROBLEMS,
    ),
    Route(
        "POST",
        "/v1/messages/{id}:cancel",
        cancel,
        "Cancel a message that has not left yet",
        "messages",
        {200: AcceptedView},
        scope="send",
        writes=True,
        problems=(*MESSAGE_PROBLEMS, "too_late", "already_final", "bus_unavailable"),
    ),
)
