"""Held content waits for somebody with another key; a click on a short link moves its plan; the preference page holds at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.flow.deployment import Servers, deployed, eventually

BASE = "http://m.example.cn"
POLICY = """
categories:
  care: {quiet: []}
  transactional: {receipt_wait: 2s}
content:
  cash: {action: hold, words: [返现], when: {categories: [care]}}
links: {allow: [10086.cn]}
"""
CALLERS = """
crm: {scopes: [send, read, 'read:all', customers, admin, review], categories: ['*']}
compliance: {scopes: [review]}
"""


@pytest.mark.timeout(120)
async def test_content_waits_for_its_review_and_customers_have_their_say(tmp_path: Path) -> None:
    async with (
        deployed(
            tmp_path,
            Servers(),
            policy=POLICY,
            callers=CALLERS,
            key_scopes=(),
            env={"MSGCENTER__API__PUBLIC_URL": BASE},
        ) as it,
        it.session() as http,
    ):

        async def post(path: str, body: Any, status: int, session: Any = http) -> Any:
            async with session.post(path, json=body) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json()

        async def get(path: str, session: Any = http) -> Any:
            async with session.get(path) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def send(to: str, text: str, **more: Any) -> str:
            content = {"type": "text", "text": text, **more.pop("content", {})}
            body = {"to": to, "category": "care", "content": content, **more}
            return str((await post("/v1/messages", body, 202))["id"])

        async def is_(message: str, *statuses: str) -> Any:
            async def now() -> Any:
                found = await get(f"/v1/messages/{message}")
                return found if found["status"] in statuses else None

            return await eventually(now)

        def said(to: str) -> list[str]:
            return [e["text"] for e in it.smsc.journal.entries() if e["recipient"] == to]

        made = await post("/v1/keys", {"caller": "compliance"}, 201)
        headers = {"Authorization": f"Bearer {made['key']}"}
        one, two = "13800000001", "13800000002"
        async with aiohttp.ClientSession(
            f"http://127.0.0.1:{it.port}", headers=headers
        ) as compliance:
            good = await send(one, "返 现 100 元")
            bad = await send(two, "返现 900 元")
            await is_(good, "held")
            await is_(bad, "held")
            waiting = (await get("/v1/reviews", compliance))["items"]
            reviews = {item["message"]: item["id"] for item in waiting}
            assert set(reviews) == {good, bad}
            own = await post(f"/v1/reviews/{reviews[good]}:approve", {}, 403)
            assert own["code"] == "review_same_key"
            await post(f"/v1/reviews/{reviews[good]}:approve", {}, 200, compliance)
            await post(f"/v1/reviews/{reviews[bad]}:reject", {"reason": "夸大"}, 200, compliance)
        await is_(good, "sent", "delivered")
        assert (await is_(bad, "suppressed"))["code"] == "review_rejected"
        assert (said(one), said(two)) == (["返 现 100 元"], [])

        steps = [
            {"channel": "sms", "wait": "1h", "success": "clicked"},
            {"channel": "sms", "content": {"type": "text", "text": "第二步"}},
        ]
        planned = await send(
            two,
            "看看 {offer} 吧",
            content={"links": {"offer": "https://wap.10086.cn/8?a=1"}},
            plan={"wait_then_next": steps},
        )
        (text,) = await eventually(lambda: said(two))
        found = re.fullmatch(rf"看看 {BASE}(/s/\w{{15}}) 吧", text)
        assert found, text
        async with http.get(found[1], allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (
                302,
                "https://wap.10086.cn/8?a=1",
            )

        async def reached() -> Any:
            events = (await get("/v1/events?limit=1000"))["items"]
            return [
                e
                for e in events
                if e["type"] == "msgcenter.plan.reached.v1" and e["data"]["message"] == planned
            ]

        await eventually(reached)
        assert said(two) == [text], "the second step was not needed"
        (link,) = (await get(f"/v1/messages/{planned}/links"))["items"]
        assert link["clicks"] == 1

        async with http.put(
            "/v1/customers/c1", json={"addresses": [{"address": f"tel:+86{two}"}]}
        ) as answer:
            assert answer.status == 200
        page = (await post("/v1/customers/c1/preference-link", {}, 201))["url"].removeprefix(BASE)
        async with aiohttp.ClientSession(f"http://127.0.0.1:{it.port}") as customer:
            async with customer.get(page) as answer:
                assert "消息接收设置" in await answer.text()
            form = {"marketing": "off", "mute": "keep"}
            async with customer.post(page, data=form, allow_redirects=False) as answer:
                assert answer.status == 303
        refused = await is_(await send(two, "关怀"), "suppressed")
        assert refused["code"] == "opted_out"
        assert said(two) == [text]
