"""Port: what the core lends one channel; above all `emit`, which makes what the far end says durable on the inbound topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Container, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import aiohttp

from msgcenter.adapter import Account, MediaFile, Posted, Received, Report, Subscriber
from msgcenter.bus import Queue, delay_tier
from msgcenter.bus.topology import INBOUND, INVALID, out_topic, place
from msgcenter.clock import Clock, Random
from msgcenter.invalid import pack_invalid
from msgcenter.metrics import Metrics
from msgcenter.outlet import Outlet, Parcel
from msgcenter.state import State
from msgcenter.store import InboxRow
from msgcenter.turns import Turns
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import Pull

UNASSIGNED = Address("caller", "unassigned")
PULL = "pull"
"""The category of doorbells: the core's own, with no row in policy.yaml."""

COUNTS: Mapping[str, tuple[str, ...]] = {"token_refreshes": ("ok", "refused", "failed")}
"""What `Port.count` counts: event -> results."""

OnAccountState = Callable[[str, str, str, str], None]
"""(channel, account, state, detail): an adapter's word on one of its accounts. Must not block."""


def doorbell(channel: str, pull: Pull, clock: Clock, random: Random) -> Envelope:
    """The envelope that rings at a channel; it goes to `out_topic(channel)`.

    Every ring has an id of its own: with one made from source or token, a ring that comes after its twin was answered would be
    taken for a replay of it, and what it announced would lie unread. Rings of one source that wait together become one where
    they are worked (`Ordered`).
    """
    now, once = clock.now_ms(), random.getrandbits(64)
    return Envelope(
        id=f"pul_{hashed('pull', channel, pull.source, pull.token, now, once)}",
        caller="",
        to=UNASSIGNED,
        category=PULL,
        tier=1,
        payload=pull,
        created_at=now,
        channel=channel,
        order_key=f"{channel}|{pull.source}",
    )


def receipt(channel: str, item: Report, now: int) -> Envelope:
    """The envelope of a receipt; its id follows from what it says, so that a repeat is recognised."""
    report = item.report
    return Envelope(
        id=f"rcp_{hashed('rcp', channel, report.remote_id, report.state, report.code, item.unique)}",
        caller="",
        to=item.recipient or UNASSIGNED,
        category="receipt",
        tier=2,
        payload=report,
        created_at=now,
        inbound=True,
        channel=channel,
        remote_id=report.remote_id,
    )


def own_key(channel: str, name: str) -> str:
    """What State calls a channel's own `memo`, allowance or turn."""
    return f"{channel}\x1f{name}"


class Checkpoints(Protocol):
    """The part of the Store that keeps cursors."""

    async def checkpoint(self, channel: str, name: str) -> str: ...

    async def save_checkpoint(self, channel: str, name: str, value: str) -> None: ...


class Shelf(Protocol):
    """The part of the Store that keeps inboxes."""

    async def put_in(self, rows: Sequence[InboxRow], most_unread: int) -> list[bool]: ...

    async def withdraw_inbox(self, ids: Sequence[str], at: int) -> list[InboxRow]: ...


class Kept(Checkpoints, Shelf, Protocol):
    """What a channel keeps in the Store."""


class Files(Protocol):
    """The part of the media store that channels use."""

    async def file(self, media: str) -> MediaFile: ...

    async def keep(
        self, data: bytes | AsyncIterator[bytes], *, mime: str, name: str
    ) -> MediaFile: ...


