"""`/s/…`: what may become a short link, where it leads, that it is counted, ends, and is heard of."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from msgcenter.bus import BusError
from protocols.payload import Plan, Signal, Text
from tests.unit.api import parts as rig
from tests.unit.api.parts import Parts, message

BASE = "https://m.example.cn"
FILES = {
    "msgcenter.yaml": f"api: {{public_url: '{BASE}/'}}\n",
    "policy.yaml": rig.FILES["policy.yaml"] + "links: {allow: [10086.cn], expires_in: 1d}\n",
}
URL = "https://wap.10086.cn/offers?id=8&from=sms"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    yield parts
    await parts.close()


def linking(text: str = "点 {offer} 办理", url: str = URL, **links: str) -> dict[str, Any]:
    return message(content={"type": "text", "text": text, "links": {"offer": url, **links}})


async def sent_text(parts: Parts, body: dict[str, Any], **more: Any) -> tuple[str, str]:
    """(message id, its text as published)."""
    status, answer, _ = await parts.post("/v1/messages", body, **more)
    assert status == 202, answer
    (envelope,) = [one for one in parts.bus.envelopes if one.id == answer["id"]]
    payload = envelope.payload
    if isinstance(payload, Plan):
        payload = payload.leaves[0].payload
    assert isinstance(payload, Text)
    return envelope.id, payload.text


async def click(parts: Parts, word: str) -> tuple[int, str, str]:
    async with parts.client.get(f"/s/{word}", allow_redirects=False) as answer:
        return answer.status, answer.headers.get("Location", ""), await answer.text()


def word_in(text: str) -> str:
    return text.partition(f"{BASE}/s/")[2].partition(" ")[0]


async def test_a_link_leads_is_counted_and_tells_of_the_click(parts: Parts) -> None:
    name, text = await sent_text(parts, linking())
    word = word_in(text)
    assert text == f"点 {BASE}/s/{word} 办理"
    assert len(word) == 15
    for _ in range(3):
        assert (await click(parts, word))[:2] == (302, URL)
    status, answer, _ = await parts.get(f"/v1/messages/{name}/links")
    assert status == 200
    (item,) = answer["items"]
    assert (item["name"], item["url"], item["short_url"], item["clicks"]) == (
        "offer",
        URL,
        f"{BASE}/s/{word}",
        3,
    )
    signals = [one.payload for one in parts.bus.envelopes if isinstance(one.payload, Signal)]
    assert [(one.word, one.names) for one in signals] == [("clicked", (f"message:{name}",))], (
        "one click, however often it is opened at once"
    )
    assert (await parts.get(f"/v1/messages/{name}/links", caller="iop"))[0] == 404


async def test_it_ends_and_leads_only_where_it_may(parts: Parts, monkeypatch: Any) -> None:
    _, text = await sent_text(parts, linking())
    word = word_in(text)
    now = parts.clock.now_ms()
    monkeypatch.setattr(parts.clock, "now_ms", lambda: now + 86_340_000)
    assert (await click(parts, word))[0] == 302
    monkeypatch.setattr(parts.clock, "now_ms", lambda: now + 2 * 86_400_000)
    status, location, page = await click(parts, word)
    assert (status, location) == (410, "")
    assert "链接已过期" in page
    for wrong in (word[:-1] + ("a" if word[-1] != "a" else "b"), "x", "0" * 15):
        assert (await click(parts, wrong))[0] == 404


async def test_a_host_taken_off_the_list_is_not_led_to(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    try:
        _, text = await sent_text(parts, linking())
        policy = parts.deps.live.current.policy
        links = policy.links.model_copy(update={"allow": ("example.com",)})
        new = policy.model_copy(update={"links": links})
        object.__setattr__(parts.deps.live.current, "policy", new)
        status, location, _ = await click(parts, word_in(text))
        assert (status, location) == (404, "")
    finally:
        await parts.close()


@pytest.mark.parametrize(
    ("body", "field", "code"),
    [
        (linking(url="https://10086.cn.evil.com/"), "content.links.offer", "link_host"),
        (linking(url="https://10086.cn@evil.com/"), "content.links.offer", "link_host"),
        (linking(url="https://evil.com\\\\.10086.cn/"), "content.links.offer", "invalid"),
        (linking(url="https://10086.cn/\r\nX: 1"), "content.links.offer", "invalid"),
        (linking(url="javascript:alert(1)"), "content.links.offer", "invalid"),
        (linking("no place"), "content.links.offer", "link_unused"),
    ],
)
async def test_what_may_not_be_one(
    parts: Parts, body: dict[str, Any], field: str, code: str
) -> None:
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 422, answer
    assert [(e["field"], e["code"]) for e in answer["errors"]] == [(field, code)]
    assert parts.bus.envelopes == []


async def test_none_without_an_address_of_our_own(tmp_path: Path) -> None:
    parts = Parts(tmp_path)
    await parts.start({"policy.yaml": FILES["policy.yaml"]})
    try:
        status, answer, _ = await parts.post("/v1/messages", linking())
        assert (status, answer["errors"][0]["code"]) == (422, "links_off")
    finally:
        await parts.close()


async def test_a_repeat_of_a_request_and_a_batch(parts: Parts) -> None:
    headers = {"Idempotency-Key": "k1"}
    name, text = await sent_text(parts, linking(), headers=headers)
    status, again, _ = await parts.post("/v1/messages", linking(), headers=headers)
    assert (status, again["id"]) == (202, name)
    assert (await click(parts, word_in(text)))[0] == 302
    bad = linking(url="https://evil.com/")
    status, answer, _ = await parts.post("/v1/messages:batch", {"messages": [linking(), bad]})
    assert (status, answer["accepted"], answer["refused"]) == (202, 1, 1)
    good = answer["results"][0]["id"]
    (envelope,) = [one for one in parts.bus.envelopes if one.id == good]
    assert isinstance(envelope.payload, Text)
    assert (await click(parts, word_in(envelope.payload.text)))[0] == 302
    (item,) = (await parts.get(f"/v1/messages/{good}/links"))[1]["items"]
    assert item["clicks"] == 1


async def test_a_first_try_that_failed_leaves_the_links_of_the_second(parts: Parts) -> None:
    """The id is the first try's, the text the second's: its link belongs to that id."""
    headers = {"Idempotency-Key": "k2"}
    parts.bus.down = BusError("away")
    assert (await parts.post("/v1/messages", linking(), headers=headers))[0] == 503
    parts.bus.down = None
    name, text = await sent_text(parts, linking(), headers=headers)
    assert (await click(parts, word_in(text)))[0] == 302
    items = (await parts.get(f"/v1/messages/{name}/links"))[1]["items"]
    assert sum(item["clicks"] for item in items) == 1


async def test_a_step_of_a_plan_has_links_of_its_own(parts: Parts) -> None:
    step = {"channel": "sms", "content": linking("步 {offer}")["content"], "wait": "1h"}
    last = {"channel": "sms", "success": "clicked"}
    body = {**linking(), "plan": {"wait_then_next": [step, last]}}
    del body["channels"]
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 202, answer
    (envelope,) = [one for one in parts.bus.envelopes if one.id == answer["id"]]
    assert isinstance(envelope.payload, Plan)
    texts = [
        leaf.payload.text for leaf in envelope.payload.leaves if isinstance(leaf.payload, Text)
    ]
    assert [text[:2] for text in texts] == ["步 ", "点 "]
    assert len({word_in(text) for text in texts}) == 2
    items = (await parts.get(f"/v1/messages/{answer['id']}/links"))[1]["items"]
    assert len(items) == 2


async def test_somebody_who_clicks_is_not_kept_while_the_bus_is_away(parts: Parts) -> None:
    _, text = await sent_text(parts, linking())
    parts.bus.down = BusError("away")
    assert (await click(parts, word_in(text)))[0] == 302
