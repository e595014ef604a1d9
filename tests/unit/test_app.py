"""App: whom a number belongs to, which rule a category has, and what a reload does to channels."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from msgcenter.app import App
from msgcenter.bus import BusError
from msgcenter.clock import SystemClock
from msgcenter.config import load
from msgcenter.customers import Person
from msgcenter.live import live_config
from msgcenter.parts import DataFolderBusy, Parts, lock_folder
from msgcenter.policy.retry import RetryRule
from msgcenter.policy.when import Facts
from msgcenter.state.memory import MemoryState
from msgcenter.store import AccountRow
from msgcenter.store.customers import Changes
from tests.unit.rig import LOG, SPEC, ListBus, message, metrics
from tests.unit.test_channel import Linked
from tests.unit.test_ordered import Park

CHANNELS = "east: {kind: fake}\n"
ROUTES = "routes: [{kind: fake, channel: east}]\n"
ACCOUNTS = """
shop: {kind: fake, channel: east, number: "10655", caller: crm}
desk: {kind: fake, channel: east, number: "106557", caller: iop}
other: {kind: fake, channel: west, number: "1065579", caller: iop}
"""


class Settings(BaseModel):
    word: str = ""


class Fake(Linked):
    spec = SPEC
    Settings = Settings
    made: list[Fake] = []  # noqa: RUF012 - emptied by every test

    def __init__(self, settings: Any, port: Any) -> None:
        super().__init__(settings, port)
        self.settings = settings
        self.clock = SystemClock()
        Fake.made.append(self)


class Bus(ListBus):
    """Notes, for each declaration, which channels ran at that moment."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[set[str], set[str]]] = []
        self.running: Callable[[], set[str]] = set
        self.refuse = False

    async def declare(self, queues: Any) -> None:
        if self.refuse:
            raise BusError("the broker is away")
        topics = {q.topic.removeprefix("out.") for q in queues if q.topic.startswith("out.")}
        self.seen.append((topics, self.running()))


class StoreStub(Park):
    async def account_states(self) -> dict[str, AccountRow]:
        return {}

    async def blocked_customers(self, after: str = "") -> tuple[list[Person], str]:
        return [], after

    async def list_pauses(self) -> tuple[()]:
        return ()

    async def customer_changes(self, after: int) -> Changes:
        return Changes(0, frozenset())

    async def take_due(self) -> None:
        raise AssertionError("the role schedule does not run here")


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


SERVERS = """
roles: [channel]
bus: {kind: rabbit, url: 'amqp://h/'}
state: {kind: redis, url: 'redis://h'}
store: {kind: postgres, url: 'postgresql://h/d'}
api: {pepper: '${env:PEPPER}'}
"""


def made(folder: Path, process: str = SERVERS) -> tuple[App, Bus]:
    """An app as configured, but for its parts: they are in memory."""
    folder.mkdir(exist_ok=True)
    write(
        folder,
        channels=CHANNELS,
        callers="crm: {scopes: [send], categories: ['*']}\niop: {scopes: [send], categories: ['*']}\n",
        msgcenter=f"data: {folder / 'data'}\ndrain: 1s\n{process}",
    )
    Fake.made.clear()
    clock, kept = SystemClock(), metrics()
    options: dict[str, Any] = {
        "settings_models": {"fake": Settings},
        "env": {"PEPPER": "the same everywhere"},
        "clock": clock,
    }
    config = load(folder, **options)
    live = live_config(config, **options, metrics=kept, log=LOG)
    bus = Bus()
    parts = Parts(bus, MemoryState(clock), StoreStub())  # type: ignore[arg-type]
    app = App(
        live,
        parts,
        adapters={"fake": Fake},
        sinks=lambda _: {},
        clock=clock,
        rng=random.Random(1),
        metrics=kept,
        log=LOG,
    )
    bus.running = lambda: set(app.channels)
    return app, bus


@asynccontextmanager
async def app_of(folder: Path) -> AsyncIterator[tuple[App, Bus]]:
    """A started process of the role `channel`."""
    app, bus = made(folder)
    await app.start()
    try:
        yield app, bus
    finally:
        async with asyncio.timeout(10):
            await app.stop()


async def test_a_number_belongs_to_the_account_with_the_longest_prefix(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, _):
        write(
            tmp_path, routes=ROUTES, accounts=ACCOUNTS, channels=CHANNELS + "west: {kind: fake}\n"
        )
        assert (await app.live.reload()).result == "swapped"
        assert app.accounts.owner_of("east", "10655") == ("shop", "crm")
        assert app.accounts.owner_of("east", "106551") == ("shop", "crm")
        assert app.accounts.owner_of("east", "1065579") == ("desk", "iop")
        assert app.accounts.owner_of("west", "1065579") == ("other", "iop")
        assert app.accounts.owner_of("east", "1065") is None
        assert app.accounts.owner_of("north", "10655") is None
        assert app.accounts.sender("desk") == "106557"
        assert app.accounts.sender("nobody") == ""


