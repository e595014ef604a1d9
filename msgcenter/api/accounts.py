"""`/v1/accounts`: the sending identities, so that a caller knows what it may name in `from` and operators see how each is; revoke
one and restore it."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.problems import Fault, Problem, refused
from msgcenter.api.views import AccountsView, AccountView
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.config import AccountConfig
from msgcenter.store import AccountRow

_LOGIN = {"": "unknown", "up": "in", "limited": "in", "down": "lost", "banned": "lost"}
STATES = ("active", "retired", "revoked")
HEALTHS = ("up", "down", "limited", "banned", "unknown")
_TEXT = {"type": "string"}


async def many(call: Call) -> web.Response:
    """All accounts that fit, in the order of accounts.yaml."""
    given = call.query("kind", "channel", "corp", "organisation", "agent", "state", "health")
    faults = [
        Fault(name, "not_one_of", given[name], {"known": ", ".join(known)})
        for name, known in (("state", STATES), ("health", HEALTHS))
        if name in given and given[name] not in known
    ]
    if faults:
        raise refused(faults)
    rows = await call.api.deps.store.account_states()
    path = given.pop("organisation", "")
    items = []
    for name, account in call.api.deps.live.current.accounts.items():
        if path and not f"{account.organisation}/".startswith(f"{path.rstrip('/')}/"):
            continue
        view = _view(call, name, account, rows.get(name))
        if all(getattr(view, word) == value for word, value in given.items()):
            items.append(view)
    return shown(AccountsView(items=items))


async def one(call: Call) -> web.Response:
    """One account and how it is."""
    call.query()
    return await _shown(call)


async def revoke(call: Call) -> web.Response:
    """Stop an account: what is queued in its name is not sent from now on, in any process. Idempotent; survives a restart."""
    call.query()
    _known(call)

    async def work(_: str) -> tuple[int, bytes]:
        deps, who = call.api.deps, f"{call.caller}/{call.identity.keyid}"
        await deps.directory.revoke(call.id, who)
        await deps.store.audit(who, "account.revoke", call.id, {}, deps.clock.now_ms())
        return 200, await _body(call)

    return await call.once(b"", work)


async def restore(call: Call) -> web.Response:
    """Let a revoked account send again; what was stopped meanwhile stays unsent. Idempotent."""
    call.query()
    _known(call)

    async def work(_: str) -> tuple[int, bytes]:
        deps, who = call.api.deps, f"{call.caller}/{call.identity.keyid}"
        await deps.directory.allow(call.id)
        await deps.store.audit(who, "account.restore", call.id, {}, deps.clock.now_ms())
        return 200, await _body(call)

    return await call.once(b"", work)


def _known(call: Call) -> AccountConfig:
    account = call.api.deps.live.current.accounts.get(call.id)
    if account is None:
        raise Problem("not_found", what="account", id=call.id)
    return account


async def _body(call: Call) -> bytes:
    account = _known(call)
    rows = await call.api.deps.store.account_states()
    view = _view(call, call.id, account, rows.get(call.id))
    return view.model_dump_json(exclude_none=True).encode()


async def _shown(call: Call) -> web.Response:
    account = _known(call)
    rows = await call.api.deps.store.account_states()
    return shown(_view(call, call.id, account, rows.get(call.id)))


def _view(call: Call, name: str, account: AccountConfig, row: AccountRow | None) -> AccountView:
    row = row or AccountRow(name)
    last = max(row.last_in, row.last_out)
    quiet = max(0, call.api.deps.clock.now_ms() - last) // 1000 if last else None
    return AccountView(
        name=name,
        kind=account.kind,
        channel=account.channel,
        address=account.far_name,
        number=account.far_name if account.number is not None else None,
        title=account.name_zh or None,
        corp=account.corp or None,
        owner=account.owner or None,
        organisation=list(account.path) or None,
        agent=account.agent,
        caller=account.caller,
        state="revoked" if row.revoked_at else account.state,
        health=row.health or "unknown",
        login=_LOGIN[row.health],
        detail=row.detail or None,
        since=when(row.since),
        last_in=when(row.last_in),
        last_out=when(row.last_out),
        seconds_since_last_message=quiet,
        revoked_at=when(row.revoked_at),
        revoked_by=row.revoked_by or None,
    )


_WRITES = ("not_found", "state_unavailable", "store_unavailable")

ROUTES = (
    Route(
        "GET",
        "/v1/accounts",
        many,
        "Sending identities, and how each is",
        "accounts",
        {200: AccountsView},
        scope="",
        params=(
            Param("kind", "only of this kind of channel", _TEXT),
            Param("channel", "only of this channel", _TEXT),
            Param("corp", "only of this enterprise", _TEXT),
            Param("organisation", "this path of 省/地市/区县/网格/厅店 or below it", _TEXT),
            Param("agent", "own, partner, field or campus", _TEXT),
            Param("state", "only in this state", {"type": "string", "enum": list(STATES)}),
            Param("health", "only of this health", {"type": "string", "enum": list(HEALTHS)}),
        ),
        problems=("store_unavailable",),
    ),
    Route(
        "GET",
        "/v1/accounts/{id}",
        one,
        "One sending identity",
        "accounts",
        {200: AccountView},
        scope="",
        problems=("not_found", "store_unavailable"),
    ),
    Route(
        "POST",
        "/v1/accounts/{id}:revoke",
        revoke,
        "Stop an account: nothing more is sent in its name",
        "accounts",
        {200: AccountView},
        scope="admin",
        writes=True,
        problems=_WRITES,
    ),
    Route(
        "POST",
        "/v1/accounts/{id}:restore",
        restore,
        "Let a revoked account send again",
        "accounts",
        {200: AccountView},
        scope="admin",
        writes=True,
        problems=_WRITES,
    ),
)
