"""Channel: one configured adapter kept alive; its session restarted with back-off, its lanes worked while it is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from msgcenter import pipelines
from msgcenter.adapter import Adapter, Spec
from msgcenter.bus import Bus, Lane, Queue
from msgcenter.bus.topology import out_topic
from msgcenter.clock import Clock, Random
from msgcenter.config import ChannelConfig
from msgcenter.holds import Holds
from msgcenter.lanes import LaneGate, turn_size
from msgcenter.lookup import GroupLookup
from msgcenter.metrics import Metrics
from msgcenter.ordered import Ordered, ParkStore
from msgcenter.partitions import Partitions
from msgcenter.port import ChannelPort
from msgcenter.precedence import Precedence
from msgcenter.settle import Settle
from msgcenter.stages.deliver import Deliver, Resolve
from msgcenter.stages.fill import Fill
from msgcenter.stages.policy import Hours
from msgcenter.stages.unite import Announce, SightingStore
from msgcenter.state import Grant, State
from msgcenter.worker import Passage, Worker

BACKOFF_FIRST_S, BACKOFF_LAST_S = 0.2, 30.0


@dataclass(frozen=True, slots=True)
class Core:
    """What all channels of a process share."""

    bus: Bus
    state: State
    park: ParkStore
    clock: Clock
    rng: Random
    metrics: Metrics
    log: Any
    owner: str
    sole: bool
    """No other process can exist: a claim that is not in flight here is abandoned."""
    in_flight: set[tuple[str, int, int]]
    """Passes (message, step, attempt) that any channel of this process has claimed and not yet concluded."""
    partitions: int
    prefetch: Callable[[Lane], int]
    precedence: Precedence
    settle: Callable[[str], Settle]
    sender: Callable[[str], str]
    refusable: Callable[[str], bool]
    """Whether customers may refuse messages of a category."""
    groups: GroupLookup
    fill: Fill
    hours: Hours
    sightings: SightingStore


class Channel:
    """`run(stop)` works the channel until `stop`, then drains. `up` and `detail` are for /v1/channels and /readyz."""

    def __init__(
        self,
        name: str,
        config: ChannelConfig,
        settings: BaseModel,
        adapter: Callable[[Any, Any], Adapter],
        port: ChannelPort,
        core: Core,
        *,
        eager: bool = False,
    ) -> None:
        """`eager`: parked conversations are woken at once instead of at their time."""
        self._eager = eager
        self.name = name
        self.config = config
        self.settings = settings
        self._core = core
        self._port = port
        self.adapter = adapter(settings, port)
        self.detail = "starting"
        self._log = core.log.bind(channel=name)
        core.metrics.unknown_outcome_total.labels(name)  # from the start: its first increase shows
        self._session_up = False
        self._up = asyncio.Event()
        self._failures = 0
        self._reopen: asyncio.Task[None] | None = None
        spec = self.adapter.spec
        self._settle = core.settle("channel")
        self._turn = turn_size(spec.max_batch, config.rate)
        slots = max(1, config.in_flight // self._turn) if config.in_flight else spec.in_flight
        self._holds = Holds(core.clock)
        self._gate = LaneGate(slots, core.clock, self._take if config.rate else None)

    @property
    def spec(self) -> Spec:
        return self.adapter.spec

    @property
    def links_up(self) -> int | None:
        """Connections that carry messages; None for a kind without links."""
        links = self._port.figures.get("links_up")
        return None if links is None else int(links)

    @property
    def up(self) -> bool:
        return self._up.is_set()

    def adopt(self, config: ChannelConfig, settings: BaseModel) -> bool:
        """Go on under changed settings without a restart; False = only a restart brings them."""
        only_settings = config == self.config.model_copy(update={"settings": config.settings})
        if not only_settings or not self.adapter.adopt(settings):
            return False
        self.config, self.settings = config, settings
        self._log.info("settings_adopted")
        return True

    async def _take(self, want: int) -> Grant:
        rate = self.config.rate or 1.0
        return await self._core.state.tokens(
            f"channel:{self.name}", want=want, rate=rate, burst=max(1.0, rate / 5)
        )

    # -- up and down -----------------------------------------------------------------------------------------------

    def _session_says(self, up: bool) -> None:
        self._session_up = up
        self._set(up, "" if up else "the link is down")

    def _set(self, up: bool, detail: str) -> None:
        if up != self._up.is_set():
            self._log.info("channel_up" if up else "channel_down", detail=detail)
        self.detail = detail
        if up:
            self._up.set()
            self._gate.open()
        else:
            self._up.clear()
            self._gate.shut()
        links = (self.links_up or 1) if up else 0
        self._core.metrics.link_up.labels(self.name).set(links)

    def _unreachable(self, detail: str) -> None:
        """A send found nobody: close the gate for a while, longer each time, then try again if the session is up."""
        if not self._up.is_set():
            return
        self._set(False, detail)
        self._failures += 1
        wait = min(BACKOFF_FIRST_S * 2 ** min(self._failures, 10), BACKOFF_LAST_S)
        if self._reopen is None or self._reopen.done():
            self._reopen = asyncio.create_task(
                self._open_again(wait * self._core.rng.uniform(0.5, 1.0))
            )

    async def _open_again(self, wait: float) -> None:
        await self._core.clock.sleep(wait)
        if self._session_up:
            self._set(True, "")

    async def ready(self) -> bool:
        """For the workers: waits up to a second for the channel to be up."""
        if self._up.is_set():
            return True
        try:
            async with asyncio.timeout(1.0):
                await self._up.wait()
        except TimeoutError:
            return False
        return True

    async def _supervise(self) -> None:
        clock, rng = self._core.clock, self._core.rng
        failures = 0
        while True:
            started = clock.monotonic()
            try:
                await self.adapter.session(self._session_says)
                detail = "the session ended"
            except Exception as error:  # noqa: BLE001 - whatever ends a session, it is started again
                detail = f"{type(error).__name__}: {error}"
                self._log.exception("session_failed")
            self._session_says(False)
            self.detail = detail
            failures = 0 if clock.monotonic() - started > 60 else failures + 1
            wait = min(BACKOFF_FIRST_S * 2 ** min(failures, 10), BACKOFF_LAST_S)
            await clock.sleep(wait * rng.uniform(0.5, 1.0))

    # -- the work --------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Work all lanes until `stop`; then finish what is leased, drain the adapter, end the session."""
        supervision = asyncio.create_task(self._supervise(), name=f"session {self.name}")
        topic = out_topic(self.name)
        core = self._core
        shared: list[Lane] = ["urgent", "normal", "normal", "bulk", "bulk"]
        workers = [
            asyncio.create_task(self._worker(Queue(topic, lane)).run(stop)) for lane in shared
        ]
        conv = {
            queue.name: queue for queue in (Queue(topic, "conv", n) for n in range(core.partitions))
        }
        partitions = Partitions(
            f"conv:{topic}",
            list(conv),
            lambda name, halt: self._worker(conv[name]).run(halt),
            state=core.state,
            owner=core.owner,
            sole=core.sole,
            clock=core.clock,
            log=self._log,
        )
        try:
            await asyncio.gather(*workers, partitions.run(stop))
            await self.adapter.drain()
        finally:
            for task in [*workers, supervision, *([self._reopen] if self._reopen else [])]:
                task.cancel()
            await asyncio.gather(*workers, supervision, return_exceptions=True)
            self._set(False, "stopped")

    def _worker(self, queue: Queue) -> Worker:
        core = self._core
        settle = self._settle
        deliver = Deliver(
            self.name,
            self.adapter,
            state=core.state,
            conclude=settle.conclude,
            gate=self._gate,
            hours=core.hours,
            holds=self._holds,
            sender=core.sender,
            refusable=core.refusable,
            down=self._unreachable,
            delivered=self._delivered,
            owner=core.owner,
            sole=core.sole,
            in_flight=core.in_flight,
            send_timeout_s=self.config.send_timeout,
            max_batch=self._turn,
            clock=core.clock,
            metrics=core.metrics,
            log=self._log,
        )
        resolve = Resolve(
            self.adapter, core.state, core.sender, self.config.send_timeout, self._log
        )
        announce = Announce(core.sightings, self.adapter, core.sender, core.clock)
        stages = pipelines.channel(
            core.state,
            core.clock,
            self.adapter,
            core.groups,
            self._holds,
            core.fill,
            resolve,
            core.hours,
            announce,
            deliver,
        )
        passage = Passage(
            queue,
            stages,
            settle,
            bus=core.bus,
            clock=core.clock,
            metrics=core.metrics,
            log=self._log,
            ready=self.ready,
            precedence=core.precedence,
        )
        handler: Passage | Ordered = passage
        if queue.lane == "conv":
            handler = Ordered(
                queue,
                passage,
                core.park,
                clock=core.clock,
                log=self._log,
                ready=self.ready,
                memory=core.state,
                eager=self._eager,
            )
        return Worker(
            core.bus,
            queue,
            handler,
            clock=core.clock,
            rng=core.rng,
            metrics=core.metrics,
            log=self._log,
            ready=self.ready,
            memory=core.state,
            max_frames=core.prefetch(queue.lane),
            precedence=core.precedence,
        )

    def _delivered(self) -> None:
        self._failures = 0
