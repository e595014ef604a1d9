"""Parts: the seams of one process, opened as the configuration says; the data folder is locked where a part lives in it."""

from __future__ import annotations

import fcntl
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from msgcenter.bus import Bus
from msgcenter.clock import Clock, Random
from msgcenter.config import Config
from msgcenter.state import State
from msgcenter.store.store import Store


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
    data.mkdir(parents=True, exist_ok=True)
    handle = (data / "lock").open("a+")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        handle.close()
        raise DataFolderBusy(
            f"{data}: another msgcenter uses this data folder; stop it, or use another folder (--data)"
        ) from error
    return handle


async def open_parts(config: Config, clock: Clock, rng: Random) -> Parts:
    """Open bus, state and store as configured. Raises DataFolderBusy, BusError, StateError, StoreError."""
    process = config.process
    data = process.data
    kinds = (process.bus.kind, process.state.kind, process.store.kind)
    lock = lock_folder(data) if "sqlite" in kinds else None
    state: State
    bus: Bus
    match process.state.kind:
        case "redis":
            from msgcenter.state.redis import RedisState

            assert process.state.url is not None
            state = RedisState(
                process.state.url.reveal(),
                cluster=process.state.cluster,
                prefix=process.state.prefix,
            )
            await state.check()
        case "memory":
            from msgcenter.state.memory import MemoryState

            state = MemoryState(clock)
        case _:
            from msgcenter.state.sqlite import SqliteState

            state = SqliteState(data / "state.db", clock)
    match process.bus.kind:
        case "rabbit":
            from msgcenter.bus.rabbit import RabbitBus

            assert process.bus.url is not None
            bus = RabbitBus(
                process.bus.url.reveal(),
                clock,
                rng,
                prefix=process.bus.prefix,
                publish_in_flight=process.bus.publish_in_flight,
                publish_timeout=process.bus.publish_timeout,
            )
        case _:
            from msgcenter.bus.sqlite import SqliteBus

            bus = SqliteBus(data / "bus.db", clock)
    url = (
        process.store.url.reveal()
        if process.store.url
        else f"sqlite:///{(data / 'store.db').absolute()}"
    )
    store = Store(url, clock)
    await store.open()
    await store.migrate()
    return Parts(bus, state, store, lock)
