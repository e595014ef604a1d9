"""`/p/…`: the page on which a customer says what it wants to be sent: it needs no script, changes nothing when it is only opened,
and what is said there holds at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.app import wish_terms
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.writes import CustomerWrites
from msgcenter.stages.deliver import gates
from msgcenter.state import Admit
from protocols.envelope import Key
from tests.unit import rig as core
from tests.unit.api import parts as rig
from tests.unit.api.parts import Parts

TEL = "tel:+8613800138000"
BASE = "https://m.example.cn"
FILES = {
    "msgcenter.yaml": f"api: {{public_url: '{BASE}'}}\n",
    "callers.yaml": rig.FILES["callers.yaml"].replace(
        "crm:\n  scopes: [send, read]", "crm:\n  scopes: [send, read, customers]"
    ),
}
DAY = 86_400_000


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    deps, config = parts.deps, parts.deps.live.current
    lookup = CustomerLookup(parts.store, parts.clock)
    customers = CustomerWrites(
        parts.state, parts.store, lookup, parts.clock, lambda: wish_terms(config)
    )
    parts.api.deps = replace(deps, customers=customers)
    body = {"addresses": [{"address": TEL}, {"address": "gridapp:g1"}]}
    assert (await parts.call("PUT", "/v1/customers/c1", body))[0] == 200
    yield parts
    await parts.close()


async def link(parts: Parts, **body: Any) -> str:
    """The path of a new page."""
    status, answer, _ = await parts.post("/v1/customers/c1/preference-link", body)
    assert status == 201, answer
    assert answer["url"].startswith(f"{BASE}/p/")
    return str(answer["url"].removeprefix(BASE))


async def page(parts: Parts, path: str, **headers: str) -> tuple[int, str, Mapping[str, str]]:
    async with parts.client.get(path, headers=headers) as answer:
        return answer.status, await answer.text(), answer.headers


async def fill(parts: Parts, path: str, **form: str) -> None:
    async with parts.client.post(path, data=form, allow_redirects=False) as answer:
        assert answer.status == 303, await answer.text()
        assert answer.headers["Location"].startswith(path)


async def verdict(parts: Parts, category: str, kind: str = "sms", person: str = "c1") -> str:
    envelope = core.message(
        parts.deps.ids.message(person), category=category, channels=(kind,), person=person
    )
    asked = Admit(Key(envelope.id, 0, 0, "channel"), gates(envelope, refusable=True), "w", 30.0)
    answer = (await parts.state.admit([asked]))[0]
    return answer.rule or answer.verdict


async def test_the_page_says_how_things_are_and_opening_it_changes_nothing(parts: Parts) -> None:
    path = await link(parts)
    status, text, headers = await page(parts, path)
    assert status == 200
    assert "消息接收设置" in text
    assert 'name="by-sms"' in text
    assert 'name="by-push"' in text
    assert "<script" not in text
    assert "13800138000" not in text
    assert "Your message settings" in (await page(parts, f"{path}?lang=en"))[1]
    assert "Your message settings" in (await page(parts, path, **{"Accept-Language": "en-GB"}))[1]
    policy = headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"
    assert (await parts.get("/v1/customers/c1/consents"))[1]["items"] == []


async def test_all_marketing_off_and_on_again(parts: Parts) -> None:
    path = await link(parts)
    assert await verdict(parts, "marketing") == "go"
    await fill(parts, path, marketing="off", mute="keep")
    for person in ("c1", TEL):
        assert await verdict(parts, "marketing", person=person) == "opted_out"
        assert await verdict(parts, "care", "push", person) == "opted_out"
        assert await verdict(parts, "transactional", person=person) == "go"
    (said,) = (await parts.get("/v1/customers/c1/consents"))[1]["items"]
    assert (said["channel"], said["category"], said["state"], said["source"]) == (
        "*",
        "*",
        "withdrawn",
        "page",
    )
    assert said["proof"].startswith("prf_")
    await fill(parts, path, marketing="off", mute="keep")
    assert len((await parts.get("/v1/customers/c1/consents"))[1]["items"]) == 1, "nothing new"
    await fill(parts, path, **{"marketing": "on", "by-sms": "1", "mute": "keep"})
    assert await verdict(parts, "marketing") == "go"
    assert await verdict(parts, "marketing", "push") == "opted_out", "its box was not ticked"


async def test_silence_is_no_consent(parts: Parts) -> None:
    path = await link(parts)
    await fill(parts, path, **{"marketing": "on", "by-sms": "1", "by-push": "1", "mute": "keep"})
    assert (await parts.get("/v1/customers/c1/consents"))[1]["items"] == []


async def test_service_only_and_a_mute_that_ends(parts: Parts) -> None:
    path = await link(parts)
    both = {"by-sms": "1", "by-push": "1", "marketing": "on"}
    await fill(parts, path, **both, service_only="1", mute="keep")
    assert await verdict(parts, "marketing") == "service_only"
    assert await verdict(parts, "care") == "go", "a service message"
    await fill(parts, path, **both, mute="7")
    status, wish, _ = await parts.get("/v1/customers/c1/preferences")
    assert (status, wish["service_only"], len(wish["mutes"])) == (200, False, 1)
    assert await verdict(parts, "care") == "muted"
    assert "当前免打扰至" in (await page(parts, path))[1]
    await fill(parts, path, **both, mute="none")
    assert await verdict(parts, "care") == "go"


async def test_a_link_ends_and_cannot_be_made_up(parts: Parts, monkeypatch: Any) -> None:
    path = await link(parts, expires_in="1h")
    assert (await page(parts, path + "A"))[0] == 404
    assert (await page(parts, "/p/x.y"))[0] == 404
    now = parts.clock.now_ms()
    monkeypatch.setattr(parts.clock, "now_ms", lambda: now + DAY)
    status, text, _ = await page(parts, path)
    assert (status, "链接已过期" in text) == (410, True)
    async with parts.client.post(path, data={"marketing": "off"}) as answer:
        assert answer.status == 410
    monkeypatch.undo()
    assert await verdict(parts, "marketing") == "go"


async def test_who_may_make_one(parts: Parts) -> None:
    assert (await parts.post("/v1/customers/c1/preference-link", {}, caller="iop"))[0] == 403
    assert (await parts.post("/v1/customers/nobody/preference-link", {}))[0] == 404
