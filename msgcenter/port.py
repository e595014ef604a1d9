"""Port: what the core lends one channel; above all `emit`, which makes what the far end says durable on the inbound topic."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import aiohttp

from msgcenter.adapter import Account, MediaFile, Received, Report, Subscriber
from msgcenter.bus import delay_tier
from msgcenter.bus.topology import INBOUND, out_topic, place
from msgcenter.clock import Clock, Random
from msgcenter.metrics import Metrics
from msgcenter.outlet import Outlet, Parcel
from msgcenter.state import State
from msgcenter.turns import Turns
from protocols import wire
from protocols.address import Address
from protocols.envelope import Envelope, hashed
from protocols.payload import Pull

UNASSIGNED = Address("caller", "unassigned")
PULL = "pull"
"""The category of doorbells: the core's own, with no row in policy.yaml."""

OnAccountState = Callable[[str, str, str, str], None]
"""(channel, account, state, detail): an adapter's word on one of its accounts. Must not block."""


class Checkpoints(Protocol):
    """The part of the Store that keeps cursors."""

    async def checkpoint(self, channel: str, name: str) -> str: ...

    async def save_checkpoint(self, channel: str, name: str, value: str) -> None: ...


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
        store: Checkpoints,
        files: Files,
        turns: Turns,
        clock: Clock,
        random: Random,
        metrics: Metrics,
        log: Any,
        partitions: int,
        http: Callable[[], aiohttp.ClientSession],
        subscriber: Callable[[str], Subscriber | None],
        accounts: Callable[[str], Sequence[Account]],
        on_account_state: OnAccountState | None = None,
    ) -> None:
        """`outlet`: where `emit` and `ring` become durable. `turns`: shared by the ports of a process."""
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
        self.subscriber = subscriber
        self._accounts = accounts
        self._on_account_state = on_account_state or self._log_account_state

    # -- figures and accounts ------------------------------------------------------------------------------------------

    def gauge(self, name: str, value: float) -> None:
        gauges = {"window_in_use": self._metrics.window_in_use, "links_up": self._metrics.link_up}
        if name not in gauges:
            raise ValueError(f"gauge {name!r}: one of {', '.join(sorted(gauges))}")
        gauges[name].labels(self.channel).set(value)
        self.figures[name] = value

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
        return f"{self.channel}\x1f{name}"

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

    # -- what the far end says -----------------------------------------------------------------------------------------

    async def emit(self, items: Sequence[Received | Report]) -> None:
        parcels = []
        for item in items:
            envelope = self._received(item) if isinstance(item, Received) else self._report(item)
            queue = place(INBOUND, envelope, self._partitions)
            parcels.append(Parcel(queue, wire.seal(envelope)))
        if parcels:
            await self._outlet(parcels)

    async def ring(self, pull: Pull, *, delay_s: float = 0.0) -> None:
        """As Port.ring. A longer wait than the last delay tier (600 s) rings after 600 s.

        Every ring has an id of its own: with one made from source or token, a ring that comes after its twin was answered
        would be taken for a replay of it, and what it announced would lie unread. Rings that wait together become one where
        they are worked (`Ordered`).
        """
        now = self.clock.now_ms()
        once = self.random.getrandbits(64)
        envelope = Envelope(
            id=f"pul_{hashed('pull', self.channel, pull.source, pull.token, now, once)}",
            caller="",
            to=UNASSIGNED,
            category=PULL,
            tier=1,
            payload=pull,
            created_at=now,
            channel=self.channel,
            order_key=f"{self.channel}|{pull.source}",
        )
        queue = place(out_topic(self.channel), envelope, self._partitions)
        await self._outlet([Parcel(queue, wire.seal(envelope), delay_tier(delay_s))])

    def _received(self, item: Received) -> Envelope:
        return Envelope(
            id=f"msg_{hashed('in', self.channel, item.remote_id)}",
            caller="",
            to=UNASSIGNED,
            category="inbound",
            tier=1,
            payload=item.payload,
            created_at=item.at or self.clock.now_ms(),
            person=str(item.sender),
            sender=item.sender,
            inbound=True,
            account=item.account_number,
            channel=self.channel,
            order_key=item.order_key or f"{self.channel}|{item.account_number}|{item.sender}",
            remote_id=item.remote_id,
        )

    def _report(self, item: Report) -> Envelope:
        report = item.report
        return Envelope(
            id=f"rcp_{hashed('rcp', self.channel, report.remote_id, report.state, report.code, item.unique)}",
            caller="",
            to=item.recipient or UNASSIGNED,
            category="receipt",
            tier=2,
            payload=report,
            created_at=self.clock.now_ms(),
            inbound=True,
            channel=self.channel,
            remote_id=report.remote_id,
        )
