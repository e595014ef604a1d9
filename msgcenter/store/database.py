"""One database, two dialects: connections, transactions, one writer on SQLite with group commit,
and errors made plain.

SQLite allows one writer: all writes of this process go through one connection; work that arrives
while a transaction commits forms the next one, each in its own savepoint, so that a hundred small
writes share one fsync and none ever meets "database is locked". Readers have their own connections
and, thanks to WAL, wait for nobody. PostgreSQL runs every piece of work in its own transaction on a
pooled connection.

One file, for what differs between the dialects is hidden here and nowhere else.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

import asyncpg
from sqlalchemy import ColumnElement, Engine, Executable, Row, Select, Table, event, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from msgcenter.clock import Clock
from msgcenter.store import StoreError, migrate
from msgcenter.store.rows import clean

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
_Job = tuple[Work[Any], "asyncio.Future[Any]"]

MAX_JOBS = 200
_AWAY = (
    DBAPIError,
    PoolTimeout,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    OSError,
    TimeoutError,
)


@contextmanager
def plain_errors() -> Iterator[None]:
    """Make StoreError of everything that a database which is away, slow or stopping can raise."""
    try:
        yield
    except _AWAY as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise StoreError(f"{type(cause).__name__}: {str(cause)[:200]}") from error


def _plain_url(url: str) -> tuple[str, bool]:
    """(SQLAlchemy's async URL, is SQLite) of `sqlite:///path` or `postgresql://user@host/db`.
    Raises ValueError."""
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        if parsed.database in (None, "", ":memory:"):
            raise ValueError(
                "store url: SQLite needs a file, such as sqlite:////var/lib/msgcenter/store.db"
            )
        return parsed.set(drivername="sqlite+aiosqlite").render_as_string(hide_password=False), True
    if backend == "postgresql":
        return parsed.set(drivername="postgresql+asyncpg").render_as_string(
            hide_password=False
        ), False
    raise ValueError(f"store url: {backend!r} is neither sqlite nor postgresql")


def _on_sqlite(engine: Engine, begin: str, *pragmas: str) -> None:
    """The driver's own idea of transactions is switched off: we say BEGIN, so that DDL and
    savepoints work as written."""

    def connected(connection: Any, _: Any) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))


def rows_of(values: Sequence[Any]) -> list[dict[str, Any]]:
    """Dataclass values as rows of the table whose columns have the same names."""
    names = [field.name for field in fields(values[0])]
    rows = [{name: getattr(value, name) for name in names} for value in values]
    for row in rows:
        for name, value in row.items():
            if type(value) is str and "\x00" in value:
                row[name] = clean(value)
    return rows


def wanted(*pairs: tuple[ColumnElement[str], str]) -> list[ColumnElement[bool]]:
    """Conditions of those filters that are set."""
    return [column == clean(value) for column, value in pairs if value]


def chunks(values: Sequence[T], size: int = 1000) -> Iterator[Sequence[T]]:
    """Pieces small enough for one IN list."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


class Taken(Protocol):
    """Rows locked for one worker until its block ends."""

    rows: Sequence[Row[Any]]

    async def more(self, query: Select[Any]) -> Sequence[Row[Any]]:
        """Read on, under the same lock."""
        ...

    async def finish(self, *statements: Executable) -> None:
        """Run these and commit: what was taken is done with."""
        ...


@dataclass(slots=True)
class _TakenInTransaction:
    """PostgreSQL: the lock is a row lock of this connection's transaction, which dies with the
    process."""

    connection: AsyncConnection
    rows: Sequence[Row[Any]] = ()

    async def more(self, query: Select[Any]) -> Sequence[Row[Any]]:
        with plain_errors():
            found = await self.connection.execute(query)
            return cast(Sequence[Row[Any]], found.all())

    async def finish(self, *statements: Executable) -> None:
        with plain_errors():
            for statement in statements:
                await self.connection.execute(statement)
            await self.connection.commit()


@dataclass(slots=True)
class _TakenInProcess:
    """SQLite: one process has the file, so a lock of this process does, and the writer stays free
    meanwhile."""

    database: Database
    rows: Sequence[Row[Any]] = ()

    async def more(self, query: Select[Any]) -> Sequence[Row[Any]]:
        async with self.database._read() as connection:
            found = await connection.execute(query)
            return cast(Sequence[Row[Any]], found.all())

    async def finish(self, *statements: Executable) -> None:
        async def work(connection: AsyncConnection) -> None:
            for statement in statements:
                await connection.execute(statement)

        await self.database._write(work)


class Database:
    """Open, close, migrate, ping; `_read` and `_write` for the subjects that build on it."""

    def __init__(
        self,
        url: str,
        clock: Clock,
        *,
        pool_size: int = 10,
        connect_s: float = 5.0,
        command_s: float = 15.0,
    ) -> None:
        """`url`: `sqlite:///file` or `postgresql://…`. A PostgreSQL that takes longer than `connect_s` for a connection or
        `command_s` for an answer counts as away. Raises ValueError for another database."""
        self._url, self.is_sqlite = _plain_url(url)
        self._clock = clock
        self._pool_size = pool_size
        self._connect_s = connect_s
        self._command_s = command_s
        self._writer: AsyncEngine | None = None
        self._reader: AsyncEngine | None = None
        self._jobs: list[_Job] = []
        self._wake = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    # -- life --------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Connect. Raises StoreError. Call `migrate` next; the tables are not made here."""
        if self._writer is not None:
            return
        if self.is_sqlite:
            path = Path(make_url(self._url).database or "")
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writer = create_async_engine(self._url, pool_size=1, max_overflow=0)
            self._reader = create_async_engine(self._url, pool_size=self._pool_size, max_overflow=0)
            common = ("busy_timeout=10000", "temp_store=MEMORY", "cache_size=-16000")
            _on_sqlite(
                self._writer.sync_engine,
                "BEGIN IMMEDIATE",
                *common,
                "journal_mode=WAL",
                "synchronous=FULL",
            )
            _on_sqlite(self._reader.sync_engine, "BEGIN", *common, "query_only=ON")
        else:
            self._writer = self._reader = create_async_engine(
                self._url,
                pool_size=self._pool_size,
                max_overflow=0,
                pool_timeout=self._connect_s,
                connect_args={
                    "timeout": self._connect_s,
                    "command_timeout": self._command_s,
                    # A process that hangs inside a transaction must not keep its row locks for
                    # ever.
                    "server_settings": {
                        "application_name": "msgcenter",
                        "idle_in_transaction_session_timeout": "60000",
                    },
                },
            )
        try:
            await self.ping()
            if self.is_sqlite:
                self._loop = asyncio.create_task(self._commit_loop(), name="store writer")
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Finish what was handed in, let go of every connection. Idempotent."""
        if self._loop is not None:
            loop, self._loop = self._loop, None
            self._wake.set()
            await loop
        writer, reader = self._writer, self._reader
        self._writer = self._reader = None
        for engine in {writer, reader} - {None}:
            with suppress(*_AWAY):
                await cast(AsyncEngine, engine).dispose()

    async def migrate(self) -> None:
        """Bring the tables to this release; several processes may call it at once. Those of a newer release stay as they are.
        Raises StoreError, also when this release cannot work on a newer one's tables."""
        with plain_errors():
            async with self._engine(self._writer).begin() as connection:
                await connection.run_sync(migrate.upgrade)

    async def revision(self) -> tuple[str, str]:
        """(the database's migration, the one this release needs); equal when all is well."""
        async with self._read() as connection:
            return await connection.run_sync(migrate.current), migrate.newest()

    async def obstacles(self) -> list[str]:
        """What keeps this release from working on the tables of a newer one; empty when nothing does."""
        async with self._read() as connection:
            return await connection.run_sync(migrate.obstacles)

    async def ping(self) -> None:
        """Ask for an answer. Raises StoreError."""
        async with self._read() as connection:
            await connection.execute(text("SELECT 1"))

    # -- for the subjects --------------------------------------------------------------------------

    @staticmethod
    def _engine(engine: AsyncEngine | None) -> AsyncEngine:
        if engine is None:
            raise StoreError("the store is not open")
        return engine

    @asynccontextmanager
    async def _read(self) -> AsyncIterator[AsyncConnection]:
        """A connection for reading one consistent moment."""
        with plain_errors():
            async with self._engine(self._reader).connect() as connection:
                yield connection

    async def _write(self, work: Work[T]) -> T:
        """Run `work` in a transaction; when this returns it is durable. Raises StoreError, or what
        `work` raised."""
        if not self.is_sqlite:
            with plain_errors():
                async with self._engine(self._writer).begin() as connection:
                    return await work(connection)
        if self._loop is None:
            raise StoreError("the store is not open")
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._jobs.append((work, future))
        self._wake.set()
        # A caller that is cancelled must not undo what others share a transaction with.
        with plain_errors():
            return cast(T, await future)

    def _insert(self, table: Table) -> Any:
        """An INSERT with this dialect's `on_conflict_do_nothing` and `on_conflict_do_update`."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    @asynccontextmanager
    async def _take(self, query: Select[Any], subject: str) -> AsyncIterator[Taken]:
        """Read rows and keep others of this subject off them until the block ends. `query` carries
        FOR UPDATE."""
        taken: _TakenInProcess | _TakenInTransaction
        if self.is_sqlite:
            async with self._locks[subject]:
                taken = _TakenInProcess(self)
                taken.rows = await taken.more(query)
                yield taken
            return
        async with AsyncExitStack() as stack:
            with plain_errors():
                connection = await stack.enter_async_context(self._engine(self._writer).connect())
            taken = _TakenInTransaction(connection)
            taken.rows = await taken.more(query)
            yield taken

    @asynccontextmanager
    async def _alone(self, subject: str) -> AsyncIterator[None]:
        """Wait for the blocks that hold rows of this subject; on PostgreSQL the row locks do
        that."""
        if self.is_sqlite:
            async with self._locks[subject]:
                yield
        else:
            yield

    # -- group commit on SQLite --------------------------------------------------------------------

    async def _commit_loop(self) -> None:
        while self._jobs or self._loop is not None:
            if not self._jobs:
                self._wake.clear()
                await self._wake.wait()
                continue
            batch, self._jobs = self._jobs[:MAX_JOBS], self._jobs[MAX_JOBS:]
            await self._commit(batch)

    async def _commit(self, batch: list[_Job]) -> None:
        done: list[tuple[asyncio.Future[Any], Any, Exception | None]] = []
        try:
            async with self._engine(self._writer).begin() as connection:
                for work, future in batch:
                    try:
                        async with connection.begin_nested():
                            done.append((future, await work(connection), None))
                    except Exception as error:  # noqa: BLE001 - handed to the caller whose work it was
                        done.append((future, None, error))
        except Exception as error:  # noqa: BLE001 - handed to everybody in the batch; the loop must go on
            failure = StoreError(f"{type(error).__name__}: {str(error)[:200]}")
            failure.__cause__ = error
            done = [(future, None, failure) for _, future in batch]
        for future, result, problem in done:
            if future.done():
                continue
            if problem is None:
                future.set_result(result)
            else:
                future.set_exception(problem)
