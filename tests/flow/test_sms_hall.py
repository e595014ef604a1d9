"""The SMS service hall: a command that a customer writes reaches the hall's caller, and the answer
leaves at once from the number that was written to; shares of suppliers change while links stay.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flow.deployment import Servers, deployed, eventually

CALLERS = """
crm: {scopes: [send, read, 'read:all', admin], categories: ['*']}
hall: {scopes: [send, read], categories: [reply]}
"""
ACCOUNTS = """
hotline: {kind: sms, channel: sms-east, number: "10690001", caller: crm}
hall: {kind: sms, channel: sms-east, number: "10690001", extension: "10", caller: hall}
"""


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("number", "account", "words"),
    [
        ("1069000110", "hall", "CXYE"),
        ("106900011086", "hall", "0000"),  # its own extension behind it; a command, no opt-out
        ("1069000186", "hotline", "TD"),
    ],
)
async def test_a_command_reaches_its_hall_and_is_answered_from_there(
    tmp_path: Path, number: str, account: str, words: str
) -> None:
    async with deployed(tmp_path, Servers(), callers=CALLERS, accounts=ACCOUNTS) as it:
        await it.smsc.inject_mo("13800000001", number, words)
        async with it.session() as http:

            async def heard() -> list[Any]:
                async with http.get("/v1/messages?direction=in&address=13800000001") as answer:
                    return list((await answer.json())["items"])

            (message,) = await eventually(heard)
            assert message["account"] == account
            reply = {"reply_to": message["id"], "content": {"type": "text", "text": "余额 20 元"}}
            async with http.post("/v1/messages?wait=5s", json=reply) as answer:
                assert answer.status == 202, await answer.text()
                sent = await answer.json()
            async with http.get(f"/v1/messages/{sent['id']}") as answer:
                found = await answer.json()
        assert (found["category"], found["account"]) == ("reply", account)
        (entry,) = await eventually(it.smsc.journal.entries)
        assert (entry["text"], entry["recipient"]) == ("余额 20 元", "13800000001")
        assert entry["sender"] == {"hall": "1069000110", "hotline": "10690001"}[account]


@pytest.mark.timeout(120)
async def test_rules_of_a_running_channel_change_without_its_links(tmp_path: Path) -> None:
    async with deployed(tmp_path, Servers()) as it:
        body = {
            "to": "13800000001",
            "category": "transactional",
            "channels": ["sms"],
            "content": {"type": "text", "text": "您好"},
        }
        async with it.session() as http:
            async with http.post("/v1/messages?wait=5s", json=body) as answer:
                assert answer.status == 202
            await eventually(it.smsc.journal.entries)
            links = list(it.smsc.connections)
            file = it.folder / "config" / "channels.yaml"
            file.write_text(
                file.read_text().replace("window: 16", "window: 16, signature: 【移动】")
            )

            async def signed() -> bool:
                async with http.post("/v1/messages?wait=5s", json=body) as answer:
                    assert answer.status == 202
                return any(e["text"] == "【移动】您好" for e in it.smsc.journal.entries())

            await eventually(signed, 30, every=0.3)
        assert list(it.smsc.connections) == links
