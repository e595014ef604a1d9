"""`/v1/groups` and `/v1/accounts`: what is refused with which code, what is published, who may see what."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from msgcenter.adapter import Spec
from msgcenter.api.grouping import NOT_ACCEPTED
from msgcenter.bus import BusError
from msgcenter.store import AccountRow, GroupRow
from protocols.payload import CreateGroup, DissolveGroup, Text, UpdateGroup
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


async def test_dissolving_waits_can_be_undone_and_is_written_down(parts: Parts) -> None:
    await made(parts)
    path = "/v1/groups/grp_1"
    body = {"undo_for": "10m", "reason": "网格调整"}
    status, group, _ = await parts.post(f"{path}:dissolve", body)
    assert (status, group["state"]) == (202, "dissolving")
    status, again, _ = await parts.post(f"{path}:dissolve", body)
    assert (status, again["message"]) == (202, group["message"])
    first, second = parts.bus.envelopes
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
        "group.undo",
        "group.dissolve",
        "group.dissolve",
    ]
    assert rows[-1].detail["reason"] == "网格调整"
    for bad in ("-1s", "31d", True, "soon"):
        status, problem, _ = await parts.post(f"{path}:dissolve", {"undo_for": bad})
        assert (status, problem["errors"][0]["code"]) == (422, "duration_invalid")


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
