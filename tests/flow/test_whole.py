"""The whole road, as a caller sees it, on the embedded parts and on RabbitMQ + Redis + PostgreSQL with a process per role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.flow.deployment import Deployment, Servers, deployed, eventually

LONG = "尊敬的客户，您办理的套餐变更业务已受理。" * 25


@pytest.fixture(params=["embedded", "production"])
async def it(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Deployment]:
    servers = Servers()
    if request.param == "production":
        servers = Servers(
            request.getfixturevalue("rabbit_url"),
            request.getfixturevalue("redis_url"),
            request.getfixturevalue("postgres_url"),
            request.getfixturevalue("prefix").strip("_"),
        )
    async with deployed(tmp_path, servers) as deployment:
        yield deployment


def body(number: int = 0, text: str = "您的验证码是 123456", **more: Any) -> dict[str, Any]:
    return {
        "to": f"tel:+86138{number:08d}",
        "category": "transactional",
        "channels": ["sms"],
        "content": {"type": "text", "text": text},
        **more,
    }


async def status(http: Any, message: str) -> dict[str, Any]:
    async with http.get(f"/v1/messages/{message}") as answer:
        return await answer.json(content_type=None)


@pytest.mark.timeout(180)
async def test_the_whole_road(it: Deployment) -> None:
    async with it.session() as http:
        # a 500-character text: one message, in parts, delivered
        async with http.post("/v1/messages", json=body(1, LONG)) as answer:
            assert answer.status == 202, await answer.text()
            long = (await answer.json())["id"]

        async def delivered() -> Any:
            found = await status(http, long)
            return found if found["status"] == "delivered" else None

        found = await eventually(delivered, 30)
        assert len(LONG) == 500
        (entry,) = [e for e in it.smsc.journal.entries() if e["recipient"].endswith("13800000001")]
        assert entry["text"] == LONG
        assert entry["parts"] == 8 == len(found["deliveries"][0]["parts"])

        async def traced() -> Any:
            trace = (await status(http, long)).get("trace", [])
            return trace if len(trace) >= 2 + 8 else None

        trace = await eventually(traced)
        assert {"submit", "channel", "inbound"} <= {line["pipeline"] for line in trace}

        # the same key 50 times at once: one message
        async def once() -> tuple[int, str]:
            async with http.post(
                "/v1/messages", json=body(2), headers={"Idempotency-Key": "order-4711"}
            ) as answer:
                return answer.status, (await answer.json(content_type=None)).get("id", "")

        answers = await asyncio.gather(*(once() for _ in range(50)))
        assert {code for code, _ in answers} <= {202, 409}
        assert len({message for code, message in answers if code == 202}) == 1

        # a batch with one bad item
        items = [body(n) for n in range(10, 110)]
        items[7]["to"] = "tel:+86123"
        async with http.post("/v1/messages:batch", json={"messages": items}) as answer:
            results = (await answer.json())["results"]
        assert [r["status"] for r in results].count(202) == 99 or len(results) == 100

        # a reply of the customer comes in, and is answered from the same number
        await it.smsc.inject_mo("13800000001", "10690001", "退订")

        async def received() -> Any:
            async with http.get("/v1/events?limit=200") as answer:
                events = (await answer.json())["items"]
            return [e for e in events if e["type"] == "msgcenter.message.received.v1"]

        (event,) = await eventually(received)
        assert event["data"]["content"]["text"] == "退订"
        assert event["data"]["from"] == "tel:+8613800000001"
        reply = {
            "reply_to": event["data"]["message"],
            "content": {"type": "text", "text": "已为您退订"},
        }
        async with http.post("/v1/messages", json=reply) as answer:
            assert answer.status == 202, await answer.text()
        sent = await eventually(
            lambda: [e for e in it.smsc.journal.entries() if e["text"] == "已为您退订"]
        )
        assert sent[0]["sender"].startswith("10690001")

        # everything arrived once
        def all_there() -> bool:
            recipients = [e["recipient"] for e in it.smsc.journal.entries()]
            return len(recipients) == 1 + 1 + 99 + 1

        await eventually(all_there)
        async with http.get("/readyz?verbose") as answer:
            assert answer.status == 200
        async with http.get("/metrics") as answer:
            assert "msgcenter_" in await answer.text()
