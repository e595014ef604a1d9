"""`/v1/groups` and `/v1/accounts`: what is refused with which code, what is published, who may see what.

Long because each operation has its table of refusals.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.adapter import Spec
from msgcenter.api.web import when
from msgcenter.archive.registry_sink import RegistrySink
from msgcenter.bus import BusError
from msgcenter.groups import APPROVAL_MS, LAPSED, NOT_ACCEPTED
from msgcenter.state import Accepted, Admit
from msgcenter.store import AccountRow, Asked, GroupRow
from msgcenter.sweep import QUIET_MS, Sweep
from protocols.address import Address
from protocols.envelope import Envelope, Record
from protocols.outcome import Routed, Sent
from protocols.payload import CreateGroup, DissolveGroup, Happening, Notice, Text, UpdateGroup
from tests.records import T0, envelope, record
from tests.unit.api import parts as rig
from tests.unit.api.parts import Parts

ALL = frozenset({Text, CreateGroup, UpdateGroup, DissolveGroup})
HOSTED = Spec(
    "hosted",
    "Hosted",
    payloads=ALL,
    schemes=frozenset({"group", "wecom"}),
    needs_account=True,
    groups=frozenset({"create", "update", "dissolve"}),
)
APPCHAT = Spec(
    "appchat",
    "App chat",
    payloads=ALL,
    schemes=frozenset({"group"}),
    groups=frozenset({"create", "update"}),
)
FILES = {
    "channels.yaml": rig.FILES["channels.yaml"]
    + "hosted-1: {kind: hosted}\nhosted-2: {kind: hosted}\nchat: {kind: appchat}\n",
    "routes.yaml": "routes:\n- {kind: sms, channel: sms-east}\n- {kind: hosted, channel: hosted-1}\n",
    "accounts.yaml": rig.FILES["accounts.yaml"]
    + "li: {kind: hosted, channel: hosted-2, address: li, corp: ww1, agent: own, caller: crm,"
    " organisation: 广东/广州/天河}\n"
    "zhao: {kind: hosted, channel: hosted-1, address: zhao, organisation: 广东/深圳}\n"
    "old: {kind: hosted, channel: hosted-1, address: old, state: retired}\n",
    "callers.yaml": rig.FILES["callers.yaml"].replace(
        "crm:\n  scopes: [send, read]", "crm:\n  scopes: [send, read, groups]"
    )
    + "hall:\n  scopes: [send, read, groups]\n  categories: ['*']\n",
}
NEW = {"name": "天河", "members": ["li", "wm1"], "kind": "hosted", "from": "li"}


@pytest.fixture
async def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    monkeypatch.setattr(rig, "SPECS", {**rig.SPECS, "hosted": HOSTED, "appchat": APPCHAT})
    parts = Parts(tmp_path)
    await parts.start(FILES)
    yield parts
    await parts.close()


async def made(parts: Parts, state: str = "active", **fields: Any) -> GroupRow:
    """A group as the registry would have it."""
    base = GroupRow("grp_1", "crm", "g", "li", ("li",), "hosted", "hosted-2", "li", "wr1")
    row = replace(base, state=state, created_at=1, updated_at=1, since=1, **fields)
    return await parts.store.add_group(row, lambda _: row)


BAD: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
    ({**NEW, "kind": "push"}, [("kind", "group_kind_unable")]),
    ({**NEW, "kind": "fax"}, [("kind", "channel_unknown")]),
    ({"name": "x", "members": ["a"]}, [("kind", "group_kind_needed")]),
    ({**NEW, "from": "nobody"}, [("from", "account_unknown")]),
    ({**NEW, "from": "hotline"}, [("from", "account_mismatch")]),
    ({**NEW, "from": "old"}, [("from", "account_inactive")]),
    ({k: v for k, v in NEW.items() if k != "from"}, [("from", "account_ambiguous")]),
    ({**NEW, "members": []}, [("members", "too_short")]),
    ({**NEW, "members": ["a b"]}, [("members[0]", "pattern")]),
    ({**NEW, "name": ""}, [("name", "too_short")]),
    ({**NEW, "nmae": "x"}, [("nmae", "unknown_field")]),
]


@pytest.mark.parametrize(("body", "faults"), BAD, ids=[str(f) for _, f in BAD])
async def test_what_cannot_be_made_is_refused_at_once(
    parts: Parts, body: dict[str, Any], faults: list[tuple[str, str]]
) -> None:
    status, problem, _ = await parts.post("/v1/groups", body)
    assert status == 422, problem
    assert [(e["field"], e["code"]) for e in problem["errors"]] == faults
    assert parts.bus.envelopes == []
    assert (await parts.store.list_groups()).items == ()
    _, chinese, _ = await parts.post("/v1/groups", body, headers={"Accept-Language": "zh"})
    assert chinese["title"] == "请求有误"


async def test_a_group_is_made_once_per_key_on_its_accounts_channel(parts: Parts) -> None:
    headers = {"Idempotency-Key": "k"}
    status, first, _ = await parts.post("/v1/groups", NEW, headers=headers)
    assert (status, first["state"], first["channel"]) == (202, "creating", "hosted-2")
    status, second, more = await parts.post("/v1/groups", NEW, headers=headers)
    assert (status, second, more["Idempotent-Replayed"]) == (202, first, "true")
    [envelope] = parts.bus.envelopes
    assert envelope.payload == CreateGroup(first["id"], "天河", "", ("li", "wm1"))
    assert (str(envelope.to), envelope.order_key) == (first["address"], first["id"])
    assert (envelope.category, envelope.tier, envelope.account) == ("command", 1, "li")
    assert (envelope.channels, envelope.id) == (("hosted",), first["message"])
    body = {"to": first["address"], "category": "care", "content": {"type": "text", "text": "hi"}}
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 202, answer
    message = parts.bus.envelopes[-1]
    assert (message.order_key, message.account) == (first["id"], "li")
    status, answer, _ = await parts.post("/v1/messages:batch", {"messages": [body, body]})
    assert answer["accepted"] == 2
    status, problem, _ = await parts.post("/v1/messages", {**body, "channels": ["sms"]})
    assert [e["code"] for e in problem["errors"]] == ["group_conflict"]


async def test_what_the_bus_did_not_take_may_be_asked_for_again(parts: Parts) -> None:
    headers = {"Idempotency-Key": "k"}
    parts.bus.down = BusError("no broker")
    status, _, _ = await parts.post("/v1/groups", NEW, headers=headers)
    assert status == 503
    [row] = (await parts.store.list_groups()).items
    assert (row.state, row.code) == ("failed", NOT_ACCEPTED)
    parts.bus.down = None
    status, group, _ = await parts.post("/v1/groups", NEW, headers=headers)
    assert (status, group["id"], group["state"]) == (202, row.id, "creating")
    await parts.store.change_group(row.id, lambda r: replace(r, state="active", chat="wr9"))
    parts.bus.down = BusError("no broker")
    status, _, _ = await parts.post(f"/v1/groups/{row.id}:dissolve")
    assert status == 503
    _, group, _ = await parts.get(f"/v1/groups/{row.id}")
    assert (group["state"], group["code"]) == ("active", NOT_ACCEPTED)


async def test_only_its_caller_sees_and_touches_a_group(parts: Parts) -> None:
    row = await made(parts)
    path = f"/v1/groups/{row.id}"
    for method, where, body in (
        ("GET", path, None),
        ("PATCH", path, {"name": "x"}),
        ("POST", f"{path}:dissolve", None),
        ("POST", f"{path}:undo", None),
    ):
        status, problem, _ = await parts.call(method, where, body, caller="hall")
        assert (status, problem["code"]) == (404, "not_found")
    assert (await parts.get(path, caller="ops"))[0] == 200
    assert (await parts.post(f"{path}:dissolve", caller="ops"))[1]["code"] == "scope_missing"
    assert (await parts.post("/v1/groups", NEW, caller="limited"))[1]["code"] == "scope_missing"
    assert [g["id"] for g in (await parts.get("/v1/groups"))[1]["items"]] == [row.id]
    assert (await parts.get("/v1/groups", caller="hall"))[1]["items"] == []
    assert (await parts.get("/v1/groups?caller=crm", caller="hall"))[0] == 403
    assert (await parts.get("/v1/groups?state=gone"))[0] == 422
    body = {"to": "group:grp_1", "category": "care", "content": {"type": "text", "text": "hi"}}
    for caller, to in (("hall", "group:grp_1"), ("crm", "group:grp_2"), ("crm", "group:wr1")):
        status, problem, _ = await parts.post("/v1/messages", {**body, "to": to}, caller=caller)
        assert (status, problem["errors"][0]["code"]) == (422, "group_unknown")
    await parts.store.add_group(replace(row, id="grp_in", caller="", imported=True), lambda r: r)
    for caller, seen in (("hall", {"grp_in"}), ("crm", {"grp_in", "grp_1"})):
        _, page, _ = await parts.get("/v1/groups", caller=caller)
        assert {g["id"] for g in page["items"]} == seen
    assert (await parts.get("/v1/groups?caller=hall", caller="hall"))[1]["items"] == []
    status, answer, _ = await parts.post(
        "/v1/messages", {**body, "to": "group:grp_in"}, caller="hall"
    )
    assert status == 202, answer


@pytest.mark.parametrize("state", ["dissolving", "dissolved", "failed"])
async def test_nothing_goes_to_a_group_that_is_gone(parts: Parts, state: str) -> None:
    await made(parts, state)
    body = {"to": "group:grp_1", "category": "care", "content": {"type": "text", "text": "hi"}}
    status, problem, _ = await parts.post("/v1/messages", body)
    assert (status, problem["errors"][0]["code"]) == (422, "group_closed")
    status, problem, _ = await parts.call("PATCH", "/v1/groups/grp_1", {"name": "x"})
    assert (status, problem["code"]) == (409, "group_state")


async def test_a_change_says_what_is_added_and_removed(parts: Parts) -> None:
    await made(parts, members=("li", "a", "b"))
    path = "/v1/groups/grp_1"
    status, answer, _ = await parts.call("PATCH", path, {"members": ["li", "b", "c"]})
    assert status == 202, answer
    assert parts.bus.envelopes[-1].payload == UpdateGroup("grp_1", "", "", ("c",), ("a",))
    for body, code in (
        ({}, "nothing_to_do"),
        ({"reference": "r"}, "nothing_to_do"),
        ({"members": ["a"], "add": ["b"]}, "members_conflict"),
    ):
        status, problem, _ = await parts.call("PATCH", path, body)
        assert (status, problem["errors"][0]["code"]) == (422, code)


async def test_a_kind_that_cannot_dissolve_says_so_at_once(parts: Parts) -> None:
    await made(parts, kind="appchat", channel="chat", account="")
    status, problem, _ = await parts.post("/v1/groups/grp_1:dissolve")
    assert (status, problem["code"]) == (422, "group_unsupported")
    assert "hosted" in problem["remedy"]
    assert parts.bus.envelopes == []


def commands(parts: Parts) -> list[Envelope]:
    """The dissolve commands that were published."""
    return [one for one in parts.bus.envelopes if isinstance(one.payload, DissolveGroup)]


async def test_dissolving_waits_can_be_undone_and_is_written_down(parts: Parts) -> None:
    await made(parts)
    path = "/v1/groups/grp_1"
    body = {"undo_for": "10m", "reason": "网格调整"}
    status, group, _ = await parts.post(f"{path}:dissolve", body)
    assert (status, group["state"]) == (202, "dissolving")
    status, again, _ = await parts.post(f"{path}:dissolve", body)
    assert (status, again["message"]) == (202, group["message"])
    first, second = commands(parts)
    assert first.id == second.id == group["message"]
    assert first.payload == DissolveGroup("grp_1")
    assert first.not_before == second.not_before > parts.clock.now_ms() + 500_000
    assert (await parts.post(f"{path}:undo"))[1]["state"] == "active"
    assert (await parts.post(f"{path}:undo"))[0] == 200
    status, group, _ = await parts.post(f"{path}:dissolve", {"undo_for": "0s"})
    assert (status, "undo_until" in group) == (202, True)
    status, problem, _ = await parts.post(f"{path}:undo")
    assert (status, problem["code"]) == (409, "undo_late")
    rows = (await parts.store.list_audit(target="grp_1")).items
    assert [row.what for row in rows] == [
        "group.dissolve",
        "group.seal",
        "group.undo",
        "group.dissolve",
        "group.dissolve",
        "group.seal",
    ]
    assert rows[-2].detail["reason"] == "网格调整"
    for bad in ("-1s", "31d", True, "soon"):
        status, problem, _ = await parts.post(f"{path}:dissolve", {"undo_for": bad})
        assert (status, problem["errors"][0]["code"]) == (422, "duration_invalid")


TERMS = """
groups:
  dissolve: {approval: true, undo_for: 1h, notice: "{name}将于 {at} 解散"}