class ChannelPort:
    """The Port of one channel. Ids of what comes in follow from the far end's ids, so that a repeat is recognised."""

    def __init__(
        self,
        channel: str,
        *,
        outlet: Outlet,
        state: State,
        store: Kept,
        files: Files,
        turns: Turns,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        log: Any,
        partitions: int,
        http: Callable[[], aiohttp.ClientSession],
        subscriber: Callable[[str], Awaitable[Subscriber | None]],
        accounts: Callable[[str], Sequence[Account]],
        channels: Callable[[], Container[str]],
        on_account_state: OnAccountState | None = None,
    ) -> None:
        """`outlet`: where `emit` and `ring` become durable. `turns`: shared by the ports of a process. `channels`: the names
        configured now, whose doorbells may be rung."""
        self.channel = channel
        self.figures: dict[str, float] = {}
        """The latest of what `gauge` was told."""
        self.clock = clock
        self.random = random
        self.log = log.bind(channel=channel)
        self._outlet = outlet
        self._state = state
        self._store = store
        self._files = files
        self._turns = turns
        self._metrics = metrics
        self._partitions = partitions
        self.http = http
        self._subscriber = subscriber
        self._accounts = accounts
        self._channels = channels
        self._on_account_state = on_account_state or self._log_account_state

    # -- figures and accounts ------------------------------------------------------------------------------------------

    def gauge(self, name: str, value: float) -> None:
        metrics = self._metrics
        gauges = {
            "window_in_use": metrics.window_in_use,
            "links_up": metrics.link_up,
            "source_lag": metrics.source_lag_seconds,
        }
        if name not in gauges:
            raise ValueError(f"gauge {name!r}: one of {', '.join(sorted(gauges))}")
        gauges[name].labels(self.channel).set(value)
        self.figures[name] = value

    def count(self, name: str, result: str) -> None:
        if result not in COUNTS.get(name, ()):
            known = "; ".join(f"{one}: {', '.join(words)}" for one, words in COUNTS.items())
            raise ValueError(f"count {name!r}, {result!r}: {known}")
        self._metrics.token_refreshes_total.labels(self.channel, result).inc()

    def accounts(self) -> Sequence[Account]:
        return self._accounts(self.channel)

    def account_state(self, account: str, state: str, detail: str = "") -> None:
        self._on_account_state(self.channel, account, state, detail)

    def _log_account_state(self, channel: str, account: str, state: str, detail: str) -> None:
        line = self.log.info if state == "up" else self.log.warning
        line("account_state", account=account, state=state, detail=detail)

    # -- files ---------------------------------------------------------------------------------------------------------

    async def media(self, media: str) -> MediaFile:
        return await self._files.file(media)

    async def keep_media(self, data: bytes | AsyncIterator[bytes], *, mime: str, name: str) -> str:
        return (await self._files.keep(data, mime=mime, name=name)).id

    # -- what the processes of a channel share -------------------------------------------------------------------------

    def _own(self, name: str) -> str:
        return own_key(self.channel, name)

    async def memo(self, key: str) -> bytes | None:
        return (await self._state.memo([self._own(key)]))[0]

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._state.remember(self._own(key), value, ttl_s)

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        return await self._state.allow([self._own(key) for key in keys], limits)

    def turn(self, name: str, *, wait_s: float = 10.0) -> AbstractAsyncContextManager[bool]:
        return self._turns.turn(self._own(name), wait_s=wait_s)

    async def checkpoint(self, name: str) -> str:
        return await self._store.checkpoint(self.channel, name)

    async def save_checkpoint(self, name: str, value: str) -> None:
        await self._store.save_checkpoint(self.channel, name, value)

    # -- inboxes -------------------------------------------------------------------------------------------------------

    async def post(self, items: Sequence[Posted], most_unread: int) -> list[bool]:
        now = self.clock.now_ms()
        rows = [
            InboxRow(
                id=item.id,
                owner=str(item.owner),
                channel=self.channel,
                caller=item.caller,
                category=item.category,
                at=now,
                content=dict(item.content),
                reference=item.reference,
            )
            for item in items
        ]
        return await self._store.put_in(rows, most_unread)

    async def unpost(self, ids: Sequence[str]) -> set[str]:
        return {row.id for row in await self._store.withdraw_inbox(ids, self.clock.now_ms())}

    async def subscriber(self, name: str) -> Subscriber | None:
        return await self._subscriber(name)

    # -- what the far end says -----------------------------------------------------------------------------------------

    async def emit(self, items: Sequence[Received | Report]) -> None:
        parcels = []
        for item in items:
            envelope = self._received(item) if isinstance(item, Received) else self._report(item)
            queue = place(INBOUND, envelope, self._partitions)
            parcels.append(Parcel(queue, wire.seal(envelope)))
        if parcels:
            await self._outlet(parcels)

    async def set_aside(self, items: Sequence[Received | Report], why: str) -> None:
        bad = [(why, repr(item).encode("utf-8", "backslashreplace")) for item in items]
        packed = pack_invalid(f"inbound of {self.channel}", bad, self.clock.now_ms())
        await self._outlet([Parcel(Queue(INVALID), one) for one in packed])
        self._metrics.invalid_frames_total.labels(INBOUND).inc(len(bad))
        # What went wrong may quote what somebody wrote: only its kind is logged.
        self.log.error("inbound_set_aside", count=len(bad), kind=why.partition(":")[0])

    async def ring(self, pull: Pull, *, delay_s: float = 0.0, channel: str = "") -> None:
        """As Port.ring. A longer wait than the last delay tier (600 s) rings after 600 s."""
        if channel and channel not in self._channels():
            raise LookupError(
                f"channel {self.channel} rings {channel!r}, which is no enabled channel: "
                "correct the name under its `doorbells`, or add that channel"
            )
        channel = channel or self.channel
        envelope = doorbell(channel, pull, self.clock, self.random)
        queue = place(out_topic(channel), envelope, self._partitions)
        await self._outlet([Parcel(queue, wire.seal(envelope), delay_tier(delay_s))])

    def _received(self, item: Received) -> Envelope:
        person = item.recipient or item.sender
        return Envelope(
            id=f"msg_{hashed('in', self.channel, item.remote_id)}",
            caller="",
            to=item.recipient or UNASSIGNED,
            category="inbound",
            tier=1,
            payload=item.payload,
            created_at=item.at or self.clock.now_ms(),
            person=str(person),
            sender=item.sender,
            inbound=True,
            account=item.account_number,
            channel=self.channel,
            order_key=item.order_key or f"{self.channel}|{item.account_number}|{person}",
            remote_id=item.remote_id,
            chat=item.chat,
            mentions=item.mentions if item.chat else (),
        )

    def _report(self, item: Report) -> Envelope:
        return receipt(self.channel, item, self.clock.now_ms())
