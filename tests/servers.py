"""Private RabbitMQ, Redis and PostgreSQL servers for tests and bench, built from Debian's binaries,
on free ports, that die with the process that started them.

Each class is a context manager: entering starts, leaving stops and removes what lies outside
`directory`. Between the two a test may `kill9()`, `term()` / `stop()` and `start()` as often as it
likes: port, data and URL stay the same. All calls block (a start takes 0.05 s for Redis, about 1.5
s for PostgreSQL, 5 s for RabbitMQ); inside a running event loop use `await
asyncio.to_thread(server.kill9)`.

The machine's own servers on the standard ports are never touched: every path, port, cookie and port
mapper is private. Nothing outlives the test process, however it ends: the kernel kills the servers
with the thread that spawned them, and that thread lives exactly as long as this process.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.process import (
    MissingBinary,
    Process,
    ServerError,
    answer,
    find_binary,
    free_port,
)

__all__ = [
    "QUORUM_SETTLE_SECONDS",
    "MissingBinary",
    "PostgresServer",
    "RabbitNode",
    "RedisServer",
    "ServerError",
    "find_binary",
    "free_port",
]

#: A RabbitMQ 3.10 node loses a quorum queue for good when it is killed sooner than this after the
#: queue was declared.
QUORUM_SETTLE_SECONDS = 2.0


class RabbitNode(Process):
    """A one-node RabbitMQ broker with its own port mapper; `plugins` are enabled (management gets
    its own port).

    A cold start takes about 5 s. Wait `QUORUM_SETTLE_SECONDS` between declaring quorum queues and
    `kill9()`, or they are lost with their messages and wedged: a flaw of RabbitMQ 3.10, not of the
    code under test. Isolate tests by name prefixes (free) or `new_vhost()` (0.5 s).
    """

    name = "rabbitmq"

    def __init__(self, directory: Path | str, plugins: Sequence[str] = ()) -> None:
        super().__init__(directory)
        self.port, self._dist_port, self._epmd_port = free_port(), free_port(), free_port()
        self.management_port = free_port() if "rabbitmq_management" in plugins else None
        self.node = f"msgcenter{self.port}@localhost"
        self._epmd: subprocess.Popen[bytes] | None = None
        self._vhosts = 0
        home = self.directory.resolve()
        cookie = home / ".erlang.cookie"
        if not cookie.exists():
            cookie.write_text(f"{random.SystemRandom().getrandbits(128):032x}")
            cookie.chmod(0o400)
        lines = ["loopback_users.guest = true", "heartbeat = 15"]
        if self.management_port:
            lines += [
                "management.tcp.ip = 127.0.0.1",
                f"management.tcp.port = {self.management_port}",
            ]
        (home / "rabbitmq.conf").write_text("\n".join(lines) + "\n")
        (home / "enabled_plugins").write_text(f"[{','.join(plugins)}].\n")
        (home / "rabbitmq-env.conf").write_text("")
        self._env = {
            "HOME": str(home),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_ALLOW_INPUT": "1",  # makes the start script exec: our pid is the broker's
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(home / "rabbitmq-env.conf"),
            "RABBITMQ_DIST_PORT": str(self._dist_port),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(home / "generated"),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_LOG_BASE": str(home),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_NODENAME": self.node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_PID_FILE": str(home / "rabbitmq.pid"),
            "RABBITMQ_SCHEMA_DIR": str(home / "schema"),
            # No busy waiting: the schedulers would eat the few cores that the tests need.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-start_epmd false -kernel inet_dist_use_interface {127,0,0,1} "
                "+sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        }

    @property
    def url(self) -> str:
        """`amqp://` URL of the default vhost."""
        return self.vhost_url("/")

    @property
    def management_url(self) -> str:
        """`http://` URL of the management API. Raises `ServerError` without its plugin."""
        if self.management_port is None:
            raise ServerError("start this node with plugins=('rabbitmq_management',)")
        return f"http://guest:guest@127.0.0.1:{self.management_port}"

    def vhost_url(self, vhost: str) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/{'%2F' if vhost == '/' else vhost}"

    def start(self) -> Self:
        binary = find_binary("rabbitmq-server")
        if self._epmd is None or self._epmd.poll() is not None:
            self._epmd = self._spawn(
                [find_binary("epmd"), "-address", "127.0.0.1", "-port", str(self._epmd_port)],
                self._env,
            )
            self._wait_for_epmd()
        self._launch(
            [binary, "-noinput"],
            lambda: answer(self.port, b"AMQP\0\0\x09\x01")[:1] == b"\x01",
            self._env,
        )
        return self

    def term(self) -> None:
        """A clean shutdown by SIGTERM (about 1 s)."""
        self.stop()

    def close(self) -> None:
        super().close()
        if self._epmd is not None and self._epmd.poll() is None:
            self._epmd.kill()
            self._epmd.wait(10)

    def ctl(self, *args: str, timeout: float = 60) -> str:
        """`rabbitmqctl ARGS` against this node (0.5 s a call); returns its output. Raises
        `ServerError`.
        """
        return self._run(
            [find_binary("rabbitmqctl"), "-q", "-n", self.node, *args], self._env, timeout=timeout
        )

    def new_vhost(self) -> str:
        """Make an empty vhost that `guest` may use and return its URL (one call, 0.5 s: once a
        module, not a test).
        """
        self._vhosts += 1
        name = f"v{self._vhosts}"
        self.ctl(
            "eval",
            f'ok = rabbit_vhost:add(<<"{name}">>, <<"tests">>), '
            "rabbit_auth_backend_internal:set_permissions("
            f'<<"guest">>, <<"{name}">>, <<".*">>, <<".*">>, <<".*">>, <<"tests">>).',
        )
        return self.vhost_url(name)

    def _wait_for_epmd(self) -> None:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            if answer(self._epmd_port, b"\0\x01n"):  # NAMES_REQ
                return
            time.sleep(0.02)
        raise ServerError(f"epmd did not answer in 10 s\n{self.log_tail()}")


class RedisServer(Process):
    """A Redis that forgets nothing it acknowledged (AOF, fsync on every write) and never evicts, as
    the State requires.

    `settings` override or add configuration, as `{"appendfsync": "everysec", "requirepass": "…"}`.
    """

    name = "redis"
    ready_seconds = 20.0
    #: Databases 0 … databases-1 exist.
    databases = 16

    def __init__(self, directory: Path | str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.settings = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes",
            "appendfsync": "always",
            "maxmemory-policy": "noeviction",
            "databases": str(self.databases),
            **(settings or {}),
        }

    @property
    def url(self) -> str:
        """`redis://` URL of database 0."""
        return self.db_url(0)

    def db_url(self, number: int) -> str:
        return f"redis://127.0.0.1:{self.port}/{number}"

    def start(self) -> Self:
        argv = [find_binary("redis-server"), "--port", str(self.port)]
        argv += ["--dir", str(self.directory.resolve())]
        for key, value in self.settings.items():
            argv += [f"--{key}", value]
        # NOAUTH is an answer of a ready server too; LOADING is not.
        self._launch(argv, lambda: answer(self.port, b"PING\r\n")[:7] in (b"+PONG\r\n", b"-NOAUTH"))
        return self

    def flush(self, number: int) -> None:
        """Empty one database. Raises `ServerError`."""
        said = answer(self.port, f"SELECT {number}\r\nFLUSHDB\r\nECHO done\r\n".encode(), b"done")
        if not said.startswith(b"+OK\r\n+OK"):
            raise ServerError(f"redis refused to flush database {number}: {said!r}")


class PostgresServer(Process):
    """A PostgreSQL cluster with one superuser `msgcenter`, trusted on loopback; databases are made
    per test.

    PostgreSQL refuses to run as root: then it runs as Debian's user `postgres`, its data in a
    folder of its own under the system's temporary folder (a test's folder is closed to other
    users), removed by `close()`; what a killed test process left there is removed by the next
    start.
    """

    name = "postgres"
    ready_seconds = 30.0
    _PREFIX = "msgcenter-test-pg-"

    def __init__(self, directory: Path | str, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(directory)
        self.port = free_port()
        self.settings = {"max_connections": "200", **(settings or {})}
        self._user = "postgres" if os.geteuid() == 0 else None
        self._data: Path | None = None
        self._made = 0

    @property
    def url(self) -> str:
        """SQLAlchemy URL of the cluster's own database, `postgresql+asyncpg://…/postgres`."""
        return self.database_url("postgres")

    def database_url(self, name: str) -> str:
        return f"postgresql+asyncpg://msgcenter@127.0.0.1:{self.port}/{name}"

    def start(self) -> Self:
        if self._data is None:
            self._data = self._initialise()
        argv = [find_binary("postgres"), "-D", str(self._data), "-p", str(self.port)]
        argv += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        for key, value in self.settings.items():
            argv += ["-c", f"{key}={value}"]
        # The port answers while it still recovers; a line in the log says when that is over.
        began = self.log.stat().st_size if self.log.exists() else 0
        self._launch(argv, lambda: self._accepts(began), user=self._user)
        return self

    def stop(self) -> None:
        """A fast shutdown (SIGINT): running transactions are rolled back."""
        self._signal(signal.SIGINT)

    def close(self) -> None:
        super().close()
        if self._user and self._data:
            shutil.rmtree(self._data.parent, ignore_errors=True)
        self._data = None

    def sql(self, statement: str, database: str = "postgres") -> str:
        """Run one statement with psql and return its rows, fields divided by `|`. Raises
        `ServerError`.
        """
        argv = [find_binary("psql"), "-XAtq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1"]
        argv += ["-p", str(self.port), "-U", "msgcenter", "-d", database, "-c", statement]
        return self._run(argv).strip()

    def create_database(self, template: str = "template1") -> str:
        """Make a copy of database `template`, which nobody may be using; returns its URL."""
        self._made += 1
        name = f"t{self._made}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.database_url(name)

    def drop_database(self, url: str) -> None:
        """Drop what `create_database` made, closing whatever is still connected to it."""
        self.sql(f"DROP DATABASE IF EXISTS {url.rpartition('/')[2]} WITH (FORCE)")

    def _accepts(self, log_offset: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(log_offset)
            return b"ready to accept connections" in log.read()

    def _initialise(self) -> Path:
        initdb = find_binary("initdb")
        if self._user:
            self.remove_orphans()
            folder = Path(tempfile.mkdtemp(prefix=f"{self._PREFIX}{os.getpid()}-"))
            shutil.chown(folder, self._user)
        else:
            folder = self.directory.resolve()
        data = folder / "data"
        argv = [initdb, "-A", "trust", "-U", "msgcenter", "-E", "UTF8", "--locale", "C.UTF-8"]
        self._run([*argv, "--no-sync", "-D", str(data)], user=self._user)
        return data

    @classmethod
    def remove_orphans(cls) -> None:
        """Remove data folders whose owner (the process id in their name) is gone."""
        for folder in Path(tempfile.gettempdir()).glob(f"{cls._PREFIX}*"):
            owner = folder.name.removeprefix(cls._PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                shutil.rmtree(folder, ignore_errors=True)
