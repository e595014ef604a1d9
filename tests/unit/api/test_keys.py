"""Keys and scopes: who may do what, a revoked key within 5 seconds, nothing of others."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from msgcenter.api import auth
from msgcenter.api.auth import Keyring, make_key, read_key
from msgcenter.api.problems import Problem
from msgcenter.clock import ManualClock
from msgcenter.store import ApiKey, StoreError
from tests.unit.api.parts import PEPPER, Parts, message


def test_a_key_is_read_back_and_a_mistyped_one_is_not() -> None:
    keyid, full, digest = make_key("live", PEPPER)
    parts = read_key(full)
    assert parts is not None
    assert parts[0] == keyid
    assert auth.hash_secret(PEPPER, parts[1]) == digest
    assert parts[1] not in digest
    for at in range(len(full)):
        other = "x" if full[at] != "x" else "y"
        assert read_key(full[:at] + other + full[at + 1 :]) is None


class Keys:
    """A store of keys that counts look-ups."""

    def __init__(self) -> None:
        self.keys: dict[str, ApiKey] = {}
        self.asked = 0
        self.away = False

    async def find_key(self, keyid: str) -> ApiKey | None:
        self.asked += 1
        if self.away:
            raise StoreError("away")
        return self.keys.get(keyid)


async def test_a_revoked_key_is_refused_within_five_seconds_and_look_ups_are_few() -> None:
    clock, store = ManualClock(), Keys()
    ring = Keyring(store, PEPPER, clock, logging.getLogger())
    keyid, full, digest = make_key("live", PEPPER)
    store.keys[keyid] = ApiKey(keyid, "crm", "", digest)
    for _ in range(20):
        assert (await ring.identify(f"Bearer {full}")).caller == "crm"
    assert store.asked == 1
    store.keys[keyid] = ApiKey(keyid, "crm", "", digest, revoked_at=clock.now_ms())
    await clock.advance(4.9)
    with pytest.raises(Problem, match="key_invalid"):
        await ring.identify(f"Bearer {full}")
    store.keys[keyid] = ApiKey(keyid, "crm", "", digest, expires_at=clock.now_ms() + 10_000)
    await clock.advance(5)
    await ring.identify(f"bearer {full}")
    await clock.advance(5.1)
    with pytest.raises(Problem, match="key_invalid"):
        await ring.identify(f"Bearer {full}")


async def test_a_store_that_is_away_does_not_lock_out_known_keys_for_a_while() -> None:
    clock, store = ManualClock(), Keys()
    ring = Keyring(store, PEPPER, clock, logging.getLogger())
    keyid, full, digest = make_key("live", PEPPER)
    store.keys[keyid] = ApiKey(keyid, "crm", "", digest)
    await ring.identify(f"Bearer {full}")
    store.away = True
    ring._log = _Quiet()
    await clock.advance(100)
    await ring.identify(f"Bearer {full}")
    _, unknown, _ = make_key("live", PEPPER)
    with pytest.raises(Problem, match="store_unavailable"):
        await ring.identify(f"Bearer {unknown}")
    await clock.advance(auth.STALE_S)
    with pytest.raises(Problem, match="store_unavailable"):
        await ring.identify(f"Bearer {full}")


async def test_what_a_slow_look_up_found_is_as_old_as_its_beginning() -> None:
    clock = ManualClock()

    class Slow(Keys):
        async def find_key(self, keyid: str) -> ApiKey | None:
            found = await super().find_key(keyid)
            await clock.advance(1.9)
            return found

    store = Slow()
    ring = Keyring(store, PEPPER, clock, logging.getLogger())
    keyid, full, digest = make_key("live", PEPPER)
    store.keys[keyid] = ApiKey(keyid, "crm", "", digest)
    await ring.identify(f"Bearer {full}")
    await clock.advance(auth.FRESH_S - 1.9)
    await ring.identify(f"Bearer {full}")
    for _ in range(20):  # it is looked up behind the request
        await asyncio.sleep(0)
    assert store.asked == 2


async def test_a_look_up_is_made_once_and_no_request_waits_for_a_renewal() -> None:
    clock, asked, answer = ManualClock(), 0, asyncio.Event()
    _, full, digest = make_key("live", PEPPER)

    class Slow(Keys):
        async def find_key(self, keyid: str) -> ApiKey | None:
            nonlocal asked
            asked += 1
            await answer.wait()
            return ApiKey(keyid, "crm", "", digest)

    ring = Keyring(Slow(), PEPPER, clock, logging.getLogger())
    first = [asyncio.create_task(ring.identify(f"Bearer {full}")) for _ in range(20)]
    await asyncio.sleep(0)
    answer.set()
    assert {one.caller for one in await asyncio.gather(*first)} == {"crm"}
    assert asked == 1
    answer.clear()
    await clock.advance(auth.FRESH_S)
    for _ in range(20):
        await ring.identify(f"Bearer {full}")
    await asyncio.sleep(0)
    assert asked == 2
    await clock.advance(auth.LATEST_S - auth.FRESH_S)
    late = asyncio.create_task(ring.identify(f"Bearer {full}"))
    await asyncio.sleep(0)
    assert not late.done()  # believed no longer
    answer.set()
    assert (await late).caller == "crm"
    assert asked == 2


class _Quiet:
    def warning(self, *_: Any, **__: Any) -> None:
        return


async def test_who_may_come_in(parts: Parts) -> None:
    good = await parts.key()
    _, stranger, _ = make_key("test", PEPPER)
    head, secret = good[:19], good[19:]
    for authorization, code in (
        ("", "key_missing"),
        ("Basic dTpw", "key_missing"),
        ("Bearer ", "key_missing"),
        ("Bearer nonsense", "key_invalid"),
        (f"Bearer {stranger}", "key_invalid"),
        (f"Bearer {head}{secret[::-1]}", "key_invalid"),
    ):
        async with parts.client.get(
            "/v1/messages", headers={"Authorization": authorization}
        ) as response:
            problem = await response.json(content_type=None)
            assert (response.status, problem["code"]) == (401, code), authorization
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
            assert good not in str(problem)


async def test_scopes_and_other_peoples_messages(parts: Parts) -> None:
    _, mine, _ = await parts.post("/v1/messages", message())
    path = f"/v1/messages/{mine['id']}"
    for caller, status in (("crm", 200), ("limited", 404), ("ops", 200)):
        assert (await parts.get(path, caller=caller))[0] == status
    status, problem, _ = await parts.post(f"{path}:cancel", caller="limited")
    assert (status, problem["code"]) == (404, "not_found")
    status, problem, _ = await parts.post("/v1/messages", message(), caller="ops")
    assert (status, problem["code"]) == (403, "scope_missing")
    assert "send" in problem["detail"]
    for path in ("/v1/keys", "/v1/status"):
        assert (await parts.get(path))[0] == 403
        assert (await parts.get(path, caller="ops"))[0] == 200
    assert (await parts.get("/v1/messages?caller=iop"))[0] == 403


async def test_a_key_may_have_less_than_its_caller(parts: Parts) -> None:
    key = await parts.key("crm", scopes=["read"])
    headers = {"Authorization": f"Bearer {key}"}
    async with parts.client.post("/v1/messages", headers=headers, json=message()) as response:
        assert response.status == 403
    async with parts.client.get("/v1/messages", headers=headers) as response:
        assert response.status == 200


async def test_keys_are_made_listed_and_revoked_over_http(parts: Parts) -> None:
    body = {"caller": "crm", "name": "night batch", "scopes": ["send"], "expires_in": 3600}
    idem = {"Idempotency-Key": "k"}
    status, made, _ = await parts.post("/v1/keys", body, caller="ops", headers=idem)
    assert status == 201
    assert made["key"].startswith(f"mck_test_{made['id']}_")
    _, again, _ = await parts.post("/v1/keys", body, caller="ops", headers=idem)
    assert again == {name: made[name] for name in made if name != "key"}
    use = {"Authorization": f"Bearer {made['key']}"}
    async with parts.client.post("/v1/messages", headers=use, json=message()) as response:
        assert response.status == 202
    _, listed, _ = await parts.get("/v1/keys?caller=crm", caller="ops")
    assert made["id"] in {key["id"] for key in listed["items"]}
    assert "key" not in listed["items"][0]
    for _ in range(2):
        status, ended, _ = await parts.post(f"/v1/keys/{made['id']}:revoke", caller="ops")
        assert (status, bool(ended["revoked_at"])) == (200, True)
    async with parts.client.post("/v1/messages", headers=use, json=message()) as response:
        assert response.status == 401
    assert (await parts.post("/v1/keys/nobody:revoke", caller="ops"))[0] == 404
    audit = await parts.store.list_audit(target=made["id"])
    assert [row.what for row in audit.items] == ["key.revoke", "key.revoke", "key.create"]
    for bad, field in (
        ({"caller": "nobody"}, "caller"),
        ({"caller": "crm", "scopes": ["admin"]}, "scopes[0]"),
        ({"caller": "crm", "expires_in": 1}, "expires_in"),
    ):
        status, problem, _ = await parts.post("/v1/keys", bad, caller="ops")
        assert (status, problem["errors"][0]["field"]) == (422, field)


async def test_a_disabled_caller_is_out(parts: Parts) -> None:
    status, problem, _ = await parts.get("/v1/messages", caller="off")
    assert (status, problem["code"]) == (403, "caller_disabled")
