"""Dry runs and allowances: the rules of the configuration, the real counters, and nothing changed by asking."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from msgcenter.api.explaining import window_text
from msgcenter.cli.client import EX_DATAERR
from msgcenter.policy.caps import Calendar, Gap, Rolling
from msgcenter.state.units import Reserve
from tests.records import envelope
from tests.unit.api import test_cli
from tests.unit.api.parts import FILES, Parts, message

CALLERS = """
crm: {scopes: [send, read, customers, 'read:customers'], categories: [transactional, care, marketing], defaults: {account: hotline}}
iop: {scopes: [send, read], categories: [marketing]}
"""
#: No time is quiet here, whatever the clock on the wall shows.
POLICY = """
categories:
  care: {quiet: []}
  marketing: {quiet: []}
caps:
  two:
    scope: person
    when: {categories: [care, marketing]}
    windows: [{rolling: 24h, limit: 2}, {calendar: week, limit: 5}, {gap: 30m}]
  account: {scope: account, windows: [{rolling: 1h, limit: 1000}]}
content:
  forbidden: {action: block, words: [赌博]}
"""


run = test_cli.run


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start({**FILES, "callers.yaml": CALLERS, "policy.yaml": POLICY})
    # what was sent before is known: nothing
    await parts.state.covered(["person?category=care,marketing", "account", "once"], 0)
    yield parts
    await parts.close()


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def customer(parts: Parts, **more: Any) -> None:
    body = {"addresses": [{"address": "tel:+8613800138000"}], **more}
    status, answer, _ = await parts.call("PUT", "/v1/customers/c-1", body)
    assert status == 200, answer


async def explained(parts: Parts, **over: Any) -> Any:
    status, answer, _ = await parts.post("/v1/messages:explain", message(**over))
    assert status == 200, answer
    return answer


async def spend(parts: Parts, count: int) -> None:
    """As many messages as if they had been routed."""
    book = parts.deps.explain._book()
    lookup = parts.deps.customers.lookup
    for number in range(count):
        who = await lookup.one("tel:+8613800138000", parts.clock.now_ms())
        assert who is not None
        one = envelope(f"msg_{number}", category="care", tier=4, person=who.key)
        takes = book.counters(one, who, parts.clock.now_ms()).takes
        (answer,) = await parts.state.reserve([Reserve(one.id, 0, 0, takes)])
        assert answer.ok


async def test_a_message_that_may_go_is_told_by_which_rules_and_channel(parts: Parts) -> None:
    answer = await explained(parts, category="care")
    assert answer["verdict"] == "send"
    (step,) = answer["steps"]
    assert (step["channel"], step["route"], step["person"]) == (
        "sms",
        "sms-east",
        "tel:+8613800138000",
    )
    stages = [decision["stage"] for decision in step["decisions"]]
    assert stages == ["consent", "content", "quiet", "reserve", "route"]


async def test_asking_takes_nothing(parts: Parts) -> None:
    for _ in range(5):
        assert (await explained(parts, category="care"))["verdict"] == "send"
    assert parts.bus.frames == []


@pytest.mark.parametrize(
    ("over", "code"),
    [
        ({"category": "marketing"}, "no_consent"),
        ({"category": "care", "content": {"type": "text", "text": "来赌博"}}, "content_blocked"),
        ({"category": "care"}, "two"),
    ],
)
async def test_a_refusal_names_its_rule(parts: Parts, over: dict[str, Any], code: str) -> None:
    await spend(parts, 1)
    answer = await explained(parts, **over)
    (step,) = answer["steps"]
    assert (answer["verdict"], step["code"]) == ("refuse", code)
    if code == "two":  # the gap of half an hour
        assert step["next_at"] is not None
        assert step["decisions"][-1]["facts"] == {"two": "1 of 1"}


async def test_each_step_of_a_plan_is_told(parts: Parts) -> None:
    plan = {"first_success": [{"channel": "sms"}, {"channel": "sms", "to": "13900139000"}]}
    answer = await explained(parts, category="care", channels=None, plan=plan)
    assert [(s["step"], s["person"]) for s in answer["steps"]] == [
        (1, "tel:+8613800138000"),
        (2, "tel:+8613900139000"),
    ]


async def test_what_the_real_request_would_refuse_is_refused(parts: Parts) -> None:
    status, problem, _ = await parts.post("/v1/messages:explain", message(to="customer:nobody"))
    assert status == 422
    assert [(f["field"], f["code"]) for f in problem["errors"]] == [("to", "customer_unknown")]
    assert "/v1/customers/{id}" in problem["errors"][0]["remedy"]


async def test_a_customer_is_a_recipient(parts: Parts) -> None:
    await customer(parts)
    answer = await explained(parts, to="customer:c-1", category="care", channels=None)
    (step,) = answer["steps"]
    assert (step["channel"], step["route"], step["person"]) == ("sms", "sms-east", "c-1")
    status, _, _ = await parts.post(
        "/v1/messages", message(to="customer:c-1", once_key="gift", channels=None)
    )
    assert status == 202
    (sent,) = parts.bus.envelopes
    assert (str(sent.to), sent.person, sent.once_key) == ("customer:c-1", "c-1", "gift")


async def test_the_allowance_says_what_every_cap_leaves(parts: Parts) -> None:
    await customer(parts, tags=["vip"])
    await spend(parts, 1)
    status, answer, _ = await parts.get("/v1/customers/c-1/allowance?category=care")
    assert status == 200, answer
    (item,) = answer["items"]
    assert (item["category"], item["channel"], item["allowed"], item["code"]) == (
        *("care", "sms", False),
        "two",
    )
    two = {cap["window"]: cap for cap in item["caps"] if cap["rule"] == "two"}
    assert {w: (c["used"], c["open"], c["limit"], c["left"]) for w, c in two.items()} == {
        "rolling 24h": (1, 1, 2, 1),
        "calendar week": (1, 1, 5, 4),
        "gap 30m": (1, 1, 1, 0),
    }
    apart = _at(two["gap 30m"]["next_at"]) - _at(item["next_at"])
    assert abs(apart.total_seconds()) < 5, "what is open counts as sent now, and now goes on"
    status, everything, _ = await parts.get("/v1/customers/c-1/allowance")
    assert status == 200, everything
    assert [item["category"] for item in everything["items"]] == [
        "transactional",
        "care",
        "marketing",
    ]
    assert [item.get("code") for item in everything["items"]] == [None, "two", "no_consent"]


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("c-9/allowance", 404, None),
        ("c-1/allowance?category=code", 422, "category"),
        ("c-1/allowance?channel=fax", 422, "channel"),
    ],
)
async def test_a_wrong_question_is_told_what_is_wrong(
    parts: Parts, path: str, status: int, field: str | None
) -> None:
    await customer(parts)
    got, problem, _ = await parts.get(f"/v1/customers/{path}")
    assert got == status
    if field:
        assert [fault["field"] for fault in problem["errors"]] == [field]


async def test_another_callers_key_needs_the_scope(parts: Parts) -> None:
    status, _, _ = await parts.get("/v1/customers/c-1/allowance", caller="iop")
    assert status == 403


@pytest.mark.parametrize(
    ("window", "text"),
    [
        (Rolling(86400, 3), "rolling 24h"),
        (Rolling(604800, 3), "rolling 7d"),
        (Rolling(90, 1), "rolling 90s"),
        (Calendar("week", 5), "calendar week"),
        (Gap(1800), "gap 30m"),
        (Gap(3600), "gap 1h"),
    ],
)
def test_windows_as_ops_write_them(window: Any, text: str) -> None:
    assert window_text(window) == text


async def test_the_command_line_says_it_in_words(
    parts: Parts, run: test_cli.Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await test_cli.use(parts, monkeypatch, "crm")
    await customer(parts)
    words = ("config", "explain", "customer:c-1", "您好", "--category", "care")
    code, out, _ = await run(*words)
    assert code == 0
    assert out.startswith("sms to c-1 would leave now by ")
    await spend(parts, 1)
    code, out, _ = await run(*words)
    assert code == 0
    assert out.startswith("sms to c-1 would not be sent (two); not before ")
    assert 'frequency cap "two" refuses it: person (two: 1 of 1' in out
    assert "next eligible" in out
    code, out, _ = await run(*words, "--json")
    assert json.loads(out)["verdict"] == "refuse"
    code, _, err = await run("config", "explain", "nowhere")
    assert (code, "to (nowhere)" in err) == (EX_DATAERR, True)
