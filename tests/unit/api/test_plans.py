"""Plans, signals and opportunities over the API: what is accepted becomes one envelope, what is wrong is named by its path.

Long because each operation has its table of refusals.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from msgcenter.bus import BusError
from msgcenter.plans import PlanCell
from msgcenter.policy.plan import News, Progress, advance
from msgcenter.state import PlanStep
from msgcenter.status import Meta
from protocols.address import Address
from protocols.payload import Advance, Group, Leaf, Plan, Signal, Text
from tests.unit.api.parts import FILES, SPECS, Parts, message

SMS = {"channel": "sms"}
PUSH = {"channel": "push", "to": "gridapp:zhang3"}


def planned(plan: Any, **over: Any) -> dict[str, Any]:
    return message(channels=None, plan=plan, **over)


def later(**delta: float) -> str:
    return (datetime.now(UTC) + timedelta(**delta)).isoformat()


async def test_a_plan_becomes_one_envelope(parts: Parts) -> None:
    plan = {
        "wait_then_next": [
            {
                **PUSH,
                "wait": "10m",
                "success": "replied",
                "content": {"type": "text", "text": "推送"},
            },
            {"any": 1, "of": [{**SMS, "cost": 5}, {**SMS, "to": "13800138001", "from": "market"}]},
        ],
        "cost_limit": 8,
        "stop_on": ["signal:paid", "replied"],
    }
    body = planned(plan, reference="r", campaign="c", expires_in="2h")
    status, answer, headers = await parts.post("/v1/messages", body)
    assert status == 202, answer
    [envelope] = parts.bus.envelopes
    own = Text("您的业务已办理")
    assert envelope.payload == Plan(
        (
            Leaf("push", Text("推送"), "", Address("gridapp", "zhang3"), 600_000, "replied"),
            Leaf("sms", own, "hotline", None, 0, "accepted", 5),
            Leaf("sms", own, "market", Address("tel", "+8613800138001")),
        ),
        (Group(1, (1, -1)), Group(1, (2, 3))),
        8,
        ("signal:paid", "replied"),
    )
    assert envelope.channels == ("plan", "push", "sms", "sms")
    assert envelope.id == envelope.order_key == answer["id"]
    assert envelope.expires_at - envelope.created_at == 7_200_000
    assert (envelope.reference, envelope.campaign, envelope.tier) == ("r", "c", 2)
    assert parts.bus.frames[0].lane == "conv"
    _, view, _ = await parts.get(headers["Location"])
    assert (view["channels"], view["final"]) == (["push", "sms", "sms"], False)


async def test_a_single_step_is_a_plan_and_shapes_have_their_needs(parts: Parts) -> None:
    for plan, groups in (
        (SMS, (Group(1, (1,)),)),
        ({"all_of": [SMS, SMS]}, (Group(2, (1, 2)),)),
        ({"first_success": [SMS, SMS]}, (Group(1, (1, 2)),)),
        ({"any": 2, "of": [SMS, SMS, SMS]}, (Group(2, (1, 2, 3)),)),
        (
            {"all_of": [{"first_success": [SMS, SMS]}, SMS]},
            (Group(2, (-1, 3)), Group(1, (1, 2))),
        ),
    ):
        status, answer, _ = await parts.post("/v1/messages", planned(plan))
        assert status == 202, answer
        payload = parts.bus.envelopes[-1].payload
        assert isinstance(payload, Plan)
        assert payload.groups == groups
    defaults = {"wait_then_next": [{**SMS, "wait": 5}, SMS]}
    await parts.post("/v1/messages", planned(defaults))
    payload = parts.bus.envelopes[-1].payload
    assert isinstance(payload, Plan)
    assert [(one.success, one.wait_ms) for one in payload.leaves] == [
        ("delivered", 5000),
        ("delivered", 0),
    ]


def deep(levels: int) -> Any:
    return {"all_of": [deep(levels - 1)]} if levels else SMS


@pytest.mark.parametrize(
    ("plan", "over", "wrong"),
    [
        ({}, {}, {"plan": "plan_shape"}),
        ({**SMS, "all_of": [SMS]}, {}, {"plan": "plan_shape"}),
        ({"first_success": []}, {}, {"plan.first_success": "too_short"}),
        ({"first_success": [SMS] * 11}, {}, {"plan.first_success": "too_long"}),
        ({"all_of": [{"all_of": [SMS] * 6}, {"all_of": [SMS] * 5}]}, {}, {"plan": "plan_too_many"}),
        (deep(4), {}, {"plan.all_of[0].all_of[0].all_of[0]": "plan_too_deep"}),
        (
            {"wait_then_next": [SMS, {"channel": "fax", "wait": "1h"}]},
            {},
            {
                "plan.wait_then_next[0].wait": "missing",
                "plan.wait_then_next[1].channel": "channel_unknown",
            },
        ),
        (
            {"first_success": [{"channel": "push"}, SMS]},
            {},
            {"plan.first_success[0].channel": "channel_unreachable"},
        ),
        (
            {"first_success": [{**PUSH, "success": "read"}, {**SMS, "success": "seen"}]},
            {},
            {"plan.first_success[1].success": "pattern"},
        ),
        (
            {"all_of": [{**PUSH, "success": "read"}]},
            {},
            {"plan.all_of[0].success": "success_unseen"},
        ),
        ({"all_of": [SMS], "wait": "1h"}, {}, {"plan.wait": "plan_step_only"}),
        ({"all_of": [SMS], "any": 1}, {}, {"plan.any": "plan_any"}),
        ({"of": [SMS]}, {}, {"plan.any": "missing"}),
        ({"any": 3, "of": [SMS, SMS]}, {}, {"plan.any": "out_of_range"}),
        ({**SMS, "to": "138"}, {}, {"plan.to": "number_invalid"}),
        ({**SMS, "from": "nobody"}, {}, {"plan.from": "account_unknown"}),
        ({**SMS, "costs": 1}, {}, {"plan.costs": "unknown_field"}),
        ({**SMS, "wait": "soon"}, {}, {"plan.wait": "duration_invalid"}),
        ({**SMS, "stop_on": ["delivered"]}, {}, {"plan.stop_on[0]": "pattern"}),
        (
            {"first_success": [{**SMS, "content": {"type": "text", "text": ""}}]},
            {},
            {"plan.first_success[0].content.text": "too_short"},
        ),
        (SMS, {"channels": ["sms"]}, {"channels": "plan_conflict"}),
        (SMS, {"order_key": "k"}, {"order_key": "plan_conflict"}),
        (SMS, {"category": "other"}, {"category": "category_unknown"}),
        ({"all_of": [SMS, SMS]}, {"to": "x"}, {"to": "address_invalid"}),
        (
            {"all_of": [{**SMS, "content": {"type": "text", "text": "文" * 20_000}}] * 3},
            {},
            {"plan": "too_long"},
        ),
    ],
)
async def test_what_is_wrong_is_named_by_its_path(
    parts: Parts, plan: Any, over: dict[str, Any], wrong: dict[str, str]
) -> None:
    for language in ("en", "zh"):
        status, problem, _ = await parts.post(
            "/v1/messages", {**planned(plan), **over}, headers={"Accept-Language": language}
        )
        assert status == 422, problem
        assert {one["field"]: one["code"] for one in problem["errors"]} == wrong
        assert all(one["detail"] and one["remedy"] for one in problem["errors"])
    assert not parts.bus.frames


@pytest.mark.parametrize(
    ("told", "step", "code"),
    [
        # What the kind never reports, one of its channels may, and the other way round.
        ({"grid": {"delivered"}}, {**PUSH, "success": "delivered"}, ""),
        ({"grid": {"delivered"}}, {**PUSH, "success": "read"}, "success_unseen"),
        ({"sms-east": set()}, {**SMS, "success": "delivered"}, ""),
        ({"sms-east": set(), "sms-west": set()}, {**SMS, "success": "delivered"}, "success_unseen"),
        # A login is on one channel: what others report is nothing to it.
        (
            {"sms-east": set()},
            {**SMS, "from": "login", "success": "delivered"},
            "success_unseen",
        ),
        ({"sms-west": set()}, {**SMS, "from": "login", "success": "delivered"}, ""),
    ],
)
async def test_a_step_waits_for_what_the_channels_it_may_leave_by_report(
    tmp_path: Path, told: dict[str, set[str]], step: dict[str, Any], code: str
) -> None:
    parts = Parts(tmp_path)
    login = FILES["accounts.yaml"] + "login: {kind: sms, channel: sms-east, address: li}\n"
    await parts.start({"accounts.yaml": login})
    for name, receipts in told.items():
        kind = parts.deps.live.current.channels[name].kind
        parts.own[name] = replace(SPECS[kind], receipts=frozenset(receipts))
    try:
        status, answer, _ = await parts.post("/v1/messages", planned({"all_of": [step]}))
        assert status == (422 if code else 202), answer
        assert {one["code"] for one in answer.get("errors", ())} == ({code} if code else set())
    finally:
        await parts.close()


async def test_a_repeated_key_inside_a_plan_is_refused(parts: Parts) -> None:
    body = json.dumps(planned({"all_of": [SMS]})).replace(
        '{"channel": "sms"}', '{"channel": "sms", "channel": "sms"}'
    )
    headers = {"Content-Type": "application/json"}
    status, problem, _ = await parts.call("POST", "/v1/messages", data=body, headers=headers)
    assert (status, problem["code"]) == (400, "json_duplicate_key")


async def test_a_retried_plan_keeps_order_by_the_id_it_has(parts: Parts) -> None:
    headers = {"Idempotency-Key": "k"}
    parts.bus.down = BusError("gone")
    status, _, _ = await parts.post("/v1/messages", planned(SMS), headers=headers)
    assert status == 503
    parts.bus.down = None
    status, answer, _ = await parts.post("/v1/messages", planned(SMS), headers=headers)
    assert status == 202
    [envelope] = parts.bus.envelopes
    assert envelope.id == envelope.order_key == answer["id"]


async def test_a_batch_may_hold_plans(parts: Parts) -> None:
    body = {"messages": [planned({"all_of": [SMS]}), planned({}), message()]}
    status, answer, _ = await parts.post("/v1/messages:batch", body)
    assert (status, answer["accepted"], answer["refused"]) == (202, 2, 1)
    assert answer["results"][1]["problem"]["errors"][0]["code"] == "plan_shape"


# -- reading and cancelling ----------------------------------------------------------------------


async def open_plan(parts: Parts, plan: Any) -> tuple[str, PlanCell]:
    """A plan that has begun, as its first pass would leave it."""
    _, answer, _ = await parts.post("/v1/messages", planned(plan))
    whole = parts.bus.envelopes[-1]
    assert isinstance(whole.payload, Plan)
    begin = News("n1", "begin")
    start = Progress.of(whole.payload)
    progress, _ = advance(whole.payload, start, begin, whole.created_at, whole.expires_at)
    cell = PlanCell(whole, progress)
    await step(parts, cell, 0)
    return answer["id"], cell


async def step(parts: Parts, cell: PlanCell, version: int) -> None:
    one = PlanStep(cell.whole.id, version, cell.pack(), 60.0, cell.view(), Meta.packed(cell.whole))
    await parts.state.plan_step([one])


async def test_a_message_shows_its_plan(parts: Parts) -> None:
    plan = {"first_success": [{**SMS, "wait": "1h", "cost": 5, "success": "delivered"}, SMS]}
    message_id, cell = await open_plan(parts, plan)
    _, view, _ = await parts.get(f"/v1/messages/{message_id}")
    assert (view["status"], view["final"]) == ("queued", False)
    first, second = view["plan"]["steps"]
    assert (view["plan"]["state"], view["plan"]["cost"]) == ("open", 5)
    assert (first["step"], first["channel"], first["state"]) == (1, "sms", "running")
    assert (first["success"], first["succeeded"], second["state"]) == ("delivered", False, "idle")
    assert first["wait_until"] > first["started_at"]
    end = News("n2", "cancel")
    progress, _ = advance(cell.plan, cell.progress, end, cell.whole.created_at + 1, 2**60)
    await step(parts, PlanCell(cell.whole, progress), 1)
    _, view, _ = await parts.get(f"/v1/messages/{message_id}")
    assert (view["status"], view["final"], view["plan"]["state"]) == (
        "cancelled",
        True,
        "cancelled",
    )


async def test_a_plan_is_cancelled_by_word_to_it(parts: Parts) -> None:
    message_id, cell = await open_plan(parts, {"first_success": [SMS, SMS]})
    status, answer, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert (status, answer["status"]) == (200, "cancelled")
    told = parts.bus.envelopes[-1]
    assert told.payload == Advance(message_id, "cancel", at=told.created_at)
    assert told.order_key == message_id
    status, _, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert status == 200
    assert parts.bus.envelopes[-1].id == told.id, "the same word again"
    end = News("n2", "outcome", 1, "sent")
    progress, _ = advance(cell.plan, cell.progress, end, cell.whole.created_at + 1, 2**60)
    await step(parts, PlanCell(cell.whole, progress), 1)
    status, problem, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert (status, problem["code"]) == (409, "already_final")


# -- signals -------------------------------------------------------------------------------------


async def test_a_signal_is_durable_and_says_whom_it_is_about(parts: Parts) -> None:
    message_id, _ = await open_plan(parts, SMS)
    body = {
        "name": "paid",
        "customer": "7",
        "address": "13800138000",
        "message": message_id,
        "reference": "r",
        "opportunity": "o",
        "data": {"order": 1},
    }
    status, answer, _ = await parts.post("/v1/signals", body)
    assert status == 202, answer
    envelope = parts.bus.envelopes[-1]
    assert envelope.id == answer["id"]
    names = ("customer:7", "tel:+8613800138000", f"message:{message_id}")
    assert envelope.payload == Signal(
        "signal:paid", (*names, "reference:crm/r", "reference:crm/o"), '{"order": 1}'
    )
    await parts.post("/v1/signals", {"name": "clicked", "reference": "r"})
    payload = parts.bus.envelopes[-1].payload
    assert isinstance(payload, Signal)
    assert payload.word == "clicked"


@pytest.mark.parametrize(
    ("body", "status", "wrong"),
    [
        ({"name": "paid"}, 422, {"customer": "signal_subject"}),
        ({"name": "Paid!", "customer": "7"}, 422, {"name": "pattern"}),
        ({"name": "paid", "address": "x"}, 422, {"address": "address_invalid"}),
        ({"name": "paid", "customer": "7", "data": {"x": "y" * 9000}}, 422, {"data": "too_long"}),
        ({"name": "paid", "message": "msg_none"}, 404, None),
    ],
)
async def test_a_signal_about_nobody_is_refused(
    parts: Parts, body: Any, status: int, wrong: Any
) -> None:
    got, problem, _ = await parts.post("/v1/signals", body)
    assert got == status, problem
    if wrong:
        assert {one["field"]: one["code"] for one in problem["errors"]} == wrong


async def test_a_signal_about_another_callers_message_is_not_found(parts: Parts) -> None:
    message_id, _ = await open_plan(parts, SMS)
    body = {"name": "paid", "message": message_id}
    status, _, _ = await parts.post("/v1/signals", body, caller="iop")
    assert status == 404


# -- opportunities -------------------------------------------------------------------------------


def opportunity(**over: Any) -> dict[str, Any]:
    body = {
        "id": "商机-1",
        "to": "13800138000",
        "content": {"type": "text", "text": "您关注的套餐"},
        "valid_until": later(hours=3),
        "plan": {"first_success": [SMS]},
        "from": "hotline",
        "cap": "second-try",
        **over,
    }
    return {name: value for name, value in body.items() if value is not None}


async def test_an_opportunity_is_taken_once(parts: Parts) -> None:
    status, first, _ = await parts.post("/v1/opportunities", opportunity(), caller="limited")
    assert status == 202, first
    again = opportunity(content={"type": "text", "text": "别的"}, valid_until=later(hours=2))
    status, second, headers = await parts.post("/v1/opportunities", again, caller="limited")
    assert (status, second["id"]) == (202, first["id"])
    assert headers["Idempotent-Replayed"] == "true"
    [envelope] = parts.bus.envelopes
    assert (envelope.category, envelope.campaign) == ("opportunity", "second-try")
    assert (envelope.reference, envelope.tier) == ("商机-1", 3)
    assert 10_700_000 < envelope.expires_at - envelope.created_at <= 10_800_000


@pytest.mark.parametrize(
    ("over", "wrong"),
    [
        ({"valid_until": later(hours=-1)}, {"valid_until": "opportunity_over"}),
        ({"valid_until": later(days=30)}, {"valid_until": "time_far"}),
        ({"plan": None}, {"plan": "opportunity_way"}),
        ({"channels": ["sms"]}, {"plan": "opportunity_way"}),
        ({"plan": None, "channels": ["fax"]}, {"plan.first_success[0].channel": "channel_unknown"}),
    ],
)
async def test_what_is_over_or_leads_nowhere_is_refused(
    parts: Parts, over: dict[str, Any], wrong: dict[str, str]
) -> None:
    status, problem, _ = await parts.post(
        "/v1/opportunities", opportunity(**over), caller="limited"
    )
    assert status == 422
    assert {one["field"]: one["code"] for one in problem["errors"]} == wrong


async def test_an_opportunity_by_channels_alone(parts: Parts) -> None:
    body = opportunity(plan=None, channels=["sms"])
    status, answer, _ = await parts.post("/v1/opportunities", body, caller="limited")
    assert status == 202, answer
    payload = parts.bus.envelopes[-1].payload
    assert isinstance(payload, Plan)
    assert payload.groups == (Group(1, (1,)),)
