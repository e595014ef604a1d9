"""Doctor: each planted fault is named with its remedy, and a sound set-up has none."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

import aiormq
import asyncpg
import pytest
from typer.testing import CliRunner

from msgcenter.bus import Queue
from msgcenter.bus.rabbit.topology import Names
from msgcenter.cli.config import installed_settings
from msgcenter.cli.doctor import app
from msgcenter.clock import Clock, ManualClock, SystemClock
from msgcenter.config import ConfigErrors, load
from msgcenter.doctor import Finding, Look, examine, machine
from msgcenter.store import ApiKey, DeadRow, DueRow
from msgcenter.store.store import Store
from tests.servers import RabbitNode, RedisServer

DAY = 86_400_000
ENV = {"RABBIT_PASSWORD": "guest"}


def hidden(url: str) -> str:
    """The broker's URL as a file may hold it."""
    return url.replace(":guest@", ":${env:RABBIT_PASSWORD}@")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small sound set-up, embedded."""
    folder = tmp_path / "config"
    folder.mkdir()
    (tmp_path / "data").mkdir(mode=0o700)
    (folder / "msgcenter.yaml").write_text(f"data: {tmp_path / 'data'}\n")
    (folder / "callers.yaml").write_text("crm: {scopes: [send, read], categories: ['*']}\n")
    (folder / "channels.yaml").write_text("nowhere: {kind: devnull}\n")
    return folder


async def findings(folder: Path, clock: Clock | None = None) -> list[Finding]:
    clock = clock or SystemClock()
    config, errors = None, None
    try:
        config = load(folder, settings_models=installed_settings(), env=ENV, clock=clock)
    except ConfigErrors as error:
        errors = error
    return [each async for each in examine(Look(folder, ENV, config, errors, clock, 3.0))]


async def named(folder: Path, check: str, clock: Clock | None = None) -> Finding:
    """The one finding of `check` that is not ok."""
    bad = [f for f in await findings(folder, clock) if f.check == check and f.level != "ok"]
    assert len(bad) == 1, bad
    assert bad[0].remedy
    return bad[0]


async def stored(folder: Path, *keys: ApiKey) -> Store:
    """The embedded Store with these keys; the caller closes it."""
    store = Store(f"sqlite:///{folder.parent / 'data' / 'store.db'}", SystemClock())
    await store.open()
    await store.migrate()
    for key in keys:
        await store.add_key(key)
    return store


def key(**more: object) -> ApiKey:
    now = SystemClock().now_ms()
    return ApiKey(
        **{"keyid": "k1", "caller": "crm", "name": "", "hash": "x", "created_at": now} | more
    )  # type: ignore[arg-type]


async def test_nothing_fails_in_a_sound_set_up(folder: Path) -> None:
    store = await stored(folder, key())
    await store.close()
    found = await findings(folder)
    assert not [f for f in found if f.level == "fail"]
    assert {"config", "python", "data", "sqlite", "store", "keys", "backlog"} <= {
        f.check for f in found if f.level == "ok"
    }


async def test_a_misspelt_setting(folder: Path) -> None:
    with (folder / "msgcenter.yaml").open("a") as file:
        file.write("rolls: [api]\n")
    found = await named(folder, "config")
    assert "rolls" in found.said
    assert "roles" in found.remedy


async def test_a_pepper_that_others_can_read(folder: Path) -> None:
    pepper = folder.parent / "data" / "pepper"
    pepper.write_bytes(b"x" * 32)
    pepper.chmod(0o644)
    found = await named(folder, "secrets.pepper")
    assert found.level == "fail"
    assert f"chmod 600 {pepper}" in found.remedy


async def test_a_data_folder_that_others_can_write(folder: Path) -> None:
    data = folder.parent / "data"
    data.chmod(0o777)
    assert f"chmod go-w {data}" in (await named(folder, "data")).remedy


async def test_a_data_folder_that_is_a_file(folder: Path) -> None:
    data = folder.parent / "data"
    data.rmdir()
    data.write_text("")
    assert (await named(folder, "data")).level == "fail"


async def test_a_disk_that_is_nearly_full(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOW", 1 << 60)
    assert "free under" in (await named(folder, "disk.data")).said


async def test_too_few_open_files(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "FILES", 1 << 40)
    assert "LimitNOFILE" in (await named(folder, "limits.files")).remedy


async def test_a_year_whose_holidays_nobody_named(folder: Path) -> None:
    clock = ManualClock(SystemClock().now_ms() + 20 * 365 * DAY)
    assert "holidays.yaml" in (await named(folder, "config.holidays", clock)).remedy


async def test_a_damaged_database(folder: Path) -> None:
    store = await stored(folder)
    await store.close()
    path = folder.parent / "data" / "store.db"
    octets = bytearray(path.read_bytes())
    octets[4096 : 4096 * 4] = b"\xa5" * (4096 * 3)
    path.write_bytes(octets)
    found = [f for f in await findings(folder) if f.check == "sqlite"]
    assert [f.level for f in found] == ["fail"]
    assert "backup" in found[0].remedy


async def test_tables_of_another_release(folder: Path) -> None:
    store = await stored(folder)
    await store.close()
    with sqlite3.connect(folder.parent / "data" / "store.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0099'")
    found = await named(folder, "store")
    assert found.level == "warn"  # as in the middle of an upgrade: this release works on them
    assert "0099" in found.said
    with sqlite3.connect(folder.parent / "data" / "store.db") as connection:
        connection.execute("ALTER TABLE media DROP COLUMN name")
    found = await named(folder, "store")
    assert found.level == "fail"
    assert "media.name is gone" in found.said
    assert "upgrade this machine" in found.remedy


async def test_tables_of_an_older_release(folder: Path) -> None:
    store = await stored(folder)
    await store.close()
    with sqlite3.connect(folder.parent / "data" / "store.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    assert "it migrates" in (await named(folder, "store")).remedy


@pytest.mark.parametrize(
    ("made", "check", "remedy"),
    [
        (lambda now: [], "keys.none", "keys create crm"),
        (lambda now: [key(revoked_at=now)], "keys.none", "keys create crm"),
        (lambda now: [key(), key(keyid="k2", caller="gone")], "keys.orphan", "keys revoke k2"),
        (lambda now: [key(expires_at=now + 3 * DAY)], "keys.expiry", "keys create crm"),
        (lambda now: [key(created_at=now - 400 * DAY, last_used_at=now)], "keys.age", "keys create crm"),
        (lambda now: [key(created_at=now - 100 * DAY)], "keys.unused", "keys revoke k1"),
    ],
)  # fmt: skip
async def test_keys_that_need_care(
    folder: Path, made: Callable[[int], list[ApiKey]], check: str, remedy: str
) -> None:
    store = await stored(folder, *made(SystemClock().now_ms()))
    await store.close()
    assert remedy in (await named(folder, check)).remedy


async def test_work_that_nobody_does(folder: Path) -> None:
    now = SystemClock().now_ms()
    store = await stored(folder)
    await store.hold([DueRow("due_1", now - 600_000, b"x", "msg_1")])
    await store.add_dead([DeadRow("dead_1", "msg_2", "crm", "nowhere", "boom", "x", now, b"x")])
    await store.close()
    assert "role schedule" in (await named(folder, "backlog.due")).remedy
    assert "dead replay" in (await named(folder, "backlog.dead")).remedy


# -- servers -------------------------------------------------------------------------------------


def with_redis(folder: Path, url: str) -> None:
    with (folder / "msgcenter.yaml").open("a") as file:
        file.write(f"state: {{kind: redis, url: '{url}'}}\n")


async def test_a_redis_that_is_away(folder: Path) -> None:
    with_redis(folder, "redis://127.0.0.1:1/0")
    assert "redis-cli ping" in (await named(folder, "redis")).remedy


async def test_a_redis_that_forgets(folder: Path, own_redis: RedisServer) -> None:
    with_redis(folder, own_redis.url)
    assert not [f for f in await findings(folder) if f.level == "fail"]
    own_redis.stop()
    own_redis.settings |= {"maxmemory-policy": "allkeys-lru", "appendfsync": "no"}
    own_redis.start()
    found = await named(folder, "redis.policy")
    assert "maxmemory-policy is allkeys-lru" in found.said
    assert "appendfsync is no" in found.said
    assert "CONFIG SET" in found.said


async def test_clocks_that_differ(folder: Path, redis_url: str) -> None:
    with_redis(folder, redis_url)
    clock = ManualClock(SystemClock().now_ms() + 3_600_000)
    found = await named(folder, "clock.redis", clock)
    assert "behind ours" in found.said
    assert "chrony" in found.remedy


async def test_a_queue_with_other_arguments(folder: Path, rabbit_url: str, prefix: str) -> None:
    name = prefix.strip("_")
    with (folder / "msgcenter.yaml").open("a") as file:
        file.write(f"bus: {{kind: rabbit, url: '{hidden(rabbit_url)}', prefix: {name}}}\n")
    found = await named(folder, "rabbit.queues")
    assert found.level == "warn"  # never started: none exists
    wrong = Names(name).queue(Queue("submit", "urgent"))
    connection = await aiormq.connect(rabbit_url)
    channel = await connection.channel()
    await channel.queue_declare(wrong, durable=True)
    await connection.close()
    bad = [f for f in await findings(folder) if f.check == "rabbit.queues" and f.level == "fail"]
    assert len(bad) == 1
    assert wrong in bad[0].said
    assert f"delete_queue {wrong}" in bad[0].remedy


async def test_a_broker_in_alarm(folder: Path, own_rabbit: RabbitNode) -> None:
    with (folder / "msgcenter.yaml").open("a") as file:
        file.write(f"bus: {{kind: rabbit, url: '{hidden(own_rabbit.url)}'}}\n")
    assert [f.level for f in await findings(folder) if f.check == "rabbit.alarm"] == ["ok"]
    own_rabbit.ctl("set_vm_memory_high_watermark", "absolute", "1MB")
    assert "alarms" in (await named(folder, "rabbit.alarm")).remedy


async def test_a_postgres_that_may_lose_commits(folder: Path, postgres_url: str) -> None:
    with (folder / "msgcenter.yaml").open("a") as file:
        file.write(f"store: {{kind: postgres, url: '{postgres_url}'}}\n")
    plain = postgres_url.replace("+asyncpg", "")
    connection = await asyncpg.connect(plain)
    database = plain.rsplit("/", 1)[1]
    try:
        assert not [f for f in await findings(folder) if f.level == "fail"]
        await connection.execute(f"ALTER DATABASE {database} SET synchronous_commit = off")
        found = await named(folder, "postgres.durability")
    finally:
        await connection.close()
    assert "synchronous_commit = on" in found.remedy


# -- the command ---------------------------------------------------------------------------------


def test_the_command_says_it_and_exits_1(folder: Path) -> None:
    (folder / "channels.yaml").write_text("nowhere: {kind: devnul}\n")
    done = CliRunner().invoke(app, ["--config", str(folder)])
    assert done.exit_code == 1
    assert "FAIL" in done.stdout
    assert "→" in done.stdout
    done = CliRunner().invoke(app, ["--config", str(folder), "--json"])
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert {"check", "level", "said", "remedy"} == set(answer["findings"][0])


def test_the_command_is_quiet_about_what_is_well(folder: Path) -> None:
    done = CliRunner().invoke(app, ["--config", str(folder), "--quiet"])
    assert done.exit_code == 0
    assert "\nok " not in f"\n{done.stdout}"
