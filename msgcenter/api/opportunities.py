"""`POST /v1/opportunities`: an opportunity that was not reached elsewhere (商机回流) comes back and is tried once more, by a plan.

It is taken once by its id, for as long as it is valid; what is over is refused. Its message has the id as reference, so that
signals find it, and the name of its cap as campaign, so that rules do.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from aiohttp import web
from pydantic import AwareDatetime, Field

from msgcenter.api.accept import Refused, fingerprint
from msgcenter.api.body import Body
from msgcenter.api.content import Content
from msgcenter.api.messages import (
    WRITE_PROBLEMS,
    accepted_body,
    customers_named,
    files_named,
    stored_answer,
)
from msgcenter.api.models import MOST_LIFE_S, Label, MessageRequest, PlanRequest, Word
from msgcenter.api.problems import Fault, refused
from msgcenter.api.views import AcceptedView
from msgcenter.api.web import KEY_LEASE_S, Call, Route, replayed, respond
from msgcenter.state import Begin

CATEGORY = "opportunity"
MOST_VALID_S = 7 * 86400
"""As long as an id is remembered."""


class OpportunityRequest(Body):
    """One opportunity of one customer."""

    __nested__: ClassVar[tuple[str, ...]] = ("content", "plan")

    id: Label = Field(description="the pool's own; a repeat is answered as the first one was")
    to: Annotated[str, Field(min_length=1, max_length=300)] = Field(
        description="as in POST /v1/messages", examples=["13800138000"]
    )
    content: Content
    valid_until: AwareDatetime = Field(description="not sent after this; at most 7 days ahead")
    plan: PlanRequest | None = Field(None, description="how the customer is tried")
    channels: Annotated[list[Word], Field(min_length=1, max_length=8)] | None = Field(
        None, description="instead of a plan: one after the other, until one accepts"
    )
    category: Word = CATEGORY
    from_: Word | None = Field(None, alias="from", description="the account that sends")
    cap: Label | None = Field(None, description="name of its own cap; becomes the campaign")


async def take(call: Call) -> web.Response:
    """Start the second plan of an opportunity, once by its id. Its end is the event `msgcenter.plan.reached.v1`, `unreached` or
    `stopped`."""
    api, terms = call.api, call.terms
    call.query()
    request = await call.model(OpportunityRequest)
    left = request.valid_until.timestamp() - api.deps.clock.now_ms() / 1000
    faults: list[Fault] = []
    if left <= 0:
        faults.append(Fault("valid_until", "opportunity_over", request.valid_until.isoformat()))
    elif left > min(MOST_VALID_S, MOST_LIFE_S):
        facts = {"limit": f"{MOST_VALID_S // 86400}d"}
        faults.append(Fault("valid_until", "time_far", request.valid_until.isoformat(), facts))
    if (request.plan is None) == (request.channels is None):
        faults.append(Fault("plan", "opportunity_way"))
    if faults:
        raise refused(faults)
    message = MessageRequest.model_construct(
        to=request.to,
        content=request.content,
        category=request.category,
        plan=request.plan or _one_by_one(request.channels or []),
        from_=request.from_,
        campaign=request.cap,
        reference=request.id,
        expires_in=left,
    )
    try:
        envelope = api.acceptor.envelope(
            message,
            terms,
            trace=call.trace,
            files=await files_named(call, [message]),
            people=await customers_named(call, [request.to]),
        )
    except Refused as no:
        raise refused(no.faults) from no
    key = f"opportunity/{request.id}"
    begin = Begin(call.caller, key, fingerprint(key, b""), envelope.id, KEY_LEASE_S)
    async with call.spend(1) as unused:
        result = await api.bundler.submit([envelope], begin=begin, answer=stored_answer)
        if result.verdict == "done":
            unused(1)
            return replayed(result.answer)
    headers = {"Location": f"/v1/messages/{result.id}"}
    return respond(202, accepted_body(envelope, result.id, "accepted"), headers)


def _one_by_one(channels: list[str]) -> PlanRequest:
    steps = [{"channel": channel} for channel in channels]
    return PlanRequest.model_validate({"first_success": steps})


ROUTES = (
    Route(
        "POST",
        "/v1/opportunities",
        take,
        "Take in an opportunity that was not reached, and try it once more",
        "messages",
        {202: AcceptedView},
        scope="send",
        body=OpportunityRequest,
        spends=True,
        problems=(*WRITE_PROBLEMS, "idempotency_busy"),
    ),
)
