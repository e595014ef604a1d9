"""Serve: one whole process from a configuration folder: parts, sinks, roles, API, reload, signals; `msgcenter serve` and the sandbox run it.

One file, for a process starts, reloads and stops the same parts in one order.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from aiohttp import web
from prometheus_client import CollectorRegistry, ProcessCollector

from msgcenter import log as logs
from msgcenter.adapter import Adapter
from msgcenter.api.app import build_app
from msgcenter.api.auth import pepper_of
from msgcenter.api.deps import ChannelHealth, Deps
from msgcenter.api.health import Readiness
from msgcenter.app import App, installed_adapters
from msgcenter.archive.callbacks_sink import CATEGORY, CallbacksSink
from msgcenter.archive.sinks import Sinks
from msgcenter.bus import BusError
from msgcenter.clock import Clock, Random, SystemClock, system_random
from msgcenter.config import Config, load
from msgcenter.gauges import Gauges
from msgcenter.hooks import Hooks
from msgcenter.live import Live, live_config
from msgcenter.media import MediaError, MediaStore
from msgcenter.metrics import Metrics
from msgcenter.parts import DataFolderBusy, Parts, open_parts
from msgcenter.probes import Probes
from msgcenter.rollout import Rollout
from msgcenter.spool import Spool
from msgcenter.state import StateError
from msgcenter.store import ContentMode, StoreError


def installed_version() -> str:
    """Of the installed distribution; `0` when the source tree is run without installing it."""
    try:
        return version("msgcenter")
    except PackageNotFoundError:
        return "0"


def check_layout() -> None:
    """The three packages must come from one place: another distribution is also called `adapters`. Raises RuntimeError."""
    found = [find_spec(name) for name in ("adapters", "msgcenter", "protocols")]
    homes = {Path(spec.origin).parent.parent if spec and spec.origin else Path() for spec in found}
    if len(homes) != 1:
        places = ", ".join(sorted(str(home) for home in homes))
        raise RuntimeError(
            f"adapters, msgcenter and protocols come from different places ({places}); "
            "uninstall the other distribution called `adapters`, or use a virtual environment of its own"
        )


#: What `Process.start` raises when something outside is not as it should be; the text says what.
CANNOT_START = (DataFolderBusy, BusError, StateError, StoreError, OSError)


def quiet_collector() -> None:
    """Once started: what is there now lives as long as the process, and nearly all that messages make is freed by reference count.

    The garbage collector's passes over a frame's hundreds of objects took a quarter of a channel worker's time (bench drain), and a
    full one held up everything for 0.1 to 0.2 s (bench lanes); cycles are still found, every 20,000 objects left over instead of
    every 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


