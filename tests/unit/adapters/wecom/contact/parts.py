"""A `wecom-contact` channel beside the simulated WeCom: messages to customers, doorbells answered in turn, what was told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from adapters.sim.rigs import dispatch_of
from adapters.sim.wecom.rigs import app_settings, callback_settings, called
from adapters.wecom import WeComContact
from msgcenter.adapter import Dispatch
from msgcenter.rig import kept
from protocols.address import Address
from protocols.outcome import Outcome
from protocols.payload import Happening, Native, Payload, Pull, Text
from tests.port import FakePort
from tests.unit.adapters.wecom.parts import Corp


@asynccontextmanager
async def contact(c: Corp, **settings: Any) -> AsyncIterator[tuple[WeComContact, FakePort]]:
    port = c.port("customers")
    adapter = WeComContact(
        WeComContact.Settings.model_validate(app_settings(c.far) | settings), port
    )
    try:
        async with kept(adapter):
            yield adapter, port
    finally:
        await port.close()


@asynccontextmanager
async def listening(c: Corp, **settings: Any) -> AsyncIterator[tuple[WeComContact, FakePort]]:
    """As `contact`, with callbacks at an address of its own."""
    async with (
        contact(c, **callback_settings(c.far), **settings) as (adapter, port),
        called(c.far, adapter),
    ):
        yield adapter, port


def midmonth(c: Corp) -> None:
    """Jump to noon (UTC+8) of the tenth of the next month: no period of the calendar ends while a test runs."""
    zone = timezone(timedelta(hours=8))
    now = datetime.fromtimestamp(c.clock.now_ms() / 1000, zone)
    then = (now.replace(day=1) + timedelta(days=32)).replace(day=10, hour=12, minute=0)
    c.jump((then - now).total_seconds())


def to_customer(
    number: int,
    payload: Payload | None = None,
    customer: str = "",
    sender: str = "",
    **fields: Any,
) -> Dispatch:
    """Message `number`, by default to wm0001 and so on; `fields` of the envelope."""
    to = Address("wecom", f"wwsandbox/{customer or f'wm{number:04d}'}")
    item = dispatch_of(number, to, payload or Text("您好"))
    envelope = replace(item.envelope, **{"category": "marketing", "tier": 5} | fields)
    return Dispatch(envelope, envelope.token(), sender)


def to_chat(number: int, payload: Payload, chat: str, sender: str = "", **fields: Any) -> Dispatch:
    item = dispatch_of(number, Address("group", f"grp_{number}"), payload)
    envelope = replace(item.envelope, **{"category": "marketing", "tier": 5} | fields)
    return Dispatch(envelope, envelope.token(), sender, chat)


def command(
    kind: str, to: str = "wecom:wwsandbox", sender: str = "", number: int = 900, **body: Any
) -> Dispatch:
    payload = Native(kind, json.dumps(body))
    item = dispatch_of(number, Address.parse(to), payload, sender)
    return Dispatch(item.envelope, item.token, sender)


def customer(name: str) -> str:
    return f"wecom:wwsandbox/{name}"


async def answer(c: Corp, adapter: WeComContact, port: FakePort) -> list[Outcome]:
    """Let the time of all doorbells come, and answer them; what they ring waits for the next call."""
    rung = list(port.rung)
    port.rung.clear()
    c.jump(max((delay for _, delay in rung), default=0.0))
    return [await ring(adapter, pull) for pull, _ in rung]


async def ring(adapter: WeComContact, pull: Pull) -> Outcome:
    [outcome] = await adapter.deliver([dispatch_of(0, Address("caller", "unassigned"), pull)])
    return outcome


def told(port: FakePort, kind: str) -> list[dict[str, Any]]:
    """Bodies of the happenings of one kind."""
    payloads = [one.payload for one in port.received]
    return [json.loads(p.body) for p in payloads if isinstance(p, Happening) and p.kind == kind]


def reports(port: FakePort) -> dict[str, tuple[str, str]]:
    """Remote id -> (state, code) of the latest."""
    return {r.report.remote_id: (r.report.state, r.report.code) for r in port.reports}
