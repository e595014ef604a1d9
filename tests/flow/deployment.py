"""The product as a user runs it: processes from a configuration folder, embedded (one) or production (a process per role on real servers)."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from adapters.sim.smsc import Options, Smsc
from msgcenter.api.auth import make_key
from msgcenter.clock import SystemClock
from msgcenter.simulator import Journal
from msgcenter.store import ApiKey, migrate
from msgcenter.store.store import Store
from tests.migrated import place
from tests.servers import free_port

ROOT = Path(__file__).resolve().parents[2]
SPLIT = ("api", "submit", "channel", "inbound,archive,schedule")
ALL = ("api,submit,channel,inbound,archive,schedule",)

CHANNELS = """
sms-east:
  kind: sms
  send_timeout: 5s
  settings: {{protocol: cmpp2, host: 127.0.0.1, port: {port}, account: "901234", secret: "${{env:SMSC_SECRET}}",
    src: "10690001", connections: 2, window: 16, reconnect_min_s: 0.1, reconnect_max_s: 1, response_timeout_s: 3}}
platform:
  kind: platform
  settings: {{egress: {{allow: ["127.0.0.0/8"], https_only: false}}}}
"""
POLICY = """
categories:
  transactional: {receipt_wait: 2s}
  reply: {receipt_wait: 2s}
  # Consent and the hour of the day are what other tests are about.
  marketing: {quiet: [], consent: false}
  care: {quiet: []}
# The number is a service hall's: its commands, TD among them, are no opt-outs.
opt_out: {hall: {numbers: ["10690001*"]}}
"""
ACCOUNTS = """
hotline: {kind: sms, channel: sms-east, number: "10690001", caller: crm}
"""


@dataclass
class Servers:
    """Where the shared parts are; empty = embedded."""

    rabbit: str = ""
    redis: str = ""
    postgres: str = ""
    prefix: str = "mc"

    @property
    def embedded(self) -> bool:
        return not self.rabbit

    def process_yaml(self, data: Path, pepper: Path) -> str:
        lines = [f"data: {data}", "drain: 10s", f'api: {{port: 0, pepper: "${{file:{pepper}}}"}}']
        if not self.embedded:
            lines += [
                f'bus: {{kind: rabbit, url: "${{env:BUS_URL}}", prefix: {self.prefix}, partitions: 2}}',
                f"state: {{kind: redis, url: {self.redis}, prefix: {self.prefix}}}",
                f"store: {{kind: postgres, url: {self.postgres}}}",
            ]
        return "\n".join(lines) + "\n"

    def store_url(self, data: Path) -> str:
        return self.postgres or f"sqlite:///{data / 'store.db'}"


@dataclass(frozen=True)
class Release:
    """Which code a process runs: `python -m module`, of the three packages in `folder`."""

    module: str = "msgcenter"
    folder: Path = ROOT
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def revision(self) -> str:
        """The migration its tables are at."""
        versions = (self.folder / "msgcenter/store/migrations/versions").glob("v*_*.py")
        return max(path.name[1:].partition("_")[0] for path in versions)


THIS = Release()


@dataclass
class Deployment:
    """Running processes of one configuration. Use as `async with deployed(...) as it`."""

    folder: Path
    servers: Servers
    smsc: Smsc
    port: int
    key: str
    env: Mapping[str, str] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)
    releases: dict[str, Release] = field(default_factory=dict)

    def data(self, roles: str) -> Path:
        return self.folder / (
            "data" if self.servers.embedded else f"data-{roles.replace(',', '-')}"
        )

    def start(self, roles: str) -> None:
        """Start (again) the process of these roles, of the release that `releases` names for them."""
        release = self.releases.get(roles, THIS)
        env = {**os.environ, "SMSC_SECRET": "sandbox", "MSGCENTER__ROLES": roles}
        env |= {"BUS_URL": self.servers.rabbit, **self.env, **release.env}
        env |= {"MSGCENTER__DATA": str(self.data(roles)), "MSGCENTER__API__PORT": str(self.port)}
        log = self.logs.setdefault(roles, self.folder / f"{roles.replace(',', '-')}.log")
        with log.open("ab") as out:
            self.processes[roles] = subprocess.Popen(
                [
                    "setpriv",
                    "--pdeathsig",
                    "KILL",
                    sys.executable,
                    "-m",
                    release.module,
                    "serve",
                    "--config",
                    str(self.folder / "config"),
                ],
                cwd=release.folder,
                env=env,
                stdout=out,
                stderr=out,
            )

    def kill9(self, roles: str) -> None:
        process = self.processes[roles]
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    async def terminate(self, roles: str, seconds: float = 20.0) -> int:
        process = self.processes[roles]
        process.terminate()
        return await asyncio.to_thread(process.wait, seconds)

    def session(self) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            f"http://127.0.0.1:{self.port}", headers={"Authorization": f"Bearer {self.key}"}
        )

    async def ready(self, seconds: float = 150.0) -> None:
        """Until the API answers; then until its channels can send is the messages' own business."""
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as http:
            while True:
                for roles, process in self.processes.items():
                    if process.poll() is not None:
                        raise AssertionError(f"{roles} ended: {self.tail(roles)}")
                try:
                    async with http.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    pass
                await asyncio.sleep(0.05)

    def tail(self, roles: str, lines: int = 30) -> str:
        return "\n".join(self.logs[roles].read_text(errors="replace").splitlines()[-lines:])

    def errors(self) -> str:
        """What the processes logged as errors: the reason behind a 500."""
        lines = [
            line
            for log in self.logs.values()
            for line in log.read_text(errors="replace").splitlines()
            if '"level": "error"' in line
        ]
        return "\n".join(lines[-5:])

    def store(self) -> Store:
        """Only for production parts: the embedded file belongs to the process."""
        return Store(self.servers.store_url(self.folder / "data"), SystemClock())


