"""on_cap: merge in the running product: several wait for one person, the newest leaves for all, through a kill -9; and what the
API, the events and the metrics say of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.flow.deployment import Servers, deployed, eventually

POLICY = """
categories: {care: {quiet: []}}
caps:
  greetings: {scope: person, when: {categories: [care]}, windows: [{rolling: 30s, limit: 1}], on_cap: merge}
"""
CUSTOMER = "13800000001"


async def get(http: aiohttp.ClientSession, path: str) -> Any:
    async with http.get(path) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


@pytest.mark.timeout(240)
async def test_several_greetings_become_one(tmp_path: Path) -> None:
    async with deployed(tmp_path, Servers(), policy=POLICY) as it:

        async def greet(http: aiohttp.ClientSession, text: str) -> str:
            body = {
                "to": f"tel:+86{CUSTOMER}",
                "category": "care",
                "channels": ["sms"],
                "content": {"type": "text", "text": text},
            }
            async with http.post("/v1/messages", json=body) as answer:
                assert answer.status == 202, await answer.text()
                return str((await answer.json())["id"])

        async def view(http: aiohttp.ClientSession, message: str) -> Any:
            return await get(http, f"/v1/messages/{message}")

        async with it.session() as http:
            first = await greet(http, "早安")

            async def left() -> bool:
                return (await view(http, first))["status"] in ("sent", "delivered")

            await eventually(left, 90)
            waiting = [await greet(http, text) for text in ("回访", "节日快乐", "晚安")]

            async def held() -> bool:
                return all([(await view(http, one))["status"] == "held" for one in waiting])

            await eventually(held, 30)
            why = (await view(http, waiting[0]))["trace"][-1]["decisions"][-1]
            assert (why["rule"], why["verdict"]) == ("greetings", "merge")
            assert why["next_at"]
        it.kill9("api,submit,channel,inbound,archive,schedule")
        it.start("api,submit,channel,inbound,archive,schedule")
        await it.ready()
        async with it.session() as http:
            *older, newest = waiting

            async def ended() -> bool:
                seen = [(await view(http, one))["status"] for one in waiting]
                return seen[:2] == ["suppressed"] * 2 and seen[2] in ("sent", "delivered")

            await eventually(ended, 90, 0.3)
            for one in older:
                seen = await view(http, one)
                assert seen["code"] == "merged"
                (last,) = [d for d in seen["trace"][-1]["decisions"] if d["verdict"] == "merged"]
                assert (last["rule"], last["facts"]["message"]) == ("greetings", newest)
            went = [
                d for e in (await view(http, newest))["trace"] for d in e.get("decisions") or ()
            ]
            (stands,) = [d for d in went if d["verdict"] == "stands"]
            assert set(stands["facts"]["messages"].split()) == set(older)

            async def told() -> Any:
                page = await get(http, "/v1/events?limit=500")
                ends = [e for e in page["items"] if e["data"].get("code") == "merged"]
                return ends if len(ends) >= 2 else None

            assert {e["subject"] for e in await eventually(told, 30)} == set(older)
            async with http.get("/metrics") as answer:
                counted = re.findall(
                    r'policy_decisions_total{action="merged",rule="greetings"} (\S+)',
                    await answer.text(),
                )
            assert counted == ["2.0"]
        assert [e["text"] for e in it.smsc.journal.entries() if e["recipient"] == CUSTOMER] == [
            "早安",
            "晚安",
        ]
