"""What the core lends a channel, over the embedded parts: doorbells, memos, turns, cursors, accounts and files."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Outcome,
    Retry,
    Sent,
    Spec,
    Unknown,
    Unreachable,
)
from msgcenter.app import App
from protocols.payload import Pull, Text
from tests.flow.rigging import Records, ScriptedSettings, config_folder, running, until

ACCOUNTS = """
desk: {kind: devnull, channel: nowhere, number: "10690000", extension: "01"}
"""


class Doorbell:
    """The far end of an adapter that pulls; outlives the app."""

    def __init__(self) -> None:
        self.pulled: list[Pull] = []
        self.ports: list[Any] = []
        self.inside: dict[str, int] = {}
        self.gate = asyncio.Event()
        self.gate.set()
        self.script: Callable[[Dispatch], Outcome | None] = lambda _: None

    def adapter(self) -> type[Adapter]:
        far = self

        class Puller(Adapter):
            spec: ClassVar[Spec] = Spec(
                kind="devnull",
                title="puller",
                payloads=frozenset({Text, Pull}),
                schemes=frozenset({"tel"}),
                max_batch=10,
                in_flight=4,
            )
            Settings = ScriptedSettings

            def __init__(self, settings: Any, port: Any) -> None:
                super().__init__(settings, port)
                far.ports.append(port)

            async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
                return [await self._one(item) for item in batch]

            async def _one(self, item: Dispatch) -> Outcome:
                pull = item.envelope.payload
                assert isinstance(pull, Pull)
                far.inside[pull.source] = far.inside.get(pull.source, 0) + 1
                assert far.inside[pull.source] == 1, "one at a time per source"
                try:
                    await far.gate.wait()
                    scripted = far.script(item)
                    if scripted is None:
                        far.pulled.append(pull)
                    return scripted or Sent()
                finally:
                    far.inside[pull.source] -= 1

        return Puller


def folder(path: Path) -> Path:
    made = config_folder(path)
    (made / "accounts.yaml").write_text(ACCOUNTS)
    return made


async def idle(app: App) -> None:
    """Until nothing is on its way any more."""
    while any(d.ready + d.leased for d in (await app.parts.bus.depths(app.queues())).values()):
        await asyncio.sleep(0.02)


async def test_a_ring_is_answered_and_is_no_message(tmp_path: Path) -> None:
    far, records = Doorbell(), Records()
    async with running(folder(tmp_path), far.adapter(), records) as app:
        await far.ports[0].ring(Pull("wk1", "token-1"))
        await far.ports[0].ring(Pull("wk2"))
        await until(lambda: len(far.pulled) == 2)
        # the same words again are a new ring: there may be something new to fetch
        await far.ports[0].ring(Pull("wk1", "token-1"))
        await until(lambda: len(far.pulled) == 3)
        async with asyncio.timeout(10):
            await idle(app)
        await app.parts.store.write_records(records.all, lambda _: "full")
        assert (await app.parts.store.messages()).items == ()
    from msgcenter.archive.events_sink import event_of

    assert len(records.of("channel")) == 3
    assert [event_of(record) for record in records.all] == [None] * 3


async def test_rings_that_wait_together_become_one_and_none_is_lost(tmp_path: Path) -> None:
    far, records = Doorbell(), Records()
    async with running(folder(tmp_path), far.adapter(), records) as app:
        far.gate.clear()
        await far.ports[0].ring(Pull("wk1", "first"))
        await until(lambda: far.inside.get("wk1") == 1)
        for n in range(50):
            await far.ports[0].ring(Pull("wk1", f"t{n}"))
        far.gate.set()
        await until(lambda: bool(far.pulled) and far.pulled[-1].token == "t49")
        async with asyncio.timeout(10):
            await idle(app)
    assert far.pulled[0].token == "first"
    assert len(far.pulled) < 15, "of those that waited in one lease only the newest rang"


@pytest.mark.parametrize(
    "trouble", [Retry("message", "not now", 0, "busy"), Unknown("no answer"), Unreachable("gone")]
)
async def test_a_ring_is_answered_in_the_end(tmp_path: Path, trouble: Any) -> None:
    far, records, tries = Doorbell(), Records(), 0

    def script(_: Dispatch) -> Outcome | None:
        nonlocal tries
        tries += 1
        if tries > 4:
            return None
        if isinstance(trouble, Exception):
            raise trouble
        return trouble

    far.script = script
    async with running(folder(tmp_path), far.adapter(), records) as app:
        await far.ports[0].ring(Pull("wk1"))
        await until(lambda: len(far.pulled) == 1, 30)
        assert (await app.parts.store.list_dead()).items == ()


async def test_a_ring_may_wait(tmp_path: Path) -> None:
    far = Doorbell()
    async with running(folder(tmp_path), far.adapter(), Records()):
        loop = asyncio.get_running_loop()
        began = loop.time()
        await far.ports[0].ring(Pull("wk1"), delay_s=0.6)
        await until(lambda: len(far.pulled) == 1)
        assert loop.time() - began >= 0.6


async def test_what_is_kept_outlives_the_process(tmp_path: Path) -> None:
    far = Doorbell()
    async with running(folder(tmp_path), far.adapter(), Records()):
        port = far.ports[0]
        assert await port.memo("token") is None
        await port.remember("token", b"abc", 60)
        assert await port.checkpoint("wk1") == ""
        await port.save_checkpoint("wk1", "cursor-9")
        media = await port.keep_media(b"\xff\xd8\xff\xe0 picture", mime="image/jpeg", name="a.jpg")
        assert media.startswith("med_")
        async with port.turn("token") as mine:
            assert mine
    async with running(folder(tmp_path), far.adapter(), Records()):
        port = far.ports[1]
        assert await port.memo("token") == b"abc"
        assert await port.checkpoint("wk1") == "cursor-9"
        file = await port.media(media)
        assert (file.type, file.name, file.size) == ("image/jpeg", "a.jpg", 12)
        assert file.path.read_bytes() == b"\xff\xd8\xff\xe0 picture"
        with pytest.raises(Malformed, match="no such file"):
            await port.media("med_" + "0" * 26)
        with pytest.raises(Malformed, match="no such file"):
            await port.media("../../etc/passwd")


async def test_accounts_and_their_states(tmp_path: Path) -> None:
    """What an adapter says of an account reaches the directory, whichever process's port it was said to."""
    far = Doorbell()
    async with running(folder(tmp_path), far.adapter(), Records()) as app:
        [account] = far.ports[0].accounts()
        assert (account.name, account.address) == ("desk", "1069000001")

        async def known(health: str, detail: str) -> None:
            async with asyncio.timeout(5):
                while True:
                    await app.directory.refresh()
                    row = app.directory.rows.get("desk")
                    if row is not None and (row.health, row.detail) == (health, detail):
                        return
                    await asyncio.sleep(0.05)

        far.ports[0].account_state("desk", "down", "logged out")
        await known("down", "logged out")
        app.port("nowhere", far.ports[0]._outlet).account_state("desk", "up")
        await known("up", "")
