"""App: the composition root; opens the parts a process is made of and runs its roles until it is told to stop.

Long because it is the one list of what a process is made of; every part it wires lives in a file of its own.
"""

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
from msgcenter.accounts import AccountBook
from msgcenter.adapter import Adapter, Spec, Subscriber
from msgcenter.api.auth import pepper_of
from msgcenter.archive.reading import RecordFrames
from msgcenter.archive.sinking import Burying, Quarantine, Sinking
from msgcenter.bus import Lane, Queue
from msgcenter.bus.topology import (
    DEAD,
    INBOUND,
    INVALID,
    RECORD,
    SUBMIT,
    topology,
)
from msgcenter.callers import Watch
from msgcenter.channel import Channel, Core
from msgcenter.clock import Clock, IdFactory, Random
from msgcenter.config import Config
from msgcenter.customers.lookup import CustomerLookup
from msgcenter.customers.wishes import Terms, refusable
from msgcenter.customers.writes import CustomerWrites
from msgcenter.directory import Directory
from msgcenter.explain import Explain
from msgcenter.facts import FactBook
from msgcenter.feed import Feed
from msgcenter.live import Live
from msgcenter.lookup import GroupLookup
from msgcenter.media import MediaStore
from msgcenter.metrics import Metrics
from msgcenter.ordered import Ordered
from msgcenter.outlet import Outlet, to_bus
from msgcenter.partitions import Partitions
from msgcenter.parts import Parts, patiently
from msgcenter.pauses import Pauses, PauseWatch
from msgcenter.policy.retry import RetryRule
from msgcenter.policy.when import Facts
from msgcenter.port import ChannelPort
from msgcenter.precedence import Precedence
from msgcenter.reask import reask, ruled
from msgcenter.recount import Recount
from msgcenter.reviews import Reviews
from msgcenter.rulebook import InForce
from msgcenter.schedule import Schedule
from msgcenter.settle import Settle
from msgcenter.stages.fill import Fill
from msgcenter.stages.flood import Flood
from msgcenter.stages.opt_out import ANSWER, Answers, OptOut
from msgcenter.stages.policy import Hours
from msgcenter.stages.route import Target
from msgcenter.stages.unite import Unite
from msgcenter.store import SubscriptionRow
from msgcenter.subscriptions import Places
from msgcenter.sweep import Sweep
from msgcenter.tidy import Tidy
from msgcenter.turns import Turns
from msgcenter.withdrawn import withdrawn
from msgcenter.worker import Handler, Passage, Takes, Worker
from protocols.envelope import Envelope, Record
from protocols.payload import Notice

