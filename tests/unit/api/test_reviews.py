"""`/v1/reviews`: who sees and decides, once; that the message is woken; the same on the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from msgcenter.cli import reviews as cli
from msgcenter.reviews import Doubt, Reviews, review_id
from msgcenter.store import DueRow
from protocols.envelope import Decision, Envelope
from protocols.outcome import Held, Suppressed
from protocols.payload import Text
from tests.unit import rig as core
from tests.unit.api import parts as rig
from tests.unit.api.parts import Parts

FILES = {
    "callers.yaml": rig.FILES["callers.yaml"].replace(
        "crm:\n  scopes: [send, read]", "crm:\n  scopes: [send, read, review]"
    )
    + "compliance:\n  scopes: [review]\n"
}
FOUND = Decision("content", "sums", "hold", facts=(("sums", "返现 at 0-2: hold"),))
DAY = 86_400_000


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    yield parts
    await parts.close()


def doubted(parts: Parts, **more: Any) -> Envelope:
    now = parts.clock.now_ms()
    return core.message(
        f"msg_{now}_{len(more)}", payload=Text("返现 100 元"), created_at=now, **more
    )


async def judged(parts: Parts, envelope: Envelope, max_hold_s: float = 3600.0) -> Any:
    reviews = Reviews(parts.store, parts.clock)
    return (await reviews.judge([Doubt(envelope, FOUND, max_hold_s)]))[0]


async def held(parts: Parts, envelope: Envelope) -> str:
    """The message asks, and is put among those that wait; the review's id."""
    verdict = await judged(parts, envelope)
    assert isinstance(verdict.outcome, Held)
    row = DueRow(f"due_{envelope.id}", verdict.outcome.until, b"", envelope.id)
    await parts.store.hold([row])
    return review_id(envelope)


async def due_at(parts: Parts, message: str) -> list[int]:
    page = await parts.store.list_due()
    return [row.at_ms for row in page.items if row.message == message]


async def test_what_is_held_is_listed_and_approved_by_another_key(parts: Parts) -> None:
    key = await parts.key("crm")
    envelope = doubted(parts, keyid=key.split("_")[2], campaign="spring")
    name = await held(parts, envelope)
    status, answer, _ = await parts.get("/v1/reviews", caller="compliance")
    assert status == 200
    (item,) = answer["items"]
    assert (item["id"], item["state"], item["rule"], item["campaign"]) == (
        name,
        "waiting",
        "sums",
        "spring",
    )
    assert item["content"] == {"type": "text", "text": "返现 100 元"}
    assert item["found"] == [{"rule": "sums", "what": "返现 at 0-2: hold"}]

    status, answer, _ = await parts.post(f"/v1/reviews/{name}:approve", caller="crm")
    assert (status, answer["code"]) == (403, "review_same_key")
    before = await due_at(parts, envelope.id)
    status, answer, _ = await parts.post(
        f"/v1/reviews/{name}:approve", {"reason": "合规"}, caller="compliance"
    )
    assert (status, answer["state"], answer["reason"]) == (200, "approved", "合规")
    (woken,) = await due_at(parts, envelope.id)
    assert woken <= parts.clock.now_ms() < before[0]

    verdict = await judged(parts, envelope)
    assert verdict.outcome is None, "it goes on"
    assert verdict.decision.verdict == "approved"
    assert (await judged(parts, envelope)).outcome is None, "and is not asked for again"
    other = await judged(parts, core.message(envelope.id, payload=Text("返现 900 元")))
    assert isinstance(other.outcome, Held), "another text is another question"
    audit = await parts.store.list_audit(target=name)
    assert [(row.what, row.detail["message"]) for row in audit.items] == [
        ("review.approved", envelope.id)
    ]
    status, answer, _ = await parts.post(
        f"/v1/reviews/{name}:reject", {"reason": "x"}, caller="compliance"
    )
    assert (status, answer["code"]) == (409, "review_decided")
    assert (await parts.post(f"/v1/reviews/{name}:approve", caller="compliance"))[0] == 200
    assert len((await parts.store.list_audit(target=name)).items) == 1


