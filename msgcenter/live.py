"""Hot reload: the current configuration by reference, rebuilt beside the old when its folder
changes, swapped whole or not at all."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

from pydantic import BaseModel

from msgcenter.clock import Clock
from msgcenter.config import (
    Config,
    ConfigError,
    ConfigErrors,
    ConfigProblem,
    Mark,
    fingerprint,
    load,
)
from msgcenter.metrics import Metrics

#: A `prepare` hook that fails for an outside reason (the broker is down) is tried again after these
#: waits, seconds.
RETRY_FIRST, RETRY_LAST = 1.0, 60.0
PREPARE_TIMEOUT = 30.0


class Snapshot(Protocol):
    """What `Live` must know about a configuration; `Config` is one."""

    @property
    def identity(self) -> str: ...
    @property
    def hash(self) -> str: ...
    @property
    def rules_hash(self) -> str: ...
    @property
    def generation(self) -> int: ...
    @property
    def watched(self) -> tuple[Path, ...]: ...
    @property
    def restart_needed(self) -> tuple[str, ...]: ...
    def follow(self, old: Self) -> Self: ...


T = TypeVar("T", bound=Snapshot)


class Gate(Protocol[T]):
    """Whether what the folder says may come into force."""

    async def moved(self) -> bool:
        """Whether `admit` may say something else than last time. Never raises."""
        ...

    async def admit(self, old: T, new: T) -> tuple[T, str]:
        """What is to be in force instead of `old` now that the folder says `new`; and, if that is not what the folder says,
        why. Raises when it cannot be told: the old one stays."""
        ...


@dataclass(frozen=True, slots=True)
class Reload:
    """What one attempt came to. `refused`: the files are wrong; `failed`: a prepare hook could not
    do its part; `waiting`: the files are sound, but something else stays in force, `detail` says why."""

    result: Literal["swapped", "unchanged", "refused", "failed", "waiting"]
    generation: int
    problems: tuple[ConfigProblem, ...] = ()
    detail: str = ""


class Live(Generic[T]):
    """Holds the snapshot in force. Take `live.current` once per piece of work and keep it for that
    piece.

    `run()` looks at the folder every `poll` seconds and takes a change once it has rested for one
    poll, so that a half-written file or the first of two edited files is not read. `reload()`
    (SIGHUP, the API) takes it at once. The new snapshot is built in a thread, then every `prepare`
    hook runs (declare the queues of new channels), then the reference is swapped, then every
    `changed` hook is told. Anything wrong before the swap leaves the old in force.
    """

    def __init__(
        self,
        current: T,
        *,
        build: Callable[[], T],
        look: Callable[[Sequence[Path]], str],
        clock: Clock,
        metrics: Metrics,
        log: Any,
        poll: float = 1.0,
        gate: Gate[T] | None = None,
    ) -> None:
        """`build` reads everything anew (raises ConfigErrors); `look` is a fingerprint of the
        folder and of these secret files. Both may block: they run in a thread."""
        self.current = current
        self.last: Reload = Reload("unchanged", current.generation)
        self._build = build
        self._look = look
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._poll = poll
        self._gate = gate
        self._prepare: list[Callable[[T], Awaitable[None]]] = []
        self._changed: list[Callable[[T, T], Awaitable[None]]] = []
        self._lock = asyncio.Lock()
        self._kick = asyncio.Event()
        self._watched = current.watched
        # nothing yet: an edit between the first load and the first look is found by building again
        self._taken = ""
        self._retry_at: float | None = None
        self._retry_wait = RETRY_FIRST
        metrics.config_last_reload_ok.set(1)
        self._unchanged_at = clock.monotonic()
        self._show(current)

    def prepare(self, hook: Callable[[T], Awaitable[None]]) -> None:
        """`hook(new)` runs before the swap and stops it by raising; it must be repeatable."""
        self._prepare.append(hook)

    def changed(self, hook: Callable[[T, T], Awaitable[None]]) -> None:
        """`hook(old, new)` runs after the swap; its failure is logged and stops nothing."""
        self._changed.append(hook)

    def kick(self) -> None:
        """Makes `run()` reload now, rested or not."""
        self._kick.set()

    def on_sighup(self, loop: asyncio.AbstractEventLoop) -> None:
        """SIGHUP means `kick()`."""
        loop.add_signal_handler(signal.SIGHUP, self.kick)

    async def run(self) -> None:
        """Watches until cancelled."""
        seen = self._taken
        while True:
            if await self._pause():
                await self.reload()
                seen = self._taken
                continue
            looked_at = self._clock.monotonic()
            now = await asyncio.to_thread(self._look, self._watched)
            if now == self._taken:
                self._unchanged_at = looked_at
            due = self._retry_at is not None and self._clock.monotonic() >= self._retry_at
            moved = self._gate is not None and await self._gate.moved()
            if due or moved or (now != self._taken and now == seen):
                await self.reload()
            seen = now

    async def reload(self) -> Reload:
        """Build, prepare, swap, tell; never raises for a bad configuration. One at a time."""
        async with self._lock:
            self.last = await self._reload()
            if self.last.result != "unchanged":
                self._metrics.config_reload_total.labels(result=self.last.result).inc()
            self._metrics.config_last_reload_ok.set(self.last.result in ("swapped", "unchanged"))
            return self.last

    def _show(self, current: T) -> None:
        self._metrics.config_generation.set(current.generation)
        self._metrics.config_rules_hash.set(int(current.rules_hash[:12] or "0", 16))
        self._metrics.config_last_reload_timestamp_seconds.set(self._clock.now_ms() / 1000)

    async def _pause(self) -> bool:
        """One poll; True if kicked."""
        sleep = asyncio.ensure_future(self._clock.sleep(self._poll))
        kick = asyncio.ensure_future(self._kick.wait())
        try:
            await asyncio.wait({sleep, kick}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            sleep.cancel()
            kick.cancel()
        kicked = self._kick.is_set()
        self._kick.clear()
        return kicked

    async def _reload(self) -> Reload:
        old = self.current
        built = await self._read()
        if isinstance(built, ConfigErrors):
            self._retry_at = None
            for problem in built.problems:
                self._log.error(
                    "config refused",
                    at=str(problem.mark),
                    path=problem.path,
                    problem=problem.message,
                    remedy=problem.remedy,
                    generation=old.generation,
                )
            return Reload("refused", old.generation, tuple(built.problems))
        why = ""
        if self._gate is not None:
            try:
                built, why = await self._gate.admit(old, built)
            except Exception as e:  # noqa: BLE001 - whatever it meets, the old stays in force
                self._later()
                self._log.error("config not taken", reason=str(e), generation=old.generation)
                return Reload("failed", old.generation, detail=f"{type(e).__name__}: {e}")
        if built.identity == old.identity:
            self._retry_at = None
            return Reload("waiting" if why else "unchanged", old.generation, detail=why)
        new = built.follow(old)
        if (detail := await self._prepared(new)) is not None:
            self._later()
            self._log.error("config not taken", reason=detail, generation=old.generation)
            return Reload("failed", old.generation, detail=detail)
        self.current = new
        self._retry_at, self._retry_wait = None, RETRY_FIRST
        self._show(new)
        self._metrics.config_reload_lag_seconds.set(self._clock.monotonic() - self._unchanged_at)
        self._log.info("config taken", generation=new.generation, hash=new.hash)
        if new.restart_needed:
            self._log.warning("config needs a restart", keys=list(new.restart_needed))
        await self._tell(old, new)
        return Reload("swapped", new.generation, detail=why)

    def _later(self) -> None:
        self._retry_at = self._clock.monotonic() + self._retry_wait
        self._retry_wait = min(self._retry_wait * 2, RETRY_LAST)

    async def _read(self) -> T | ConfigErrors:
        """Everything anew, after a look at it: an edit during the reading makes the next look differ.

        When the reading names other secret files than were looked at, both are done once more.
        """
        built: T | ConfigErrors
        for _ in range(2):
            looked = self._watched
            self._taken = await asyncio.to_thread(self._look, looked)
            try:
                built = await asyncio.to_thread(self._build)
            except ConfigErrors as e:
                built = e
            except Exception as e:  # noqa: BLE001 - a faulty validator must not end the watch
                # its text may quote the value it met, so only the type is told
                problem = ConfigProblem(
                    Mark("configuration"),
                    "",
                    f"reading it raised {type(e).__name__}",
                    "see `msgcenter config check`",
                )
                built = ConfigErrors([problem], looked)
            self._watched = built.watched
            if built.watched == looked:
                break
        return built

    async def _prepared(self, new: T) -> str | None:
        """None, or why not."""
        for hook in self._prepare:
            try:
                async with asyncio.timeout(PREPARE_TIMEOUT):
                    await hook(new)
            except ConfigError as e:
                return str(e)
            except TimeoutError:
                return f"{_name(hook)} took longer than {PREPARE_TIMEOUT:g} s"
            except Exception as e:  # noqa: BLE001 - whatever it meets, the old stays in force
                return f"{_name(hook)}: {type(e).__name__}: {e}"
        return None

    async def _tell(self, old: T, new: T) -> None:
        for hook in self._changed:
            try:
                await hook(old, new)
            except Exception:  # noqa: BLE001 - the swap is done; one deaf listener must not silence the others
                self._metrics.config_reload_total.labels(result="hook_failed").inc()
                self._log.exception("config hook failed", hook=_name(hook))


def _name(hook: Callable[..., object]) -> str:
    return getattr(hook, "__qualname__", type(hook).__name__)


def live_config(
    current: Config,
    *,
    settings_models: Mapping[str, type[BaseModel]],
    env: Mapping[str, str],
    clock: Clock,
    metrics: Metrics,
    log: Any,
    gate: Gate[Config] | None = None,
) -> Live[Config]:
    """The `Live` of a configuration that `load` read with the same arguments, or that `gate` put in its place."""
    directory = current.directory
    return Live(
        current,
        build=lambda: load(directory, settings_models=settings_models, env=env, clock=clock),
        look=lambda watched: fingerprint(directory, watched),
        clock=clock,
        metrics=metrics,
        log=log,
        poll=current.process.reload.poll,
        gate=gate,
    )
