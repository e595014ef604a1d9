"""Fixtures for tests against real servers and tools: one private RabbitMQ, Redis and PostgreSQL a session,
started when first asked for, and an isolated piece of each for every test.

A test asks for `rabbit_url` (with `prefix` for its queue names), `redis_url` (an empty database),
`postgres_url` (a new database, dropped afterwards) or `postgres_store_url` (one that has this
release's tables). A test that kills a server takes `own_rabbit`, `own_redis` or `own_postgres`,
which nobody else uses. `prometheus` makes a Prometheus of the test's own; `promtool` and
`systemd_analyze` are the paths of these tools. Where a server cannot be had the test is skipped
with the reason; `MSGCENTER_REQUIRE_REAL=1` makes that a failure.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from msgcenter.archive.event_schemas import MODELS
from msgcenter.archive.events_sink import EventsSink, event_of
from protocols.envelope import Record
from tests.migrated import migrate
from tests.prometheus import Prometheus
from tests.provision import provide
from tests.servers import PostgresServer, RabbitNode, RedisServer, find_binary

# Tracebacks with every local drawn in a box take a second each: longer than most tests that log one.
structlog.configure(
    processors=[
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(
            colors=False, exception_formatter=structlog.dev.plain_traceback
        ),
    ]
)
_LOGGING = structlog.get_config()

#: Fixtures that start a server, and which.
_STARTS = {
    "rabbit": "rabbit",
    "own_rabbit": "rabbit",
    "redis_server": "redis",
    "own_redis": "redis",
    "postgres": "postgres",
    "own_postgres": "postgres",
    "promtool": "prometheus",
    "prometheus": "prometheus",
    "systemd_analyze": "systemd",
}
_numbers = itertools.count(1)
#: Why a server cannot be had, None when it can: asked once a session.
_reasons: dict[str, str | None] = {}


def _servers_of(item: pytest.Item) -> set[str]:
    return {_STARTS[name] for name in getattr(item, "fixturenames", ()) if name in _STARTS}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark `real` whatever uses a real server, so that `-m 'not real'` is the quick run."""
    for item in items:
        if _servers_of(item):
            item.add_marker(pytest.mark.real)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Install what the chosen tests need before the first starts, outside any test timeout."""
    if session.config.option.collectonly:
        return
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled() if capture else nullcontext():
        for server in sorted(set().union(*map(_servers_of, session.items))):
            _reasons[server] = provide(server)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was skipped and why, and loudly what for want of a server."""
    reports = terminalreporter.stats.get("skipped", ())
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    for reason, count in sorted(reasons.items()):
        terminalreporter.write_line(f"skipped {count}: {reason}")
    for reason in sorted(reason for reason in _reasons.values() if reason):
        terminalreporter.write_line(f"!! NO REAL SERVER, its tests did not run: {reason}", red=True)


def _require(server: str) -> None:
    if server not in _reasons:  # asked for by name while the test runs
        _reasons[server] = provide(server)
    reason = _reasons[server]
    if reason is None:
        return
    if os.environ.get("MSGCENTER_REQUIRE_REAL") == "1":
        pytest.fail(f"MSGCENTER_REQUIRE_REAL=1, but {reason}", pytrace=False)
    pytest.skip(f"NO REAL SERVER: {reason}")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """A test that starts the product, or tests its log, configures logging for its process: the next one has the tests' own again."""
    yield
    structlog.configure(**_LOGGING)


