"""Hosted accounts over the whole core: groups through the API, talks both ways, one account in trouble among a thousand, a revoked one."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters.sim.hosted import HostedSim
from adapters.sim.hosted.rigs import CORP, listening, simulated
from adapters.wecom import WeComHosted
from msgcenter.app import App
from msgcenter.archive.registry_sink import RegistrySink
from msgcenter.archive.store_sink import StoreSink
from msgcenter.clock import IdFactory, SystemClock, system_random
from msgcenter.directory import REVOKED
from msgcenter.parts import Parts
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Sent, Suppressed
from protocols.payload import Happening, Text
from tests.flow.rigging import Records, config_folder, running, submit, until
from tests.flow.test_groups import CALLERS, caller_of

CHANNELS = """
nowhere:
  kind: devnull
  send_timeout: 30s
  settings:
    gateway: {url}
    corp: {corp}
    command_secrets: ["${{env:HOSTED_SECRET}}"]
    event_secrets: ["${{env:HOSTED_EVENTS}}"]
    messages_per_minute: 600
    status_every: 1h
    {more}
"""
IDS = IdFactory(SystemClock(), system_random())


@asynccontextmanager
async def core(
    tmp_path: Path, far: HostedSim, records: Records, *, accounts: int = 3, **settings: Any
) -> AsyncIterator[tuple[App, type[WeComHosted]]]:
    """Events reach the running adapter."""
    made: list[WeComHosted] = []

    class Seen(WeComHosted):
        def __init__(self, settings: Any, port: Any) -> None:
            super().__init__(settings, port)
            made.append(self)

    def sinks(parts: Parts) -> dict[str, Any]:
        return {
            "registry": RegistrySink("registry", parts.store, lambda _: "devnull").write,
            "messages": StoreSink("messages", parts.store, lambda _: "full").write,
        }

    folder = config_folder(tmp_path / "config")
    more = "\n    ".join(f"{name}: {value}" for name, value in settings.items())
    (folder / "channels.yaml").write_text(CHANNELS.format(url=far.url, corp=CORP, more=more))
    (folder / "callers.yaml").write_text(CALLERS)
    lines = [
        f"desk{n}: {{kind: devnull, channel: nowhere, address: staff{n:04d}, caller: crm}}"
        for n in range(1, accounts + 1)
    ]
    (folder / "accounts.yaml").write_text("\n".join(lines) + "\n")
    env = {"HOSTED_SECRET": far.secrets[0], "HOSTED_EVENTS": far.event_secrets[0]}
    async with (
        running(folder, Seen, records, env=env, sinks=sinks) as app,
        listening(made[-1], far),
    ):
        yield app, Seen


def said(far: HostedSim, kind: str = "hosted") -> list[tuple[str, str, str]]:
    return [
        (e["from"], e["to"], e["text"])
        for e in far.journal.entries()
        if e["kind"] == kind and not e["dropped"]
    ]


async def eventually(look: Any, wanted: Any, seconds: float = 15) -> None:
    async with asyncio.timeout(seconds):
        while (await look()) != wanted:
            await asyncio.sleep(0.02)


async def test_a_group_lives_and_ends_through_the_api(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated() as far,
        core(tmp_path, far, records) as (app, adapter),
        caller_of(app, adapter) as call,
    ):
        new = {"name": "天河群", "members": [f"wecom:{CORP}/wm0001", "wm0002"]}
        status, _ = await call("POST", "/v1/groups", new)
        assert status == 422, "which of the accounts?"
        status, group = await call("POST", "/v1/groups", new | {"from": "desk1"}, key="k1")
        assert status == 202, group
        one = group["id"]
        assert (await call.say(one, "一"))[0] == 202
        await call.becomes(one, "active")
        [(chat, real)] = far.world.groups.items()
        assert (await call("GET", f"/v1/groups/{one}"))[1]["chat"] == chat
        assert real.members == ["staff0001", "wm0001", "wm0002"]

        far.faults.timeout_next = 1  # done, and the answer lost: done once all the same
        change = {"name": "越秀群", "add": ["wm0003"], "remove": [f"wecom:{CORP}/wm0001"]}
        assert (await call("PATCH", f"/v1/groups/{one}", change))[0] == 202
        assert (await call.say(one, "二"))[0] == 202
        await until(lambda: len(said(far, "hosted_group")) == 2)
        assert said(far, "hosted_group") == [
            ("staff0001", chat, "一"),
            ("staff0001", chat, "二"),
        ]
        assert (real.name, real.members) == ("越秀群", ["staff0001", "wm0002", "wm0003"])

        async def shown() -> tuple[str, list[str]]:
            view = (await call("GET", f"/v1/groups/{one}"))[1]
            return view["name"], sorted(view["members"])

        await eventually(shown, ("越秀群", ["wm0002", "wm0003"]))
        # People change it by hand, and the registry follows.
        await far.control(
            "group_change",
            {"group": chat, "change": "members_removed", "by": "wm0002", "members": ["wm0003"]},
        )
        await far.control(
            "group_change", {"group": chat, "change": "renamed", "by": "wm0002", "name": "咱们群"}
        )
        await eventually(shown, ("咱们群", ["wm0002"]))

        status, after = await call("POST", f"/v1/groups/{one}:dissolve", {"undo_for": "1s"})
        assert (status, after["state"]) == (202, "dissolving")
        await call.becomes(one, "dissolved")
        assert real.dissolved
        groups = (await call("GET", "/v1/groups"))[1]["items"]
        assert [view["id"] for view in groups] == [one], "our own group is not read in as another"


async def test_a_talk_both_ways_and_what_the_accounts_human_says(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated() as far,
        core(tmp_path, far, records) as (app, adapter),
        caller_of(app, adapter) as call,
    ):
        body = {
            "to": f"wecom:{CORP}/wm0007",
            "from": "desk2",
            "category": "transactional",
            "content": {"type": "text", "text": "套餐已办理"},
        }
        status, message = await call("POST", "/v1/messages", body)
        assert status == 202, message
        await until(lambda: said(far) == [("staff0002", "wm0007", "套餐已办理")])

        async def state() -> str:
            return str((await call("GET", f"/v1/messages/{message['id']}"))[1]["status"])

        await eventually(state, "delivered")
        far.customer_writes("staff0002", "wm0007", "查话费")

        async def heard() -> list[dict[str, Any]]:
            path = f"/v1/messages?address=wecom:{CORP}/wm0007&direction=in"
            return list((await call("GET", path))[1]["items"])

        await until(lambda: any(r.pipeline == "inbound" for r in records.all))
        async with asyncio.timeout(10):
            while not (items := await heard()):
                await asyncio.sleep(0.02)
        assert (len(items), items[0]["account"]) == (1, "desk2")
        reply = {"reply_to": items[0]["id"], "content": {"type": "text", "text": "余额 9 元"}}
        status, answer = await call("POST", "/v1/messages", reply)
        assert status == 202, answer
        await until(lambda: said(far)[-1] == ("staff0002", "wm0007", "余额 9 元"))

        far.account_writes("staff0002", "wm0007", text="还有别的需要吗")

        def typed() -> list[Envelope]:
            found = [r.envelope for r in records.of("inbound")]
            return [e for e in found if e.payload == Text("还有别的需要吗")]

        await until(lambda: len(typed()) == 1)
        await far.outbox.drained()
        texts = [
            r.envelope.payload
            for r in records.of("inbound")
            if isinstance(r.envelope.payload, Text)
        ]
        assert Counter(texts) == {Text("查话费"): 1, Text("还有别的需要吗"): 1}, "no echo of ours"
        assert typed()[0].sender == Address("staff", "staff0002")
        row = (await app.parts.store.account_states())["desk2"]
        assert row.last_in
        assert row.last_out
        status, view = await call("GET", "/v1/accounts/desk2")
        assert (status, view["seconds_since_last_message"] < 30) == (200, True)


async def test_a_message_is_taken_back_through_the_api(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated() as far,
        core(tmp_path, far, records) as (app, adapter),
        caller_of(app, adapter) as call,
    ):
        body = {
            "to": f"wecom:{CORP}/wm0007",
            "from": "desk2",
            "category": "transactional",
            "content": {"type": "text", "text": "发错了"},
        }
        one = (await call("POST", "/v1/messages", body))[1]["id"]

        async def view() -> dict[str, Any]:
            return dict((await call("GET", f"/v1/messages/{one}"))[1])

        async def status() -> str:
            return str((await view())["status"])

        await eventually(status, "delivered")
        status_code, answer = await call("POST", f"/v1/messages/{one}:recall", key="r1")
        assert (status_code, answer.get("id"), answer.get("channel")) == (202, one, "nowhere"), (
            answer
        )
        assert (await call("POST", f"/v1/messages/{one}:recall", key="r1"))[1] == answer

        async def recalled() -> bool:
            return "recalled_at" in await view()

        await eventually(recalled, True)
        trace = [line for line in (await view())["trace"] if line.get("code") == "recalled"]
        assert len(trace) == 1
        assert await status() == "delivered", "a recall is no status: it was delivered, and is gone"
        entries = [e for e in far.journal.entries() if e["kind"] == "recall"]
        assert len(entries) == 1
        one = (await call("POST", "/v1/messages", body))[1]["id"]
        await eventually(status, "delivered")
        far.faults.refuse_next = ["recall_too_late"]
        assert (await call("POST", f"/v1/messages/{one}:recall"))[0] == 202

        async def refused() -> list[str]:
            return [
                line["code"] for line in (await view())["trace"] if line["outcome"] == "rejected"
            ]

        await eventually(refused, ["hosted_recall_too_late"])


def message(account: int, number: int) -> Envelope:
    to = Address("wecom", f"{CORP}/wm{number % 500 + 1:04d}")
    return Envelope(
        id=IDS.message(str(to)),
        caller="crm",
        to=to,
        category="transactional",
        tier=5,
        payload=Text(f"第{number}条"),
        created_at=SystemClock().now_ms(),
        person=str(to),
        account=f"desk{account}",
        channels=("devnull",),
    )


async def test_a_revoked_account_stops_and_the_others_go_on(tmp_path: Path) -> None:
    records = Records()
    async with simulated() as far, core(tmp_path, far, records, patience="1s") as (app, _):
        far.faults.slow = 0.05
        stopped = [message(1, n) for n in range(300)]
        await submit(app, stopped)
        await until(lambda: len(said(far)) >= 10)
        await app.directory.revoke("desk1", "ops/key")
        revoked = far.clock.now_ms()
        others = [message(2, n) for n in range(10)]
        await submit(app, others)
        await until(lambda: len([one for one in said(far) if one[0] == "staff0002"]) == 10)
        await until(lambda: len({e.id for e in stopped} - records.last().keys()) == 0)

        def left() -> list[str]:
            last = records.last()
            ended = (Sent, Suppressed)
            return [e.id for e in stopped if not isinstance(last[e.id].outcome, ended)]

        await until(lambda: not left(), 30)
        sent = [e["time"] for e in far.journal.entries() if e["from"] == "staff0001"]
        # What was in the adapter's hands may still leave for `patience`; the bound is for a loaded machine.
        assert max(sent) - revoked < 10_000
        assert len(sent) < 300
        rules = Counter(
            outcome.rule
            for e in stopped
            if isinstance(outcome := records.last()[e.id].outcome, Suppressed)
        )
        assert rules == {REVOKED: 300 - len(sent)}


async def test_one_of_a_thousand_accounts_hangs_and_delays_nobody(tmp_path: Path) -> None:
    records = Records()
    async with (
        simulated(accounts=1000) as far,
        core(tmp_path, far, records, accounts=1000, patience="500ms", total="5s") as (app, _),
    ):
        bad = 7
        far.faults.hang = [f"staff{bad:04d}"]
        flood = [message(bad, n) for n in range(60)]
        others = [message(n, n) for n in range(1, 1001) if n != bad for _ in range(2)]
        mixed = [one for n, one in enumerate(others) if n % 20]
        await submit(app, [*flood[:20], *others[::20], *flood[20:40], *mixed, *flood[40:]])

        def settled() -> bool:
            last = records.last()
            return all(e.id in last and isinstance(last[e.id].outcome, Sent) for e in others)

        await until(settled, 60)
        assert Counter(one[0] for one in said(far)).get(f"staff{bad:04d}", 0) == 0
        assert len(said(far)) == len(others)
        far.faults.hang = []
        await until(lambda: len(said(far)) > len(others) + 10, 60)
        ids = Counter(entry["command"] for entry in far.journal.entries())
        assert set(ids.values()) == {1}, "repeats have their first id"


async def test_a_lost_login_is_told_and_its_messages_wait(tmp_path: Path) -> None:
    records = Records()
    async with simulated() as far, core(tmp_path, far, records) as (app, _):
        await far.control(
            "account_state", {"account": "staff0001", "state": "login_lost", "reason": "扫码过期"}
        )

        def told() -> list[str]:
            found = [r.envelope.payload for r in records.of("inbound")]
            return [p.body for p in found if isinstance(p, Happening) and p.kind == "account_state"]

        await until(lambda: len(told()) == 1)
        assert '"down"' in told()[0]
        assert "扫码过期" in told()[0]
        waiting = message(1, 1)
        await submit(app, [waiting, message(2, 2)])
        await until(lambda: len(said(far)) == 1)
        await until(lambda: waiting.id in records.last())
        assert not isinstance(records.last()[waiting.id].outcome, Sent)
