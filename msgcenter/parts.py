"""Parts: the seams of one process, opened as the configuration says; the data folder is locked where a part lives in it."""

from __future__ import annotations

import fcntl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from msgcenter.bus import Bus, BusError
from msgcenter.clock import Clock, Random
from msgcenter.config import Config
from msgcenter.state import State, StateError
from msgcenter.store import StoreError
from msgcenter.store.store import Store

PATIENCE_S = 60.0


@dataclass(slots=True)
class Parts:
    """The opened seams of one process."""

    bus: Bus
    state: State
    store: Store
    lock: IO[str] | None = None

    async def close(self) -> None:
        await self.bus.close()
        await self.state.close()
        await self.store.close()
        if self.lock is not None:
            self.lock.close()


class DataFolderBusy(RuntimeError):
    """Another process uses this data folder; the text says what to do."""


def lock_folder(data: Path) -> IO[str]:
    """Hold the data folder for this process (embedded set-up). Raises DataFolderBusy."""
    data.mkdir(parents=True, exist_ok=True, mode=0o700)  # customers' messages lie in it
    handle = (data / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise DataFolderBusy(
            f"{data}: another msgcenter uses this data folder; stop it, or use another folder (--data)"
        ) from error
    return handle


async def open_parts(config: Config, clock: Clock, rng: Random, log: Any) -> Parts:
    """Open bus, state and store as configured; servers that are away are waited for, a minute at most.

    Raises DataFolderBusy at once, and BusError, StateError, StoreError after that minute; nothing is left open then.
    """
    process = config.process
    kinds = (process.bus.kind, process.state.kind, process.store.kind)
    lock = lock_folder(process.data) if "sqlite" in kinds else None
    async with AsyncExitStack() as opened:
        if lock is not None:
            opened.callback(lock.close)
        state = open_state(config, clock, process.data)
        opened.push_async_callback(state.close)
        bus = _bus(config, clock, rng)
        opened.push_async_callback(bus.close)
        path = process.data / "store.db"
        store = Store(
            process.store.url.reveal() if process.store.url else f"sqlite:///{path.absolute()}",
            clock,
        )
        opened.push_async_callback(store.close)
        check = getattr(state, "check", None)
        if check is not None:
            await patiently(check, clock, log)
        await patiently(store.open, clock, log)
        await patiently(store.migrate, clock, log)
        opened.pop_all()
    return Parts(bus, state, store, lock)


async def patiently(work: Callable[[], Awaitable[None]], clock: Clock, log: Any) -> None:
    """Do it once the server behind it is there: a broker that restarts together with us is no reason to end.

    Raises what `work` raises after PATIENCE_S.
    """
    until = clock.monotonic() + PATIENCE_S
    wait = 0.2
    while True:
        try:
            return await work()
        except (BusError, StateError, StoreError) as error:
            if clock.monotonic() + wait > until:
                raise
            log.warning("waiting_for_server", error=error, seconds=round(wait, 1))
        await clock.sleep(wait)
        wait = min(wait * 2, 5.0)


def open_state(config: Config, clock: Clock, data: Path) -> State:
    """The configured State; an embedded one lies in `data`."""
    process = config.process
    match process.state.kind:
        case "redis":
            from msgcenter.state.redis import RedisState

            assert process.state.url is not None
            return RedisState(
                process.state.url.reveal(),
                cluster=process.state.cluster,
                prefix=process.state.prefix,
            )
        case "memory":
            from msgcenter.state.memory import MemoryState

            return MemoryState(clock)
        case _:
            from msgcenter.state.sqlite import SqliteState

            return SqliteState(data / "state.db", clock)


def _bus(config: Config, clock: Clock, rng: Random) -> Bus:
    process = config.process
    if process.bus.kind == "rabbit":
        from msgcenter.bus.rabbit import RabbitBus

        assert process.bus.url is not None
        return RabbitBus(
            process.bus.url.reveal(),
            clock,
            rng,
            prefix=process.bus.prefix,
            publish_in_flight=process.bus.publish_in_flight,
            publish_timeout=process.bus.publish_timeout,
        )
    from msgcenter.bus.sqlite import SqliteBus

    return SqliteBus(process.data / "bus.db", clock)
