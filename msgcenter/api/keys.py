"""`/v1/keys`: make, list and revoke API keys (scope admin); the same functions work on a Store
alone, for the command line without a server."""

from __future__ import annotations

import json
from collections.abc import Sequence

from aiohttp import web

from msgcenter.api.auth import make_key
from msgcenter.api.models import KeyRequest
from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import (
    KeysView,
    KeyView,
)
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.config import Config
from msgcenter.store import ApiKey
from msgcenter.store.store import Store

TRIES = 5


async def create_key(
    store: Store,
    config: Config,
    *,
    caller: str,
    pepper: bytes,
    now_ms: int,
    who: str,
    env: str = "live",
    name: str = "",
    scopes: Sequence[str] | None = None,
    expires_in: float | None = None,
) -> tuple[ApiKey, str]:
    """A new key for a configured caller: (what is stored, the full key to show once). Audited.

    Raises Problem (caller or scope not configured), StoreError.
    """
    known = config.callers.get(caller)
    if known is None:
        facts = {"known": list(config.callers)}
        raise refused([Fault("caller", "caller_unknown", caller, facts)])
    faults = [
        Fault(f"scopes[{number}]", "scope_not_held", scope, {"known": known.scopes})
        for number, scope in enumerate(scopes or ())
        if scope not in known.scopes
    ]
    if faults:
        raise refused(faults)
    for _ in range(TRIES):
        keyid, full, digest = make_key(env, pepper)
        expires_at = now_ms + round(expires_in * 1000) if expires_in else 0
        key = ApiKey(keyid, caller, name, digest, tuple(scopes or ()), now_ms, expires_at)
        if await store.add_key(key):
            detail = {"caller": caller, "name": name, "scopes": list(scopes or ())}
            await store.audit(who, "key.create", keyid, detail, now_ms)
            return key, full
    raise RuntimeError("no free key id found: the source of chance is broken")


async def revoke_key(store: Store, keyid: str, *, now_ms: int, who: str) -> bool:
    """End a key; False when there is none. Audited."""
    if not await store.revoke_key(keyid, now_ms):
        return False
    await store.audit(who, "key.revoke", keyid, {}, now_ms)
    return True


def key_view(key: ApiKey, full: str | None = None) -> KeyView:
    return KeyView(
        id=key.keyid,
        caller=key.caller,
        name=key.name,
        scopes=list(key.scopes),
        created_at=when(key.created_at),
        expires_at=when(key.expires_at),
        revoked_at=when(key.revoked_at),
        last_used_at=when(key.last_used_at),
        key=full,
    )


async def create(call: Call) -> web.Response:
    """The answer holds the key in full, this once; a repeat with the same Idempotency-Key does not
    show it again."""
    call.query()
    request = await call.model(KeyRequest)
    deps = call.api.deps

    async def work(_: str) -> tuple[int, bytes]:
        key, full = await create_key(
            deps.store,
            deps.live.current,
            caller=request.caller,
            pepper=deps.pepper,
            now_ms=deps.clock.now_ms(),
            who=f"{call.caller}/{call.identity.keyid}",
            env=deps.env,
            name=request.name,
            scopes=request.scopes,
            expires_in=request.expires_in,
        )
        call.api.keyring.forget(key.keyid)
        return 201, key_view(key, full).model_dump_json(exclude_none=True).encode()

    return await call.once(request.model_dump_json().encode(), work, stored=_without_secret)


def _without_secret(body: bytes) -> bytes:
    view = json.loads(body)
    view.pop("key", None)
    return json.dumps(view, ensure_ascii=False).encode()


async def many(call: Call) -> web.Response:
    """All keys, revoked ones included."""
    caller = call.query("caller").get("caller", "")
    keys = await call.api.deps.store.list_keys(caller)
    return shown(KeysView(items=[key_view(key) for key in keys]))


async def revoke(call: Call) -> web.Response:
    """Idempotent; acts at once here and within 5 seconds in every other process."""
    call.query()
    deps = call.api.deps

    async def work(_: str) -> tuple[int, bytes]:
        who = f"{call.caller}/{call.identity.keyid}"
        if not await revoke_key(deps.store, call.id, now_ms=deps.clock.now_ms(), who=who):
            raise Problem("not_found", what="key", id=call.id)
        call.api.keyring.forget(call.id)
        key = await deps.store.find_key(call.id)
        if key is None:
            raise Problem("not_found", what="key", id=call.id)
        return 200, key_view(key).model_dump_json(exclude_none=True).encode()

    return await call.once(b"", work)


ROUTES = (
    Route(
        "POST",
        "/v1/keys",
        create,
        "Make an API key; its secret is shown once",
        "keys",
        {201: KeyView},
        scope="admin",
        body=KeyRequest,
        writes=True,
        problems=("validation_failed", "json_invalid", "content_type", "store_unavailable"),
    ),
    Route(
        "GET",
        "/v1/keys",
        many,
        "All API keys, without secrets",
        "keys",
        {200: KeysView},
        scope="admin",
        params=(Param("caller", "only this caller's", {"type": "string"}),),
        problems=("store_unavailable",),
    ),
    Route(
        "POST",
        "/v1/keys/{id}:revoke",
        revoke,
        "End an API key",
        "keys",
        {200: KeyView},
        scope="admin",
        writes=True,
        problems=("not_found", "store_unavailable"),
    ),
)
