"""Templates in requests: each variable is checked by name and type when the message is accepted, and every kind must have words."""

from __future__ import annotations

from typing import Any

import pytest

from protocols.payload import Plan, Template
from tests.unit.api.parts import FILES, Parts, message

TEMPLATE = """
versions:
  1:
    valid_until: 2026-01-01T00:00:00+08:00
    content: {default: {text: 旧}}
  2:
    variables:
      amount: {type: number}
      due: {type: date, required: false}
    content:
      default: {text: "{{ amount }}{% if due is defined %} {{ due }}{% endif %}"}
      push: {type: card, title: a, description: b, url: 'https://h/'}
"""


@pytest.fixture(autouse=True)
def _template(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FILES, "templates/bill.yaml", TEMPLATE)


def templated(template: str = "bill", variables: Any = None, **more: Any) -> dict[str, Any]:
    content = {"type": "template", "template": template, "variables": variables or {}}
    return message(content=content, **more)


async def faults(parts: Parts, request: dict[str, Any]) -> list[tuple[str, str]]:
    status, body, _ = await parts.post("/v1/messages", request)
    assert status == 422, body
    return [(one["field"], one["code"]) for one in body["errors"]]


async def test_a_message_keeps_the_template_and_its_variables(parts: Parts) -> None:
    status, body, _ = await parts.post("/v1/messages", templated(variables={"amount": "8.50"}))
    assert status == 202, body
    assert parts.bus.envelopes[-1].payload == Template("bill", 0, '{"amount":"8.50"}')
    status, body, _ = await parts.post(
        "/v1/messages", templated("bill@2", {"amount": 8, "due": "2026-03-05"})
    )
    assert status == 202, body
    assert parts.bus.envelopes[-1].payload == Template("bill", 2, '{"amount":8,"due":"2026-03-05"}')


@pytest.mark.parametrize(
    ("template", "variables", "wrong"),
    [
        ("bill", {}, [("content.variables.amount", "variable_missing")]),
        (
            "bill@2",
            {"amount": "much", "due": "soon", "more": 1},
            [
                ("content.variables.more", "variable_unknown"),
                ("content.variables.amount", "variable_wrong"),
                ("content.variables.due", "variable_wrong"),
            ],
        ),
        ("bile", {}, [("content.template", "template_unknown")]),
        ("bill@3", {}, [("content.template", "template_version")]),
        ("bill@1", {}, [("content.template", "template_not_valid")]),
        ("bill@", {}, [("content.template", "pattern")]),
    ],
)
async def test_what_is_wrong_is_named(
    parts: Parts, template: str, variables: dict[str, Any], wrong: list[tuple[str, str]]
) -> None:
    assert await faults(parts, templated(template, variables)) == wrong


async def test_a_problem_says_what_is_expected_in_both_languages(parts: Parts) -> None:
    request = templated(variables={"amount": "much"})
    _, body, _ = await parts.post("/v1/messages", request)
    (error,) = body["errors"]
    assert error["detail"] == "does not fit what template bill@2 declares"
    assert error["remedy"] == 'give a number, or one in quotes like "12.50"'
    assert error["value"] == "much"


async def test_a_kind_that_cannot_carry_its_variant_is_refused(parts: Parts) -> None:
    wrong = await faults(
        parts, templated(variables={"amount": 1}, to="gridapp:li", channels=["push"])
    )
    assert wrong == [("channels[0]", "content_not_supported")]


async def test_other_faults_are_told_in_the_same_answer(parts: Parts) -> None:
    request = templated(variables={})
    request["to"] = "fax:1"
    assert ("content.variables.amount", "variable_missing") in await faults(parts, request)


async def test_a_step_of_a_plan_may_say_a_template(parts: Parts) -> None:
    content = {"type": "template", "template": "bill", "variables": {}}
    plan = {"first_success": [{"channel": "sms", "content": content}, {"channel": "sms"}]}
    request = message(plan=plan)
    request.pop("channels", None)
    wrong = await faults(parts, request)
    assert ("plan.first_success[0].content.variables.amount", "variable_missing") in wrong
    content["variables"] = {"amount": 1}
    status, body, _ = await parts.post("/v1/messages", request)
    assert status == 202, body
    payload = parts.bus.envelopes[-1].payload
    assert isinstance(payload, Plan)
    assert payload.leaves[0].payload == Template("bill", 0, '{"amount":1}')
