"""A group's whole life over the real core: made, written to while it is being made, dissolved with time to undo it; crashes anywhere.

Long because the states of one life are told in their order, on one stand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp.test_utils import TestClient, TestServer

from msgcenter.adapter import Adapter, Dispatch, Rejected, Sent, Spec, Unknown
from msgcenter.api.app import build_app
from msgcenter.api.deps import Deps
from msgcenter.api.keys import create_key
from msgcenter.app import App
from msgcenter.archive.events_sink import EventsSink
from msgcenter.archive.registry_sink import RegistrySink
from msgcenter.archive.store_sink import StoreSink
from msgcenter.bus import Bus, BusError
from msgcenter.bus.topology import INBOUND, place
from msgcenter.clock import IdFactory
from msgcenter.parts import Parts
from msgcenter.settle import frames, publish_frames
from msgcenter.store import GroupRow
from msgcenter.sweep import QUIET_MS
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import CreateGroup, DissolveGroup, Happening, Text, UpdateGroup
from tests.flow.rigging import (
    Records,
    ScriptedSettings,
    config_folder,
    running,
    submit,
    until,
)
from tests.flow.test_crash import AT_ONCE, Doom, Doomed, DoomedBus, kill

PEPPER = b"0123456789abcdef-test"
CALLERS = "crm: {scopes: [send, read, groups], categories: ['*']}\n"


class Chats:
    """The far end: chats by our id of the group, what was written to each; survives the app that is killed."""

    def __init__(self) -> None:
        self.made: dict[str, dict[str, Any]] = {}
        self.said: dict[str, list[str]] = {}
        self.dissolved: list[str] = []
        self.creates = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.lose = 0
        self.refuse = False

    async def take(self, item: Dispatch) -> Outcome:
        payload = item.envelope.payload
        if isinstance(payload, CreateGroup):
            await self.gate.wait()
            self.creates += 1
            if self.refuse:
                return Rejected("recipient", "no right to make groups", "48002")
            self.made.setdefault(
                payload.group,
                {"chat": f"chat{len(self.made)}", "name": payload.name, "who": payload.members},
            )
            if self.lose > 0:
                self.lose -= 1
                return Unknown("the answer got lost")
            return Sent((self.made[payload.group]["chat"],))
        known = {chat["chat"]: chat for chat in self.made.values()}
        if item.target not in known:
            return Rejected("recipient", f"no such chat {item.target!r} {sorted(known)}", "86003")
        if isinstance(payload, UpdateGroup):
            chat = known[item.target]
            chat["who"] = tuple(m for m in (*chat["who"], *payload.add) if m not in payload.remove)
            return Sent(())
        if isinstance(payload, DissolveGroup):
            self.dissolved.append(item.target)
            return Sent(())
        assert isinstance(payload, Text)
        self.said.setdefault(item.target, []).append(payload.text)
        return Sent((item.token,))


def adapter_of(chats: Chats, doom: Doom | None = None) -> type[Adapter]:
    class GroupChats(Adapter):
        spec: ClassVar[Spec] = Spec(
            kind="devnull",
            title="chats",
            payloads=frozenset({Text, CreateGroup, UpdateGroup, DissolveGroup}),
            schemes=frozenset({"tel", "group"}),
            groups=frozenset({"create", "update", "dissolve"}),
        )
        Settings = ScriptedSettings

        async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
            async def work() -> list[Outcome]:
                return [await chats.take(item) for item in batch]

            return await work() if doom is None else await doom.call("deliver", work)

    return GroupChats


def registry(parts: Parts) -> dict[str, Any]:
    return {"registry": RegistrySink("registry", parts.store, lambda _: "devnull").write}


class Caller:
    """A caller's view: the API of this app."""

    def __init__(self, client: Any, key: str, another: Callable[[], Awaitable[str]]) -> None:
        self._client = client
        self._another = another
        self._headers = {"Authorization": f"Bearer {key}"}

    async def colleague(self) -> Caller:
        """The same caller with another key."""
        return Caller(self._client, await self._another(), self._another)

    async def __call__(
        self, method: str, path: str, body: Any = None, key: str = ""
    ) -> tuple[int, Any]:
        headers = {**self._headers, **({"Idempotency-Key": key} if key else {})}
        async with self._client.request(method, path, json=body, headers=headers) as response:
            return response.status, await response.json(content_type=None)

    async def state(self, group: str) -> str:
        return str((await self("GET", f"/v1/groups/{group}"))[1]["state"])

    async def becomes(self, group: str, state: str, seconds: float = 15) -> None:
        async with asyncio.timeout(seconds):
            while await self.state(group) != state:
                await asyncio.sleep(0.02)

    async def say(self, group: str, text: str) -> tuple[int, Any]:
        content = {"type": "text", "text": text}
        body = {"to": f"group:{group}", "category": "reply", "content": content}
        return await self("POST", "/v1/messages", body)


