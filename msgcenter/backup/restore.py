"""Restore a backup: check it, put it in place of the old data (which is moved aside, never deleted), and make it safe to start.

Safe means: what waited in it may have left since and is ended as unknown; P4-P6 are paused, for opt-outs since the backup are
lost; what else is lost is listed. Everything is done to a folder beside the target, which takes its place at the very end.

One file, for these steps hold only in this order.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from msgcenter.backup import CHUNK, DATABASES, MANIFEST, BackupError, Manifest, Progress, gaps
from msgcenter.backup.gaps import Gap, Seen
from msgcenter.backup.make import TABLES, check_database
from msgcenter.backup.pending import (
    BATCH,
    Pass,
    Pending,
    Remembered,
    in_the_store,
    mark,
    on_the_bus,
    outcome,
    remembered,
)
from msgcenter.bus.sqlite import SqliteBus
from msgcenter.bus.topology import record_queue
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.parts import lock_folder, open_state
from msgcenter.pauses import Pauses, gate_of
from msgcenter.settle import RESTORED, frames, publish_frames
from msgcenter.state import State
from msgcenter.status import PENDING, derive
from msgcenter.store import migrate
from msgcenter.store.copying import Copying
from msgcenter.store.store import Store
from protocols import wire
from protocols.address import Address
from protocols.envelope import Decision, Envelope, Record
from protocols.outcome import Suppressed
from protocols.payload import Text

PAUSED_FROM = 4
"""Tiers from here on wait after a restore until somebody lets them go."""
PAUSED_BY = "restore"
PAUSED_WHY = "restored from a backup: opt-outs since then may be lost"
HELD = "held"
ORPHAN = 900
"""The attempt under which the end of a message without any carrier is told; no real one comes so far."""


@dataclass(slots=True)
class Restored:
    """What a restore did. `aside`: where the old data lies now; `config`: where the backup's configuration was put, to compare."""

    data: Path
    aside: Path | None
    report: Path
    config: Path | None
    marked: int
    unreadable: int
    gaps: Mapping[gaps.Kind, int]
    paused: tuple[str, ...]
    notes: list[str] = field(default_factory=list)


def verify(source: Path, folder: Path, progress: Progress) -> Manifest:
    """Unpack into `folder` and check everything: names, sizes, SHA-256, that the databases read through, that this release
    knows their migration. Raises BackupError, OSError."""
    try:
        with tarfile.open(source, "r:gz") as tar:
            first = tar.next()
            if first is None or first.name != MANIFEST or first.size > CHUNK * 64:
                raise BackupError(
                    f"{source}: does not begin with {MANIFEST}: not a backup of msgcenter"
                )
            manifest = Manifest.read(_content(tar, first))
            expected = {part.name: part for part in manifest.parts}
            total, done = sum(part.size for part in manifest.parts), 0
            for entry in tar:
                if entry.name == MANIFEST and entry.offset == first.offset:
                    continue
                part = expected.pop(entry.name, None)
                if part is None or not entry.isreg() or entry.size != part.size:
                    raise BackupError(
                        f"{source}: {entry.name} is not as the manifest says; take another backup"
                    )
                if _unpack(tar, entry, folder / part.name) != part.sha256:
                    raise BackupError(
                        f"{source}: {part.name} has another SHA-256 than when it was made; take another backup"
                    )
                done += part.size
                progress("checking", done, total)
            if expected:
                raise BackupError(
                    f"{source}: {', '.join(sorted(expected)[:3])} is missing; take another backup"
                )
    except (tarfile.TarError, EOFError, OSError) as error:
        if isinstance(error, FileNotFoundError | PermissionError):
            raise
        raise BackupError(
            f"{source}: cannot be read to its end ({error}); take another backup"
        ) from error
    for name in DATABASES:
        if (path := folder / "data" / f"{name}.db").is_file():
            check_database(path)
    if not migrate.is_known(manifest.revision):
        raise BackupError(
            f"{source}: its tables are at {manifest.revision} (release {manifest.release}), newer than this release's"
            f" {migrate.newest()}; restore it with that release"
        )
    return manifest


