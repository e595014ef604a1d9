"""A real Prometheus watches a running msgcenter: its metrics are clean, no alert speaks while all is well, and the shipped one fires, by
name and channel, once a channel's far end is killed."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from tests.flow.deployment import ALL, ROOT, Servers, deployed, eventually
from tests.prometheus import Prometheus
from tests.servers import free_port

RULES = ROOT / "config/prometheus/msgcenter.rules.yaml"


def impatient(rules: dict[str, Any]) -> str:
    """The shipped rules, except that nothing has to hold for minutes before it fires."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            if "for" in rule:
                rule["for"] = "2s"
    return yaml.safe_dump(rules)


async def test_a_killed_far_end_is_an_alert(
    tmp_path: Path, promtool: str, prometheus: Callable[..., Prometheus]
) -> None:
    health = free_port()
    env = {"MSGCENTER__HEALTH__PORT": str(health)}
    async with deployed(tmp_path, Servers(), env=env) as it:
        async with it.session() as http:
            body = {
                "to": "13800138000",
                "category": "transactional",
                "content": {"type": "text", "text": "您好"},
            }
            async with http.post("/v1/messages?wait=20s", json=body) as answer:
                assert answer.status == 202
                assert (await answer.json())["status"] == "delivered"
        page = await scraped(health)
        checked = await asyncio.to_thread(
            subprocess.run, [promtool, "check", "metrics"], input=page, capture_output=True
        )
        assert (checked.returncode, checked.stderr.decode()) == (0, "")
        assert 'msgcenter_link_up{channel="sms-east"} 2.0' in page.decode()

        watch = await asyncio.to_thread(
            prometheus,
            {"msgcenter": [f"127.0.0.1:{health}"]},
            impatient(yaml.safe_load(RULES.read_text())),
        )

        def look(name: str = "") -> Any:
            return asyncio.to_thread(watch.alerts, name)

        async def evaluated() -> bool:
            """Every rule has seen the running product at least once."""
            groups = (await asyncio.to_thread(watch.get, "rules"))["groups"]
            seen = await asyncio.to_thread(watch.get, "query?query=msgcenter_link_up")
            return bool(seen["result"]) and all(
                rule["health"] == "ok" for group in groups for rule in group["rules"]
            )

        await eventually(evaluated, 30)
        assert await look() == []

        await it.smsc.stop()

        async def fires() -> Any:
            return [one for one in await look("MsgcenterChannelDown") if one["state"] == "firing"]

        [alert] = await eventually(fires, 60, every=0.5)
        assert alert["labels"]["channel"] == "sms-east"
        assert alert["labels"]["severity"] == "critical"
        assert alert["annotations"]["summary"] == "Channel sms-east can send nothing"
        assert [one for one in await look() if one["labels"].get("channel") != "sms-east"] == []

        await it.smsc.start()

        async def silent() -> bool:
            return not await look("MsgcenterChannelDown")

        await eventually(silent, 60, every=0.5)

        it.kill9(ALL[0])

        async def down() -> Any:
            return [one for one in await look("MsgcenterDown") if one["state"] == "firing"]

        [gone] = await eventually(down, 30, every=0.5)
        assert gone["labels"]["instance"] == f"127.0.0.1:{health}"


async def scraped(port: int) -> bytes:
    """Once every gauge of the first round is there."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def page() -> bytes:
            async with http.get("/metrics") as answer:
                text = await answer.read()
            return text if b"msgcenter_channel_info{" in text else b""

        return bytes(await eventually(page, 30))
