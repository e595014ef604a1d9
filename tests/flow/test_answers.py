"""An answer from another number of the customer ends the plan that waits for it; a stranger's does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.deployment import Servers, deployed, eventually

POLICY = "categories: {care: {quiet: []}}\n"
PRIVATE, OFFICE, STRANGER = "13800000001", "13900000002", "13700000003"


@pytest.mark.timeout(180)
@pytest.mark.parametrize("to", ["customer:c-1", f"tel:+86{PRIVATE}"])
async def test_the_customers_other_number_is_heard(tmp_path: Path, to: str) -> None:
    async with (
        deployed(
            tmp_path,
            Servers(),
            policy=POLICY,
            callers="crm: {scopes: [send, read, customers, 'read:customers', 'read:all'], categories: ['*']}\n",
            key_scopes=(),
        ) as it,
        it.session() as http,
    ):
        numbers = [{"address": f"tel:+86{one}"} for one in (PRIVATE, OFFICE)]
        async with http.put("/v1/customers/c-1", json={"addresses": numbers}) as answer:
            assert answer.status in (200, 201), await answer.text()
        step = {"channel": "sms", "wait": "10m", "success": "replied"}
        body = {
            **{"to": to, "category": "care"},
            **{"content": {"type": "text", "text": "您的套餐即将到期，回复 1 续订"}},
            **{"plan": {"wait_then_next": [step, {"channel": "sms", "success": "delivered"}]}},
        }
        async with http.post("/v1/messages", json=body) as answer:
            assert answer.status == 202, await answer.text()
            plan = (await answer.json())["id"]

        async def view() -> Any:
            async with http.get(f"/v1/messages/{plan}") as answer:
                return await answer.json()

        def said() -> list[str]:
            return [e["recipient"] for e in it.smsc.journal.entries()]

        await eventually(said, 60)
        asked = said()[0]
        other = OFFICE if asked == PRIVATE else PRIVATE
        await it.smsc.inject_mo(STRANGER, "1069000101", "1")

        async def heard(number: str) -> Any:
            query = f"/v1/messages?direction=in&address=tel:%2B86{number}"
            async with http.get(query) as answer:
                return (await answer.json())["items"]

        await eventually(lambda: heard(STRANGER), 60)
        assert (await view())["plan"]["state"] == "open"
        await it.smsc.inject_mo(other, "1069000101", "1")

        async def closed() -> Any:
            state = (await view())["plan"]["state"]
            return state if state != "open" else None

        assert await eventually(closed, 60) == "reached"
        assert said() == [asked]
