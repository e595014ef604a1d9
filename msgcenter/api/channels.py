"""`GET /v1/channels`: the kinds of far ends, what each can do, and how its configured channels
are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import web

from msgcenter.adapter import Spec
from msgcenter.api.deps import ChannelHealth, Deps
from msgcenter.api.views import (
    ChannelView,
    KindsView,
    KindView,
)
from msgcenter.api.web import Call, Route, shown
from msgcenter.matrix import resend, sends
from protocols.payload import Media

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
                differs=_differs(deps.specs.get(channel.kind), deps.spec_of(name)),
            )
        )
    return out


def _differs(kind: Spec | None, own: Spec | None) -> dict[str, Any] | None:
    """What a channel can do otherwise than its kind; None = nothing."""
    if kind is None or own is None or own is kind:
        return None
    told: dict[str, Any] = {"title": own.title} if own.title != kind.title else {}
    if own.receipts != kind.receipts:
        told["receipts"] = sorted(own.receipts)
    for name in ("recall", "idempotent", "resolves"):
        if getattr(own, name) != getattr(kind, name):
            told[name] = getattr(own, name)
    if resend(own) != resend(kind):
        told["resend"] = resend(own)
    if own.limits != kind.limits:
        told["limits"] = dict(own.limits)
    return told or None


def _kind(kind: str, spec: Spec, channels: list[ChannelView]) -> KindView:
    return KindView(
        kind=kind,
        title=spec.title,
        schemes=sorted(spec.schemes),
        payloads=sorted(payload.__name__ for payload in spec.payloads),
        sends=sends(spec),
        media=Media in spec.payloads,
        receipts=sorted(spec.receipts),
        read="read" in spec.receipts,
        receives=spec.receives,
        recall=spec.recall,
        needs_account=spec.needs_account,
        groups=sorted(spec.groups),
        idempotent=spec.idempotent,
        resolves=spec.resolves,
        resend=resend(spec),
        max_batch=spec.max_batch,
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
