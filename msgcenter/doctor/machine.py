"""The machine under this process: interpreter, XML parser, open files, data folder, disk."""

from __future__ import annotations

import os
import pyexpat
import resource
import shutil
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from msgcenter.doctor import Finding, Look, fail, ok, warn

OLDEST_EXPAT = (2, 4, 1)
"""From here on expat stops entity bombs by itself (reference: its change log, CVE-2013-0340)."""
FILES = 4096
"""Open files: each connection to a carrier, callback and console is one."""
LOW, SCANT = 2 << 30, 10 << 30
"""Octets free on the disk of the data folder: fail below the first, warn below the second. RabbitMQ's own default stops
publishers at 50 MB, too late for a spool and an archive beside it."""


def runtime(_: Look) -> Iterator[Finding]:
    yield ok("python", f"{sys.version.split()[0]} on {sys.platform}")
    if pyexpat.version_info < OLDEST_EXPAT:
        yield fail(
            "python.expat",
            f"expat {'.'.join(map(str, pyexpat.version_info))} lets an XML bomb through",
            f"install Python with expat {'.'.join(map(str, OLDEST_EXPAT))} or newer",
        )
    try:
        ZoneInfo("Asia/Shanghai")
    except ZoneInfoNotFoundError:
        yield fail(
            "python.zones",
            "there is no time zone data: quiet hours cannot be computed",
            "install tzdata (apt-get install tzdata)",
        )


def limits(_: Look) -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= FILES:
        yield ok("limits.files", f"{soft} files may be open")
        return
    yield warn(
        "limits.files",
        f"only {soft} files may be open (hard limit {hard})",
        f"raise it to {FILES}: LimitNOFILE={FILES} in the systemd unit, or `ulimit -n {FILES}`",
    )


def data(look: Look) -> Iterator[Finding]:
    """The data folder is there, ours and nobody else's; a folder that is not made yet is made at the first start."""
    folder: Path = look.process.data
    if not folder.exists():
        parent = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        if os.access(parent, os.W_OK | os.X_OK):
            yield ok("data", f"{folder} does not exist yet; the first start makes it")
        else:
            yield fail("data", f"{folder} cannot be made in {parent}", f"chown {parent}, or --data")
        return
    if not folder.is_dir():
        yield fail("data", f"{folder} is not a folder", "set `data` in msgcenter.yaml to a folder")
        return
    if not os.access(folder, os.W_OK | os.X_OK):
        yield fail(
            "data",
            f"{folder} cannot be written by uid {os.geteuid()}",
            f"chown {os.geteuid()} {folder}",
        )
        return
    mode = folder.stat().st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield warn(
            "data",
            f"{folder} can be written by others (mode {stat.S_IMODE(mode):04o})",
            f"chmod go-w {folder}",
        )
        return
    yield ok("data", f"{folder} is ours")


def disk(look: Look) -> Iterator[Finding]:
    """Free space under the data folder and the media folder."""
    process = look.process
    for name, folder in (("data", process.data), ("media", process.data / process.media.path)):
        there = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.exists())
        space = shutil.disk_usage(there)
        said = f"{_octets(space.free)} of {_octets(space.total)} free under {there}"
        remedy = "make room, or move `data` (and `media.path`) to a larger disk"
        if space.free < LOW:
            yield fail(f"disk.{name}", said, remedy)
        elif space.free < SCANT:
            yield warn(f"disk.{name}", said, remedy)
        else:
            yield ok(f"disk.{name}", said)


def _octets(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB"
