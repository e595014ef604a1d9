"""The running sandbox: simulators, journals, and one process of the product between them."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from msgcenter.api.auth import pepper_of, read_key
from msgcenter.api.keys import create_key
from msgcenter.journals import JournalServer
from msgcenter.parts import lock_folder
from msgcenter.sandbox.folder import Folder
from msgcenter.serve import Process
from msgcenter.simulator import Journal, Simulator

CALLER = "crm"
#: Journal name (the channel kind) -> simulator; the only place that names them.
FAR_ENDS = {"sms": "smsc", "platform": "platform", "wecom": "wecom", "hosted": "hosted"}
#: What the simulated carrier does with some numbers.
REFUSED, ABSENT = "139000", "139001"
WECOM_AGENT = 1_000_002
_SMSC_FAULTS = {"refuse": {REFUSED: 13}, "stat_by_number": {ABSENT: "UNDELIV"}}


class CannotStart(OSError):
    """Something is in the way; the text says what, and what to do."""


class Box:
    """`await start()`, `await stop()`. `url` is the API's, `journals.url` the far ends'."""

    def __init__(self, folder: Folder, *, port: int, sim_port: int) -> None:
        self.folder = folder
        self._port = port
        self.far_ends: dict[str, Simulator] = {}
        aliases = {simulator: name for name, simulator in FAR_ENDS.items()}
        self.journals = JournalServer(self.far_ends, port=sim_port, aliases=aliases)
        self.process: Process | None = None
        self.key = ""
        self.key_is_new = False

    @property
    def url(self) -> str:
        assert self.process is not None
        return f"http://127.0.0.1:{self.process.port}"

    async def start(self) -> None:
        """Far ends first, then the product. Raises CannotStart, ConfigErrors, DataFolderBusy, BusError, StateError, StoreError, OSError."""
        lock_folder(self.folder.data).close()  # before a file of a running sandbox is touched
        self.folder.prepare()
        ports = self.folder.ports()
        options: dict[str, dict[str, Any]] = {
            "smsc": {"secret": self.folder.secret("smsc")},
            "platform": {"secret": self.folder.secret("callback")},
            "wecom": {
                "secret": self.folder.secret("wecom"),
                "callback_token": self.folder.secret("wecom-token"),
                "aes_key": self.folder.secret("wecom-aes"),
                # Ids of another run must not come again: they would be taken for repeats.
                "seed": secrets.randbits(31),
            },
            "hosted": {
                "secret": self.folder.secret("hosted"),
                "event_secret": self.folder.secret("hosted-events"),
                "seed": secrets.randbits(31),
            },
        }
        for name, simulator in FAR_ENDS.items():
            self.far_ends[name] = await _started(simulator, options[simulator], ports[simulator])
            ports[simulator] = self.far_ends[name].port
        await self.far_ends["sms"].control("faults", dict(_SMSC_FAULTS))
        try:
            await self.journals.start()
        except OSError as error:
            raise _taken(error, self.journals.port, "--sim-port") from error
        self.folder.write(ports)
        env = {
            **os.environ,
            "MSGCENTER__DATA": str(self.folder.data),
            "MSGCENTER__API__HOST": "127.0.0.1",
            "MSGCENTER__API__PORT": str(self._port),
        }
        self.process = Process(self.folder.config, env=env)
        try:
            await self.process.start()
        except OSError as error:
            raise _taken(error, self._port, "--port") from error
        await self._have_key(self.process)
        await self._hook_up(self.process)

    async def stop(self) -> None:
        """Product first, so that what it drains still finds its far ends."""
        if self.process is not None:
            await self.process.stop()
        await self.journals.stop()
        for far_end in self.far_ends.values():
            await far_end.stop()
            far_end.journal.close()
        self.far_ends.clear()

    async def _hook_up(self, process: Process) -> None:
        """Tell the far ends where we hear them, as an administrator does in their consoles; a channel that the user has
        removed is left out."""
        assert process.live is not None
        channels = process.live.current.channels
        if "wecom-service" in channels:
            url = f"{self.url}/hooks/wecom-service/callback"
            order = {"agentid": WECOM_AGENT, "url": url}
            await self.far_ends["wecom"].control("callback_set", order)
        if "wecom-hosted" in channels:
            order = {"url": f"{self.url}/hooks/wecom-hosted/events"}
            await self.far_ends["hosted"].control("callback", order)

    async def _have_key(self, process: Process) -> None:
        """The key of the last run while it is good, else a new one."""
        assert process.parts is not None and process.live is not None
        store, config = process.parts.store, process.live.current
        if CALLER not in config.callers:
            raise CannotStart(
                f"{self.folder.config}/callers.yaml has no caller {CALLER}, as whom the walk-through acts: "
                "put it back, or use another folder (--data)"
            )
        self.key = self.folder.read_key()
        parts = read_key(self.key)
        known = await store.find_key(parts[0]) if parts else None
        if known is not None and not known.revoked_at and known.caller == CALLER:
            return
        _, self.key = await create_key(
            store,
            config,
            caller=CALLER,
            pepper=pepper_of(config),
            now_ms=process.clock.now_ms(),
            who="sandbox",
            env=config.process.api.env,
            name="sandbox",
        )
        self.folder.write_key(self.key)
        self.key_is_new = True


async def _started(name: str, options: Mapping[str, Any], port: int) -> Simulator:
    """A simulator on the port it had last time, else on any free one."""
    make: type[Simulator] = next(iter(entry_points(group="msgcenter.simulators", name=name))).load()
    for each in (port, 0):
        simulator = make(make.Options.model_validate({**options, "port": each}), Journal())
        try:
            await simulator.start()
        except OSError:
            if each == 0:
                raise
            continue
        return simulator
    raise AssertionError("port 0 either starts or raises")


def _taken(error: OSError, port: int, option: str) -> OSError:
    if error.errno != errno.EADDRINUSE:
        return error
    return CannotStart(
        f"port {port} is taken by another program: stop it, or choose another with {option}, "
        f'for example: make run ARGS="{option} {port + 1000}"',
    )
