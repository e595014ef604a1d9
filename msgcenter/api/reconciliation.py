"""`GET /v1/reconciliation?day=`: for one day and each account, what the platform's archive kept against what was relayed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

from aiohttp import web
from pydantic import Field

from msgcenter.api.deps import Deps
from msgcenter.api.problems import Fault, refused
from msgcenter.api.views import View
from msgcenter.api.web import Call, Param, Route, shown, when
from msgcenter.bus.topology import out_topic, place
from msgcenter.outlet import Parcel, to_bus
from msgcenter.port import doorbell, own_key
from msgcenter.reconcile import ZONE, Ask, Line, reconcile
from protocols import wire
from protocols.payload import Pull

UNNAMED = 20
"""Conversations, and messages, named per account; the counts say how many there are."""


class UnexplainedView(View):
    """Messages of one conversation that were relayed and that the archive should have, and has not."""

    person: str
    messages: int


class NotRelayedView(View):
    """A message that is in the archive and was not relayed."""

    person: str
    remote_id: str = Field(description="its id in the archive")
    at: str = Field(description="when it was said")


class ReconciledView(View):
    """One account's day. archived = relayed from or confirmed by the archive + missing; what was relayed and is not in the archive is in
    `exceptions`, by reason."""

    account: str
    balanced: bool = Field(description="nothing missing, nothing unexplained")
    archived: int | None = Field(
        None, description="messages in the platform's archive; absent: no archive reads it"
    )
    missing: int = Field(0, description="archived, and not relayed")
    filled: int = Field(0, description="relayed from the archive, no other channel read them")
    own: int = Field(0, description="archived copies of what was sent through here")
    relayed: dict[str, int] = Field(description="by direction: in, out, staff")
    exceptions: dict[str, int] = Field(
        description="relayed and not archived: no_licence, no_consent, too_young, unexplained"
    )
    unexplained: list[UnexplainedView] | None = None
    not_relayed: list[NotRelayedView] | None = Field(
        None, description="the first of those that are missing"
    )


class ReconciliationView(View):
    """`balanced`: every account is."""

    day: str
    balanced: bool
    items: list[ReconciledView]


async def read(call: Call) -> web.Response:
    """One day; yesterday when none is named. Asks the archive channels for reasons, so it may take some seconds."""
    given = call.query("day")
    deps = call.api.deps
    today = datetime.fromtimestamp(deps.clock.now_ms() / 1000, ZONE).date()
    day = today - timedelta(days=1)
    if "day" in given:
        try:
            day = date.fromisoformat(given["day"])
        except ValueError:
            why = {"why": "write it like 2026-11-21"}
            raise refused([Fault("day", "invalid", given["day"], why)]) from None
    config = deps.live.current
    lines = await reconcile(
        day,
        deps.store,
        archives={
            name: channel.accounts_of
            for name, channel in config.channels.items()
            if channel.accounts_of is not None and channel.enabled
        },
        far_names={name: account.far_name for name, account in config.accounts.items()},
        homes={name: account.channel for name, account in config.accounts.items()},
        ask=_ask(deps),
        clock=deps.clock,
    )
    items = [_view(line) for line in lines]
    balanced = all(line.balanced for line in lines)
    return shown(ReconciliationView(day=day.isoformat(), balanced=balanced, items=items))


def _ask(deps: Deps) -> Ask:
    publish = to_bus(deps.bus)

    async def ring(channel: str, pull: Pull) -> None:
        envelope = doorbell(channel, pull, deps.clock, deps.random)
        partitions = deps.live.current.process.bus.partitions
        queue = place(out_topic(channel), envelope, partitions)
        await publish([Parcel(queue, wire.seal(envelope))])

    async def answers(channel: str, keys: Sequence[str]) -> list[bytes | None]:
        return await deps.state.memo([own_key(channel, key) for key in keys])

    return Ask(ring, answers)


def _view(line: Line) -> ReconciledView:
    return ReconciledView(
        account=line.account,
        balanced=line.balanced,
        archived=line.archived,
        missing=line.missing,
        filled=line.filled,
        own=line.own,
        relayed=dict(line.relayed),
        exceptions=dict(line.exceptions),
        unexplained=[
            UnexplainedView(person=person, messages=count)
            for person, count in line.unexplained[:UNNAMED]
        ]
        or None,
        not_relayed=[
            NotRelayedView(person=one.person, remote_id=one.remote_id, at=when(one.at) or "")
            for one in line.not_relayed[:UNNAMED]
        ]
        or None,
    )


ROUTES = (
    Route(
        "GET",
        "/v1/reconciliation",
        read,
        "What the archive kept against what was relayed",
        "accounts",
        {200: ReconciliationView},
        scope="read:all",
        params=(
            Param(
                "day",
                "a business day (Asia/Shanghai); yesterday when left out",
                {"type": "string", "format": "date"},
            ),
        ),
        problems=("bus_unavailable", "state_unavailable", "store_unavailable"),
    ),
)