class Process:
    """`await start()`, `await stop()`. `port` is the API's, once started with role api; `health_port` that of the probes."""

    def __init__(
        self,
        folder: Path | None,
        *,
        env: Mapping[str, str],
        clock: Clock | None = None,
        rng: Random | None = None,
        adapters: Mapping[str, type[Adapter]] | None = None,
    ) -> None:
        """`env` holds overrides (`MSGCENTER__API__PORT`) and secrets. Raises ConfigErrors, RuntimeError (layout)."""
        check_layout()
        self.clock = clock or SystemClock()
        self.rng = rng or system_random()
        self.adapters = dict(adapters or installed_adapters())
        self._env = env
        models = {kind: adapter.Settings for kind, adapter in self.adapters.items()}
        self.config = load(folder, settings_models=models, env=env, clock=self.clock)
        self._models = models
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)  # process_*: memory, open files, CPU
        self.metrics = Metrics(registry, installed_version())
        self.log = logs.get("msgcenter")
        self.port = 0
        self.health_port = 0
        self.parts: Parts | None = None
        self.app: App | None = None
        self._sinks: Sinks | None = None
        self._runner: web.AppRunner | None = None
        self._probes: Probes | None = None
        self._spool: Spool | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._stop = asyncio.Event()
        self._draining = False
        self.live: Live[Config] | None = None
        self.rollout: Rollout | None = None
        self._folder = folder

    def _rebuild(self, texts: Mapping[str, bytes]) -> Config:
        """This process's configuration with these hot files instead of the folder's. Raises ConfigErrors."""
        return load(
            self._folder,
            settings_models=self._models,
            env=self._env,
            clock=self.clock,
            texts=texts,
        )

    async def start(self) -> None:
        """Open everything, start the roles, then the API. Raises DataFolderBusy, BusError, StateError, StoreError, OSError."""
        process = self.config.process
        self.parts = await open_parts(self.config, self.clock, self.rng, self.log)
        self.rollout = Rollout(
            self.parts.store,
            self._rebuild,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )
        config = self.config = await self.rollout.begin(self.config)
        self.live = live_config(
            config,
            settings_models=self._models,
            env=self._env,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
            gate=self.rollout,
        )
        live = self.live
        archive = "archive" in process.roles
        self._sinks = self._make_sinks(self.parts, process.data)
        if archive:
            await self._sinks.open()
        self.app = App(
            self.live,
            self.parts,
            adapters=self.adapters,
            sinks=self._writers,
            clock=self.clock,
            rng=self.rng,
            metrics=self.metrics,
            log=self.log,
        )
        await self.app.start()
        if archive:
            self._tasks.append(asyncio.create_task(self._sinks.drain(), name="spill"))
        gauges = Gauges(
            self.parts.bus,
            self.parts.state,
            self.parts.store,
            self._channels,
            self.app.queues,
            self._sinks.waiting if archive else dict,
            lambda: live.current.rules.quiet.days,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )
        self._tasks.append(asyncio.create_task(gauges.run(self._stop), name="gauges"))
        self._tasks.append(asyncio.create_task(self._sweep(self.app.media), name="media sweep"))
        if "api" in process.roles:
            await self._serve(self.parts, self.app)
        if process.health.port is not None:
            self._probes = self._make_probes(self.parts, process.health.host, process.health.port)
            await self._probes.start()
            self.health_port = self._probes.port
        self.log.info(
            "started",
            roles=list(process.roles),
            port=self.port,
            health_port=self.health_port,
            config=config.hash[:12],
            owner=self.app.owner,
        )

    async def stop(self) -> None:
        """Drain: refuse new work, finish what is in hand, close. Idempotent."""
        self._draining = True
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self.app is not None:
            await self.app.stop()
            self.app = None
        self._stop.set()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self._spool is not None:
            await self._spool.close()
            self._spool = None
        if self._sinks is not None:
            await self._sinks.close()
            self._sinks = None
        if self._probes is not None:  # to the end: it says that this process is leaving
            await self._probes.stop()
            self._probes = None
        if self.parts is not None:
            await self.parts.close()
            self.parts = None

    async def run_until_signalled(self) -> None:
        """Start, wait for SIGTERM or SIGINT, stop; SIGHUP reloads."""
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, told.set)
        try:
            await self.start()
            quiet_collector()
            assert self.live is not None
            self.live.on_sighup(loop)
            await told.wait()
            self.log.info("draining")
        finally:
            await self.stop()
            self.log.info("stopped")

    # -- pieces -------------------------------------------------------------------------------------------------------

    def _make_sinks(self, parts: Parts, data: Path) -> Sinks:
        archive = self.config.process.archive
        disabled = {
            name
            for name, enabled in (
                ("files", archive.file.enabled),
                ("messages", archive.store.enabled),
            )
            if not enabled
        }
        files = {"path": str(archive.file.path), "max_bytes": archive.file.segment}
        return Sinks(
            parts.store,
            self.clock,
            data,
            self._content_mode,
            partitions=self.config.process.bus.partitions,
            settings={"files": files},
            kind_of=self._kind_of,
            home_of=self._home_of,
            disabled=frozenset(disabled),
            log=self.log,
        )

    def _writers(self, app: App) -> dict[str, Any]:
        assert self._sinks is not None and self.parts is not None
        callbacks = CallbacksSink(self.parts.bus, self._callback_channel, lambda: app.partitions)
        writers = {name: sink.write for name, sink in self._sinks.writers.items()}
        return {**writers, callbacks.name: callbacks.write}

    def _content_mode(self, category: str) -> ContentMode:
        assert self.live is not None
        known = self.live.current.policy.categories.get(category)
        if known is not None:
            return known.content
        return "none" if category == CATEGORY else "full"

    def _kind_of(self, channel: str) -> str:
        assert self.live is not None
        configured = self.live.current.channels.get(channel)
        return configured.kind if configured else ""

    def _home_of(self, channel: str) -> str:
        assert self.live is not None
        configured = self.live.current.channels.get(channel)
        return (configured.accounts_of if configured else None) or channel

    def _callback_channel(self, caller: str) -> tuple[str, str] | None:
        """The enabled channel (and its kind) that delivers events to subscribers, for a caller who has a callback."""
        assert self.live is not None
        config = self.live.current
        known = config.callers.get(caller)
        if known is None or not known.enabled or known.callback is None:
            return None
        return self.app.event_channel() if self.app is not None else None

    def _channels(self) -> dict[str, tuple[str, bool]]:
        """The enabled channels: their kind, and whether their far end reports deliveries; for the gauges."""
        assert self.live is not None
        told = {}
        for name, channel in self.live.current.channels.items():
            if channel.enabled:
                spec = self.app.spec_of(name) if self.app is not None else None
                told[name] = (channel.kind, spec is not None and bool(spec.receipts))
        return told

    def _make_probes(self, parts: Parts, host: str, port: int) -> Probes:
        live = self.live
        assert live is not None
        return Probes(
            host,
            port,
            readiness=Readiness(
                parts.bus, parts.state, parts.store, self.clock, lambda: self._draining
            ),
            metrics=self.metrics,
            version=installed_version(),
            config=lambda: live.current,
        )

    async def _serve(self, parts: Parts, app: App) -> None:
        assert self.live is not None
        process = self.config.process
        hooks = await self._hooks(parts, app)
        assert self._spool is not None
        deps = Deps(
            bus=parts.bus,
            state=parts.state,
            store=parts.store,
            live=self.live,
            clock=self.clock,
            random=self.rng,
            ids=app.ids,
            metrics=self.metrics,
            specs={kind: adapter.spec for kind, adapter in self.adapters.items()},
            directory=app.directory,
            customers=app.customers,
            explain=app.explain,
            pepper=pepper_of(self.config),
            media=app.media,
            env=process.api.env,
            version=installed_version(),
            health=self._health,
            last_reload=self._last_reload,
            pressure=parts.bus.healthy,
            draining=lambda: self._draining,
            queues=app.queues,
            hooks=hooks,
            outlet=self._spool.publish,
            abilities=app.spec_of,
            rollout=self.rollout,
            reload=self._reload,
            refuses_url=app.refuses_url,
        )
        self._runner = web.AppRunner(build_app(deps), access_log=None, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, process.api.host, process.api.port, backlog=1024)
        await site.start()
        assert site._server is not None
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]

    async def _hooks(self, parts: Parts, app: App) -> Hooks:
        """The web hooks of this process, with the spool behind them."""
        assert self.live is not None
        process = self.config.process
        self._spool = Spool(
            process.data / "spool",
            parts.bus,
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
            max_bytes=process.hooks.spool,
            confirm_s=process.hooks.confirm,
        )
        await self._spool.open()
        self._tasks.append(asyncio.create_task(self._spool.run(self._stop), name="spool"))
        outlet = self._spool.publish
        hooks = Hooks(
            self.adapters,
            lambda channel: app.port(channel, outlet),
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )
        hooks.mount(self.live.current)
        self.live.changed(hooks.changed)
        return hooks

    async def _sweep(self, media: MediaStore) -> None:
        """Once a start: what a crash left half written a day ago."""
        try:
            await media.sweep()
        except MediaError as error:
            self.log.warning("media_not_swept", error=error)

    async def _reload(self) -> dict[str, Any]:
        assert self.live is not None
        await self.live.reload()
        return self._last_reload()

    def _last_reload(self) -> dict[str, Any]:
        assert self.live is not None
        last = self.live.last
        told: dict[str, Any] = {"result": last.result}
        if last.problems:
            told["problems"] = [
                {"at": str(p.mark), "path": p.path, "message": p.message, "remedy": p.remedy}
                for p in last.problems
            ]
        if last.detail:
            told["detail"] = last.detail
        return told

    def _health(self) -> dict[str, ChannelHealth]:
        if self.app is None:
            return {}
        return {
            name: ChannelHealth("up" if channel.up else "down", channel.detail, channel.links_up)
            for name, channel in self.app.channels.items()
        }
