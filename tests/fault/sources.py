"""Two sources, one message: both tell of the same talks, and every message is counted at the far ends, in the message store, in the
event log and in the day's reconciliation. `run`, then `reconciled`; `core` is where."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.fault.talks import ACCOUNTS, DISAGREED, DOOMED, UNLICENSED, Said, Talk, World
from tests.fault.twofold import Core, core
from tests.flow.deployment import eventually

__all__ = ["core", "reconciled", "run"]


@dataclass
class Figures:
    """What the run came to."""

    said: Counter[str] = field(default_factory=Counter)
    lost: int = 0
    archived: int = 0
    filled: int = 0
    both: int = 0
    own_copies: int = 0
    unknown_then_delivered: int = 0
    events: int = 0
    seconds: float = 0.0


async def run(it: Core, count: int, doomed: int, *, rate: float, seconds: float) -> Figures:
    """`count` messages each way; half of what the accounts say goes through the API. Asserts that each is there once."""
    world, clock = it.world, it.process.clock
    began = clock.monotonic()
    picture = await it.picture()
    ids: list[str] = []
    lost_answers: list[str] = []
    gate = asyncio.Semaphore(20)

    async def api_sends(talk: Talk, content: dict[str, Any], category: str) -> None:
        if content["type"] == "image":
            content = {"type": "media", "kind": "image", "media": picture}
        async with gate:
            message = await it.send(talk, content, category)
        (lost_answers if category == "transactional" else ids).append(message)

    acts = (
        ["lost"]
        + ["in"] * (count - 1)
        + ["typed"] * (count - count // 2)
        + ["api"] * (count // 2 - doomed)
    )
    acts += ["doomed"] * doomed
    world.rng.shuffle(acts)
    posting: list[asyncio.Task[None]] = []
    apart = [Talk(UNLICENSED, "wm0001"), Talk(*DISAGREED)]  # some there are in every run
    for number, act in enumerate(acts):
        if act == "in":
            world.customer_writes()
        elif act == "lost":  # one there is in every run
            world.lost()
        elif act == "typed":
            world.human_types()
        else:
            talk, content, category = world.talk(), world.content(), "reply"
            if act == "api" and apart:
                talk = apart.pop()
            if act == "doomed":
                # Of accounts in turn: one whose answers are lost in a row is left alone, longer each time.
                account = f"staff{len(posting) % 3 + 1:04d}"
                talk, category = Talk(account, talk.customer), "transactional"
                content = {"type": "text", "text": f"{DOOMED} {number}"}
            posting.append(asyncio.create_task(api_sends(talk, content, category)))
        await asyncio.sleep(1 / rate)
    await asyncio.gather(*posting)

    async def status(message: str) -> str:
        return str((await it.get(f"/v1/messages/{message}"))["status"])

    async def all_unknown() -> bool:
        return {await status(one) for one in lost_answers} <= {"unknown"}

    await eventually(all_unknown, seconds)
    world.release()
    await eventually(lambda: len(world.said) == 2 * count, seconds)
    await world.told_all()
    store = it.process.parts.store  # type: ignore[union-attr]
    archived = {one.archived for one in world.said if one.archived}

    async def all_read() -> bool:
        read = sum(one.read for one in await store.coverage(["archive"], 0, 1 << 60))
        kept = Counter[str]()
        for counts in (await store.relayed(0, 1 << 60)).values():
            kept.update(counts)
        wanted = sum(
            bool(one.hosted or one.archived or one.direction == "out") for one in world.said
        )
        return read == len(archived) and kept.total() >= wanted

    await eventually(all_read, seconds, 0.2)
    figures = await _counted(it, ids + lost_answers, seconds)
    figures.unknown_then_delivered = len(lost_answers)
    figures.seconds = round(clock.monotonic() - began, 1)
    # What it is all about did happen.
    assert figures.lost > 0
    assert figures.filled > 0
    assert figures.own_copies > 0
    return figures


def _expected(world: World) -> list[Said]:
    """What somebody told of: an own send always, else by the gateway or the archive."""
    return [one for one in world.said if one.hosted or one.archived or one.direction == "out"]


async def _counted(it: Core, own: list[str], seconds: float) -> Figures:
    world = it.world
    wanted = Counter(one.kind for one in _expected(world))
    views: list[dict[str, Any]] = []

    arrived = Counter(
        one.kind for one in world.said if one.direction == "out" and (one.hosted or one.archived)
    )

    async def settled() -> bool:
        views[:] = await it.messages()
        told = Counter(
            _kind(one) for one in views if (one["direction"], one["status"]) == ("out", "delivered")
        )
        return told == arrived and len(views) >= wanted.total()

    await eventually(settled, seconds, 0.5)
    views = await it.whole(views)
    assert Counter(map(_kind, views)) == wanted, Counter(map(_kind, views)) - wanted
    assert sorted(one["id"] for one in views if one["direction"] == "out") == sorted(own)
    figures = Figures()
    figures.said = Counter(one.direction for one in world.said)
    figures.lost = sum(not one.hosted for one in world.said)
    _sources(world, views, figures)
    await _events(it, views, figures)
    return figures


def _kind(view: dict[str, Any]) -> tuple[str, str, str, str]:
    content = view["content"]
    words = content.get("text") or content.get("url") or content.get("kind")
    people = (view.get("sender"), view.get("to"))
    customer = next(one for one in people if one and one.startswith("wecom:"))
    account = f"staff{int(view['account'].removeprefix('desk')):04d}"
    return account, customer.rpartition("/")[2], view["direction"], words


def _either(kind: tuple[str, str, str, str]) -> tuple[str, str, bool, str]:
    account, customer, direction, words = kind
    return account, customer, direction == "in", words


def _sources(world: World, views: list[dict[str, Any]], figures: Figures) -> None:
    """Each reading belongs to one message of its kind, and no message was read twice by one channel."""
    told: dict[tuple[str, str], Said] = {}
    for said in world.said:
        if said.hosted and said.direction != "out":
            told["hosted", said.hosted] = said
        if said.archived:
            told["archive", said.archived] = said
    seen: set[tuple[str, str]] = set()
    for view in views:
        sources = [(one["channel"], one["remote_id"]) for one in view.get("sources") or ()]
        assert len({channel for channel, _ in sources}) == len(sources), view
        assert seen.isdisjoint(sources), view
        seen.update(sources)
        # What the account's human and we ourselves say alike may be taken one for the other, never in number.
        assert {_either(told[one].kind) for one in sources} <= {_either(_kind(view))}, view
        figures.both += len(sources) == 2
        figures.own_copies += view["direction"] == "out" and bool(sources)
        figures.filled += view["direction"] != "out" and [one for one, _ in sources] == ["archive"]
    assert seen == told.keys()
    figures.archived = sum(channel == "archive" for channel, _ in told)
    # As many were read by both as can be: with the number of messages right, this says the same of every kind.
    pairs = sum(bool(one.hosted and one.archived) for one in world.said if one.direction != "out")
    assert figures.both == pairs


async def _events(it: Core, views: list[dict[str, Any]], figures: Figures) -> None:
    """One event for each message that came in, one for each step of those that left; those of a conversation in order."""
    inward = {one["id"]: one for one in views if one["direction"] != "out"}
    events: list[dict[str, Any]] = []

    async def written() -> bool:
        events[:] = await it.events()
        told = {one["data"]["message"] for one in events}
        return told >= {one["id"] for one in views}

    await eventually(written, 30, 0.5)
    figures.events = len(events)
    words = Counter((one["data"]["message"], one["type"].split(".")[2]) for one in events)
    assert set(words.values()) == {1}, words.most_common(3)
    received = [one for one in events if one["type"] == "msgcenter.message.received.v1"]
    assert Counter(one["data"]["message"] for one in received) == Counter(inward.keys())
    for view in views:
        if view["direction"] == "out" and view["status"] == "delivered":
            assert words[view["id"], "delivered"] == 1
    numbers = {one.hosted: one.number for one in it.world.said if one.hosted}
    order: dict[str, list[int]] = defaultdict(list)
    for event in received:
        first = inward[event["data"]["message"]]["sources"][0]
        # A file is fetched after the event that tells of it.
        if first["channel"] == "hosted" and event["data"]["content"]["type"] != "media":
            order[event["data"]["conversation"]].append(numbers[first["remote_id"]])
    assert order
    for conversation, told in order.items():
        assert told == sorted(told), conversation


async def reconciled(it: Core) -> list[str]:
    """The day adds up, with what is not archived for a reason; and no more once a message is thrown away by hand. What was
    printed."""
    code, good = await it.reconcile("--all", "--json")
    assert code == 0, good
    lines = {line["account"]: line for line in json.loads(good)["items"]}
    assert len(lines) == ACCOUNTS
    apart: dict[str, Counter[str]] = defaultdict(Counter)
    for said in it.world.said:
        if not said.talk.archived and (said.hosted or said.direction == "out"):
            licensed = said.talk.account != UNLICENSED
            apart[said.talk.account]["no_consent" if licensed else "no_licence"] += 1
    assert set(apart) == {UNLICENSED, DISAGREED[0]}
    for name, line in lines.items():
        account = f"staff{int(name.removeprefix('desk')):04d}"
        stated = {reason: count for reason, count in line["exceptions"].items() if count}
        assert stated == apart[account], line
        kept = sum(one.talk.account == account and bool(one.archived) for one in it.world.said)
        assert (line["archived"], line["missing"]) == (kept, 0), line
        assert sum(line["relayed"].values()) == kept + sum(stated.values()), line
    _, shown = await it.reconcile("--all")

    views = await it.whole(await it.messages())
    lost = next(
        one for one in views if "archive" in [s["channel"] for s in one.get("sources") or ()]
    )
    with closing(sqlite3.connect(it.process.config.process.data / "store.db", timeout=30)) as store:
        done = store.execute("DELETE FROM message WHERE id = ?", (lost["id"],))
        assert done.rowcount == 1
        store.commit()
    code, bad = await it.reconcile()
    assert code == 1, bad
    remote_id = next(one["remote_id"] for one in lost["sources"] if one["channel"] == "archive")
    assert f"not relayed: {remote_id}" in bad
    assert "DOES NOT ADD UP" in bad
    return [shown, bad]
