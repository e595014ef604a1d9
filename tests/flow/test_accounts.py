"""A thousand accounts on one channel: one in trouble costs the others nothing, a revoked one falls silent and stays so, a lost
login is told."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from msgcenter.adapter import Adapter, Dispatch, Retry, Sent, Spec
from msgcenter.archive.registry_sink import RegistrySink
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.directory import REVOKED
from msgcenter.parts import Parts
from protocols.envelope import Envelope
from protocols.outcome import Outcome, Suppressed
from protocols.payload import Happening, Text
from tests.flow.rigging import (
    Records,
    ScriptedSettings,
    config_folder,
    running,
    submit,
    text,
    until,
)

IDS = IdFactory(SystemClock(), system_random())
COUNT = 1000
BAD = "a0007"


class Logins:
    """The far end: what each account sent, how often each was tried, which are out."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.order: dict[str, list[str]] = {}
        self.out = {BAD}

    def take(self, item: Dispatch) -> Outcome:
        account = item.envelope.account
        assert item.sender == f"user-{account}"
        self.tried[account] += 1
        if account in self.out:
            return Retry("account", "login lost", code="login_lost")
        self.sent[account] += 1
        self.order.setdefault(item.envelope.order_key, []).append(item.envelope.reference)
        return Sent((item.token,))


def adapter_of(logins: Logins) -> type[Adapter]:
    class Hosted(Adapter):
        spec: ClassVar[Spec] = Spec(
            kind="devnull",
            title="hosted",
            payloads=frozenset({Text}),
            schemes=frozenset({"tel"}),
            max_batch=20,
            in_flight=4,
            needs_account=True,
        )
        Settings = ScriptedSettings

        async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
            await asyncio.sleep(0.001)
            return [logins.take(item) for item in batch]

    return Hosted


def folder_of(path: Path) -> Path:
    folder = config_folder(path)
    lines = [
        f"a{n:04d}: {{kind: devnull, channel: nowhere, address: user-a{n:04d}, caller: crm, "
        f"organisation: 广东/广州/网格{n % 50}, agent: own}}"
        for n in range(COUNT)
    ]
    (folder / "accounts.yaml").write_text("\n".join(lines) + "\n")
    return folder


def registry(parts: Parts) -> dict[str, Any]:
    return {"registry": RegistrySink("registry", parts.store, lambda _: "devnull").write}


def bulk(account: str, number: int, **more: Any) -> Envelope:
    made = text(IDS, number, category="transactional", tier=5, account=account, **more)
    return replace(made, reference=f"{number}")


async def test_one_of_a_thousand_accounts_fails_and_delays_nobody(tmp_path: Path) -> None:
    logins, records = Logins(), Records()
    flood = [bulk(BAD, n) for n in range(300)]
    others = [bulk(f"a{n:04d}", n) for n in range(COUNT) if f"a{n:04d}" != BAD for _ in range(2)]
    talk = [bulk(BAD, n, order_key="talk") for n in range(5)]
    talks = [bulk(f"a{n:04d}", n, order_key=f"talk-{n}") for n in range(100, 150)]
    async with running(folder_of(tmp_path), adapter_of(logins), records, sinks=registry) as app:
        await submit(app, [*talk, *flood, *others, *talks])
        wanted = len(others) + len(talks)
        await until(lambda: sum(logins.sent.values()) == wanted, 60)
        # It is out all the while. What was in flight together may fail together, once; then it is left alone, but for the
        # message that tries for all when a hold is over.
        assert logins.tried[BAD] <= 100
        before = logins.tried[BAD]
        await asyncio.sleep(1.0)
        assert logins.tried[BAD] - before <= 2
        async with asyncio.timeout(10):
            while (await app.parts.store.account_states()).get("a0100") is None:
                await asyncio.sleep(0.05)
        logins.out.clear()
        await until(lambda: logins.sent[BAD] == 305, 60)
        await until(lambda: {r.status for r in records.last().values()} == {"sent"}, 30)
    assert logins.order["talk"] == [f"{n}" for n in range(5)]
    assert {r.status for r in records.last().values()} == {"sent"}


async def test_a_revoked_account_falls_silent_and_stays_so(tmp_path: Path) -> None:
    logins, records = Logins(), Records()
    logins.out = {"a0001", "a0002"}
    folder = folder_of(tmp_path)
    queued = [bulk(f"a000{n}", n) for n in (1, 2)]
    async with running(folder, adapter_of(logins), records, sinks=registry) as app:
        await submit(app, queued)
        await until(lambda: logins.tried["a0001"] + logins.tried["a0002"] == 2)
        await app.directory.revoke("a0001", "ops/key")
        logins.out.clear()
        await until(lambda: logins.sent["a0002"] == 1, 20)
        await until(lambda: records.last()[queued[0].id].status == "suppressed", 20)
        outcome = records.last()[queued[0].id].outcome
        assert isinstance(outcome, Suppressed)
        assert outcome.rule == REVOKED
        # State is lost with everything in it; the Store remembers.
        await app.parts.state.unsuppress(["account:a0001"])
    async with running(folder, adapter_of(logins), records, sinks=registry) as app:
        again = bulk("a0001", 7)
        await submit(app, [again])
        await until(lambda: again.id in records.last())
        await until(lambda: records.last()[again.id].status == "suppressed")
        assert app.directory.rows["a0001"].revoked_by == "ops/key"
        gauge = app.metrics.registry.get_sample_value
        labels = {"channel": "nowhere", "state": "revoked"}
        assert gauge("msgcenter_accounts", labels) == 1
        await app.directory.allow("a0001")
        free = bulk("a0001", 8)
        await submit(app, [free])
        await until(lambda: logins.sent["a0001"] == 1)


async def test_a_lost_login_is_kept_counted_and_told_once(tmp_path: Path) -> None:
    logins, records = Logins(), Records()
    folder = folder_of(tmp_path)
    async with running(folder, adapter_of(logins), records, sinks=registry) as app:
        app.directory.say("nowhere", "a0005", "up")
        app.directory.say("nowhere", "a0005", "down", "scan the code again")
        app.directory.say("nowhere", "a0005", "down", "scan the code again")
        app.directory.say("nowhere", "a0006", "up")
        app.directory.say("elsewhere", "a0008", "down")

        def told() -> list[Happening]:
            found = [r.envelope for r in records.of("inbound")]
            assert all(e.caller == "crm" and e.account == "a0005" for e in found)
            return [e.payload for e in found if isinstance(e.payload, Happening)]

        await until(lambda: len(told()) == 1)
        assert '"state": "down"' in told()[0].body
        async with asyncio.timeout(10):
            while "a0005" not in await app.parts.store.account_states():
                await asyncio.sleep(0.05)
        await app.directory.refresh()
        gauge = app.metrics.registry.get_sample_value

        def count(state: str) -> float | None:
            return gauge("msgcenter_accounts", {"channel": "nowhere", "state": state})

        assert (count("down"), count("up"), count("unknown")) == (1, 1, COUNT - 2)
    async with running(folder, adapter_of(logins), records, sinks=registry) as app:
        row = app.directory.rows["a0005"]
        assert (row.health, row.detail) == ("down", "scan the code again")
