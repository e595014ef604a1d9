"""`POST /v1/signals`: something happened outside (an order was paid, a call was not answered, a link was clicked): the open plans that
wait for it go on, or end. What is answered 202 is durable.

A signal about a person reaches the plans of every caller: what happened to a customer is a fact, and a plan hears only what it
asked for. `message` and `reference` are the caller's own.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

from aiohttp import web
from pydantic import AfterValidator, AwareDatetime, Field

from msgcenter.api.body import Body, wrong
from msgcenter.api.history import owned
from msgcenter.api.models import Label, Word
from msgcenter.api.problems import Fault, refused
from msgcenter.api.recipient import read_recipient
from msgcenter.api.views import View
from msgcenter.api.web import Call, Route
from msgcenter.plans import CATEGORY, TIER, message_name, reference_name
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Signal

MAX_DATA_OCTETS = 8 * 1024
PLAIN = ("clicked", "replied")
"""Signals that plans know by their bare names; any other is `signal:<name>` there."""


def _small(value: dict[str, Any]) -> dict[str, Any]:
    if len(json.dumps(value, ensure_ascii=False).encode(errors="replace")) > MAX_DATA_OCTETS:
        raise wrong("too_long", limit=f"{MAX_DATA_OCTETS} octets")
    return value


class SignalRequest(Body):
    """What happened, and to whom: at least one of customer, address, message, reference, opportunity."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_.-]{1,64}$", examples=["paid", "clicked"])]
    customer: Label | None = Field(None, description="customer id")
    address: Annotated[str, Field(min_length=1, max_length=300)] | None = Field(
        None, description="scheme:value, or a telephone number", examples=["13800138000"]
    )
    message: Word | None = Field(None, description="a message sent with a plan")
    reference: Label | None = Field(None, description="yours, of such a message")
    opportunity: Label | None = Field(None, description="id of an opportunity")
    at: AwareDatetime | None = Field(None, description="when it happened (RFC 3339)")
    data: Annotated[dict[str, Any], AfterValidator(_small)] | None = Field(
        None, description="kept with the trace; at most 8 KB"
    )


class SignalView(View):
    """The signal is durable; the plans that wait for it will hear of it."""

    id: str
    name: str


async def signal(call: Call) -> web.Response:
    """Tell of something that open plans may wait for (`success: signal:<name>`, `clicked`, `stop_on`)."""
    call.query()
    request = await call.model(SignalRequest)
    names = await _names(call, request)
    canonical = request.model_dump_json(exclude_unset=True).encode()

    async def work(new_id: str) -> tuple[int, bytes]:
        async with call.spend(1):
            await call.api.bundler.submit([_envelope(call, request, names, new_id)])
        return 202, json.dumps({"id": new_id, "name": request.name}).encode()

    return await call.once(canonical, work, prefix="sig")


def _envelope(call: Call, request: SignalRequest, names: list[str], new_id: str) -> Envelope:
    word = request.name if request.name in PLAIN else f"signal:{request.name}"
    data = json.dumps(request.data, ensure_ascii=False) if request.data is not None else ""
    now = call.api.deps.clock.now_ms()
    return Envelope(
        id=new_id,
        caller=call.caller,
        to=Address("caller", call.caller),
        category=CATEGORY,
        tier=TIER,
        payload=Signal(word, tuple(names), data),
        created_at=round(request.at.timestamp() * 1000) if request.at is not None else now,
        reference=request.reference or "",
        trace=call.trace,
    )


async def _names(call: Call, request: SignalRequest) -> list[str]:
    """Under which names its plans are listed. Raises Problem."""
    names: list[str] = []
    if request.customer is not None:
        names.append(f"customer:{request.customer.removeprefix('customer:')}")
    if request.address is not None:
        address = read_recipient(request.address, "address")
        if isinstance(address, Fault):
            raise refused([address])
        names.append(str(address))
    if request.message is not None:
        await owned(call, request.message)
        names.append(message_name(request.message))
    given = (request.reference, request.opportunity)
    names += [reference_name(call.caller, one) for one in given if one is not None]
    if not names:
        raise refused([Fault("customer", "signal_subject")])
    return names


ROUTES = (
    Route(
        "POST",
        "/v1/signals",
        signal,
        "Tell of a business event or a click that plans may wait for",
        "messages",
        {202: SignalView},
        scope="send",
        body=SignalRequest,
        writes=True,
        spends=True,
        problems=(
            "validation_failed",
            "json_invalid",
            "json_duplicate_key",
            "json_too_deep",
            "body_too_large",
            "content_type",
            "content_encoding",
            "not_found",
            "quota_exceeded",
            "overloaded",
            "bus_unavailable",
        ),
    ),
)
