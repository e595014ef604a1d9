"""Sees to it that the real servers' binaries are there: installs the missing Debian packages when
it may, else says why not.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import MissingBinary, find_binary

#: Binaries behind each fixture.
NEEDS = {
    "rabbit": ("rabbitmq-server", "rabbitmqctl", "epmd"),
    "redis": ("redis-server",),
    "postgres": ("initdb", "postgres", "psql"),
    "prometheus": ("prometheus", "promtool"),
    "systemd": ("systemd-analyze",),
}

_POLICY = Path("/usr/sbin/policy-rc.d")
_OURS = "#!/bin/sh\n# msgcenter tests: install packages without starting their services\nexit 101\n"
_LOCK = Path("/var/lock/msgcenter-test-provision")
_UPDATE_SECONDS = 120
_INSTALL_SECONDS = 300


def missing_packages(needs: Iterable[str]) -> list[str]:
    """Debian packages whose binaries are not there, without repeats."""
    packages: dict[str, None] = {}
    for binary in needs:
        try:
            find_binary(binary)
        except MissingBinary as missing:
            packages[missing.package] = None
    return list(packages)


def provide(server: str) -> str | None:
    """Make the binaries of `server` (a key of `NEEDS`) available; the reason when that is not
    possible, else None.
    """
    packages = missing_packages(NEEDS[server])
    if not packages:
        return None
    wish = f"{server} needs: apt-get install {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        return f"{wish} (no apt-get on this machine)"
    if os.geteuid() != 0:
        return f"{wish} (not root)"
    with _LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # All servers' packages at once: the second fixture then has nothing to wait for.
        packages = missing_packages([binary for needs in NEEDS.values() for binary in needs])
        if packages:
            print(f"\ninstalling {' '.join(packages)} …", flush=True)
            if reason := _install(packages):
                return f"{wish} ({reason})"
    left = missing_packages(NEEDS[server])
    return f"{wish} (installed, yet not found: {' '.join(left)})" if left else None


def _install(packages: list[str]) -> str | None:
    """apt-get update and install; the reason it failed, else None."""
    steps = (
        (["apt-get", "-qq", "update"], _UPDATE_SECONDS),
        (
            ["apt-get", "-qq", "install", "-y", "--no-install-recommends", *packages],
            _INSTALL_SECONDS,
        ),
    )
    with _services_stay_down(_POLICY):
        for argv, seconds in steps:
            try:
                done = subprocess.run(
                    argv,
                    stdin=subprocess.DEVNULL,
                    capture_output=True,
                    env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
                    timeout=seconds,
                    check=False,
                    text=True,
                )
            except subprocess.TimeoutExpired:
                return f"{' '.join(argv[:3])} took more than {seconds} s"
            if done.returncode:
                return f"{' '.join(argv[:3])} failed: {done.stderr.strip()[-500:]}"
    return None


@contextmanager
def _services_stay_down(policy: Path) -> Iterator[None]:
    """Let no package start its service meanwhile (Debian's policy-rc.d), then put the machine's own
    policy back.
    """
    before = policy.read_text() if policy.exists() else None
    mode = policy.stat().st_mode if before is not None else 0
    if before == _OURS:  # left by a run that was killed
        before = None
    policy.write_text(_OURS)
    policy.chmod(0o755)
    try:
        yield
    finally:
        if before is None:
            policy.unlink(missing_ok=True)
        else:
            policy.write_text(before)
            policy.chmod(mode & 0o7777)