async def test_a_name_that_begins_like_another_is_another(tmp_path: Path) -> None:
    accounts = """
zhang: {kind: fake, channel: east, address: zhang, caller: crm}
digits: {kind: fake, channel: east, address: "10655", caller: crm}
line: {kind: fake, channel: east, number: "10010", caller: iop}
"""
    async with app_of(tmp_path) as (app, _):
        write(tmp_path, routes=ROUTES, accounts=accounts)
        assert (await app.live.reload()).result == "swapped"
        assert app.accounts.owner_of("east", "zhang") == ("zhang", "crm")
        assert app.accounts.owner_of("east", "zhangsan") is None
        assert app.accounts.owner_of("east", "106551") is None
        assert app.accounts.owner_of("east", "100101") == ("line", "iop")


async def test_rules_routes_and_specs_come_from_the_configuration_in_force(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, _):
        assert app.rule("code").max_tries == 3
        assert app.rule("code").on_unknown == "never"
        assert app.rule("transactional").on_unknown == "once"
        assert app.rule("receipt").backoff == (0.0,)
        assert app.rule("gone") == RetryRule(max_tries=3, max_age_s=3600.0)
        target = app.route("fake", message(), Facts())
        assert target is not None
        assert (target.channel, app.route("sms", message(), Facts())) == ("east", None)
        assert app.spec_of("east") == SPEC
        assert app.spec_of("nowhere") is None
        assert await app.subscriber("crm") is None


def test_a_process_with_a_sqlite_part_is_the_only_one(tmp_path: Path) -> None:
    alone, _ = made(tmp_path / "a", process="")
    one, _ = made(tmp_path / "b")
    assert (alone.sole, one.sole) == (True, False)
    assert alone.owner.rpartition(":")[0] == one.owner.rpartition(":")[0]


async def test_a_new_channel_has_its_queues_before_it_runs(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, bus):
        write(tmp_path, routes=ROUTES, channels=CHANNELS + "west: {kind: fake}\n")
        assert (await app.live.reload()).result == "swapped"
        assert bus.seen == [({"east"}, set()), ({"east", "west"}, {"east"})]
        assert set(app.channels) == {"east", "west"}
        assert len(Fake.made) == 2  # the old one was left alone
        async with asyncio.timeout(5):
            while not app.channels["west"].up:
                await asyncio.sleep(0.005)


async def test_queues_that_cannot_be_declared_leave_everything_as_it_is(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, bus):
        bus.refuse = True
        write(tmp_path, routes=ROUTES, channels=CHANNELS + "west: {kind: fake}\n")
        assert (await app.live.reload()).result == "failed"
        assert set(app.channels) == {"east"}
        assert set(app.live.current.channels) == {"east"}
        bus.refuse = False
        assert (await app.live.reload()).result == "swapped"
        assert set(app.channels) == {"east", "west"}


@pytest.mark.parametrize(
    "channels", ["west: {kind: fake}\n", "east: {kind: fake, enabled: false}\nwest: {kind: fake}\n"]
)
async def test_a_removed_or_disabled_channel_is_stopped_politely(
    tmp_path: Path, channels: str
) -> None:
    async with app_of(tmp_path) as (app, _):
        (old,) = Fake.made
        async with asyncio.timeout(5):
            while not app.channels["east"].up:
                await asyncio.sleep(0.005)
        write(tmp_path, channels=channels)
        assert (await app.live.reload()).result == "swapped"
        assert set(app.channels) == {"west"}
        async with asyncio.timeout(5):
            while old.log != ["drained", "session ended"]:
                await asyncio.sleep(0.005)


async def test_only_a_changed_channel_is_started_anew(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, _):
        write(
            tmp_path, routes=ROUTES, channels=CHANNELS + "west: {kind: fake, settings: {word: a}}\n"
        )
        await app.live.reload()
        east, west = app.channels["east"], app.channels["west"]
        write(
            tmp_path, routes=ROUTES, channels=CHANNELS + "west: {kind: fake, settings: {word: b}}\n"
        )
        assert (await app.live.reload()).result == "swapped"
        assert app.channels["east"] is east
        assert app.channels["west"] is not west
        assert [one.settings.word for one in Fake.made] == ["", "a", "b"]


async def test_a_refused_edit_touches_no_channel(tmp_path: Path) -> None:
    async with app_of(tmp_path) as (app, bus):
        write(tmp_path, channels="east: {kind: fake, speed: 3}\n")
        assert (await app.live.reload()).result == "refused"
        assert set(app.channels) == {"east"}
        assert len(bus.seen) == 1


def test_a_data_folder_has_one_process(tmp_path: Path) -> None:
    held = lock_folder(tmp_path / "data")
    with pytest.raises(DataFolderBusy, match="another msgcenter"):
        lock_folder(tmp_path / "data")
    held.close()
    lock_folder(tmp_path / "data").close()
