"""`GET /v1/accounts`: the sending identities, so that a caller knows what it may name in `from`."""

from __future__ import annotations

from aiohttp import web

from msgcenter.api.views import (
    AccountsView,
    AccountView,
)
from msgcenter.api.web import Call, Param, Route, shown


async def read(call: Call) -> web.Response:
    """All accounts, or those of one kind."""
    kind = call.query("kind").get("kind", "")
    items = [
        AccountView(
            name=name,
            kind=account.kind,
            channel=account.channel,
            number=account.far_name,
            title=account.name_zh or None,
            owner=account.owner or None,
            caller=account.caller,
        )
        for name, account in call.api.deps.live.current.accounts.items()
        if kind in ("", account.kind)
    ]
    return shown(AccountsView(items=items))


ROUTES = (
    Route(
        "GET",
        "/v1/accounts",
        read,
        "Sending identities",
        "accounts",
        {200: AccountsView},
        scope="",
        params=(Param("kind", "only of this kind of channel", {"type": "string"}),),
    ),
)