@asynccontextmanager
async def deployed(
    folder: Path,
    servers: Servers,
    *,
    roles: Sequence[str] | None = None,
    callers: str = "crm: {scopes: [send, read, 'read:all', admin], categories: ['*']}\n",
    sim: Mapping[str, Any] | None = None,
    channels: str = CHANNELS,
    accounts: str = ACCOUNTS,
    policy: str = POLICY,
    key_scopes: Sequence[str] = ("send", "read", "read:all", "admin"),
    env: Mapping[str, str] | None = None,
    release: Release | None = None,
) -> AsyncIterator[Deployment]:
    """Simulator, configuration, key and processes; all ended at the end of the block. `key_scopes` empty: all of the caller's.
    `release`: what the processes run at first, this one unless it is given."""
    smsc = Smsc(Options(protocol="cmpp2", **(sim or {})), Journal())
    await smsc.start()
    config = folder / "config"
    config.mkdir(parents=True)
    data = folder / "data"
    data.mkdir()
    pepper = folder / "pepper"
    pepper.write_text(secrets.token_hex(16))
    pepper.chmod(0o600)
    (config / "msgcenter.yaml").write_text(servers.process_yaml(data, pepper))
    (config / "channels.yaml").write_text(channels.format(port=smsc.port))
    (config / "policy.yaml").write_text(policy)
    (config / "callers.yaml").write_text(callers)
    (config / "accounts.yaml").write_text(accounts)
    keyid, key, digest = make_key("test", pepper.read_bytes())
    if servers.embedded:
        place(data / "store.db")
    store = Store(servers.store_url(data), SystemClock())
    await store.open()
    revision = (release or THIS).revision
    async with store._engine(store._writer).begin() as connection:
        await connection.run_sync(lambda plain: migrate.upgrade(plain, revision))
    await store.add_key(ApiKey(keyid, "crm", "test", digest, tuple(key_scopes)))
    await store.close()
    it = Deployment(folder, servers, smsc, free_port(), key, env or {})
    try:
        for one in roles or (ALL if servers.embedded else SPLIT):
            it.releases[one] = release or THIS
            it.start(one)
        await it.ready()
        yield it
    finally:
        for process in it.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in it.processes.values():
            try:
                await asyncio.to_thread(process.wait, 15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(5)
        await smsc.stop()


async def eventually(condition: Any, seconds: float = 20.0, every: float = 0.05) -> Any:
    """Await `condition()` (async or not) until it is truthy; its value. Fails after `seconds`."""
    last: Any = None
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                last = await found if asyncio.iscoroutine(found) else found
                if last:
                    return last
                await asyncio.sleep(every)
    except TimeoutError:
        raise AssertionError(f"not within {seconds} s; last: {last!r}") from None
