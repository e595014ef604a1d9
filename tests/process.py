"""A server process of a test: finds its binary and port, spawns it so that it dies with us, awaits
its answer, ends it.
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

#: Debian package and binary of each server; `tests/provision.py` installs what is missing.
BINARIES = {
    "rabbitmq-server": ("rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    "rabbitmqctl": ("rabbitmq-server", "/usr/lib/rabbitmq/bin"),
    "epmd": ("erlang-base", "/usr/bin"),
    "redis-server": ("redis-server", "/usr/bin"),
    "initdb": ("postgresql", "/usr/lib/postgresql/*/bin"),
    "postgres": ("postgresql", "/usr/lib/postgresql/*/bin"),
    "psql": ("postgresql", "/usr/lib/postgresql/*/bin"),
    "prometheus": ("prometheus", "/usr/bin"),
    "promtool": ("prometheus", "/usr/bin"),
    "systemd-analyze": ("systemd", "/usr/bin"),
}

# The kernel sends the death signal when the spawning *thread* ends, so one thread that never ends
# does all spawning.
_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="servers-spawn")
_reservations: list[socket.socket] = []


class ServerError(Exception):
    """A private server could not be started, stopped or asked; the text ends with the tail of its
    log.
    """


class MissingBinary(ServerError):
    """`binary` is not installed; `package` is the Debian package that has it."""

    def __init__(self, binary: str, package: str) -> None:
        super().__init__(f"{binary} is not installed (Debian package {package})")
        self.binary = binary
        self.package = package


def find_binary(name: str) -> str:
    """Path of an installed server binary, newest version first. Raises `MissingBinary`."""
    package, folder = BINARIES[name]
    if "*" in folder:
        root, _, rest = folder.partition("*")
        versions = sorted(
            (p for p in Path(root).glob("*") if p.name.isdigit()),
            key=lambda p: int(p.name),
            reverse=True,
        )
        candidates = [p / rest.lstrip("/") / name for p in versions]
    else:
        candidates = [Path(folder) / name]
    for path in candidates:
        if os.access(path, os.X_OK):
            return str(path)
    if found := shutil.which(name):
        return found
    raise MissingBinary(name, package)


def free_port() -> int:
    """A TCP port that is free now and that no other caller of this function on this machine will
    get while we live.

    Chosen below the kernel's ephemeral range, so that no outgoing connection takes it while its
    server is down, and reserved by a name in the abstract socket namespace, which the kernel frees
    with the process. Raises `ServerError`.
    """
    ports = list(range(20_000, 32_000))
    random.shuffle(ports)
    for port in ports:
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0msgcenter-test-port-{port}")
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.bind(("", port))
        except OSError:
            name.close()
            continue
        _reservations.append(name)
        return port
    raise ServerError("no free TCP port between 20000 and 31999")


class Process:
    """One server process in its own session, its output appended to `log`; the base of the three
    servers.
    """

    #: Used in messages.
    name = "process"
    #: Seconds until a started server must answer.
    ready_seconds = 60.0

    def __init__(self, directory: Path | str) -> None:
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.log = self.directory / f"{self.name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Process id of the running server. Raises `ServerError` if it was never started."""
        if self.process is None:
            raise ServerError(f"{self.name} was never started")
        return self.process.pid

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> Self:
        """Start (again, on the same data and port), wait for an answer. Raises `ServerError`."""
        raise NotImplementedError

    def kill9(self) -> None:
        """SIGKILL to the server and its children; returns when it is gone."""
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        """A clean shutdown; data stays for the next `start`. Raises `ServerError` if it does not
        end in 30 s.
        """
        self._signal(signal.SIGTERM)

    def close(self) -> None:
        """End it the quick way; safe to call at any time, also twice."""
        self.kill9()

    def log_tail(self, size: int = 3000) -> str:
        """The last `size` characters of the log."""
        if not self.log.exists():
            return "(no log)"
        return self.log.read_text(errors="replace")[-size:]

    def _signal(self, number: int) -> None:
        process = self.process
        if process is None or process.poll() is not None:
            return
        os.killpg(process.pid, number)  # each server leads its own process group
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
            if number != signal.SIGKILL:
                raise ServerError(
                    f"{self.name} ignored signal {number} for 30 s\n{self.log_tail()}"
                ) from None

    def _spawn(
        self, argv: Sequence[str], env: Mapping[str, str] | None = None, user: str | None = None
    ) -> subprocess.Popen[bytes]:
        """Run `argv` in the background; as `user` (name) when given. Output goes to the log.

        `setpriv` (of util-linux, on every Debian) asks for the death signal and becomes `argv`:
        the process id is the server's own.
        """
        uid, gid, groups = _identity(user)
        with self.log.open("ab") as log:

            def spawn() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=_environment(env),
                    cwd="/",
                    start_new_session=True,
                    user=uid,
                    group=gid,
                    extra_groups=groups,
                )

            return _spawner.submit(spawn).result(30)

    def _launch(
        self,
        argv: Sequence[str],
        ready: Callable[[], bool],
        env: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> None:
        """Spawn, remember, and poll `ready` until it is true. Raises `ServerError` with the log's
        tail.
        """
        if self.running:
            raise ServerError(f"{self.name} is already running")
        self.process = self._spawn(argv, env, user)
        deadline = time.monotonic() + self.ready_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise ServerError(
                    f"{self.name} ended with {self.process.returncode} at start\n{self.log_tail()}"
                )
            if ready():
                return
            time.sleep(0.02)
        self.kill9()
        raise ServerError(
            f"{self.name} did not answer in {self.ready_seconds:.0f} s\n{self.log_tail()}"
        )

    def _run(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        timeout: float = 60,
    ) -> str:
        """Run a short command to its end and return its output. Raises `ServerError` with what it
        printed.
        """
        uid, gid, groups = _identity(user)
        try:
            done = subprocess.run(
                list(argv),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                env=_environment(env),
                cwd="/",
                timeout=timeout,
                check=False,
                text=True,
                user=uid,
                group=gid,
                extra_groups=groups,
            )
        except subprocess.TimeoutExpired:
            raise ServerError(f"{argv[0]} took over {timeout:.0f} s\n{self.log_tail()}") from None
        if done.returncode:
            said = f"{done.stderr.strip()} {done.stdout.strip()}"
            raise ServerError(f"{' '.join(argv[:4])} … ended with {done.returncode}: {said}")
        return done.stdout


def _environment(extra: Mapping[str, str] | None) -> dict[str, str]:
    """A small environment: nothing that the caller's shell says about RabbitMQ, Erlang or
    PostgreSQL leaks in.
    """
    path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LANG": "C.UTF-8", "HOME": "/", **(extra or {})}


def _identity(user: str | None) -> tuple[int | None, int | None, list[int] | None]:
    """User, group and further groups to run as; all None to stay who we are."""
    if user is None:
        return None, None, None
    account = pwd.getpwnam(user)
    return account.pw_uid, account.pw_gid, []


def answer(port: int, question: bytes, until: bytes = b"") -> bytes:
    """What a server on loopback says to `question`: its first piece, or all up to `until`.

    Empty or cut short when it refuses, hangs up or falls silent for a second.
    """
    said = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as link:
            link.sendall(question)
            while piece := link.recv(4096):
                said += piece
                if until in said:
                    break
    except OSError:
        pass
    return said