def _content(tar: tarfile.TarFile, entry: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(entry)
    return file.read() if file is not None else b""


def _unpack(tar: tarfile.TarFile, entry: tarfile.TarInfo, path: Path) -> str:
    """Write one file (mode 0600, its folders 0700) and return the SHA-256 of what was written."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    out = hashlib.sha256()
    file = tar.extractfile(entry)
    assert file is not None  # it is a regular one
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with file, os.fdopen(fd, "wb") as to:
        while data := file.read(CHUNK):
            out.update(data)
            to.write(data)
        to.flush()
        os.fsync(to.fileno())
    return out.hexdigest()


def describe(folder: Path, manifest: Manifest) -> dict[str, int]:
    """What is in a verified backup: the rows of its tables and frames of its bus."""
    found: dict[str, int] = {}
    for name, tables in (("bus", ("frame", "later")), ("state", ("cells",)), ("store", ())):
        path = folder / "data" / f"{name}.db"
        if path.is_file():
            with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
                query = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
                for table in tables or sorted(row[0] for row in db.execute(query)):
                    count = db.execute(f'SELECT count(*) FROM "{table}"').fetchone()[0]  # noqa: S608 - names of the file
                    if count and table != "alembic_version":
                        found[f"{name}.{table}"] = count
    for part in manifest.parts:
        if part.name.startswith(f"{TABLES}/") and part.size:
            with (folder / part.name).open("rb") as file:
                found[f"store.{Path(part.name).stem}"] = sum(1 for _ in file)
    return found


async def restore(
    source: Path,
    config: Config,
    *,
    replace_old: bool,
    archive: Path | None,
    clock: Clock,
    progress: Progress,
) -> Restored:
    """Raises BackupError, DataFolderBusy, OSError, StateError, StoreError; before the very last step nothing is changed
    (an embedded deployment) or what was done may be done again (servers)."""
    process = config.process
    data = process.data.resolve()
    old = data.is_dir() and any(path.name != "lock" for path in data.iterdir())
    if old and not replace_old:
        raise BackupError(
            f"{data} is not empty: name another folder (--data), or say --replace; the old one is moved aside, not deleted"
        )
    stamp = datetime.fromtimestamp(clock.now_ms() / 1000, UTC).strftime("%Y%m%dT%H%M%SZ")
    # A mounted folder cannot be renamed: then its content is.
    mounted = data.is_mount() if data.exists() else False
    home = data if mounted else data.parent
    home.mkdir(parents=True, exist_ok=True)
    async with AsyncExitStack() as stack:
        if data.is_dir():
            stack.callback(lock_folder(data).close)
        work = Path(
            stack.enter_context(
                tempfile.TemporaryDirectory(
                    prefix=".restoring-", dir=home, ignore_cleanup_errors=True
                )
            )
        )
        manifest = verify(source, work, progress)
        kinds = {"bus": process.bus.kind, "state": process.state.kind, "store": process.store.kind}
        for name in DATABASES:
            if (manifest.kinds.get(name) == "sqlite") != (
                kinds[name] == "sqlite"
            ) and name != "store":
                raise BackupError(
                    f"{name}: the backup is of {manifest.kinds.get(name)}, the configuration says {kinds[name]};"
                    " restore with the kind of the backup"
                )
        fresh = work / "data"
        fresh.mkdir(exist_ok=True, mode=0o700)
        settled = _Settling(
            config, manifest, fresh, data if old else None, archive, clock, progress
        )
        result = await settled.run(work)
        config_at = _place_files(config, manifest, work, fresh)
        report = home / f"{data.name}.restored-{stamp}.ndjson"
        _write_report(report, settled.gaps)
        aside = _swap(data, fresh, home, stamp, mounted, old)
    result = replace(result, report=report, aside=aside, config=config_at)
    if config_at is not None:
        config_at = data / config_at.relative_to(fresh)
    return replace(result, config=config_at)


class _Settling:
    """What is done to the unpacked data before it takes its place."""

    def __init__(
        self,
        config: Config,
        manifest: Manifest,
        fresh: Path,
        old: Path | None,
        archive: Path | None,
        clock: Clock,
        progress: Progress,
    ) -> None:
        self._config = config
        self._process = config.process
        self._manifest = manifest
        self._fresh = fresh
        self._old = old
        self._archive = archive
        self._clock = clock
        self._progress = progress
        self._made_at = datetime.fromtimestamp(manifest.made_at / 1000, UTC).isoformat(
            timespec="seconds"
        )
        self.gaps: list[Gap] = []

    async def run(self, work: Path) -> Restored:
        now = self._clock.now_ms()
        url = await self._store(work)
        pending = Pending()
        if (self._fresh / "bus.db").is_file():
            on_the_bus(self._fresh / "bus.db", pending)
        async with AsyncExitStack() as stack:
            copying = Copying(url, self._clock)
            stack.push_async_callback(copying.close)
            await copying.open()
            await in_the_store(copying.waiting(), now, pending)
            state_file = self._fresh / "state.db"
            known = {one.id: one for one in remembered(state_file)} if state_file.is_file() else {}
            seen = self._seen()
            state = open_state(self._config, self._clock, self._fresh)
            stack.push_async_callback(state.close)
            held = await self._held(state, pending)
            passes, gates, orphans = _chosen(pending, known, seen, held)
            self._progress("marking", 0, len(passes))
            ended = outcome(self._made_at)
            orphaned = [Pass(_stand_in(one), "submit") for one in orphans]
            await mark(state, [*passes, *orphaned], gates, ended)
            await self._tell(orphans, ended, now)
            self._progress("marking", len(passes), len(passes))
            marked = _marked(passes, gates, orphans, known)
            have = {key.message: "" for key in pending.passes}
            have |= {one.id: one.status for one in known.values()}
            rest = [id_ for id_ in seen if id_ not in have]
            have |= await copying.known_messages(rest)
            self.gaps = list(gaps.compare(seen, have, marked, self._manifest.made_at))
            paused = await self._pause(url, state)
        return Restored(
            self._process.data,
            None,
            Path(),
            None,
            len(marked),
            pending.unreadable,
            gaps.counts(self.gaps),
            paused,
            self._notes(),
        )

    async def _store(self, work: Path) -> str:
        """The restored Store's URL, its tables at this release."""
        file = self._fresh / "store.db"
        rows = work / TABLES
        embedded = self._process.store.kind == "sqlite"
        if not embedded:
            assert self._process.store.url is not None
            url = self._process.store.url.reveal()
        else:
            url = f"sqlite:///{file.absolute()}"
        revision = self._manifest.revision
        if not embedded and file.is_file():  # from embedded to a server: the file's rows
            rows.mkdir()
            origin = Copying(f"sqlite:///{file.absolute()}", self._clock)
            await origin.open()
            try:
                await origin.write_out(rows, lambda table, n: self._progress(table, n, 0))
            finally:
                await origin.close()
            file.unlink()
        store = Copying(url, self._clock, command_s=3600.0)
        await store.open()
        try:
            if rows.is_dir():
                await store.read_in(rows, revision, lambda table, n: self._progress(table, n, 0))
            else:
                await store.migrate()
        finally:
            await store.close()
        return url

    def _seen(self) -> dict[str, Seen]:
        """What is known from outside the backup: the archive, and the State that is being replaced."""
        since = self._manifest.made_at
        configured = self._process.archive.file.path
        folders = [self._archive] if self._archive is not None else []
        if self._archive is None and (self._old is not None or configured.is_absolute()):
            folders = [(self._old or self._process.data) / configured]
        if self._archive is not None and not self._archive.is_dir():
            raise BackupError(
                f"--archive {self._archive} is no folder; name that of the archive's files"
            )
        archive: dict[str, Seen] = {}
        for folder in folders:
            archive |= gaps.from_archive(folder, since)
        state: dict[str, Seen] = {}
        if self._old is not None and (self._old / "state.db").is_file():
            state = gaps.from_state(self._old / "state.db")
        return gaps.joined(archive, state)

    async def _held(self, state: State, pending: Pending) -> set[str]:
        """Messages that the newest State there is, the one that is replaced or a Redis that went on, knows to be held: what is
        held has not left."""
        if self._process.state.kind == "redis":
            ids = sorted({key.message for key, one in pending.passes.items() if one.due})
            found: set[str] = set()
            for at in range(0, len(ids), BATCH):
                some = ids[at : at + BATCH]
                snapshots = await state.get_many(some)
                known = zip(some, snapshots, strict=True)
                found |= {id_ for id_, snapshot in known if derive(snapshot) == HELD}
            return found
        if self._old is None:
            return set()
        return {
            id_
            for id_, one in gaps.from_state(self._old / "state.db").items()
            if one.status == HELD
        }

    async def _tell(self, orphans: Sequence[Remembered], ended: Suppressed, now: int) -> None:
        """Records of the end of messages that nothing carries, for callers, archive and message store."""
        if not orphans:
            return
        sealed: dict[Any, list[bytes]] = {}
        partitions = self._process.bus.partitions
        for one in orphans:
            envelope = _stand_in(one)
            record = Record(
                id=envelope.key("submit").derived("record"),
                at=now,
                pipeline="submit",
                envelope=envelope,
                outcome=ended,
                decisions=(
                    Decision("restore", RESTORED, "unknown", "nothing in the backup carries it"),
                ),
                subject=one.id,
                status="unknown",
                subject_caller=one.meta.caller,
                reference=one.meta.reference,
                final=True,
            )
            queue = record_queue(one.meta.order or one.id, partitions)
            sealed.setdefault(queue, []).append(wire.seal(record))
        bus = SqliteBus(self._fresh / "bus.db", self._clock)
        try:
            await publish_frames(
                bus, [frame for queue, some in sealed.items() for frame in frames(queue, some)]
            )
        finally:
            await bus.close()

    async def _pause(self, url: str, state: State) -> tuple[str, ...]:
        names = sorted(
            name
            for name, category in self._config.policy.categories.items()
            if int(category.tier[1]) >= PAUSED_FROM
        )
        store = Store(url, self._clock)
        await store.open()
        try:
            pauses = Pauses(state, store, self._clock)
            for name in names:
                await pauses.pause(gate_of("category", name), PAUSED_BY, PAUSED_WHY)
            await store.audit(
                PAUSED_BY,
                "restore",
                "deployment",
                {"made_at": self._manifest.made_at, "release": self._manifest.release},
                self._clock.now_ms(),
            )
        finally:
            await store.close()
        return tuple(names)

    def _notes(self) -> list[str]:
        notes = []
        if self._process.bus.kind == "rabbit":
            notes.append("RabbitMQ was not restored: what its queues hold is worked as it is")
        if self._process.state.kind == "redis":
            notes.append(
                "Redis was not restored: what was handed out before a loss of it ends as unknown"
            )
        if self._old is None and self._archive is None:
            notes.append(
                "no old data and no --archive: what was accepted after the backup cannot be listed"
            )
        return notes


def _chosen(
    pending: Pending,
    known: Mapping[str, Remembered],
    seen: Mapping[str, Seen],
    held: Collection[str],
) -> tuple[list[Pass], list[str], list[Remembered]]:
    """(passes that may have left, messages to gate beside them, messages that nothing carries).

    A pass that waits for a time that is not yet cannot have left, unless somebody knows that its message went on, or it may have
    been let out early and nobody knows that it is `held` still.
    """
    moved = {id_ for id_, one in seen.items() if one.status and one.status not in PENDING}
    passes = [
        one
        for key, one in pending.passes.items()
        if not one.due
        or (one.early and key.message not in held)
        or key.message in moved
        or (key.message in known and known[key.message].open_plan)
    ]
    plans = [one.id for one in known.values() if one.open_plan]
    carried = {key.message for key in pending.passes} | set(plans)
    orphans = [one for one in known.values() if one.status in PENDING and one.id not in carried]
    return passes, plans, orphans


def _marked(
    passes: Iterable[Pass],
    plans: Iterable[str],
    orphans: Iterable[Remembered],
    known: Mapping[str, Remembered],
) -> dict[str, Seen]:
    """Message -> how the backup knew it, of those that were pending: what had its end in State has it still."""
    out: dict[str, Seen] = {}
    for one in passes:
        e = one.envelope
        had = known.get(e.id)
        if had is None or had.status in PENDING:
            out[e.id] = Seen(
                e.id, e.created_at, "", "backup", "outbound", e.caller, str(e.to), e.category,
                e.reference, e.created_at,
            )  # fmt: skip
    for had in [*orphans, *(known[id_] for id_ in plans)]:
        m = had.meta
        out[had.id] = Seen(
            had.id, m.created_at, "", "backup", "outbound", m.caller, m.to, m.category,
            m.reference, m.created_at,
        )  # fmt: skip
    return out


def _stand_in(one: Remembered) -> Envelope:
    """An envelope for the end of a message of which only State knows; its content is not known."""
    meta = one.meta
    return Envelope(
        id=one.id,
        caller=meta.caller,
        to=Address.parse(meta.to),
        category=meta.category,
        tier=0,
        payload=Text(""),
        created_at=meta.created_at,
        channels=meta.channels,
        account=meta.account,
        campaign=meta.campaign,
        reference=meta.reference,
        attempt=ORPHAN,
    )


def _place_files(config: Config, manifest: Manifest, work: Path, fresh: Path) -> Path | None:
    """Configuration, archive and media to where the restored folder has them; where the configuration is, inside `fresh`."""
    process = config.process
    for name, path in (("archive", process.archive.file.path), ("media", process.media.path)):
        if (work / name).is_dir():
            target = fresh / (name if path.is_absolute() else path)
            target.parent.mkdir(parents=True, exist_ok=True)
            (work / name).rename(target)
    if not (work / "config").is_dir():
        return None
    at = fresh / (manifest.config_in_data or "config-of-the-backup")
    at.parent.mkdir(parents=True, exist_ok=True)
    (work / "config").rename(at)
    return at


def _write_report(path: Path, found: Sequence[Gap]) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        for gap in found:
            file.write(json.dumps(gap.as_dict(), ensure_ascii=False) + "\n")
        file.flush()
        os.fsync(file.fileno())


def _swap(data: Path, fresh: Path, home: Path, stamp: str, mounted: bool, old: bool) -> Path | None:
    """Put `fresh` where `data` is; what was there goes aside. Returns where to."""
    if not mounted:
        aside = home / f"{data.name}.before-restore-{stamp}"
        if data.is_dir():
            data.rename(aside)
        fresh.rename(data)
        if not old and aside.is_dir():
            shutil.rmtree(aside)  # it held a lock file and nothing else
            return None
        return aside if old else None
    aside = data / f"before-restore-{stamp}"
    aside.mkdir(mode=0o700)
    for path in list(data.iterdir()):
        if (
            path not in (aside, fresh.parent)
            and path.name != "lock"
            and ".restored-" not in path.name
        ):
            path.rename(aside / path.name)
    for path in list(fresh.iterdir()):
        path.rename(data / path.name)
    return aside
