"""`/v1/subscriptions`: who may have which, where they may lead, the key shown once, and what pause, replay and end leave behind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from adapters.platform import Platform, PlatformSettings
from msgcenter.api.app import API, build_app
from msgcenter.store import Event
from msgcenter.store.cursors import decode_positions, encode_positions
from msgcenter.subscriptions import MOST_OF_CALLER, key_of
from protocols.webhook import signing
from tests.unit.api import parts as rig
from tests.unit.api.parts import PEPPER, Parts

FILES = {
    "callers.yaml": rig.FILES["callers.yaml"].replace(
        "crm:\n  scopes: [send, read]", "crm:\n  scopes: [send, read, subscribe]"
    )
    + 'hall:\n  scopes: [subscribe]\nboard:\n  scopes: [subscribe, "read:all"]\n'
    + "boss:\n  scopes: [subscribe, admin]\n"
}
URL = "https://crm.example.com/events"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    settings = PlatformSettings()
    await parts.client.close()
    deps = replace(parts.deps, refuses_url=lambda url: Platform.refuses(settings, url))
    app = build_app(deps)
    parts.deps, parts.api = deps, app[API]
    parts.client = TestClient(TestServer(app))
    await parts.client.start_server()
    yield parts
    await parts.close()


async def made(parts: Parts, caller: str = "crm", **more: Any) -> dict[str, Any]:
    status, answer, _ = await parts.post("/v1/subscriptions", {"url": URL, **more}, caller=caller)
    assert status == 201, answer
    return dict(answer)


def event(number: int, at: int) -> Event:
    return Event(f"evt_{number}", "crm", "msgcenter.message.sent.v1", at, "s", f"msg_{number}", {})


async def test_the_key_is_shown_once_and_stored_nowhere(parts: Parts) -> None:
    body = {"url": URL, "types": ["msgcenter.message.*"], "description": "坐席台"}
    headers = {"Idempotency-Key": "k1"}
    status, first, _ = await parts.post("/v1/subscriptions", body, headers=headers)
    assert (status, first["state"], first["caught_up"]) == (201, "active", True)
    assert signing.key_of(first["secret"])
    status, again, _ = await parts.post("/v1/subscriptions", body, headers=headers)
    assert status == 201
    assert again == {name: value for name, value in first.items() if name != "secret"}
    status, listed, _ = await parts.get("/v1/subscriptions")
    assert [item["id"] for item in listed["items"]] == [first["id"]]
    assert "secret" not in listed["items"][0]
    row = await parts.store.subscription(first["id"])
    assert row is not None
    assert first["secret"] == key_of(PEPPER, row, 1)
    assert first["secret"] not in repr(row)
    entries = await parts.store.list_audit()
    assert first["secret"] not in repr(entries)


async def test_a_rotation_gives_another_key_and_says_how_long_the_old_one_signs(
    parts: Parts,
) -> None:
    first = await made(parts)
    status, turned, _ = await parts.post(f"/v1/subscriptions/{first['id']}:rotate-secret")
    assert status == 200
    assert turned["secret"] != first["secret"]
    assert turned["old_secret_until"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://crm.example.com/", "https"),
        ("ftp://crm.example.com/", "https"),
        ("https://user:pass@crm.example.com/", "credentials"),
        ("https://127.0.0.1/", "may not be called"),
        ("https://[::ffff:10.0.0.1]/", "may not be called"),
        ("https://169.254.169.254/latest/meta-data", "may not be called"),
        ("https://localhost:8443/", "may not be called"),
        ("https://host:99999/", "callback URL"),
        ("nothing", "https"),
    ],
)
async def test_where_it_may_not_lead(parts: Parts, url: str, why: str) -> None:
    status, answer, _ = await parts.post("/v1/subscriptions", {"url": url})
    assert (status, answer["errors"][0]["field"]) == (422, "url")
    assert why in answer["errors"][0]["detail"]
    name = (await made(parts))["id"]
    status, answer, _ = await parts.call("PATCH", f"/v1/subscriptions/{name}", {"url": url})
    assert status == 422


async def test_types_and_beginnings_are_known_ones(parts: Parts) -> None:
    status, answer, _ = await parts.post(
        "/v1/subscriptions",
        {"url": URL, "types": ["msgcenter.message.sent.v1", "msgcenter.massage.*", "*"]},
    )
    assert (status, [e["field"] for e in answer["errors"]]) == (422, ["types[1]", "types[2]"])


async def test_whose_it_is(parts: Parts) -> None:
    name = (await made(parts))["id"]
    path = f"/v1/subscriptions/{name}"
    for caller, status in (("crm", 200), ("hall", 404), ("boss", 200), ("iop", 403)):
        assert (await parts.get(path, caller=caller))[0] == status, caller
    for verb in ("pause", "resume", "rotate-secret"):
        assert (await parts.post(f"{path}:{verb}", caller="hall"))[0] == 404, verb
    assert (await parts.post(f"{path}:replay", {"from": "now"}, caller="hall"))[0] == 404
    assert (await parts.call("DELETE", path, caller="hall"))[0] == 404
    assert (await parts.get("/v1/subscriptions", caller="hall"))[1] == {"items": []}
    assert len((await parts.get("/v1/subscriptions", caller="boss"))[1]["items"]) == 1
    status, answer, _ = await parts.post("/v1/subscriptions", {"url": URL, "everyone": True})
    assert (status, answer["errors"][0]["code"]) == (422, "scope_not_held")
    assert (await made(parts, "board", everyone=True))["everyone"]


async def test_where_it_begins(parts: Parts) -> None:
    now = parts.clock.now_ms()
    for number in range(4):
        await parts.store.append_events(number % 2, [event(number, now - 4000 + number * 1000)])
    cursor = encode_positions({0: 1, 1: 2})
    time = datetime.fromtimestamp((now - 2500) / 1000, UTC).isoformat()
    for start, positions in (
        ("now", {0: 2, 1: 2}),
        ("earliest", {}),
        (cursor, {0: 1, 1: 2}),
        (time, {0: 1, 1: 1}),
    ):
        answer = await made(parts, **{"from": start})
        assert decode_positions(answer["cursor"]) == positions, start
        assert answer["caught_up"] == (start == "now"), start
    for start in ("yesterday", "2026-11-22T09:00:00"):
        status, answer, _ = await parts.post("/v1/subscriptions", {"url": URL, "from": start})
        assert (status, answer["errors"][0]["field"]) == (422, "from")


async def test_pause_replay_and_end_are_gates_in_state(parts: Parts) -> None:
    name = (await made(parts))["id"]
    path = f"/v1/subscriptions/{name}"
    status, answer, _ = await parts.post(f"{path}:pause", {"why": "维护"})
    assert (status, answer["state"]) == (200, "paused")
    assert [row.gate for row in await parts.store.list_pauses()] == [f"subscription:{name}"]
    assert (await parts.post(f"{path}:resume"))[1]["state"] == "active"
    assert await parts.store.list_pauses() == ()

    before = await parts.store.subscription(name)
    assert before is not None
    await parts.store.append_events(0, [event(1, parts.clock.now_ms())])
    status, answer, _ = await parts.post(f"{path}:replay", {"from": "earliest"})
    assert (status, decode_positions(answer["cursor"])) == (200, {})
    after = await parts.store.subscription(name)
    assert after is not None
    assert after.generation > before.generation

    status, answer, _ = await parts.call("DELETE", path)
    assert (status, answer["ended"]) == (200, True)
    assert (await parts.get(path))[0] == 404
    assert (await parts.call("DELETE", path))[1]["ended"] is False


async def test_a_caller_has_so_many_and_needs_a_channel(parts: Parts) -> None:
    for _ in range(MOST_OF_CALLER):
        await made(parts)
    status, answer, _ = await parts.post("/v1/subscriptions", {"url": URL})
    assert (status, answer["errors"][0]["code"]) == (422, "too_many")
    object.__setattr__(parts.deps, "refuses_url", lambda _: None)
    status, answer, _ = await parts.post("/v1/subscriptions", {"url": URL})
    assert (status, answer["code"]) == (409, "no_event_channel")