#: What the core itself sends has no row in policy.yaml: group commands, events to subscribers (they dedupe by event id),
#: receipts.
_INTERNAL = {
    "event": RetryRule(max_tries=60, max_age_s=5 * 86400.0),
    # What comes in is as old as the far end says: an archive read after an outage tells of last week.
    "inbound": RetryRule(max_tries=20, max_age_s=30 * 86400.0),
    # A receipt says itself when to look again (stages/correlate.py), no back-off on top of it.
    "receipt": RetryRule(max_tries=20, max_age_s=86400.0, backoff=(0.0,)),
    # A doorbell that is given up leaves what it announced unread: it is rung often, and as good as for ever.
    "pull": RetryRule(max_tries=100_000, max_age_s=7 * 86400.0, backoff=(1.0, 5.0, 10.0)),
    "command": RetryRule(max_tries=20, max_age_s=86400.0),
    "plan": RetryRule(max_tries=1000, max_age_s=31 * 86400.0),
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
        self.precedence = Precedence(clock)
        self.media = MediaStore(
            process.data / process.media.path,
            parts.store,
            clock,
            most_kept=process.media.most_kept,
        )
        self.channels: dict[str, Channel] = {}
        self.accounts = AccountBook(lambda: live.current)
        self.groups = GroupLookup(parts.store, clock)
        self.customers = CustomerWrites(
            parts.state,
            parts.store,
            CustomerLookup(parts.store, clock, log=log),
            clock,
            lambda: wish_terms(live.current),
            lambda key: self.rulebook().counters_of(key),
        )
        self.facts = FactBook(lambda: live.current, self.customers.lookup, clock)
        self.fill = Fill(lambda: live.current.book, self.facts.for_templates, clock)
        self.directory = Directory(
            lambda: live.current,
            bus=parts.bus,
            state=parts.state,
            store=parts.store,
            clock=clock,
            metrics=metrics,
            log=log,
            partitions=self.partitions,
        )
        self.pauses = Pauses(parts.state, parts.store, clock)
        self.rulebook = InForce(lambda: live.current, _INTERNAL, self._schemes)
        self.recount = Recount(
            parts.state,
            parts.store,
            self.customers.lookup,
            self.rulebook,
            self.owner,
            clock,
            log,
            counts="schedule" in process.roles,
        )
        self.explain = Explain(
            parts.state,
            self.customers.lookup,
            self.rulebook,
            clock,
            self.route,
            self.named,
            self.groups,
            self.facts.for_routes,
            self.fill,
            self.recount.rebuilding,
        )
        self._places = Places(parts.store, clock, lambda: pepper_of(live.current), self._is_caller)
        self._in_flight: set[tuple[str, int, int]] = set()
        self._adapters = adapters
        self._specs: dict[str, Spec] = {
            kind: adapter.spec for kind, adapter in adapters.items() if hasattr(adapter, "spec")
        }
        self.sinks = sinks(self)
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[Any]] = []
        self._channel_tasks: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
        self._withdrawn: dict[str, tuple[asyncio.Task[None], asyncio.Event]] = {}
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

    def route(self, kind: str, envelope: Envelope, facts: Facts) -> Target | None:
        config = self.live.current
        spec = self._specs.get(kind)
        if spec is None:
            return None
        account = config.accounts.get(envelope.account)
        if account is not None and account.kind == kind and account.address is not None:
            # A login exists on one channel only; a number may be served by several.
            own = config.channels.get(account.channel)
            if own is None or not own.enabled:
                return None
            return Target(account.channel, spec, f"channel of account {envelope.account}")
        chosen = config.rules.routing.choose(kind, facts)
        if chosen is None:
            return None
        return Target(chosen.channel, spec, chosen.rule, chosen.facts)

    def named(self, channel: str) -> Target | None:
        """The channel of this name, if it is in service."""
        configured = self.live.current.channels.get(channel)
        spec = self._specs.get(configured.kind) if configured else None
        if configured is None or not configured.enabled or spec is None:
            return None
        return Target(channel, spec, "channel of the group")

    def spec_of(self, channel: str) -> Spec | None:
        running = self.channels.get(channel)
        if running is not None:
            return running.spec
        configured = self.live.current.channels.get(channel)
        settings = self.live.current.settings.get(channel)
        if configured is None:
            return None
        ask: Callable[[Any], Spec] | None = getattr(
            self._adapters.get(configured.kind), "abilities", None
        )
        if ask is None or settings is None:
            return self._specs.get(configured.kind)
        return ask(settings)

    def _kind_of(self, channel: str) -> str:
        configured = self.live.current.channels.get(channel)
        return configured.kind if configured is not None else ""

    def _schemes(self, kind: str) -> frozenset[str]:
        spec = self._specs.get(kind)
        return spec.schemes if spec is not None else frozenset()

    def in_service(self, channel: str) -> bool:
        configured = self.live.current.channels.get(channel)
        return configured is not None and configured.enabled

    async def subscriber(self, name: str) -> Subscriber | None:
        """As Port.subscriber: a caller's callback, or the place of one of its subscriptions."""
        if "/" in name:
            return await self._places.find(name)
        return self._callback(name)

    def _callback(self, caller: str) -> Subscriber | None:
        known = self.live.current.callers.get(caller)
        if known is None or known.callback is None or not known.enabled:
            return None
        return Subscriber(known.callback.url, (known.callback.secret.reveal(),))

    def _is_caller(self, caller: str) -> bool:
        known = self.live.current.callers.get(caller)
        return known is not None and known.enabled

    def _may_have(self, row: SubscriptionRow) -> bool:
        """Whether a subscription's caller may still see what it asked for."""
        if not self._is_caller(row.caller):
            return False
        return not row.everyone or bool(
            {"read:all", "admin"} & set(self.live.current.callers[row.caller].scopes)
        )

    def event_channel(self) -> tuple[str, str] | None:
        """The enabled channel (and its kind) that delivers events to callbacks and subscriptions."""
        for name, channel in self.live.current.channels.items():
            spec = self._specs.get(channel.kind)
            serves = spec is not None and Notice in spec.payloads and spec.schemes == {"caller"}
            if channel.enabled and serves:
                return name, channel.kind
        return None

    def refuses_url(self, url: str) -> str | None:
        """Why no subscriber can be there, "" = nothing speaks against it, None = no channel delivers events."""
        found = self.event_channel()
        if found is None:
            return None
        name, kind = found
        ask: Callable[[Any, str], str] | None = getattr(self._adapters[kind], "refuses", None)
        return ask(self.live.current.settings[name], url) if ask is not None else ""

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
            accounts=self.accounts.of_channel,
            channels=self._enabled,
            on_account_state=self.directory.say,
        )

    # -- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Declare the topology, start the roles. Raises BusError when the queues cannot be declared, and StateError or
        StoreError when the revoked accounts and blocked customers cannot be silenced."""
        config = self.live.current
        await patiently(lambda: self._declare(config), self.clock, self.log)
        await self.parts.state.policy_epoch()  # from now on State knows since when it remembers
        await self.directory.restore()
        await self.customers.restore()
        await self.pauses.restore()
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
        self._spawn("directory", self.directory.run(self._stop))
        if {"submit", "schedule"} & set(config.process.roles):
            self._spawn("recount", self.recount.run(self._stop))
        self._spawn("customers", self.customers.lookup.run(self._stop))
        self._tasks.append(asyncio.create_task(self.live.run(), name="reload"))

    async def stop(self) -> None:
        """Stop taking, let what is in hand finish within `drain`, then close. What is not finished comes again."""
        self._stop.set()
        channels = [*self._channel_tasks.values(), *self._withdrawn.values()]
        for _, stop in channels:
            stop.set()
        tasks = [*self._tasks, *(task for task, _ in channels)]
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
        return topology(self._enabled(), list(self.sinks), self.partitions)

    def _enabled(self) -> list[str]:
        return [name for name, one in self.live.current.channels.items() if one.enabled]

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
            in_service=self.in_service,
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
            memory=self.parts.state,
            takes=takes,
            shared=shared,
            max_frames=self._prefetch(queue.lane),
            precedence=self.precedence,
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
                precedence=self.precedence,
            )
            if queue.lane != "conv":
                return self._worker(queue, passage)
            return self._worker(
                queue,
                Ordered(
                    queue,
                    passage,
                    self.parts.store,
                    clock=self.clock,
                    log=self.log,
                    ready=_ready,
                    memory=self.parts.state,
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
            SUBMIT,
            pipelines.submit(
                self.parts.state,
                self.clock,
                self.route,
                self.named,
                self.groups,
                self.facts.for_routes,
                self.fill,
                self.customers.lookup,
                self.rulebook,
                Reviews(self.parts.store, self.clock),
                self.recount.rebuilding,
                self.metrics,
            ),
            "submit",
        )

    def _start_inbound(self) -> None:
        state, live, clock = self.parts.state, self.live, self.clock
        answers = Answers(
            to_bus(self.parts.bus),
            self.partitions,
            lambda: round(live.current.policy.categories[ANSWER].expires_in * 1000),
            clock.now_ms,
        )
        stages = pipelines.inbound(
            state,
            self.accounts.owner_of,
            Unite(self.parts.store, state, self.spec_of),
            OptOut(
                lambda: live.current.rules,
                self._kind_of,
                self.customers,
                state,
                answers,
                self.metrics,
            ),
            Flood(lambda: live.current.policy.flood, self.customers, state, clock, self.metrics),
            self.customers.lookup,
            clock,
        )
        self._start_lanes(INBOUND, stages, "inbound")

    def _start_schedule(self) -> None:
        schedule = Schedule(
            self.parts.bus,
            self.parts.store,
            clock=self.clock,
            partitions=self.partitions,
            log=self.log,
        )
        self._spawn("schedule", schedule.run(self._stop))
        watch = PauseWatch(
            self.pauses,
            self.parts.state,
            lambda: self.live.current.policy.spread,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )
        self._spawn("pauses", watch.run(self._stop))
        sweep = Sweep(
            lambda: self.live.current,
            bus=self.parts.bus,
            state=self.parts.state,
            store=self.parts.store,
            clock=self.clock,
            partitions=self.partitions,
            log=self.log,
        )
        shares = Watch(
            lambda: self.live.current,
            bus=self.parts.bus,
            store=self.parts.store,
            clock=self.clock,
            partitions=self.partitions,
            log=self.log,
        )
        self._spawn("shares", shares.run(self._stop))
        tidy = Tidy(
            self.parts.store,
            lambda: self.live.current,
            groups=sweep,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )
        self._spawn("tidy", tidy.run(self._stop))

        self.live.changed(self._rules_changed)

    async def _rules_changed(self, old: Config, new: Config) -> None:
        """What the old rules hold is decided anew under the new ones."""
        if ruled(old) != ruled(new):
            self._spawn("reask", reask(self.parts.store, self.clock, self.log, new, self._stop))

    def _start_archive(self) -> None:
        shared = RecordFrames(len(self.sinks))
        for name, write in self.sinks.items():
            written = self.metrics.archive_records_total.labels(name).inc
            queues = {
                q.name: q
                for q in (Queue(RECORD, "normal", n, name) for n in range(self.partitions))
            }

            def work(
                queue: str,
                halt: asyncio.Event,
                queues: dict[str, Queue] = queues,
                write: Callable[[Sequence[Record]], Awaitable[None]] = write,
                written: Callable[[int], object] = written,
            ) -> Any:
                sinking = Sinking(write, written)
                return self._worker(queues[queue], sinking, "records", shared).run(halt)

            self._spawn_shared(f"sink:{name}", list(queues), work)
        feed = Feed(
            self.parts.bus,
            self.parts.store,
            self.event_channel,
            self._may_have,
            clock=self.clock,
            partitions=self.partitions,
            log=self.log,
            missed=self.metrics.events_missed_total.inc,
        )
        self._spawn_shared("subscriptions", ["feed"], lambda _, halt: feed.run(halt))
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

    def _core(self) -> Core:
        return Core(
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
            precedence=self.precedence,
            settle=self._settle,
            sender=self.accounts.sender,
            refusable=lambda category: refusable(self.live.current.rules, category),
            groups=self.groups,
            fill=self.fill,
            hours=Hours(self.customers.lookup, self.rulebook, self.clock),
            sightings=self.parts.store,
        )

    def _start_channel(self, name: str, config: Config) -> None:
        configured = config.channels[name]
        adapter = self._adapters[configured.kind]
        channel = Channel(
            name,
            configured,
            config.settings[name],
            adapter,
            self.port(name, to_bus(self.parts.bus)),
            self._core(),
        )
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
            if same:
                continue
            running = self.channels[name]
            if now is None or not now.enabled or not running.adopt(now, new.settings[name]):
                await self._end_channel(name)
        for name, channel in old.channels.items():
            gone = name not in new.channels or not new.channels[name].enabled
            if channel.enabled and gone:
                self._withdraw(name, old)
        for name, channel in new.channels.items():
            if channel.enabled and name not in self.channels:
                if name in self._withdrawn:
                    await self._end(*self._withdrawn.pop(name))
                self._start_channel(name, new)

    async def _end_channel(self, name: str) -> None:
        self.channels.pop(name)
        await self._end(*self._channel_tasks.pop(name))
        # What is gone is not down.
        metrics = self.metrics
        for gauge in (metrics.link_up, metrics.window_in_use, metrics.source_lag_seconds):
            gauge.remove(name)

    async def _end(self, task: asyncio.Task[None], stop: asyncio.Event) -> None:
        stop.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.live.current.process.drain):
                await task

    def _withdraw(self, name: str, old: Config) -> None:
        """What waits for a channel that is no longer there goes back to submit, which finds it another one. It runs until
        the channel comes back or the process ends: other processes may still route to the channel for a moment."""
        spec = self._specs[old.channels[name].kind]
        channel = Channel(
            name,
            old.channels[name].model_copy(update={"rate": None}),
            old.settings[name],
            withdrawn(spec),
            self.port(name, to_bus(self.parts.bus)),
            self._core(),
            eager=True,
        )
        stop = asyncio.Event()
        task = asyncio.create_task(channel.run(stop), name=f"withdrawn {name}")
        self._withdrawn[name] = (task, stop)


def wish_terms(config: Config) -> Terms:
    """What the customers of a configuration may refuse, and where."""
    return Terms(config.rules, frozenset(channel.kind for channel in config.channels.values()))


async def _ready() -> bool:
    return True
