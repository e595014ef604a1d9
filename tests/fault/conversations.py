"""The order run: conversations of many messages, refused at random and with workers killed; at the far end none may be inverted."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from tests.fault.kills import killing
from tests.flow.deployment import Deployment, eventually


async def post_conversations(it: Deployment, conversations: int, length: int) -> None:
    """Each conversation posts its next message only after the one before was accepted; all conversations at once."""

    async def one(http: aiohttp.ClientSession, talk: int) -> None:
        for n in range(length):
            body = {
                "to": f"tel:+86137{talk:08d}",
                "category": "reply",
                "channels": ["sms"],
                "order_key": f"talk-{talk}",
                "content": {"type": "text", "text": f"{n:04d}"},
                "expires_in": "1h",
            }
            while True:
                try:
                    async with http.post(
                        "/v1/messages",
                        json=body,
                        headers={"Idempotency-Key": f"talk-{talk}-{n}"},
                        timeout=aiohttp.ClientTimeout(total=15),
                    ) as answer:
                        if answer.status == 202:
                            break
                        assert answer.status in (409, 429, 503), await answer.text()
                except (aiohttp.ClientError, TimeoutError):
                    pass
                await asyncio.sleep(0.1)

    connector = aiohttp.TCPConnector(limit=64)
    async with aiohttp.ClientSession(
        f"http://127.0.0.1:{it.port}",
        headers={"Authorization": f"Bearer {it.key}"},
        connector=connector,
    ) as http:
        await asyncio.gather(*(one(http, talk) for talk in range(conversations)))


def heard(it: Deployment) -> dict[str, list[str]]:
    """Per recipient, the texts in the order in which the far end took them."""
    out: dict[str, list[str]] = defaultdict(list)
    for entry in it.smsc.journal.entries():
        out[entry["recipient"]].append(entry["text"])
    return out


async def run(
    it: Deployment,
    conversations: int,
    length: int,
    kills: Sequence[Callable[[], Awaitable[None]]],
    rng: random.Random,
    *,
    pause: tuple[float, float],
    seconds: float,
) -> dict[str, Any]:
    """Post, kill, wait until every message is there (or is known to be unknown), check the order."""
    posting = asyncio.create_task(post_conversations(it, conversations, length))
    await killing(kills, rng, pause)
    await posting

    def complete() -> bool:
        texts = heard(it)
        return sum(len(set(t)) for t in texts.values()) >= conversations * length

    await eventually(complete, seconds, 0.2)
    repeats = 0
    for recipient, texts in heard(it).items():
        firsts = list(dict.fromkeys(texts))
        assert firsts == sorted(firsts), f"{recipient} inverted: {texts}"
        repeats += len(texts) - len(firsts)
    return {"messages": conversations * length, "repeats": repeats}
