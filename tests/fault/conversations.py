"""The order run: conversations of many messages, refused at random and with workers killed; at the far end none may be inverted."""

from __future__ import annotations

import asyncio
import random
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp

from tests.fault.kills import final_statuses, killing
from tests.flow.deployment import Deployment


async def post_conversations(it: Deployment, conversations: int, length: int) -> dict[str, str]:
    """Message id -> `recipient text`.

    Each conversation posts its next message only after the one before was accepted; all conversations at once."""

    accepted: dict[str, str] = {}

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
                            accepted[(await answer.json())["id"]] = f"137{talk:08d} {n:04d}"
                            break
                        assert answer.status in (409, 429, 503), await answer.text() + it.errors()
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
    return accepted


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
    """Post, kill, wait until every message has its last word, check the order.

    A message whose resend met a second kill is Unknown for good (at most one resend); every other one is delivered.
    """
    posting = asyncio.create_task(post_conversations(it, conversations, length))
    await killing(kills, rng, pause)
    accepted = await posting
    assert len(accepted) == conversations * length
    views = await final_statuses(it, list(accepted), seconds)
    texts = heard(it)
    there = {f"{recipient} {text}" for recipient, said in texts.items() for text in said}
    missing = [message for message, what in accepted.items() if what not in there]
    assert all(views[message]["status"] == "unknown" for message in missing), missing[:3]
    repeats = 0
    for recipient, said in texts.items():
        firsts = list(dict.fromkeys(said))
        assert firsts == sorted(firsts), f"{recipient} inverted: {said}"
        repeats += len(said) - len(firsts)
    statuses = Counter(view["status"] for view in views.values())
    assert set(statuses) <= {"delivered", "unknown"}, statuses
    return {"messages": len(accepted), "missing": len(missing), "repeats": repeats, **statuses}
