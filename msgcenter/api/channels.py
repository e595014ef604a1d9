"""`GET /v1/channels`: the kinds of far ends, what each can do, and how its configured channels
are."""

from __future__ import annotations

from collections.abc import Mapping

from aiohttp import web

from msgcenter.adapter import Spec
from msgcenter.api.deps import ChannelHealth, Deps
from msgcenter.api.views import (
    ChannelView,
    KindsView,
    KindView,
)
from msgcenter.api.web import Call, Route, shown

_UNSEEN = ChannelHealth("elsewhere")
_STOPPED = ChannelHealth("stopped")


async def read(call: Call) -> web.Response:
    """Kinds that are installed and have a channel."""
    call.query()
    deps = call.api.deps
    channels = channel_views(deps)
    used = {channel.kind for channel in channels}
    items = [
        _kind(kind, spec, [channel for channel in channels if channel.kind == kind])
        for kind, spec in deps.specs.items()
        if kind in used
    ]
    return shown(KindsView(items=items))


def channel_views(deps: Deps) -> list[ChannelView]:
    """Every configured channel with its health."""
    health: Mapping[str, ChannelHealth] = deps.health()
    out = []
    for name, channel in deps.live.current.channels.items():
        now = health.get(name, _UNSEEN if channel.enabled else _STOPPED)
        out.append(
            ChannelView(
                name=name,
                kind=channel.kind,
                enabled=channel.enabled,
                health=now.state,
                detail=now.detail or None,
                links_up=now.links_up,
            )
        )
    return out


def _kind(kind: str, spec: Spec, channels: list[ChannelView]) -> KindView:
    return KindView(
        kind=kind,
        title=spec.title,
        schemes=sorted(spec.schemes),
        payloads=sorted(payload.__name__ for payload in spec.payloads),
        receipts=sorted(spec.receipts),
        receives=spec.receives,
        recall=spec.recall,
        needs_account=spec.needs_account,
        groups=sorted(spec.groups),
        idempotent=spec.idempotent,
        limits=dict(spec.limits),
        channels=channels,
    )


ROUTES = (
    Route(
        "GET",
        "/v1/channels",
        read,
        "Kinds of channels, their abilities and health",
        "channels",
        {200: KindsView},
        scope="",
    ),
)
