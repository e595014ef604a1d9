"""What the API stands on: every part it is lent, handed over once in one frozen value by the
composition root."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from msgcenter import log
from msgcenter.adapter import Spec
from msgcenter.bus import Bus, Queue
from msgcenter.clock import Clock, IdFactory, Random
from msgcenter.config import Config
from msgcenter.hooks import Hooks
from msgcenter.media import MediaStore
from msgcenter.metrics import Metrics
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
    log: Any = field(default_factory=lambda: log.get("api"))
