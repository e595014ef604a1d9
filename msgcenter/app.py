"""App: the composition root; opens the parts a process is made of and runs its roles until it is told to stop."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any

import aiohttp

from msgcenter import pipelines
from msgcenter.adapter import Account, Adapter, Spec, Subscriber
from msgcenter.archive.reading import RecordFrames
from msgcenter.archive.sinking import Burying, Quarantine, Sinking
from msgcenter.backlog import Backlog
from msgcenter.bus import Lane, Queue
from msgcenter.bus.topology import (
    DEAD,
    INBOUND,
    INVALID,
    RECORD,
    SUBMIT,
    lanes_of,
    out_topic,
    topology,
)
from msgcenter.channel import Channel, Core
from msgcenter.clock import Clock, IdFactory, Random
from msgcenter.config import Config
from msgcenter.live import Live
from msgcenter.media import MediaStore
from msgcenter.metrics import Metrics
from msgcenter.ordered import Ordered
from msgcenter.outlet import Outlet, to_bus
from msgcenter.partitions import Partitions
from msgcenter.parts import Parts, patiently
from msgcenter.policy.retry import RetryRule
from msgcenter.port import ChannelPort, OnAccountState
from msgcenter.schedule import Schedule
from msgcenter.settle import Settle
from msgcenter.stages.route import Target
from msgcenter.turns import Turns
from msgcenter.worker import Handler, Passage, Takes, Worker
from protocols.envelope import Envelope, Record

#: What the core itself sends has no row in policy.yaml: events to subscribers (they dedupe by event id), receipts.
_INTERNAL = {
    "event": RetryRule(max_tries=60, max_age_s=5 * 86400.0),
    "inbound": RetryRule(max_tries=20, max_age_s=86400.0),
    # A receipt says itself when to look again (stages/correlate.py), no back-off on top of it.
    "receipt": RetryRule(max_tries=20, max_age_s=86400.0, backoff=(0.0,)),
    # A doorbell that is given up leaves what it announced unread: it is rung often, and as good as for ever.
    "pull": RetryRule(max_tries=100_000, max_age_s=7 * 86400.0, backoff=(1.0, 5.0, 10.0)),
    "command": RetryRule(max_tries=20, max_age_s=86400.0),
}

Writers = Mapping[str, Callable[[Sequence[Record]], Awaitable[None]]]


def installed_adapters() -> dict[str, type[Adapter]]:
    """Kind -> adapter class, of every distribution that offers the entry point `msgcenter.adapters`."""
    return {entry.name: entry.load() for entry in entry_points(group="msgcenter.adapters")}


class App:
    """One process. `await start()`, then `await stop()`; between the two the roles run as tasks."""

    def __init__(
        self,
        live: Live[Config],
        parts: Parts,
        *,
        adapters: Mapping[str, Callable[[Any, Any], Adapter]],
        sinks: Callable[[App], Writers],
        clock: Clock,
        rng: Random,
        metrics: Metrics,
        log: Any,
    ) -> None:
        self.live = live
        self.parts = parts
        self.clock = clock
        self.rng = rng
        self.ids = IdFactory(clock, rng)
        self.metrics = metrics
        self.log = log
        process = live.current.process
        self.partitions = process.bus.partitions
        self.sole = "sqlite" in (process.bus.kind, process.state.kind, process.store.kind)
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{rng.getrandbits(32):08x}"
        self.turns = Turns(parts.state, self.owner, clock, rng)
        self.media = MediaStore(
            process.data / process.media.path,
            parts.store,
            clock,
            most_kept=process.media.most_kept,
        )
        self.on_account_state: OnAccountState | None = None
        """Who hears how accounts are; none: it is logged."""
        self.channels: dict[str, Channel] = {}
        self._in_flight: set[tuple[str, int, int]] = set()
        self._adapters = adapters
        self._specs: dict[str, Spec] = {
            kind: adapter.spec for kind, adapter in adapters.items() if hasattr(adapter, "spec")
        }
        self.sinks = sinks(self)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._channel_tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._http: aiohttp.ClientSession | None = None

    # -- what the configuration in force says -------------------------------------------------------------------------

    def rule(self, category: str) -> RetryRule:
        if category in _INTERNAL:
            return _INTERNAL[category]
        known = self.live.current.policy.categories.get(category)
        if known is None:  # the category was removed while its messages were queued
            return RetryRule(max_tries=3, max_age_s=3600.0)
        return RetryRule(
            known.retry.max_attempts, known.retry.max_age, known.on_unknown, known.receipt_wait
        )

    def route(self, kind: str, envelope: Envelope) -> Target | None:
        config = self.live.current
        name = config.channel_for(kind, envelope.category, envelope.caller)
        spec = self._specs.get(kind)
        if name is None or spec is None:
            return None
        return Target(name, spec, f"route of kind {kind}")

    def spec_of(self, channel: str) -> Spec | None:
        running = self.channels.get(channel)
        if running is not None:
            return running.spec
        configured = self.live.current.channels.get(channel)
        return self._specs.get(configured.kind) if configured else None

    def sender(self, account: str) -> str:
        known = self.live.current.accounts.get(account)
        return known.full_number if known else ""

    def owner_of(self, channel: str, number: str) -> tuple[str, str] | None:
        """The account whose number is the longest prefix of the number written to."""
        accounts = self.live.current.accounts
        matching = [
            (len(a.full_number), name, a.caller or "")
            for name, a in accounts.items()
            if a.channel == channel and number.startswith(a.full_number)
        ]
        if not matching:
            return None
        _, name, caller = max(matching)
        return name, caller

    def subscriber(self, caller: str) -> Subscriber | None:
        known = self.live.current.callers.get(caller)
        if known is None or known.callback is None or not known.enabled:
            return None
        return Subscriber(known.callback.url, (known.callback.secret.reveal(),))

    def accounts_of(self, channel: str) -> list[Account]:
        accounts = self.live.current.accounts
        return [
            Account(name, account.full_number)
            for name, account in accounts.items()
            if account.channel == channel
        ]

    def port(self, channel: str, outlet: Outlet) -> ChannelPort:
        """What an adapter of this channel is lent; what it emits becomes durable at `outlet`."""
        return ChannelPort(
            channel,
            outlet=outlet,
            state=self.parts.state,
            store=self.parts.store,
            files=self.media,
            turns=self.turns,
            clock=self.clock,
            random=self.rng,
            metrics=self.metrics,
            log=self.log,
            partitions=self.partitions,
            http=self.http,
            subscriber=self.subscriber,
            accounts=self.accounts_of,
            on_account_state=self.on_account_state,
        )

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Declare the topology, start the roles. Raises BusError when the queues cannot be declared."""
        config = self.live.current
        await patiently(lambda: self._declare(config), self.clock, self.log)
        self.live.prepare(self._declare)
        self.live.changed(self._channels_changed)
        self._http = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=30.0),
            connector=aiohttp.TCPConnector(limit=0, limit_per_host=100),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        starts = {
            "submit": self._start_submit,
            "channel": self._start_channels,
            "inbound": self._start_inbound,
            "archive": self._start_archive,
            "schedule": self._start_schedule,
        }
        for role, start in starts.items():
            if role in config.process.roles:
                start()
        self._tasks.append(asyncio.create_task(self.live.run(), name="reload"))

    async def stop(self) -> None:
        """Stop taking, let what is in hand finish within `drain`, then close. What is not finished comes again."""
        self._stop.set()
        for _, stop in self._channel_tasks.values():
            stop.set()
        tasks = [*self._tasks, *(task for task, _ in self._channel_tasks.values())]
        forever = [task for task in tasks if task.get_name() == "reload"]
        for task in forever:
            task.cancel()
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.live.current.process.drain)
            for task in late:
                self.log.warning("not_drained_in_time", task=task.get_name())
                task.cancel()
            for result in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(result, Exception):
                    self.log.error("task_failed", error=repr(result))
        if self._http is not None:
            await self._http.close()

    def http(self) -> aiohttp.ClientSession:
        assert self._http is not None, "started"
        return self._http

    async def _declare(self, config: Config) -> None:
        enabled = [name for name, channel in config.channels.items() if channel.enabled]
        await self.parts.bus.declare(topology(enabled, list(self.sinks), self.partitions))

    def queues(self) -> list[Queue]:
        """Every queue of the configuration in force."""
        config = self.live.current
        enabled = [name for name, channel in config.channels.items() if channel.enabled]
        return topology(enabled, list(self.sinks), self.partitions)

    def _spawn(self, name: str, work: Any) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))

    # -- roles --------------------------------------------------------------------------------------------------------

    def _settle(self, pipeline: str) -> Settle:
        return Settle(
            pipeline,
            bus=self.parts.bus,
            state=self.parts.state,
            due=self.parts.store,
            rules=self.rule,
            spec_of=self.spec_of,
            clock=self.clock,
            rng=self.rng,
            metrics=self.metrics,
            partitions=self.partitions,
        )

    def _worker(
        self,
        queue: Queue,
        handler: Handler,
        takes: Takes = "envelopes",
        shared: RecordFrames | None = None,
    ) -> Worker:
        return Worker(
            self.parts.bus,
            queue,
            handler,
            clock=self.clock,
            rng=self.rng,
            metrics=self.metrics,
            log=self.log,
            takes=takes,
            shared=shared,
            max_frames=self._prefetch(queue.lane),
        )

    def _prefetch(self, lane: Lane) -> int:
        return int(getattr(self.live.current.process.bus.prefetch, lane))

    def _start_lanes(self, topic: str, stages: Sequence[Any], pipeline: str) -> None:
        settle = self._settle(pipeline)

        def worker(queue: Queue) -> Worker:
            passage = Passage(
                queue,
                stages,
                settle,
                bus=self.parts.bus,
                clock=self.clock,
                metrics=self.metrics,
                log=self.log,
            )
            if queue.lane != "conv":
                return self._worker(queue, passage)
            return self._worker(
                queue,
                Ordered(
                    queue, passage, self.parts.store, clock=self.clock, log=self.log, ready=_ready
                ),
            )

        lanes: tuple[Lane, ...] = ("urgent", "normal", "bulk")
        for lane in lanes:
            self._spawn(f"{topic}.{lane}", worker(Queue(topic, lane)).run(self._stop))
        conv = {
            queue.name: queue for queue in (Queue(topic, "conv", n) for n in range(self.partitions))
        }
        self._spawn_shared(
            f"conv:{topic}", list(conv), lambda name, halt: worker(conv[name]).run(halt)
        )

    def _spawn_shared(
        self, group: str, names: Sequence[str], work: Callable[[str, asyncio.Event], Any]
    ) -> None:
        partitions = Partitions(
            group,
            names,
            work,
            state=self.parts.state,
            owner=self.owner,
            sole=self.sole,
            clock=self.clock,
            log=self.log,
        )
        self._spawn(group, partitions.run(self._stop))

    def _start_submit(self) -> None:
        self._start_lanes(
            SUBMIT, pipelines.submit(self.parts.state, self.clock, self.route), "submit"
        )

    def _start_inbound(self) -> None:
        self._start_lanes(INBOUND, pipelines.inbound(self.parts.state, self.owner_of), "inbound")

    def _start_schedule(self) -> None:
        schedule = Schedule(
            self.parts.bus,
            self.parts.store,
            clock=self.clock,
            partitions=self.partitions,
            log=self.log,
        )
        self._spawn("schedule", schedule.run(self._stop))

    def _start_archive(self) -> None:
        shared = RecordFrames(len(self.sinks))
        for name, write in self.sinks.items():
            queues = {
                q.name: q
                for q in (Queue(RECORD, "normal", n, name) for n in range(self.partitions))
            }

            def work(
                queue: str,
                halt: asyncio.Event,
                queues: dict[str, Queue] = queues,
                write: Callable[[Sequence[Record]], Awaitable[None]] = write,
            ) -> Any:
                return self._worker(queues[queue], Sinking(write), "records", shared).run(halt)

            self._spawn_shared(f"sink:{name}", list(queues), work)
        dead = self._worker(Queue(DEAD), Burying(self.parts.store.add_dead), "records")
        self._spawn("dead", dead.run(self._stop))
        invalid = self._worker(Queue(INVALID), Quarantine(self.parts.store.add_invalid), "raw")
        self._spawn("invalid", invalid.run(self._stop))

    # -- channels -----------------------------------------------------------------------------------------------------

    def _start_channels(self) -> None:
        config = self.live.current
        for name, channel in config.channels.items():
            if channel.enabled:
                self._start_channel(name, config)

    def _start_channel(self, name: str, config: Config) -> None:
        core = Core(
            bus=self.parts.bus,
            state=self.parts.state,
            park=self.parts.store,
            clock=self.clock,
            rng=self.rng,
            metrics=self.metrics,
            log=self.log,
            owner=self.owner,
            sole=self.sole,
            in_flight=self._in_flight,
            partitions=self.partitions,
            prefetch=self._prefetch,
            settle=self._settle,
            sender=self.sender,
        )
        port = self.port(name, to_bus(self.parts.bus))
        configured = config.channels[name]
        adapter = self._adapters[configured.kind]
        channel = Channel(name, configured, config.settings[name], adapter, port, core)
        self.channels[name] = channel
        stop = asyncio.Event()
        self._channel_tasks[name] = (
            asyncio.create_task(channel.run(stop), name=f"channel {name}"),
            stop,
        )

    async def _channels_changed(self, old: Config, new: Config) -> None:
        """Start new channels, restart changed ones, end removed ones (what waits for them goes back to submit)."""
        if "channel" not in new.process.roles:
            return
        for name in list(self.channels):
            now = new.channels.get(name)
            same = now == old.channels.get(name) and new.settings.get(name) == old.settings.get(
                name
            )
            if not same:
                await self._end_channel(name)
        for name, channel in old.channels.items():
            gone = name not in new.channels or not new.channels[name].enabled
            if channel.enabled and gone:
                self._return_backlog(name)
        for name, channel in new.channels.items():
            if channel.enabled and name not in self.channels:
                self._start_channel(name, new)

    async def _end_channel(self, name: str) -> None:
        task, stop = self._channel_tasks.pop(name)
        self.channels.pop(name)
        stop.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.live.current.process.drain):
                await task

    def _return_backlog(self, name: str) -> None:
        """What waits for a channel that is no longer there goes back to submit, which finds it another one."""
        backlog = Backlog(
            name,
            self.parts.bus,
            self.parts.store,
            partitions=self.partitions,
            log=self.log,
        )
        for queue in lanes_of(out_topic(name), self.partitions):
            worker = self._worker(queue, backlog.handler(queue))
            self._spawn(f"backlog {queue.name}", worker.run(self._stop))


async def _ready() -> bool:
    return True