"""


@pytest.fixture
async def strict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Parts]:
    """With approval and a notice."""
    monkeypatch.setattr(rig, "SPECS", {**rig.SPECS, "hosted": HOSTED, "appchat": APPCHAT})
    parts = Parts(tmp_path)
    await parts.start({**FILES, "policy.yaml": rig.FILES["policy.yaml"] + TERMS})
    yield parts
    await parts.close()


def told(envelope: Envelope) -> tuple[str, dict[str, Any]]:
    """(type, data) of an event on its way."""
    assert isinstance(envelope.payload, Notice)
    return envelope.payload.type, json.loads(envelope.payload.body)["data"]


async def test_a_dissolution_waits_for_another_key(strict: Parts) -> None:
    parts = strict
    await made(parts)
    path = "/v1/groups/grp_1"
    other = {"Authorization": f"Bearer {await parts.key('crm', name='second')}"}
    status, problem, _ = await parts.post(f"{path}:approve", headers=other)
    assert (status, problem["code"]) == (409, "approval_not_asked")
    for _ in range(2):
        status, group, _ = await parts.post(f"{path}:dissolve", {"reason": "网格调整"})
        assert (status, group["state"], group["dissolve"]["needs"]) == (202, "active", "approval")
        assert group["dissolve"]["asked_by"].startswith("crm/")
        assert "asked_at" in group["dissolve"]
    assert commands(parts) == []
    events = [told(one) for one in parts.bus.envelopes]
    assert {kind for kind, _ in events} == {"msgcenter.group.dissolve_asked.v1"}
    assert len({one.id for one in parts.bus.envelopes}) == 1
    assert (events[0][1]["by"], events[0][1]["group"]) == (group["dissolve"]["asked_by"], "grp_1")
    for language, word in (("zh", "另一"), ("en", "another key")):
        status, problem, _ = await parts.post(
            f"{path}:approve", headers={"Accept-Language": language}
        )
        assert (status, problem["code"]) == (403, "approval_same_key")
        assert word in problem["remedy"]
    parts.bus.frames.clear()
    body = {"to": "group:grp_1", "category": "care", "content": {"type": "text", "text": "hi"}}
    assert (await parts.post("/v1/messages", body))[0] == 202, "still open"
    parts.bus.frames.clear()
    for _ in range(2):
        status, group, _ = await parts.post(f"{path}:approve", headers=other)
        assert (status, group["state"]) == (202, "dissolving")
    assert "needs" not in group["dissolve"]
    assert group["dissolve"]["approved_by"] != group["dissolve"]["asked_by"]
    event, notice, command = parts.bus.envelopes[:3]
    assert [one.id for one in parts.bus.envelopes[3:]] == [event.id, notice.id, command.id]
    kind, data = told(event)
    assert kind == "msgcenter.group.dissolving.v1"
    assert (data["owner"], data["undo_until"]) == ("li", group["undo_until"])
    assert data["by"] == group["dissolve"]["asked_by"]
    assert isinstance(notice.payload, Text)
    assert notice.payload.text.startswith("g将于 20")
    assert notice.order_key == command.order_key == event.order_key == "grp_1"
    assert (command.id, command.payload) == (group["message"], DissolveGroup("grp_1"))
    assert command.not_before > parts.clock.now_ms() + 3_000_000
    assert notice.not_before == 0
    assert (await parts.post(f"{path}:undo"))[1]["state"] == "active"
    suppressed = await parts.state.admit(
        [Admit(one.key("channel"), (f"message:{one.id}",), "w", 5.0) for one in (notice, command)]
    )
    assert [one.rule for one in suppressed] == ["undone", "undone"]
    whats = [row.what for row in (await parts.store.list_audit(target="grp_1")).items]
    assert {"group.dissolve_ask", "group.approve", "group.seal", "group.undo"} <= set(whats)


async def test_a_request_is_taken_back_or_lapses(strict: Parts) -> None:
    parts = strict
    await made(parts)
    path = "/v1/groups/grp_1"
    other = {"Authorization": f"Bearer {await parts.key('crm', name='second')}"}
    await parts.post(f"{path}:dissolve")
    status, group, _ = await parts.post(f"{path}:undo")
    assert (status, group["state"], "dissolve" in group) == (200, "active", False)
    assert (await parts.post(f"{path}:approve", headers=other))[0] == 409
    await parts.post(f"{path}:dissolve")
    long_ago = parts.clock.now_ms() - APPROVAL_MS - 1
    await parts.store.change_group("grp_1", lambda r: replace(r, unapproved_since=long_ago))
    status, problem, _ = await parts.post(f"{path}:approve", headers=other)
    assert (status, problem["code"]) == (409, "approval_not_asked")
    await sweep(parts).once()
    _, group, _ = await parts.get(path)
    assert (group["state"], group["code"], "dissolve" in group) == ("active", LAPSED, False)
    status, group, _ = await parts.post(f"{path}:dissolve")
    assert (status, group["dissolve"]["needs"]) == (202, "approval")
    assert commands(parts) == []


def sweep(parts: Parts) -> Sweep:
    deps = parts.deps
    return Sweep(
        lambda: deps.live.current,
        bus=parts.bus,
        state=parts.state,
        store=parts.store,
        clock=parts.clock,
        partitions=4,
        log=parts.log,
    )


async def test_a_command_that_never_became_durable_is_found(parts: Parts) -> None:
    old = parts.clock.now_ms() - QUIET_MS - 1
    asked = Asked("crm/key_1", old, 600.0, "r", "ref")
    lost = GroupRow("grp_a", "crm", "g", "li", ("li",), "hosted", "hosted-2", "li")
    ids = [parts.deps.ids.message("group:grp") for _ in range(5)]
    rows = [
        replace(lost, command=ids[0], since=old),
        replace(lost, id="grp_b", command=ids[1], since=old),
        replace(lost, id="grp_c", command=ids[2], since=parts.clock.now_ms()),
        replace(
            lost, id="grp_d", chat="wr1", state="dissolving", command=ids[3], since=old, asked=asked
        ),
        replace(
            lost, id="grp_e", chat="wr2", state="dissolving", command=ids[4], since=old, asked=asked
        ),
    ]
    for row in rows:
        await parts.store.add_group(row, lambda kept: kept)
    await parts.state.accepted([Accepted(one, b"") for one in (ids[1], ids[4])])
    for _ in range(2):
        await sweep(parts).once()
    found = await parts.store.groups_by_id([row.id for row in rows])
    assert {one: (row.state, row.code) for one, row in found.items()} == {
        "grp_a": ("failed", NOT_ACCEPTED),
        "grp_b": ("creating", ""),
        "grp_c": ("creating", ""),
        "grp_d": ("dissolving", ""),
        "grp_e": ("dissolving", ""),
    }
    assert {one.id for one in commands(parts)} == {ids[3]}
    assert commands(parts)[0].reference == "ref"
    assert {one.to.value for one in parts.bus.envelopes} == {"grp_d"}


async def test_a_reply_to_what_was_said_in_a_group_goes_to_that_group(parts: Parts) -> None:
    row = await made(parts)

    def said(message: str, chat: str) -> Record:
        sender, me = Address("wecom", "ww1/wm1"), Address("caller", "crm")
        known: dict[str, Any] = {"payload": Text("@客服 在吗"), "chat": chat, "order_key": chat}
        of = envelope(message, to=me, sender=sender, channel="hosted-2", inbound=True, **known)
        return record(Sent(()), of=of, status="received")

    heard = [said("msg_here", row.chat), said("msg_elsewhere", "wr_nobody_knows")]
    await parts.store.write_records(heard, lambda _: "full")
    text = {"type": "text", "text": "在的"}
    body = {"reply_to": "msg_here", "content": text}
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 202, answer
    [reply] = parts.bus.envelopes
    assert (str(reply.to), reply.order_key) == (f"group:{row.id}", row.id)
    assert (reply.channels, reply.account, reply.category) == (("hosted",), "li", "reply")
    status, answer, _ = await parts.post("/v1/messages:batch", {"messages": [body]})
    assert answer["accepted"] == 1, answer
    # One whose group is not known here goes to nobody, least of all to its speaker alone.
    for asked, caller in (("msg_elsewhere", "crm"), ("msg_here", "hall")):
        body = {"reply_to": asked, "content": text}
        status, problem, _ = await parts.post("/v1/messages", body, caller=caller)
        assert status == 422, problem
        assert problem["errors"][0]["code"] == "reply_unknown"
    assert len(parts.bus.envelopes) == 2


async def test_what_was_said_is_sealed_first(parts: Parts) -> None:
    await made(parts)
    t0 = parts.clock.now_ms() - 1_000_000

    def said(number: int, text: str, *, chat: str, inbound: bool, category: str = "care") -> Record:
        of = envelope(
            f"msg_{number:04d}",
            to=Address("caller", "crm") if inbound else Address("group", "grp_1"),
            sender=Address("wecom", "ww1/wm1") if inbound else None,
            payload=Text(text),
            created_at=t0 + number,
            channel="hosted-2",
            inbound=inbound,
            chat=chat,
            category=category,
        )
        return record(Sent(("r",)), of=of, status="sent")

    many = [said(n, f"t{n}", chat="wr1" if n % 2 else "", inbound=bool(n % 2)) for n in range(2500)]
    more = [
        said(9001, "else", chat="wr2", inbound=True),
        said(9002, "cmd", chat="", inbound=False, category="command"),
    ]
    await parts.store.write_records([*many, *more], lambda _: "full")
    path = "/v1/groups/grp_1"
    assert (await parts.get(f"{path}/seal"))[1]["code"] == "not_sealed"
    status, group, _ = await parts.post(f"{path}:dissolve", {"undo_for": "0s"})
    assert status == 202
    seal = (await parts.get(path))[1]["seal"]
    assert seal["messages"] == 2500
    lines = "".join(
        f"msg_{n:04d} "
        + hashlib.sha256(f'{{"text":"t{n}","type":"text"}}'.encode()).hexdigest()
        + "\n"
        for n in range(2500)
    )
    assert seal["sha256"] == hashlib.sha256(lines.encode()).hexdigest()
    assert (when(t0), when(t0 + 2499)) == (seal["first_at"], seal["last_at"])
    [row] = [
        one
        for one in (await parts.store.list_audit(target="grp_1")).items
        if one.what == "group.seal"
    ]
    assert (row.detail["sha256"], row.detail["message"]) == (seal["sha256"], group["message"])

    async def check() -> tuple[bool, int, int, int]:
        status, body, _ = await parts.get(f"{path}/seal")
        assert (status, body["sha256"]) == (200, seal["sha256"])
        return body["intact"], body["changed"], body["missing"], body["after"]

    assert await check() == (True, 0, 0, 0)
    late = [said(3000 + n, "late", chat="wr1", inbound=True) for n in range(3)]
    await parts.store.write_records(late, lambda _: "full")
    assert await check() == (True, 0, 0, 3)
    later = replace(said(7, "forged", chat="wr1", inbound=True), id="rec_2", at=T0 * 2)
    await parts.store.write_records([later], lambda _: "full")
    assert await check() == (False, 1, 0, 3)
    assert (await parts.get(f"{path}/seal", caller="hall"))[0] == 404


async def test_one_chat_on_two_channels_is_two_groups_of_clear_kinds(parts: Parts) -> None:
    """As the events of customer contact and of a hosted account read them in."""
    kinds = {"chat": "appchat", "hosted-2": "hosted"}
    sink = RegistrySink("registry", parts.store, kinds.__getitem__)
    for channel in kinds:
        of = envelope(
            f"msg_{channel}",
            caller="",
            to=Address("caller", "unassigned"),
            payload=Happening("group_created", json.dumps({"chat": "wr1", "name": "客户群"})),
            category="inbound",
            inbound=True,
            channel=channel,
        )
        await sink.write([record(Routed(("inbox",)), of=of, pipeline="inbound")])
    _, page, _ = await parts.get("/v1/groups?chat=wr1")
    ids = {one["kind"]: one["id"] for one in page["items"]}
    assert set(ids) == {"appchat", "hosted"}
    status, problem, _ = await parts.post(f"/v1/groups/{ids['appchat']}:dissolve")
    assert (status, problem["code"]) == (422, "group_unsupported")
    assert "hosted" in problem["remedy"]
    link = {"type": "link", "title": "t", "url": "https://x.example/"}
    for content, code in (
        ({"type": "text", "text": "hi"}, ""),
        (link, "content_not_supported"),
    ):
        body = {"to": f"group:{ids['appchat']}", "category": "care", "content": content}
        status, answer, _ = await parts.post("/v1/messages", body)
        assert (status, answer.get("errors", [{"code": ""}])[0]["code"]) == (
            422 if code else 202,
            code,
        )
    assert parts.bus.envelopes[-1].channels == ("appchat",)
    assert (await parts.post(f"/v1/groups/{ids['hosted']}:dissolve"))[0] == 202


# -- accounts -----------------------------------------------------------------------------------


async def test_accounts_show_how_they_are(parts: Parts) -> None:
    now = parts.clock.now_ms()
    await parts.store.save_health([AccountRow("li", "hosted-2", "down", "scan again", now)])
    await parts.store.touch_accounts({"li": now - 90_000}, {"li": now - 60_000})
    status, li, _ = await parts.get("/v1/accounts/li")
    assert status == 200
    assert (li["health"], li["login"], li["detail"]) == ("down", "lost", "scan again")
    assert 60 <= li["seconds_since_last_message"] < 70
    assert (li["organisation"], li["agent"]) == (["广东", "广州", "天河"], "own")
    assert (await parts.get("/v1/accounts/nobody"))[0] == 404

    async def names(query: str) -> list[str]:
        _, body, _ = await parts.get(f"/v1/accounts?{query}")
        return [item["name"] for item in body["items"]]

    assert await names("kind=hosted") == ["li", "zhao", "old"]
    assert await names("organisation=广东") == ["li", "zhao"]
    assert await names("organisation=广东/广") == []
    assert await names("organisation=广东/广州") == ["li"]
    assert await names("health=down") == ["li"]
    assert await names("state=retired") == ["old"]
    assert await names("corp=ww1") == ["li"]
    assert (await parts.get("/v1/accounts?state=odd"))[0] == 422


async def test_revoking_and_restoring_an_account(parts: Parts) -> None:
    assert (await parts.post("/v1/accounts/li:revoke"))[1]["code"] == "scope_missing"
    assert (await parts.post("/v1/accounts/nobody:revoke", caller="ops"))[0] == 404
    for _ in range(2):
        status, li, _ = await parts.post("/v1/accounts/li:revoke", caller="ops")
        assert (status, li["state"]) == (200, "revoked")
        assert li["revoked_by"].startswith("ops/")
    status, li, _ = await parts.post("/v1/accounts/li:restore", caller="ops")
    assert (status, li["state"]) == (200, "active")
    whats = [row.what for row in (await parts.store.list_audit(target="li")).items]
    assert whats == ["account.restore", "account.revoke", "account.revoke"]


async def test_a_thousand_candidates_are_not_all_listed(tmp_path: Path) -> None:
    many = "\n".join(f"m{n}: {{kind: sms, channel: sms-east, address: m{n}}}" for n in range(1000))
    parts = Parts(tmp_path)
    await parts.start({"accounts.yaml": rig.FILES["accounts.yaml"] + many})
    status, problem, _ = await parts.post(
        "/v1/messages", rig.message(category="marketing"), caller="iop"
    )
    [fault] = problem["errors"]
    assert (status, fault["code"]) == (422, "account_ambiguous")
    assert "1002 in all" in fault["remedy"]
    assert len(fault["remedy"]) < 500
    await parts.close()
