"""What the API stands on: every part it is lent, handed over once in one frozen value by the
composition root."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from msgcenter import log
from msgcenter.adapter import Spec
from msgcenter.bus import Bus, Queue
from msgcenter.clock import Clock, IdFactory, Random
from msgcenter.config import Config
from msgcenter.customers.writes import CustomerWrites
from msgcenter.directory import Directory
from msgcenter.explain import Explain
from msgcenter.hooks import Hooks
from msgcenter.media import MediaStore
from msgcenter.metrics import Metrics
from msgcenter.outlet import Outlet, Parcel, to_bus
from msgcenter.rollout import Rollout
from msgcenter.state import State
from msgcenter.store.store import Store


class Current(Protocol):
    """Whoever holds the configuration in force: `Live[Config]`, or a test."""

    @property
    def current(self) -> Config: ...


@dataclass(frozen=True, slots=True)
class ChannelHealth:
    """How a channel is, as far as this process can tell; `elsewhere` = it runs in another
    process."""

    state: Literal["up", "down", "starting", "stopped", "elsewhere"]
    detail: str = ""
    links_up: int | None = None


def _no_health() -> Mapping[str, ChannelHealth]:
    return {}


def _no_reload() -> Mapping[str, Any]:
    return {}


def _no_pressure() -> str:
    return ""


def _never() -> bool:
    return False


def _anywhere(url: str) -> str | None:
    del url
    return ""


def _no_queues() -> Sequence[Queue]:
    return ()


@dataclass(frozen=True, slots=True)
class Deps:
    """`pepper`: keys the hashes of API keys, at least 16 octets, the same in every process. `env` is
    part of new keys. `health`: channel name -> health. `pressure`: a reason while the soft mark is
    passed, else empty: accept is refused. `draining`: the process is on its way out, so /readyz
    says no. `last_reload`: what the last look at the configuration folder came to. `queues`: what `status` shows the depths of.
    """

    bus: Bus
    state: State
    store: Store
    live: Current
    clock: Clock
    random: Random
    ids: IdFactory
    metrics: Metrics
    specs: Mapping[str, Spec]
    directory: Directory
    customers: CustomerWrites
    explain: Explain
    pepper: bytes
    media: MediaStore
    env: str = "live"
    version: str = "0.0.0"
    health: Callable[[], Mapping[str, ChannelHealth]] = _no_health
    last_reload: Callable[[], Mapping[str, Any]] = _no_reload
    pressure: Callable[[], str] = _no_pressure
    draining: Callable[[], bool] = _never
    queues: Callable[[], Sequence[Queue]] = _no_queues
    hooks: Hooks | None = None
    abilities: Callable[[str], Spec | None] | None = None
    """Channel name -> what it can do as it is configured; None = as its kind."""
    outlet: Outlet | None = None
    """Where what customers do becomes durable, the bus being there or not; None = straight on the bus."""
    rollout: Rollout | None = None
    """Who decides what is in force; None = whatever `live` holds is."""
    reload: Callable[[], Awaitable[Mapping[str, Any]]] | None = None
    """Look at the folder now; what that came to."""
    refuses_url: Callable[[str], str | None] = _anywhere
    """Why a subscription cannot lead there, "" = it can, None = no channel delivers to subscriptions."""
    log: Any = field(default_factory=lambda: log.get("api"))

    async def tell(self, parcels: Sequence[Parcel]) -> None:
        """Make these durable. Raises BusError, SpoolFull."""
        outlet = self.outlet if self.outlet is not None else to_bus(self.bus)
        await outlet(parcels)

    def spec_of(self, channel: str) -> Spec | None:
        """What a configured channel can do, None = there is none of this name."""
        own = self.abilities(channel) if self.abilities is not None else None
        if own is not None:
            return own
        configured = self.live.current.channels.get(channel)
        return self.specs.get(configured.kind) if configured is not None else None

    def ways(self, kind: str, account: str) -> list[Spec]:
        """What the channels that a message of this kind may leave by can do: a login's own channel, else every enabled one. As
        the kind says, when there is none any more."""
        config = self.live.current
        own = config.accounts.get(account)
        if own is not None and own.kind == kind and own.address is not None:
            names = [own.channel]  # a number may be served by several
        else:
            names = [n for n, one in config.channels.items() if one.kind == kind and one.enabled]
        specs = [spec for name in names if (spec := self.spec_of(name)) is not None]
        return specs or [self.specs[kind]] * (kind in self.specs)