@asynccontextmanager
async def caller_of(
    app: App, adapter: type[Adapter], bus: Bus | None = None
) -> AsyncIterator[Caller]:
    """`bus`: another one for what the API publishes."""
    parts, clock = app.parts, app.clock
    deps = Deps(
        bus=bus or parts.bus,
        state=parts.state,
        store=parts.store,
        live=app.live,
        clock=clock,
        random=app.rng,
        ids=IdFactory(clock, app.rng),
        metrics=app.metrics,
        specs={"devnull": adapter.spec},
        directory=app.directory,
        customers=app.customers,
        explain=app.explain,
        pepper=PEPPER,
        media=app.media,
    )

    async def key() -> str:
        _, full = await create_key(
            parts.store,
            app.live.current,
            caller="crm",
            pepper=PEPPER,
            now_ms=clock.now_ms(),
            who="test",
        )
        return full

    async with TestClient(TestServer(build_app(deps))) as client:
        yield Caller(client, await key(), key)


def folder_of(path: Path) -> Path:
    folder = config_folder(path, drain="500ms")
    (folder / "callers.yaml").write_text(CALLERS)
    return folder


NEW = {"name": "天河一网格", "owner": "li", "members": ["li", "wang"]}


async def test_made_written_to_undone_and_dissolved(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    adapter = adapter_of(chats)
    chats.gate.clear()
    async with (
        running(folder_of(tmp_path), adapter, records, sinks=registry) as app,
        caller_of(app, adapter) as call,
    ):
        status, group = await call("POST", "/v1/groups", NEW, key="k1")
        assert (status, group["state"]) == (202, "creating")
        one = group["id"]
        assert (await call("POST", "/v1/groups", NEW, key="k1"))[1] == group
        for n in range(3):
            assert (await call.say(one, f"{n}"))[0] == 202
        await asyncio.sleep(0.3)
        assert (await call.state(one), chats.said) == ("creating", {})
        chats.gate.set()
        await call.becomes(one, "active")
        chat = (await call("GET", f"/v1/groups/{one}"))[1]["chat"]
        await until(lambda: chats.said.get(chat) == ["0", "1", "2"])
        assert chats.creates == 1

        status, after = await call("PATCH", f"/v1/groups/{one}", {"members": ["li", "zhao"]})
        assert status == 202, after
        await until(lambda: chats.made[one]["who"] == ("li", "zhao"))
        async with asyncio.timeout(5):
            while (await call("GET", f"/v1/groups/{one}"))[1]["members"] != ["li", "zhao"]:
                await asyncio.sleep(0.02)

        status, after = await call("POST", f"/v1/groups/{one}:dissolve", {"undo_for": "1h"})
        assert (status, after["state"]) == (202, "dissolving")
        status, refused = await call.say(one, "too late")
        assert (status, refused["errors"][0]["code"]) == (422, "group_closed")
        status, after = await call("POST", f"/v1/groups/{one}:undo")
        assert (status, after["state"]) == (200, "active")
        assert (await call.say(one, "3"))[0] == 202
        await until(lambda: chats.said[chat] == ["0", "1", "2", "3"])

        for _ in range(2):
            path = f"/v1/groups/{one}:dissolve"
            status, after = await call("POST", path, {"undo_for": "1s"})
            assert (status, after["state"]) == (202, "dissolving")
        await call.becomes(one, "dissolved")
        assert chats.dissolved == [chat]
        status, after = await call("POST", f"/v1/groups/{one}:dissolve")
        assert (status, after["state"]) == (200, "dissolved")
        audit = await app.parts.store.list_audit(target=one)
        whats = [row.what for row in audit.items]
        assert whats.count("group.dissolve") == 3
        assert {"group.create", "group.update", "group.undo"} <= set(whats)


async def test_a_refused_group_fails_and_what_waits_for_it_is_refused(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    chats.refuse = True
    chats.gate.clear()
    adapter = adapter_of(chats)
    async with (
        running(folder_of(tmp_path), adapter, records, sinks=registry) as app,
        caller_of(app, adapter) as call,
    ):
        _, group = await call("POST", "/v1/groups", NEW)
        _, message = await call.say(group["id"], "hello")
        chats.gate.set()
        await call.becomes(group["id"], "failed")
        assert (await call("GET", f"/v1/groups/{group['id']}"))[1]["code"] == "48002"
        await until(lambda: (r := records.last().get(message["id"])) and r.status == "rejected")
        outcome = records.last()[message["id"]].outcome
        assert isinstance(outcome, Rejected)
        assert outcome.code == "group_failed"


async def test_a_lost_answer_makes_no_second_group(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    chats.lose = 2
    adapter = adapter_of(chats)
    async with (
        running(folder_of(tmp_path), adapter, records, sinks=registry) as app,
        caller_of(app, adapter) as call,
    ):
        _, group = await call("POST", "/v1/groups", NEW)
        await call.becomes(group["id"], "active", 30)
    assert (chats.creates, len(chats.made)) == (3, 1)


async def test_what_the_far_end_tells_is_read_in_and_reconciled(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    chats.made["theirs"] = {"chat": "wr1", "name": "客户群", "who": ()}
    adapter = adapter_of(chats)

    async def tell(app: App, kind: str, **body: Any) -> None:
        envelope = Envelope(
            id=app.ids.new("msg"),
            caller="",
            to=Address("caller", "unassigned"),
            category="inbound",
            tier=1,
            payload=Happening(kind, json.dumps(body)),
            created_at=app.clock.now_ms(),
            inbound=True,
            channel="nowhere",
            order_key=f"nowhere|{body['chat']}",
        )
        queue = place(INBOUND, envelope, app.partitions)
        await publish_frames(app.parts.bus, frames(queue, [wire.seal(envelope)]))

    async def found(call: Caller, state: str) -> dict[str, Any]:
        async with asyncio.timeout(10):
            while True:
                async with asyncio.timeout(5):
                    page = await app.parts.store.list_groups()
                rows: list[GroupRow] = [row for row in page.items if row.chat == "wr1"]
                if rows and rows[0].state == state:
                    return (await call("GET", f"/v1/groups/{rows[0].id}"))[1]
                await asyncio.sleep(0.02)

    async with (
        running(folder_of(tmp_path), adapter, records, sinks=registry) as app,
        caller_of(app, adapter) as call,
    ):
        await tell(app, "group_created", chat="wr1", name="客户群", members=["li", "wm1"])
        group = await found(call, "active")
        assert (group["name"], group["members"], group["imported"]) == (
            "客户群",
            ["li", "wm1"],
            True,
        )
        assert (await call.say(group["id"], "您好"))[0] == 202
        await until(lambda: chats.said.get("wr1") == ["您好"])
        await tell(app, "group_member_changed", chat="wr1", add=["wm2"], remove=["wm1"])
        async with asyncio.timeout(10):
            while (await found(call, "active"))["members"] != ["li", "wm2"]:
                await asyncio.sleep(0.02)
        await tell(app, "group_dismissed", chat="wr1")
        assert (await found(call, "dissolved"))["id"] == group["id"]


TERMS = "groups: {dissolve: {approval: true, undo_for: 1s, notice: 本群将于 {at} 解散}}\n"
NOTICE = "groups: {dissolve: {undo_for: 1s, notice: 本群将于 {at} 解散}}\n"


def with_policy(path: Path, text: str) -> Path:
    folder = folder_of(path)
    with (folder / "policy.yaml").open("a") as policy:
        policy.write(text.replace("本群将于 {at} 解散", '"本群将于 {at} 解散"'))
    return folder


def archive(parts: Parts) -> dict[str, Any]:
    return {
        **registry(parts),
        "events": EventsSink("events", parts.store, 4).write,
        "messages": StoreSink("messages", parts.store, lambda _: "full").write,
    }


async def test_two_keys_a_notice_and_a_seal_stand_before_the_end(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    adapter = adapter_of(chats)
    async with (
        running(with_policy(tmp_path, TERMS), adapter, records, sinks=archive) as app,
        caller_of(app, adapter) as call,
    ):
        store = app.parts.store
        one = (await call("POST", "/v1/groups", NEW))[1]["id"]
        await call.becomes(one, "active")
        said = [(await call.say(one, f"{n}"))[1]["id"] for n in range(3)]
        async with asyncio.timeout(10):
            while None in [await store.message(m) for m in said]:
                await asyncio.sleep(0.02)
        path = f"/v1/groups/{one}"
        status, group = await call("POST", f"{path}:dissolve", {"reason": "并网格"})
        assert (status, group["state"], group["dissolve"]["needs"]) == (202, "active", "approval")
        assert (await call("POST", f"{path}:approve"))[1]["code"] == "approval_same_key"
        status, group = await (await call.colleague())("POST", f"{path}:approve")
        assert (status, group["state"]) == (202, "dissolving")
        await call.becomes(one, "dissolved")
        assert chats.dissolved == ["chat0"]
        assert chats.said["chat0"][:3] == ["0", "1", "2"]
        [notice] = chats.said["chat0"][3:]
        assert notice.startswith("本群将于 20")
        delivered = [
            r.envelope.payload
            for r in records.all
            if r.pipeline == "channel" and isinstance(r.outcome, Sent)
        ]
        assert [type(p) for p in delivered[-2:]] == [Text, DissolveGroup], "the notice is first"
        _, seal = await call("GET", f"{path}/seal")
        assert (seal["intact"], seal["messages"], seal["after"]) == (True, 3, 0)

        async def events() -> list[str]:
            page = await store.read_events("crm", {}, 1000)
            mine = [logged.event for logged in page.items if logged.event.subject == one]
            return [event.type.split(".")[2] for event in mine]

        async with asyncio.timeout(10):
            while "dissolved" not in await events():
                await asyncio.sleep(0.02)
        assert await events() == ["created", "dissolve_asked", "dissolving", "dissolved"]


class Stuck:
    """A bus that a process dies in: nothing that the API publishes arrives."""

    def __init__(self) -> None:
        self.entered = asyncio.Event()
        self.over = asyncio.Event()

    async def publish(self, frames: Sequence[Any]) -> None:
        self.entered.set()
        await self.over.wait()
        raise BusError("gone")


async def half_done(
    app: App, adapter: type[Adapter], path: str, body: Any
) -> tuple[dict[str, GroupRow], Any]:
    """The groups as they are in the Store when the process dies between Store and bus; what a client would be told else."""
    stuck: Any = Stuck()
    async with caller_of(app, adapter, stuck) as call:
        asking = asyncio.create_task(call("POST", path, body))
        await stuck.entered.wait()
        page = await app.parts.store.list_groups()
        stuck.over.set()
        status, _ = await asking
        return {row.id: row for row in page.items}, status


async def test_a_crash_between_store_and_bus_leaves_no_group_half_done(tmp_path: Path) -> None:
    chats, records = Chats(), Records()
    adapter, folder = adapter_of(chats), with_policy(tmp_path, NOTICE)
    async with running(folder, adapter, records, sinks=archive) as app:
        async with caller_of(app, adapter) as call:
            kept = (await call("POST", "/v1/groups", NEW))[1]["id"]
            await call.becomes(kept, "active")
        rows, status = await half_done(app, adapter, "/v1/groups", NEW)
        assert status == 503
        more, status = await half_done(app, adapter, f"/v1/groups/{kept}:dissolve", None)
        assert status == 503
        [made] = set(rows) - {kept}
        left = {made: rows[made], kept: more[kept]}
        assert {row.state for row in left.values()} == {"creating", "dissolving"}
        # The next process finds them as the dead one left them, a while ago.
        for one, row in left.items():
            old = replace(row, since=row.since - QUIET_MS)
            await app.parts.store.change_group(one, lambda _, old=old: old)
    async with (
        running(folder, adapter, records, sinks=archive) as app,
        caller_of(app, adapter) as call,
    ):
        await call.becomes(made, "failed")
        assert (await call("GET", f"/v1/groups/{made}"))[1]["code"] == "not_accepted"
        await call.becomes(kept, "dissolved")
        assert (list(chats.made), chats.dissolved) == ([kept], ["chat0"])
        assert [text[:4] for text in chats.said["chat0"]] == ["本群将于"]
        audit = [row.what for row in (await app.parts.store.list_audit(target=kept)).items]
        assert audit[0] == "group.dissolve_resumed"


def envelopes() -> tuple[GroupRow, list[Envelope]]:
    """A create command and three messages behind it."""
    from msgcenter.clock import SystemClock, system_random

    clock = SystemClock()
    ids, now = IdFactory(clock, system_random()), clock.now_ms()
    group = ids.new("grp")
    row = GroupRow(
        group, "crm", "g", "li", ("li", "wang"), "devnull", "nowhere", created_at=now, since=now
    )
    make = Envelope(
        id=ids.message(group),
        caller="crm",
        to=Address("group", group),
        category="command",
        tier=1,
        payload=CreateGroup(group, "g", "li", ("li", "wang")),
        created_at=now,
        person=f"group:{group}",
        channels=("devnull",),
        order_key=group,
    )
    says = [
        replace(make, id=ids.message(group), category="marketing", payload=Text(f"{n}"))
        for n in range(3)
    ]
    return row, [make, *says]


async def life(
    folder: Path,
    chats: Chats,
    records: Records,
    doom: Doom,
    row: GroupRow,
    sent: list[Envelope],
    opening: asyncio.Lock,
) -> None:
    """One life of the process: until everything has ended, or until it dies."""

    def wrap(parts: Parts) -> Parts:
        return replace(parts, bus=DoomedBus(parts.bus, doom), state=Doomed(parts.state, doom))

    def ended() -> bool:
        last = records.last()
        return len(last) == 4 and all(one.final or one.status == "sent" for one in last.values())

    adapter = adapter_of(chats, doom)
    async with AsyncExitStack() as stack:
        async with opening:  # migrations cannot run side by side in one process
            app = await stack.enter_async_context(
                running(folder, adapter, records, wrap=wrap, sinks=registry)
            )
        doom.armed = False
        if sent:
            await app.parts.store.add_group(row, lambda kept: kept)
            await submit(app, sent)
        doom.armed = True

        async def settled() -> None:
            async with asyncio.timeout(40):
                while not (
                    ended()
                    and (await app.parts.store.groups_by_id([row.id]))[row.id].state == "active"
                ):
                    await asyncio.sleep(0.02)

        done = asyncio.create_task(settled())
        died = asyncio.create_task(doom.died.wait())
        await asyncio.wait({done, died}, return_when=asyncio.FIRST_COMPLETED)
        died.cancel()
        if doom.died.is_set():
            done.cancel()
            kill(app)
            await asyncio.sleep(0)
        else:
            await done


async def crashed_at(folder: Path, at: int, *, after: bool, opening: asyncio.Lock) -> Doom:
    """A life that ends at call `at`, if there is one, and the life after it."""
    chats, records = Chats(), Records()
    row, sent = envelopes()
    doom = Doom(at, after=after)
    await life(folder, chats, records, doom, row, sent, opening)
    if doom.died.is_set():
        await life(folder, chats, records, Doom(0, after=after), row, [], opening)
    assert len(chats.made) == 1
    said = chats.said.get("chat0", [])
    assert said == sorted(set(said)), doom.calls[-1]
    unknown = [e for e in sent[1:] if isinstance(records.last()[e.id].outcome, Unknown)]
    assert len(said) + len(unknown) >= 3, (
        at,
        doom.calls[-1],
        [(r.status, r.outcome) for r in records.last().values()],
    )
    return doom


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
async def test_a_crash_anywhere_makes_one_group_and_loses_nothing(
    tmp_path: Path, after: bool
) -> None:
    opening = asyncio.Lock()
    clean = await crashed_at(folder_of(tmp_path / "clean"), 0, after=after, opening=opening)
    calls = [n for n, name in enumerate(clean.calls, 1) if name in ("deliver", "conclude")]
    points = calls[:3] + list(range(1, len(clean.calls) + 1, 5))
    for start in range(0, len(points), AT_ONCE):
        runs = [
            crashed_at(folder_of(tmp_path / f"{n}"), points[n], after=after, opening=opening)
            for n in range(start, min(start + AT_ONCE, len(points)))
        ]
        await asyncio.gather(*runs)
