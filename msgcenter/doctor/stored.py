"""What is stored, as the doctor sees it: whole files, tables of this release, keys that fit the callers, work that nobody does."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from msgcenter.doctor import Finding, Look, fail, ok, warn
from msgcenter.parts import DataFolderBusy, lock_folder
from msgcenter.store import StoreError, migrate
from msgcenter.store.store import Store

KEY_AGE_DAYS = 365
"""Older keys are better changed: two keys of a caller may live at the same time for that."""
UNUSED_DAYS = 90
EXPIRES_DAYS = 14
OVERDUE_S = 60.0
"""Role schedule looks every second; what is due for longer has nobody who takes it."""
_DAY_MS = 86_400_000


def _embedded(look: Look) -> list[str]:
    process = look.process
    kinds = {"bus": process.bus.kind, "state": process.state.kind, "store": process.store.kind}
    return [name for name, kind in kinds.items() if kind == "sqlite"]


def server(look: Look) -> Iterator[Finding]:
    """Whether an embedded msgcenter runs on the data folder."""
    data: Path = look.process.data
    if not _embedded(look) or not data.is_dir():
        return
    try:
        lock_folder(data).close()
    except DataFolderBusy:
        yield ok("server", f"a msgcenter runs on {data}; `msgcenter status` shows it from inside")
    else:
        yield ok("server", f"no msgcenter runs on {data} now")


def files(look: Look) -> Iterator[Finding]:
    """The embedded databases, read through."""
    for name in _embedded(look):
        path: Path = look.process.data / f"{name}.db"
        if not path.is_file():
            continue
        try:
            faults = _faults(path, look.patience_s)
        except sqlite3.Error as error:
            faults = [str(error)]
        if faults:
            yield fail(
                "sqlite",
                f"{path} is damaged: {faults[0]}",
                "stop msgcenter, keep the file aside, and restore the last backup",
            )
        else:
            yield ok("sqlite", f"{path} reads through, {path.stat().st_size / (1 << 20):.1f} MB")


def _faults(path: Path, seconds: float) -> list[str]:
    """What `quick_check` says beyond ok; a file that is too large to be read in `seconds` is good as far as it was read."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=seconds)) as connection:
        rows: list[str] = []
        interrupted = False

        def late() -> int:
            nonlocal interrupted
            interrupted = True
            return 1

        ticks = iter(range(int(seconds * 200)))
        connection.set_progress_handler(
            lambda: 0 if next(ticks, None) is not None else late(), 1_000_000
        )
        try:
            rows = [row[0] for row in connection.execute("PRAGMA quick_check(1)") if row[0] != "ok"]
        except sqlite3.OperationalError:
            if not interrupted:
                raise
        return rows


def _store(look: Look) -> Store | None:
    """The Store to read from; None when there is none yet."""
    process = look.process
    if process.store.kind == "postgres":
        return Store(process.store.url.reveal(), look.clock, connect_s=look.patience_s)
    path = process.data / "store.db"
    return Store(f"sqlite:///{path.absolute()}", look.clock) if path.is_file() else None


async def tables(look: Look) -> AsyncIterator[Finding]:
    store = _store(look)
    if store is None:
        yield ok("store", "not made yet; the first start makes it")
        return
    try:
        await store.open()
        try:
            has, needs = await store.revision()
            newer = bool(has) and not migrate.is_known(has)
            wrong = await store.obstacles() if newer else []
        finally:
            await store.close()
    except StoreError as error:
        yield fail("store", f"cannot be read: {error}", "see the findings about its server or file")
        return
    look.tables = has == needs or (newer and not wrong)
    if has == needs:
        yield ok("store", f"tables at {has}")
    elif not has:
        yield warn("store", "has no tables yet", "start msgcenter: the first process makes them")
    elif wrong:
        yield fail(
            "store",
            f"tables are at {has}, of a newer release that this one cannot work on: {'; '.join(wrong[:3])}",
            "upgrade this machine to the newer release",
        )
    elif newer:
        yield warn(
            "store",
            f"tables are at {has}, of a newer release; this one, at {needs}, works on them",
            "finish the upgrade of this machine, or stay with this release everywhere: docs/upgrades.md",
        )
    else:
        yield fail(
            "store",
            f"tables are at {has}, this release needs {needs}",
            "start a process of this release: it migrates",
        )


