"""One customer under three names, four processes that decide and send, one Redis: exactly the allowance leaves."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.fault.deferred import CALLERS, SCOPES
from tests.flow.deployment import POLICY, Servers, deployed, eventually

WORK = "submit,channel"
ROLES = ("api,inbound,archive,schedule,submit,channel", WORK, "channel,submit", f"{WORK},archive")
RULES = (
    POLICY
    + """
caps:
  person: {scope: person, windows: [{rolling: 1h, limit: 3}], on_cap: drop}
"""
)
NAMES = ("tel:+8613800000001", "tel:+8613900000001", "customer:c-1")


@pytest.mark.fault
@pytest.mark.timeout(600)
async def test_50_senders_4_processes_one_customer_in_three_forms(
    tmp_path: Path, rabbit_url: str, redis_url: str, postgres_url: str, prefix: str
) -> None:
    servers = Servers(rabbit_url, redis_url, postgres_url, prefix.strip("_"))
    async with deployed(
        tmp_path, servers, roles=ROLES, policy=RULES, callers=CALLERS, key_scopes=SCOPES
    ) as it:
        shown: list[str] = []
        it.smsc.journal.watch(lambda entry: shown.append(str(entry["recipient"])))
        async with it.session() as http:
            # Two customers at first: linked while nothing is sent, they are one.
            for name, number in (("c-1", NAMES[0]), ("c-2", NAMES[1])):
                await call(
                    http, "PUT", f"/v1/customers/{name}", {"addresses": [{"address": number}]}
                )
            await call(
                http, "POST", "/v1/customers/c-1:link", {"with": "c-2", "evidence": "id card"}
            )
            found = await asyncio.gather(*(send(http, number) for number in range(50)))
            messages = [id_ for some in found for id_ in some]
            rest = list(messages)
            assert len(rest) == 200

            async def all_over() -> bool:
                for id_ in list(rest):
                    view = await call(http, "GET", f"/v1/messages/{id_}")
                    if not (view["final"] or view["status"] == "sent"):
                        return False
                    rest.remove(id_)
                return True

            await eventually(all_over, 120, 0.5)
            left = await call(
                http, "GET", "/v1/customers/c-1/allowance?category=marketing&channel=sms"
            )
        assert len(shown) == 3
        [cap] = left["items"][0]["caps"]
        assert (cap["used"], cap["open"], cap["left"]) == (3, 0, 0)


async def send(http: aiohttp.ClientSession, number: int) -> list[str]:
    out = []
    for n in range(4):
        body = {
            "to": NAMES[(number + n) % 3],
            "category": "marketing",
            "channels": ["sms"],
            "content": {"type": "text", "text": f"活动 {number}"},
        }
        out.append(str((await call(http, "POST", "/v1/messages", body))["id"]))
    return out


async def call(http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
    async with http.request(method, path, json=body) as answer:
        assert answer.status < 300, await answer.text()
        return await answer.json()
