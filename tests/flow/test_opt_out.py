"""What customers say of being written to: a word by SMS is heard, answered and passed on; who floods is kept from the desk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.deployment import Servers, deployed, eventually

POLICY = """
categories:
  care: {quiet: []}
opt_out:
  ports: {answer_out: 已退订, answer_back: 已恢复}
flood: {slow: {messages: 5, within: 60s}, mute_at: 20, mute_for: 10m}
"""
CUSTOMER, FLOODER, OTHER = "13800000001", "13800000002", "13800000003"


@pytest.mark.timeout(120)
async def test_a_word_silences_the_channel_and_a_flood_spares_the_desk(tmp_path: Path) -> None:
    async with (
        deployed(
            tmp_path,
            Servers(),
            policy=POLICY,
            callers="crm: {scopes: [send, read, 'read:all', 'read:customers', customers, admin], categories: ['*']}\n",
            key_scopes=(),
        ) as it,
        it.session() as http,
    ):

        async def get(path: str) -> Any:
            async with http.get(path) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        async def send(category: str, to: str = CUSTOMER) -> dict[str, Any]:
            body = {
                "to": f"tel:+86{to}",
                "category": category,
                "channels": ["sms"],
                "content": {"type": "text", "text": category},
            }
            async with http.post("/v1/messages?wait=10s", json=body) as answer:
                assert answer.status == 202, await answer.text()
                found = await answer.json()
            return dict(await get(f"/v1/messages/{found['id']}"))

        def said(to: str) -> list[str]:
            return [e["text"] for e in it.smsc.journal.entries() if e["recipient"] == to]

        assert (await send("care"))["status"] in ("sent", "delivered")
        await it.smsc.inject_mo(CUSTOMER, "1069000101", " td。")
        await eventually(lambda: said(CUSTOMER)[1:] == ["已退订"])

        async def heard(address: str) -> Any:
            return (await get(f"/v1/messages?direction=in&address={address}"))["items"]

        (word,) = await eventually(lambda: heard(CUSTOMER))
        assert (word["account"], word["status"]) == ("hotline", "received"), "it is passed on"
        (answer,) = [e for e in it.smsc.journal.entries() if e["text"] == "已退订"]
        assert answer["sender"] == "10690001"
        refused = await send("care")
        assert (refused["status"], refused["code"]) == ("suppressed", "opted_out")
        assert (await send("transactional"))["status"] in ("sent", "delivered")
        assert (await send("care", OTHER))["status"] in ("sent", "delivered")
        (person,) = (await get(f"/v1/customers?address={CUSTOMER}"))["items"]
        (proof,) = (await get(f"/v1/customers/{person['id']}/consents"))["items"]
        assert (proof["state"], proof["channel"], proof["proof"]) == (
            "withdrawn",
            "sms",
            word["id"],
        )
        await it.smsc.inject_mo(CUSTOMER, "10690001", "START")
        await eventually(lambda: said(CUSTOMER)[-1] == "已恢复")
        assert (await send("care"))["status"] in ("sent", "delivered")

        for number in range(100):
            await it.smsc.inject_mo(FLOODER, "10690001", f"喂 {number}")

        async def archived() -> Any:
            found = await get(f"/v1/messages?direction=in&address={FLOODER}&limit=1000")
            done = [one for one in found["items"] if one["status"] in ("received", "suppressed")]
            return done if len(done) == 100 else None

        everything = await eventually(archived, 40)
        texts = {
            (await get(f"/v1/messages/{one['id']}"))["content"]["text"] for one in everything[:3]
        }
        assert all(text.startswith("喂 ") for text in texts)
        passed_on = [one for one in everything if one["status"] == "received"]
        assert len(passed_on) == 5, "what came at a human pace"
        (person,) = (await get(f"/v1/customers?address={FLOODER}"))["items"]
        (block,) = person["blocks"]
        assert (block["level"], block["reason"]) == ("mute", "flood: 20 messages waited")
        await it.smsc.inject_mo(OTHER, "10690001", "您好")
        (other,) = await eventually(lambda: heard(OTHER))
        assert other["status"] == "received"