async def keys(look: Look) -> AsyncIterator[Finding]:
    """Every caller that may do something has a live key; no key outlives its caller, or everybody's memory."""
    assert look.config is not None
    store = _store(look)
    if not look.tables or store is None:
        return
    await store.open()
    try:
        found = await store.list_keys()
    finally:
        await store.close()
    now = look.clock.now_ms()
    live = [
        key
        for key in found
        if not key.revoked_at and not (key.expires_at and key.expires_at <= now)
    ]
    before = len(live)
    for name, caller in look.config.callers.items():
        if caller.enabled and not any(key.caller == name for key in live):
            yield warn(
                "keys.none", f"caller {name} has no live key", f"msgcenter keys create {name}"
            )
    faulty = 0
    for key in live:
        age, idle = (
            (now - key.created_at) / _DAY_MS,
            (now - max(key.last_used_at, key.created_at)) / _DAY_MS,
        )
        revoke = f"msgcenter keys revoke {key.keyid}"
        anew = f"msgcenter keys create {key.caller}, hand it over, then {revoke}"
        faulty += 1
        if key.caller not in look.config.callers:
            yield warn(
                "keys.orphan",
                f"key {key.keyid} is of {key.caller}, whom callers.yaml does not name",
                revoke,
            )
        elif key.expires_at and key.expires_at - now < EXPIRES_DAYS * _DAY_MS:
            days = (key.expires_at - now) / _DAY_MS
            yield warn(
                "keys.expiry", f"key {key.keyid} of {key.caller} ends in {days:.0f} days", anew
            )
        elif age > KEY_AGE_DAYS:
            yield warn("keys.age", f"key {key.keyid} of {key.caller} is {age:.0f} days old", anew)
        elif idle > UNUSED_DAYS:
            yield warn(
                "keys.unused",
                f"key {key.keyid} of {key.caller} was not used for {idle:.0f} days",
                revoke,
            )
        else:
            faulty -= 1
    if before and not faulty:
        yield ok("keys", f"{before} live keys of {len({key.caller for key in live})} callers")


async def backlogs(look: Look) -> AsyncIterator[Finding]:
    """What waits for somebody: dead letters, frames nobody could read, held messages past their time."""
    store = _store(look)
    if not look.tables or store is None:
        return
    await store.open()
    try:
        dead, invalid, due = (
            await store.count_dead(),
            await store.count_invalid(),
            await store.count_due(),
        )
    finally:
        await store.close()
    if dead.count:
        yield warn(
            "backlog.dead",
            f"{dead.count} dead letters, the oldest of {_time(dead.oldest_ms)}",
            "msgcenter dead list; mend the cause, then msgcenter dead replay",
        )
    if invalid.count:
        yield warn(
            "backlog.invalid",
            f"{invalid.count} frames could not be read, the oldest of {_time(invalid.oldest_ms)}",
            "GET /v1/invalid lists them; mixed releases are the usual cause",
        )
    late = (
        (look.clock.now_ms() - due.oldest_ms) / 1000
        if due.count and due.oldest_ms is not None
        else 0.0
    )
    if late > OVERDUE_S:
        yield fail(
            "backlog.due",
            f"a held message is {late / 60:.0f} min past its time, of {due.count} that wait",
            "start a process with role schedule; if one runs, see its log",
        )
    elif not dead.count and not invalid.count:
        yield ok("backlog", f"no dead letters; {due.count} messages held, none late")


async def accounts(look: Look) -> AsyncIterator[Finding]:
    """Accounts that cannot send or receive, as their channels said last."""
    assert look.config is not None
    store = _store(look)
    if not look.tables or store is None:
        return
    await store.open()
    try:
        states = await store.account_states()
    finally:
        await store.close()
    bad = [
        row
        for name, row in states.items()
        if name in look.config.accounts and row.health in ("down", "banned")
    ]
    for row in sorted(bad, key=lambda row: row.since)[:20]:
        yield warn(
            "accounts",
            f"account {row.name} is {row.health} since {_time(row.since)}: {row.detail}",
            "log it in again at the far end; `GET /v1/accounts` shows when it is back",
        )
    if len(bad) > 20:
        yield warn(
            "accounts", f"{len(bad) - 20} more accounts are down", "GET /v1/accounts lists them"
        )
    if states and not bad:
        yield ok("accounts", f"{len(states)} known, none down")


def _time(ms: int | None) -> str:
    return (
        datetime.fromtimestamp((ms or 0) / 1000, UTC).isoformat(timespec="seconds") if ms else "-"
    )
