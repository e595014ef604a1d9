"""The push adapter beside its simulated engines: whom a message reaches, faults, receipts, withdrawal, tokens, limits.

Long because five engines answer the same questions on one stand.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from pydantic import ValidationError

from adapters.push import Push
from adapters.push.devices import Devices
from adapters.push.hooks import PushHooks
from adapters.push.roster import Duty, RosterFile
from adapters.sim.jumps import JumpClock
from adapters.sim.push import PushSim
from adapters.sim.push.rigs import listening, settings_of, simulated
from adapters.sim.rigs import dispatch_of
from msgcenter.adapter import Dispatch, Request, Response, Secret
from msgcenter.clock import SystemClock
from protocols.address import Address
from protocols.errors import Malformed
from protocols.outcome import Outcome, Rejected, Retry, Sent, Unknown
from protocols.payload import Card, Native, Payload, Pull, Recall, Text
from protocols.webhook import signing
from tests.port import FakePort

ME = Address("gridapp", "zhangsan")
SECRET = signing.secret_of(b"0123456789abcdef0123456789abcdef")


@asynccontextmanager
async def beside(
    profile: str, clock: JumpClock | None = None, **over: Any
) -> AsyncIterator[tuple[Push, PushSim, FakePort]]:
    port = FakePort("push", clock)
    try:
        async with simulated(profile, clock) as far:
            adapter = Push(settings_of(far, **over), port)
            await adapter.devices.register(ME, "d1", "android", 1)
            async with listening(adapter, far):
                yield adapter, far, port
    finally:
        await port.close()


def item(number: int = 1, to: Address = ME, payload: Payload | None = None) -> Dispatch:
    return dispatch_of(number, to, payload or Text(f"第{number}条"))


async def send(adapter: Push, *items: Dispatch) -> list[Outcome]:
    return await adapter.deliver(items)


@pytest.mark.parametrize("profile", ["getui", "huawei"])
async def test_a_token_is_got_once_and_anew_when_refused(profile: str) -> None:
    async with beside(profile) as (adapter, far, port):
        outcomes = await send(adapter, *[item(number) for number in range(10)])
        assert all(isinstance(one, Sent) for one in outcomes)
        assert far.signed_in == 1
        far._token = "revoked"
        outcomes = await send(adapter, *[item(number) for number in range(10, 20)])
        assert all(isinstance(one, Sent) for one in outcomes)
        assert far.signed_in == 2
        assert port.counts["token_refreshes", "ok"] == 2
        # another process of this channel uses the same one
        other = Push(adapter.settings, port)
        assert isinstance((await send(other, item(30)))[0], Sent)
        assert far.signed_in == 2


async def test_wrong_credentials_are_said_and_nothing_is_lost() -> None:
    async with beside("getui", secret=Secret("wrong")) as (adapter, far, port):
        [outcome] = await send(adapter, item())
        assert isinstance(outcome, Retry)
        assert outcome.code == "push_account"
        assert port.counts["token_refreshes", "refused"] == 1
        assert not far.journal.total


@pytest.mark.parametrize(("profile", "after"), [("jpush", 7.0), ("getui", 10.0), ("plain", 10.0)])
async def test_throttled_waits_as_the_engine_says(profile: str, after: float) -> None:
    async with beside(profile) as (adapter, far, _):
        far.faults.throttle_next = 1
        [outcome] = await send(adapter, item())
        assert isinstance(outcome, Retry)
        assert (outcome.code, outcome.after) == ("push_throttled", after)
        assert isinstance((await send(adapter, item()))[0], Sent)


@pytest.mark.parametrize("profile", ["getui", "jpush", "umeng", "huawei", "plain"])
async def test_a_dead_device_is_forgotten(profile: str) -> None:
    async with beside(profile) as (adapter, far, _):
        far.faults.dead = "d1"
        [outcome] = await send(adapter, item())
        if profile == "umeng":  # says only that it refuses
            assert isinstance(outcome, Rejected)
            return
        assert outcome == Rejected("recipient", getattr(outcome, "detail", ""), "dead_token")
        assert await adapter.devices.of(ME) == []
        assert await adapter.devices.owner("d1") is None
        [outcome] = await send(adapter, item())
        assert isinstance(outcome, Rejected)
        assert outcome.code == "no_device"


@pytest.mark.parametrize(
    ("profile", "idempotent", "resend", "recall"),
    [("getui", False, False, True), ("jpush", True, True, False), ("umeng", True, True, False),
     ("huawei", False, False, False), ("plain", True, True, True)],
)  # fmt: skip
async def test_what_a_channel_can_do_follows_from_its_engine(
    profile: str, idempotent: bool, resend: bool, recall: bool
) -> None:
    async with beside(profile) as (adapter, _, _):
        spec = adapter.spec
        assert (spec.idempotent, spec.resend, spec.recall) == (idempotent, resend, recall)
        assert spec == Push.abilities(adapter.settings)
        assert bool(spec.receipts) == (profile != "umeng")


async def test_a_lost_answer_is_found_by_its_receipt_where_the_engine_names_it_as_we_do() -> None:
    async with beside("plain") as (adapter, far, port):
        far.faults.lose_next = 1
        one = item()
        [outcome] = await send(adapter, one)
        assert isinstance(outcome, Unknown)
        assert outcome.remote_ids == (one.token,)
        await port.until(lambda: bool(port.reports))
        assert port.reports[0].report.remote_id == one.token
        assert port.reports[0].recipient == ME


async def test_delivered_then_clicked_join_the_same_message() -> None:
    async with beside("plain") as (adapter, far, port):
        one = item()
        assert await send(adapter, one) == [Sent((one.token,))]
        await port.until(lambda: len(port.reports) == 1)
        await far.control("receipt", {"id": one.token, "device": "d1", "code": "clicked"})
        await port.until(lambda: len(port.reports) == 2)
        assert [r.report.state for r in port.reports] == ["delivered", "read"]
        assert {r.report.remote_id for r in port.reports} == {one.token}


async def test_a_receipt_that_says_dead_removes_the_device_and_a_late_one_still_joins() -> None:
    async with beside("huawei") as (adapter, far, port):
        far.faults.receipt_code = "5"
        [outcome] = await send(adapter, item())
        assert isinstance(outcome, Sent)
        await port.until(lambda: len(port.reports) == 1)
        assert port.reports[0].report.state == "undelivered"
        await asyncio.wait_for(_gone(adapter), 5)
        await far.control("receipt", {"id": outcome.remote_ids[0], "device": "d1", "code": "0"})
        await port.until(lambda: len(port.reports) == 2)
        assert port.reports[1].report.state == "delivered"


@pytest.mark.parametrize("profile", ["getui", "huawei", "plain"])
async def test_a_forged_receipt_is_believed_in_nothing(
    profile: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[Request] = []
    receipts = PushHooks.receipts

    async def kept(hooks: PushHooks, request: Request) -> Response:
        heard.append(request)
        return await receipts(hooks, request)

    monkeypatch.setattr(PushHooks, "receipts", kept)
    async with beside(profile) as (adapter, _, port):
        assert isinstance((await send(adapter, item()))[0], Sent)
        await port.until(lambda: len(port.reports) == 1)
        [told] = heard
        signed = {**told.headers}
        forged = [
            replace(told, body=told.body.replace(b"d1", b"d2")),  # of another device
            replace(told, headers=dict.fromkeys(signed, "0"), body=told.body[:-20]),
        ]
        if profile != "getui":  # that one signs in the body
            forged.append(replace(told, headers={}))
        for request in forged:
            assert request != told
            with pytest.raises(Malformed):
                await receipts(adapter._hooks, request)
        assert len(port.reports) == 1
        assert await adapter.devices.of(ME), "nor was a device forgotten"
        await receipts(adapter._hooks, told)
        assert len(port.reports) == 2, "the real one once more: the core knows it by its id"


async def _gone(adapter: Push) -> None:
    while await adapter.devices.of(ME):
        await asyncio.sleep(0.01)


async def test_receipts_are_asked_for_until_they_come() -> None:
    async with beside("jpush") as (adapter, far, port):
        far.faults.lose_receipts = 1.0
        [outcome] = await send(adapter, item())
        assert isinstance(outcome, Sent)
        [(pull, _)] = port.rung
        port.rung.clear()
        assert await send(adapter, item(2, payload=pull)) == [Sent()]
        assert not port.reports
        [(again, _)] = port.rung  # not come: asked again
        far.received.add(outcome.remote_ids[0])
        port.rung.clear()
        assert await send(adapter, item(3, payload=again)) == [Sent()]
        assert [r.report.remote_id for r in port.reports] == list(outcome.remote_ids)
        assert not port.rung
        [odd] = await send(adapter, item(4, payload=Pull("elsewhere")))
        assert isinstance(odd, Rejected)


async def test_jpush_ids_are_fetched_first_and_kept_for_the_repeat() -> None:
    async with beside("jpush") as (adapter, far, port):
        one = item()
        await send(adapter, one)
        other = Push(adapter.settings, port)  # another process repeats it
        await send(other, one)
        assert far.journal.total == 1
        await send(other, item(2))
        assert far.journal.total == 2


async def test_withdraw() -> None:
    for profile in ("getui", "plain"):
        async with beside(profile) as (adapter, far, _):
            [outcome] = await send(adapter, item())
            assert isinstance(outcome, Sent)
            recall = item(2, payload=Recall("msg_1", outcome.remote_ids))
            assert await send(adapter, recall) == [Sent()]
            assert far.withdrawn == list(outcome.remote_ids)
    async with beside("umeng") as (adapter, _, _):
        [outcome] = await send(adapter, item(2, payload=Recall("msg_1", ("x",))))
        assert isinstance(outcome, Rejected)


async def test_a_role_reaches_who_is_on_duty(tmp_path: Path) -> None:
    roster = tmp_path / "roster.yaml"
    roster.write_text(
        'installer@g1:\n- {account: zhangsan}\n- {account: lisi, hours: "08:00-18:00"}\n'
    )
    clock = JumpClock(SystemClock())
    async with beside("plain", clock, roster=roster) as (adapter, far, _):
        await adapter.devices.register(Address("gridapp", "lisi"), "d2", "", 1)
        noon = int(datetime(2099, 9, 1, 4, tzinfo=UTC).timestamp() * 1000)  # 12:00 in China
        clock.jump((noon - clock.now_ms()) / 1000)
        role = Address("role", "installer@g1")
        assert isinstance((await send(adapter, item(1, role)))[0], Sent)
        assert far.journal.entries()[-1]["devices"] == ["d1", "d2"]
        clock.jump(10 * 3600.0)
        assert isinstance((await send(adapter, item(2, role)))[0], Sent)
        assert far.journal.entries()[-1]["devices"] == ["d1"]
        [outcome] = await send(adapter, item(3, Address("role", "seller@g1")))
        assert isinstance(outcome, Rejected)
        roster.write_text("installer@g1: []\nseller@g1: []\n")
        [outcome] = await send(adapter, item(4, Address("role", "seller@g1")))
        assert isinstance(outcome, Retry)
        assert outcome.code == "nobody_on_duty"


def test_duty_goes_past_midnight(tmp_path: Path) -> None:
    night = Duty(account="a", hours="20:00-06:00", days=("mon",))

    def at(day: int, hour: int) -> int:  # China; 2026-08-31 is a Monday
        return int(datetime(2026, 8, 31, tzinfo=UTC).timestamp() * 1000) + (
            (day * 24 + hour - 8) * 3_600_000
        )

    assert night.is_on(at(0, 21))
    assert night.is_on(at(1, 5))
    assert not night.is_on(at(0, 5))
    assert not night.is_on(at(1, 21))
    assert not night.is_on(at(0, 12))
    bad = tmp_path / "roster.yaml"
    bad.write_text("x: [{account: a, hours: 9-17}]")
    with pytest.raises(Malformed):
        RosterFile(bad, structlog.get_logger()).on_duty(Address("role", "x"), 0)


async def test_devices_are_registered_by_a_signed_call() -> None:
    async with beside("plain", device_secrets=(Secret(SECRET),)) as (adapter, _, port):
        hook = adapter.webhooks()["devices"]

        async def call(body: dict[str, Any], secret: str = SECRET) -> int:
            octets = json.dumps(body).encode()
            headers = signing.sign([secret], "evt_1", port.clock.now_ms() // 1000, octets)
            return (await hook(Request("POST", "/", {}, headers, octets))).status

        lisi = {"address": "gridapp:lisi", "token": "d7", "platform": "ios"}
        assert await call({"devices": [lisi]}) == 204
        assert await call({"devices": [lisi]}) == 204
        [device] = await adapter.devices.of(Address("gridapp", "lisi"))
        assert (device.token, device.platform) == ("d7", "ios")
        # the same telephone, another person
        assert await call({"devices": [{**lisi, "address": "gridapp:wangwu"}]}) == 204
        assert await adapter.devices.of(Address("gridapp", "lisi")) == []
        assert await call({"gone": [{**lisi, "address": "gridapp:wangwu"}]}) == 204
        assert await adapter.devices.owner("d7") is None
        for wrong in ({"devices": [{"address": "tel:+8613800138000", "token": "x"}]}, {"gone": 1}):
            with pytest.raises(Malformed):
                await call(wrong)
        with pytest.raises(Malformed):
            await call({"devices": [lisi]}, signing.secret_of(b"x" * 32))
    async with beside("plain") as (adapter, _, _):
        assert "devices" not in adapter.webhooks()


async def test_the_newest_devices_of_a_person() -> None:
    async with beside("plain", most_devices=2) as (adapter, far, _):
        for number in range(2, 5):
            await adapter.devices.register(ME, f"d{number}", "", number)
        await send(adapter, item())
        assert far.journal.entries()[0]["devices"] == ["d4", "d3"]
    async with beside("getui") as (adapter, far, _):
        await adapter.devices.register(ME, "d2", "", 2)
        await send(adapter, item())
        assert far.journal.entries()[0]["devices"] == ["d2"]


async def test_limits_are_asked_before_the_call() -> None:
    async with beside("huawei", per_device_day={"service": 2}) as (adapter, far, _):
        outcomes = [(await send(adapter, item(number)))[0] for number in range(3)]
        assert [type(one) for one in outcomes] == [Sent, Sent, Rejected]
        assert far.journal.total == 2
    async with beside("plain", per_minute=1) as (adapter, far, _):
        outcomes = [(await send(adapter, item(number)))[0] for number in range(2)]
        assert isinstance(outcomes[1], Retry)
        assert outcomes[1].code == "push_throttled"


async def test_a_days_allowance_of_the_app_counts_devices() -> None:
    async with beside("huawei", per_day=2) as (adapter, far, _):
        outcomes = [(await send(adapter, item(number)))[0] for number in range(3)]
        assert [type(one) for one in outcomes] == [Sent, Sent, Retry]
        assert isinstance(outcomes[2], Retry)
        assert (outcomes[2].scope, outcomes[2].code) == ("channel", "push_throttled")
        assert far.journal.total == 2


async def test_no_call_is_made_after_the_engine_said_that_none_is_left() -> None:
    clock = JumpClock(SystemClock())
    async with beside("jpush", clock) as (adapter, far, _):
        assert isinstance((await send(adapter, item(1)))[0], Sent)  # its ids are fetched, too
        far.faults.calls_left = 2
        outcomes = [(await send(adapter, item(number)))[0] for number in range(2, 5)]
        assert [type(one) for one in outcomes] == [Sent, Sent, Retry]
        assert isinstance(outcomes[2], Retry)
        assert outcomes[2].code == "push_throttled"
        assert 0 < outcomes[2].after <= 7
        assert far.journal.total == 3
        far.faults.calls_left = None
        clock.jump(7.0)
        assert isinstance((await send(adapter, item(5)))[0], Sent)


@pytest.mark.parametrize("profile", ["jpush", "huawei"])
async def test_a_dry_run_is_checked_and_not_shown(profile: str) -> None:
    async with beside(profile, dry_run=True) as (adapter, far, _):
        assert isinstance((await send(adapter, item(1)))[0], Sent)
        assert (far.checked, far.journal.total) == (1, 0)


async def test_what_is_urgent_says_so() -> None:
    async with beside("huawei") as (adapter, far, _):
        urgent = item(1)
        await send(adapter, replace(urgent, envelope=replace(urgent.envelope, tier=0)))
        await send(adapter, item(2))
        assert far.urgencies == ["HIGH", "NORMAL"]


async def test_content() -> None:
    async with beside("plain") as (adapter, far, _):
        body = json.dumps({"title": "工单", "body": "新装机", "data": {"order": 7}})
        card = Card("待办", "", "https://grid.example/1")
        outcomes = await send(adapter, item(1, payload=Native("push", body)), item(2, payload=card))
        assert all(isinstance(one, Sent) for one in outcomes)
        assert {(e["title"], e["body"]) for e in far.journal.entries()} == {
            ("工单", "新装机"),
            ("待办", "待办"),
        }
        for wrong in (Text(" "), Native("push", '{"x":1}'), Native("card", "{}")):
            with pytest.raises(Malformed):
                adapter.render(item(3, payload=wrong).envelope)


@pytest.mark.parametrize(
    ("over", "words"),
    [
        ({"base_url": "http://push.example.com"}, "https"),
        ({"engine": {"batch": "many"}}, "engine.batch"),
        ({"engine": {"nothing": 1}}, "engine.nothing"),
        ({"engine": {"receipts": {"how": "poll"}}, "poll_after": ()}, "poll_after"),
        ({"dry_run": True}, "would really send"),
    ],
)
def test_wrong_settings_name_the_field(over: dict[str, Any], words: str) -> None:
    good = {"profile": "plain", "base_url": "https://a.b", "key": "k", "secret": Secret("s")}
    assert Push.Settings.model_validate(good)
    with pytest.raises(ValidationError, match=words):
        Push.Settings.model_validate({**good, **over})


def test_a_profile_is_changed_by_what_differs() -> None:
    good = {"profile": "plain", "base_url": "https://a.b", "key": "k", "secret": Secret("s")}
    over = {"send": {"path": "/v9/send", "body": {"to": "{tokens}"}}, "repeat": "loses"}
    settings = Push.Settings.model_validate({**good, "engine": over})
    assert settings.made.send.path == "/v9/send"
    assert settings.made.send.body == {"to": "{tokens}"}
    assert not Push.abilities(settings).idempotent


async def test_a_registry_written_by_two_processes_loses_nothing() -> None:
    port = FakePort("push")
    try:
        one, two = Devices(port), Devices(port)
        await asyncio.gather(one.register(ME, "a", "", 1), two.register(ME, "b", "", 2))
        assert {device.token for device in await one.of(ME)} == {"a", "b"}
    finally:
        await port.close()
