"""`POST /v1/messages/{id}:recall`: take back what has left, where the channel can; what became of it is on the message's trace."""

from __future__ import annotations

import json

from aiohttp import web
from pydantic import Field

from msgcenter.api.accept import DAY_MS
from msgcenter.api.history import MESSAGE_PROBLEMS, owned
from msgcenter.api.messages import ARCHIVE_LAG_S, archived
from msgcenter.api.problems import Problem
from msgcenter.api.views import View
from msgcenter.api.web import Call, Route
from msgcenter.groups import CATEGORY, TIER
from msgcenter.store import RecordRow, Traced
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Recall


class RecallView(View):
    """The recall is durable; the event `msgcenter.message.recalled.v1` or `…recall_failed.v1` says what became of it."""

    id: str = Field(description="of the message to be taken back")
    recall: str = Field(description="of the recall itself")
    channel: str


async def recall(call: Call) -> web.Response:
    """Ask the channel by which the message left to take it back."""
    call.query()

    async def work(new_id: str) -> tuple[int, bytes]:
        return 202, await _recall(call, new_id)

    return await call.once(b"", work)


async def _recall(call: Call, new_id: str) -> bytes:
    api = call.api
    await owned(call, call.id)
    traced, left = await _record_of(call)
    if traced is None or left is None:
        raise Problem("not_left", id=call.id)
    row = traced.message
    channel = call.terms.config.channels.get(left.channel)
    spec = api.deps.spec_of(left.channel)
    if channel is None or spec is None or not spec.recall:
        raise Problem("recall_unsupported", id=call.id, channel=left.channel)
    now = api.deps.clock.now_ms()
    envelope = Envelope(
        id=new_id,
        caller=row.caller,
        to=Address.parse(row.to),
        category=CATEGORY,
        tier=TIER,
        payload=Recall(row.id, left.remote_ids),
        created_at=now,
        person=row.person,
        account=row.account,
        channels=(channel.kind,),
        channel=left.channel,
        # Behind the message's own passes, and apart from a conversation that waits for something else.
        order_key=row.order_key or row.id,
        expires_at=now + DAY_MS,
        reference=row.reference,
        trace=call.trace,
    )
    await api.bundler.submit([envelope])
    return json.dumps({"id": row.id, "recall": new_id, "channel": left.channel}).encode()


async def _record_of(call: Call) -> tuple[Traced | None, RecordRow | None]:
    """The message with the pass in which it left; State may know of that before the archive has it."""
    deps = call.api.deps
    deadline = deps.clock.monotonic() + ARCHIVE_LAG_S
    while True:
        traced = await archived(call, call.id)
        left = _left(traced) if traced is not None else None
        if left is not None or deps.clock.monotonic() >= deadline:
            return traced, left
        if not any((await deps.state.get_many([call.id]))[0].deliveries.values()):
            return traced, None
        await deps.clock.sleep(0.05)


def _left(traced: Traced) -> RecordRow | None:
    """The last pass in which it left, or may have."""
    passes = [
        record
        for record in traced.records
        if record.pipeline == "channel"
        and not record.receipt
        and record.kind in ("sent", "unknown")
    ]
    return passes[-1] if passes else None


ROUTES = (
    Route(
        "POST",
        "/v1/messages/{id}:recall",
        recall,
        "Take back a message that has left, where the channel can",
        "messages",
        {202: RecallView},
        scope="send",
        writes=True,
        problems=(
            *MESSAGE_PROBLEMS,
            "not_left",
            "recall_unsupported",
            "bus_unavailable",
        ),
    ),
)