async def test_another_key_of_the_same_caller_may(parts: Parts) -> None:
    sent_with = doubted(parts, keyid="k000000001")
    name = await held(parts, sent_with)
    assert (await parts.post(f"/v1/reviews/{name}:approve", caller="crm"))[0] == 200
    unknown = doubted(parts, keyid="", campaign="c", reference="r")
    name = await held(parts, unknown)
    status, answer, _ = await parts.post(f"/v1/reviews/{name}:approve", caller="crm")
    assert (status, answer["code"]) == (403, "review_same_key"), (
        "any key may have been the sender's"
    )


async def test_rejected_it_ends_with_the_reason(parts: Parts) -> None:
    envelope = doubted(parts, keyid="k000000001")
    name = await held(parts, envelope)
    status, answer, _ = await parts.post(f"/v1/reviews/{name}:reject", {}, caller="compliance")
    assert (status, answer["errors"][0]["field"]) == (422, "reason")
    body = {"reason": "夸大宣传"}
    assert (await parts.post(f"/v1/reviews/{name}:reject", body, caller="compliance"))[0] == 200
    assert (await judged(parts, envelope)).outcome == Suppressed("review_rejected", "夸大宣传")
    listed = await parts.get("/v1/reviews?state=rejected", caller="compliance")
    assert [item["reason"] for item in listed[1]["items"]] == ["夸大宣传"]
    assert (await parts.get("/v1/reviews", caller="compliance"))[1]["items"] == []


async def test_nobody_decides_in_time(parts: Parts, monkeypatch: Any) -> None:
    envelope = doubted(parts, keyid="k")
    name = await held(parts, envelope)
    now = parts.clock.now_ms()
    monkeypatch.setattr(parts.clock, "now_ms", lambda: now + 3_600_000)
    verdict = await judged(parts, envelope)
    assert isinstance(verdict.outcome, Suppressed)
    assert verdict.outcome.rule == "review_expired"
    status, answer, _ = await parts.post(f"/v1/reviews/{name}:approve", caller="compliance")
    assert (status, answer["code"]) == (409, "review_decided")
    items = (await parts.get("/v1/reviews?state=expired", caller="compliance"))[1]["items"]
    assert [item["state"] for item in items] == ["expired"]


async def test_its_own_expiry_comes_first_and_what_is_never_held_is_not_sent(parts: Parts) -> None:
    now = parts.clock.now_ms()
    verdict = await judged(parts, doubted(parts, expires_at=now + 60_000))
    assert isinstance(verdict.outcome, Held)
    assert verdict.outcome.until == now + 60_000
    verdict = await judged(parts, doubted(parts, tier=1, category="reply"), 0.0)
    assert isinstance(verdict.outcome, Suppressed)
    assert verdict.outcome.rule == "content_not_reviewed"


async def test_who_may(parts: Parts) -> None:
    for path in ("/v1/reviews", "/v1/reviews/rev_1"):
        status, answer, _ = await parts.get(path, caller="iop")
        assert (status, answer["code"]) == (403, "scope_missing")
    assert (await parts.get("/v1/reviews/rev_1", caller="compliance"))[0] == 404
    assert (await parts.get("/v1/reviews?state=odd", caller="compliance"))[0] == 422


async def test_on_the_command_line(parts: Parts, monkeypatch: Any) -> None:
    envelope = doubted(parts, keyid="k000000001")
    name = await held(parts, envelope)
    assert parts.client is not None
    url = str(parts.client.make_url("")).rstrip("/")
    monkeypatch.setenv("MSGCENTER_KEY", await parts.key("compliance"))
    monkeypatch.setenv("COLUMNS", "200")

    async def run(*args: str) -> Any:
        call: Callable[[], Any] = lambda: CliRunner().invoke(cli.app, [*args, "--url", url])  # noqa: E731
        return await asyncio.to_thread(call)

    shown = await run("list")
    assert shown.exit_code == 0, shown.output
    assert "返现 100 元" in shown.output
    assert (await run("list", "--quiet")).output == f"{name}\n"
    whole = await run("show", name)
    assert all(word in whole.output for word in (name, "sums: 返现 at 0-2: hold", envelope.id))
    assert (await run("reject", name)).exit_code == 2, "a reason is needed"
    decided = await run("approve", name, "--reason", "ok", "--json")
    assert json.loads(decided.output)["state"] == "approved"
    late = await run("reject", name, "--reason", "no")
    assert late.exit_code == 65
