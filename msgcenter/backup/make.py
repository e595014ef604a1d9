"""Make a backup: configuration, secrets of the data folder, then bus, state and store in this order, as one checked tar.gz.

The embedded databases are copied by SQLite's online backup inside one read transaction each, so a server may run and write
meanwhile. A PostgreSQL Store is written out as rows; RabbitMQ and Redis have tools of their own (docs/upgrades.md).
"""

from __future__ import annotations

import io
import os
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

from msgcenter.api.auth import pepper_of
from msgcenter.backup import DATABASES, MANIFEST, BackupError, Manifest, Part, Progress, digest
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.store.copying import Copying

PAGES = 2_000
"""Pages copied between two words on progress."""
SMALL = 64 * 1024
"""Larger files of the data folder's top are no secrets."""
_NOT_KEPT = ("lock", ".lock", ".log", ".db", ".db-wal", ".db-shm")
TABLES = "tables"
"""The folder of a Store's rows inside the backup."""


async def make(
    config: Config,
    target: Path,
    *,
    release: str,
    clock: Clock,
    archive: bool = False,
    media: bool = False,
    progress: Progress,
) -> Manifest:
    """Write the backup to `target` (mode 0600), whole or not at all. Raises BackupError, OSError, StoreError, ValueError
    (pepper)."""
    process = config.process
    _place_for(target)
    made_at = clock.now_ms()
    kinds: dict[str, str] = {
        "bus": process.bus.kind,
        "state": process.state.kind,
        "store": process.store.kind,
    }
    found: list[tuple[str, Path, int]] = []
    for path in _files(config.directory):
        _take(found, f"config/{path.relative_to(config.directory or path).as_posix()}", path)
    inside = _inside(config.directory, process.data)
    for path in _small(process.data):
        _take(found, f"data/{path.name}", path)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=target.parent) as temporary:
        staged = Path(temporary)
        if not any(name == "data/pepper" for name, *_ in found):
            pepper = staged / "pepper"
            pepper.write_bytes(pepper_of(config))
            _take(found, "data/pepper", pepper)
        revision = ""
        for name in DATABASES:
            if kinds[name] == "sqlite":
                copy = staged / f"{name}.db"
                copy_database(process.data / f"{name}.db", copy, progress)
                if name == "store":
                    revision = _revision(copy)
                _take(found, f"data/{name}.db", copy)
        if kinds["store"] == "postgres":
            assert process.store.url is not None
            rows = staged / TABLES
            rows.mkdir()
            store = Copying(process.store.url.reveal(), clock)
            await store.open()
            try:
                revision = await store.write_out(rows, lambda table, n: progress(table, n, 0))
            finally:
                await store.close()
            for path in sorted(rows.iterdir()):
                _take(found, f"{TABLES}/{path.name}", path)
        for wanted, name, folder in (
            (archive, "archive", process.data / process.archive.file.path),
            (media, "media", process.data / process.media.path),
        ):
            if wanted:
                for path in _files(folder):
                    _take(found, f"{name}/{path.relative_to(folder).as_posix()}", path)
        parts = tuple(_parts(found, progress))
        manifest = Manifest(release, made_at, revision, kinds, inside, parts)
        _pack(target, manifest, {name: path for name, path, _ in found}, progress)
    return manifest


def _place_for(target: Path) -> None:
    if target.exists():
        raise BackupError(f"{target} is there already; name another file, or remove it first")
    if not target.parent.is_dir():
        raise BackupError(f"{target.parent} is no folder; make it first")


def copy_database(source: Path, target: Path, progress: Progress) -> None:
    """A consistent copy of a database that others may be writing, in one file, read through. Raises BackupError."""
    if not source.is_file():
        raise BackupError(
            f"{source} is not there: name the data folder (--data), or start msgcenter once"
        )
    try:
        with (
            closing(sqlite3.connect(f"file:{source}?mode=ro", uri=True, timeout=10.0)) as origin,
            closing(sqlite3.connect(target)) as copy,
        ):
            target.chmod(0o600)
            # Inside a read transaction the source stands still for us: its writers go on, and the copy never starts again.
            origin.isolation_level = None
            origin.execute("BEGIN")
            origin.execute("SELECT count(*) FROM sqlite_master").fetchone()
            origin.backup(
                copy,
                pages=PAGES,
                progress=lambda _, left, all_: progress(source.name, all_ - left, all_),
            )
            copy.execute("PRAGMA journal_mode=DELETE")
        check_database(target)
    except sqlite3.Error as error:
        raise BackupError(f"{source}: {error}; `msgcenter doctor` looks at it") from error


def check_database(path: Path) -> None:
    """Raises BackupError when it does not read through."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            faults = [row[0] for row in connection.execute("PRAGMA quick_check(3)")]
        except sqlite3.Error as error:
            faults = [str(error)]
    if faults != ["ok"]:
        raise BackupError(f"{path.name} is damaged: {faults[0]}; take another backup")


def _revision(path: Path) -> str:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        try:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.OperationalError:
            return ""
    return str(row[0]) if row else ""


def _files(folder: Path | None) -> Iterator[Path]:
    """All files below a folder, sorted; none when there is no such folder."""
    if folder is not None and folder.is_dir():
        yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _small(data: Path) -> Iterator[Path]:
    """Secrets and settings at the top of the data folder."""
    if data.is_dir():
        for path in sorted(data.iterdir()):
            if (
                path.is_file()
                and path.stat().st_size <= SMALL
                and not path.name.endswith(_NOT_KEPT)
            ):
                yield path


def _inside(folder: Path | None, data: Path) -> str:
    if folder is None or not folder.resolve().is_relative_to(data.resolve()):
        return ""
    return folder.resolve().relative_to(data.resolve()).as_posix()


def _take(found: list[tuple[str, Path, int]], name: str, path: Path) -> None:
    """Note a file with its size of now; what is appended later is not of this backup."""
    with suppress(
        FileNotFoundError
    ):  # gone between listing and looking, as a served media file may be
        found.append((name, path, path.stat().st_size))


def _parts(found: list[tuple[str, Path, int]], progress: Progress) -> Iterator[Part]:
    total, done = sum(size for *_, size in found), 0
    for name, path, size in found:
        try:
            yield Part(name, size, digest(path, size))
        except (FileNotFoundError, EOFError) as error:
            raise BackupError(f"{path} changed while it was read: {error}; run it again") from error
        done += size
        progress("checksums", done, total)


def _pack(target: Path, manifest: Manifest, paths: dict[str, Path], progress: Progress) -> None:
    partial = target.with_name(f".{target.name}.partial")
    partial.unlink(missing_ok=True)
    total, done = sum(part.size for part in manifest.parts), 0
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as raw:
            with tarfile.open(fileobj=raw, mode="w:gz", compresslevel=6) as tar:
                _add(tar, MANIFEST, io.BytesIO(said := manifest.as_json()), len(said), manifest)
                for part in manifest.parts:
                    with paths[part.name].open("rb") as file:
                        _add(tar, part.name, file, part.size, manifest)
                    done += part.size
                    progress("packing", done, total)
            raw.flush()
            os.fsync(raw.fileno())
        os.link(partial, target)  # unlike a rename it never replaces another's file
    except FileExistsError as error:
        raise BackupError(f"{target} is there already; name another file") from error
    finally:
        partial.unlink(missing_ok=True)


def _add(
    tar: tarfile.TarFile, name: str, file: io.BufferedIOBase, size: int, manifest: Manifest
) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = size, 0o600, manifest.made_at // 1000
    tar.addfile(entry, file)