@pytest.fixture(autouse=True)
def every_event_is_as_published(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Whatever test makes a process write an event: it is one of the types that `GET /v1/schemas` publishes, and as said there.
    (Checked by the models that the schemas are made of; tests/unit/archive/test_event_schemas.py checks the schemas.)"""
    wrong: list[str] = []
    write = EventsSink.write

    async def checked(self: EventsSink, records: Sequence[Record]) -> None:
        for event in filter(None, map(event_of, records)):
            try:
                MODELS[event.type].model_validate_json(json.dumps(dict(event.data)), strict=True)
            except (KeyError, ValidationError) as error:
                wrong.append(f"{event.type}: {error!r}")
        await write(self, records)

    monkeypatch.setattr(EventsSink, "write", checked)
    yield
    assert not wrong, f"events that no schema describes: {wrong[:3]}"


@pytest.fixture(scope="session")
def rabbit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RabbitNode]:
    """The session's RabbitMQ node: shared, so never kill it and name queues with `prefix`."""
    _require("rabbit")
    with RabbitNode(tmp_path_factory.mktemp("rabbit")) as node:
        yield node


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The session's Redis: shared, so never kill it; take `redis_url`."""
    _require("redis")
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """The session's PostgreSQL cluster: shared, so never kill it; take `postgres_url`."""
    _require("postgres")
    with PostgresServer(tmp_path_factory.mktemp("postgres")) as server:
        yield server


@pytest.fixture
def prefix() -> str:
    """A name no other test uses, fit for queues, keys and database objects: `t7_3f9a_`."""
    return f"t{next(_numbers)}_{secrets.token_hex(2)}_"


@pytest.fixture
def rabbit_url(rabbit: RabbitNode) -> str:
    """`amqp://` URL of the session's node; use `prefix` in every name declared there."""
    return rabbit.url


@pytest.fixture(scope="module")
def rabbit_vhost_url(rabbit: RabbitNode) -> str:
    """`amqp://` URL of a virtual host that only this module's tests use."""
    return rabbit.new_vhost()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """`redis://` URL of a database that is empty now; each test gets the next one in turn."""
    number = next(_numbers) % redis_server.databases
    redis_server.flush(number)
    return redis_server.db_url(number)


@pytest.fixture
def postgres_url(postgres: PostgresServer) -> Iterator[str]:
    """`postgresql+asyncpg://` URL of a new, empty database."""
    url = postgres.create_database()
    yield url
    postgres.drop_database(url)


@pytest.fixture(scope="session")
def _migrated_database(postgres: PostgresServer) -> str:
    """Name of a database with this release's tables, to be copied."""
    url = postgres.create_database()
    migrate(url)
    return url.rpartition("/")[2]


@pytest.fixture
def postgres_store_url(postgres: PostgresServer, _migrated_database: str) -> Iterator[str]:
    """`postgresql+asyncpg://` URL of a new database with this release's tables, for tests that are not about migrations."""
    url = postgres.create_database(_migrated_database)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def own_rabbit(tmp_path: Path) -> Iterator[RabbitNode]:
    """A RabbitMQ node of the test's own, to kill; heed `QUORUM_SETTLE_SECONDS`."""
    _require("rabbit")
    with RabbitNode(tmp_path / "rabbit") as node:
        yield node


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis of the test's own, to kill."""
    _require("redis")
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def own_postgres(tmp_path: Path) -> Iterator[PostgresServer]:
    """A PostgreSQL cluster of the test's own, to kill."""
    _require("postgres")
    with PostgresServer(tmp_path / "postgres") as server:
        yield server


@pytest.fixture(scope="session")
def promtool() -> str:
    """Path of Prometheus's own checker."""
    _require("prometheus")
    return find_binary("promtool")


@pytest.fixture
def prometheus(tmp_path: Path) -> Iterator[Callable[..., Prometheus]]:
    """Makes a Prometheus of the test's own from a scrape configuration and rule files; ended with the test."""
    _require("prometheus")
    made: list[Prometheus] = []

    def make(*args: Any, **settings: Any) -> Prometheus:
        made.append(Prometheus(tmp_path / f"prometheus{len(made)}", *args, **settings).start())
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture(scope="session")
def systemd_analyze() -> str:
    """Path of systemd's own checker of units."""
    _require("systemd")
    return find_binary("systemd-analyze")


@pytest.fixture(scope="session")
def kubectl() -> str:
    """Path of a kubectl whose kustomize knows components of today; no Debian package has one, so this may be skipped anywhere."""
    found = shutil.which("kubectl")
    if found is None:
        _reasons["kubectl"] = "the overlay is not built: kubectl 1.27 or newer is not installed"
        pytest.skip(f"NO REAL TOOL: {_reasons['kubectl']}")
    return found
