"""The pause run: a campaign is paused while two of four processes send it, everything is killed and started again, then it is resumed;
the far end must see nothing new from two seconds after the pause on, and in the end each message once."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from tests.flow.deployment import CHANNELS, Servers, deployed, eventually

ROLES = ("api", "submit,channel", "channel", "inbound,archive,schedule")
SILENT_S = 2.0
WATCHED_S = 2.5


async def run(
    folder: Path,
    rabbit: str,
    redis: str,
    postgres: str,
    prefix: str,
    *,
    messages: int,
    rate: int,
    patience: float = 60.0,
) -> None:
    """`rate`: messages a second that the channel may send, so that a queue is there when the button is pressed."""
    servers = Servers(rabbit, redis, postgres, prefix.strip("_"))
    channels = CHANNELS.replace("kind: sms\n", f"kind: sms\n  rate: {rate}\n", 1)
    assert f"rate: {rate}" in channels
    async with deployed(folder, servers, roles=ROLES, channels=channels) as it:
        shown: Counter[str] = Counter()
        it.smsc.journal.watch(lambda entry: shown.update([str(entry["recipient"])]))
        async with it.session() as http:
            others = asyncio.create_task(_send(http, range(messages, messages + 10), "autumn"))
            accepted = await _send(http, range(messages), "spring")
            assert len(accepted) == messages
            await others
            await eventually(lambda: len(shown) > messages // 20, patience)
            pause = {"scope": "campaign", "value": "spring", "why": "wrong price"}
            async with http.post("/v1/pauses", json=pause) as answer:
                assert answer.status == 201, await answer.text()
            await asyncio.sleep(SILENT_S)
            sent = _of(shown, messages)
            assert sent < messages, "nothing was left to hold: raise `messages` or lower `rate`"
            await asyncio.sleep(WATCHED_S)
            assert _of(shown, messages) == sent, "something left more than 2 s after the pause"
        for roles in ROLES:
            it.kill9(roles)
        for roles in ROLES:
            it.start(roles)
        await it.ready(patience * 2)
        async with it.session() as http:
            # All that is queued meets the pause: then it is known that the restart has forgotten nothing.
            await _all_held(http, messages - sent, patience)
            assert _of(shown, messages) == sent
            await eventually(lambda: _of(shown, messages + 10) == sent + 10, patience)
            async with http.delete("/v1/pauses?scope=campaign&value=spring&spread=1s") as answer:
                told = await answer.json()
            assert (told["ended"], told["released"]) == (True, messages - sent)
            await eventually(lambda: _of(shown, messages) == messages, patience)
            await asyncio.sleep(1.0)
        assert max(shown.values()) == 1, [one for one, count in shown.items() if count > 1]


def _of(shown: Counter[str], below: int) -> int:
    return sum(int(number[-8:]) < below for number in shown)


async def _all_held(http: aiohttp.ClientSession, count: int, seconds: float) -> None:
    """Until the pause holds so many; how far it came is told when it does not."""
    held = 0

    async def all_of_them() -> bool:
        nonlocal held
        async with http.get("/v1/pauses") as answer:
            [one] = (await answer.json())["items"]
        held = one["held"]
        return bool(held == count)

    try:
        await eventually(all_of_them, seconds, 0.5)
    except AssertionError:
        raise AssertionError(f"{held} of {count} held within {seconds} s") from None


async def _send(http: aiohttp.ClientSession, numbers: range, campaign: str) -> list[str]:
    async def batch(some: range) -> list[str]:
        body: dict[str, Any] = {
            "messages": [
                {
                    "to": f"138{number:08d}",
                    "category": "care",
                    "channels": ["sms"],
                    "campaign": campaign,
                    "content": {"type": "text", "text": "您好"},
                }
                for number in some
            ]
        }
        async with http.post("/v1/messages:batch", json=body) as answer:
            results = (await answer.json())["results"]
        return [one["id"] for one in results if one["status"] == "accepted"]

    parts = [numbers[at : at + 1000] for at in range(0, len(numbers), 1000)]
    found = [await batch(part) for part in parts]
    return [one for some in found for one in some]
