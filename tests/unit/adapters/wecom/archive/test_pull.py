"""The archive is read once, in order and without holes: through kills, duplicates, missing keys, damaged items and long absences.

Long because each way of losing one's place is a short test on one stand.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from adapters.sim.hooks import mounted
from adapters.sim.wecom.archive_rig import archive_settings
from adapters.sim.wecom.rigs import callback_settings
from adapters.wecom import WeComArchive
from adapters.wecom.archive.pull import Cursor
from adapters.wecom.archive.source import CODES, Means, SourceError
from adapters.wecom.calls import Refusal
from msgcenter.adapter import Dispatch, Malformed, Secret, Unavailable
from protocols.outcome import Rejected, Sent
from protocols.payload import Pull, Text
from protocols.wecom.archive import SDK_RETURNS, Encrypted, Page
from tests.port import FakePort
from tests.unit.adapters.wecom.archive.parts import Archived, archived, beside, running, told
from tests.unit.adapters.wecom.parts import corp, one, to_staff

DAY = 86_400


def texts(received: list[Any]) -> list[str]:
    return [item.payload.text for item in received if isinstance(item.payload, Text)]


async def test_everything_comes_once_and_in_order() -> None:
    async with archived(limit=40) as a:
        for number in range(130):
            a.write(f"第{number}条", sender=f"wm{number % 7:04d}")
        assert texts(await a.read()) == [f"第{number}条" for number in range(130)]
        assert await a.read() == []
        a.write("后来")
        assert texts(await a.read()) == ["后来"]
        assert a.adapter.puller.cursor.seq == 131
        assert len({item.remote_id for item in a.port.received}) == 131


async def test_killed_between_emit_and_checkpoint_a_repeat_has_the_same_ids() -> None:
    class Killed(Exception):
        pass

    async with archived() as a:
        for number in range(3):
            a.write(f"第{number}条")
        a.archive.archive_recall(msgid=a.write("收回")["msgid"])

        async def killed(name: str, value: str) -> None:
            raise Killed(f"{name} {value}")

        save, a.port.save_checkpoint = a.port.save_checkpoint, killed  # type: ignore[method-assign]
        with pytest.raises(Killed):
            await a.read()
        first = list(a.port.received)
        assert len(first) == 5
        assert a.port.checkpoints == {}
        a.port.save_checkpoint = save  # type: ignore[method-assign]
        async with beside(a.corp, a.port) as again:
            assert await again.read() == first
            assert await again.read() == []


async def test_the_cursor_waits_until_what_it_covers_is_durable() -> None:
    async with archived() as a:
        a.write("要紧")
        a.port.refuse = 1
        with pytest.raises(Unavailable):
            await a.read()
        assert a.port.checkpoints == {}
        assert texts(await a.read()) == ["要紧"]
        assert Cursor.parse(a.port.checkpoints["archive"]).seq == 1


async def test_one_process_reads_at_a_time() -> None:
    async with archived() as a, beside(a.corp) as b:
        b.port.checkpoints = a.port.checkpoints
        a.port.gate.clear()
        a.write("一次")
        reading = asyncio.create_task(a.read())
        await a.port.until(lambda: a.port.tries > 0)
        waiting = asyncio.create_task(b.read())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        a.port.gate.set()
        assert texts(await reading) == ["一次"]
        assert await waiting == []


async def test_a_message_that_comes_again_has_the_same_id() -> None:
    async with archived() as a:
        written = a.write("重复")
        a.archive.archive_repeat(msgid=written["msgid"])
        first, second = await a.read()
        assert first == second
        assert first.remote_id == written["msgid"]


async def test_control_characters_are_stripped_before_parsing() -> None:
    async with archived() as a:
        received = await a.one(text="带控制符", control_chars=True)
        assert received.payload == Text("带控制符")


async def test_recall_and_switch() -> None:
    async with archived() as a:
        written = a.write("收回我")
        a.archive.archive_recall(msgid=written["msgid"])
        switched = a.archive.archive_switch(userid="staff0002")
        said, recall, switch = await a.read()
        assert told(recall) == ("wecom_archive_recall", {"pre_msgid": said.remote_id})
        assert recall.order_key == said.order_key
        assert (recall.sender, recall.account_number) == (said.sender, said.account_number)
        assert told(switch) == ("wecom_archive_switch", {"user": "staff0002"})
        assert (str(switch.sender), switch.account_number) == ("staff:staff0002", "staff0002")
        assert switch.remote_id == switched["msgid"]
        assert abs(switch.at - a.corp.clock.now_ms()) < 60_000


# -- keys ---------------------------------------------------------------------------------------------------------------


async def test_several_key_versions_and_a_missing_one_holds_then_is_relayed_sealed() -> None:
    async with archived(patience=3600) as a:
        a.write("一版")
        a.archive.archive_key()
        later = archive_settings(a.corp.far)["keys"]
        a.write("二版")
        a.archive.archive_key()
        a.write("三版")
        assert texts(await a.read()) == ["一版"]
        for _ in range(3):
            a.corp.jump(1000)
            assert await a.read() == []
        assert a.port.account_states[-1][1] == "down"
        assert "publickey_ver 2" in a.port.account_states[-1][2]
        assert a.adapter.puller.lag_s() >= 3000
        assert a.adapter.puller.cursor.seq == 1

        # The key is put in: reading goes on where it stopped, also after a restart.
        async with beside(a.corp, a.port, keys=later) as mended:
            assert texts(await mended.read()) == ["二版"]
            a.corp.jump(3599)
            assert await mended.read() == [], "each version has its own patience"
            a.corp.jump(2)
            [unread] = await mended.read()
            kind, body = told(unread)
            assert kind == "wecom_archive_unreadable"
            assert (body["seq"], body["publickey_ver"], body["code"]) == (3, 3, 10007)
            assert mended.adapter.relay.unreadable == 1
            assert a.port.account_states[-1][1] == "up"
            mended.write("又一条")
            assert [told(one)[0] for one in await mended.read()] == ["wecom_archive_unreadable"]

        # What was relayed sealed can still be opened when the key is found.
        async with beside(a.corp) as found:
            names = ("seq", "msgid", "encrypt_random_key", "encrypt_chat_msg")
            seq, msgid, key, sealed = (body[name] for name in names)
            item = Encrypted(seq=seq, msgid=msgid, key_version=3, random_key=key, chat_msg=sealed)
            assert "三版" in (await found.adapter.source.decrypt(item)).decode()


async def test_a_wrong_key_holds_and_a_damaged_item_under_a_proven_key_does_not() -> None:
    async with archived() as a:
        other, _ = (a.archive.archive_key()["private_pem"], a.archive.archive_key(version=1))
        a.write("用错的钥匙")
        wrong = {1: Secret(other)}
        async with beside(a.corp, keys=wrong) as b:
            assert await b.read() == []
            assert b.adapter.puller.cursor.seq == 0
        async with beside(a.corp) as c:
            c.write("坏的")
            c.write("好的")
            fetch = c.adapter.source.fetch

            async def damaged(seq: int, limit: int) -> Page:
                page = await fetch(seq, limit)
                return Page(
                    items=tuple(
                        Encrypted(
                            seq=item.seq,
                            msgid=item.msgid,
                            key_version=item.key_version,
                            random_key=item.random_key,
                            chat_msg="AAAA" if item.seq == 2 else item.chat_msg,
                        )
                        for item in page.items
                    )
                )

            c.adapter.source.fetch = damaged  # type: ignore[method-assign]
            first, broken, last = await c.read()
            assert texts([first, last]) == ["用错的钥匙", "好的"]
            assert told(broken)[0] == "wecom_archive_unreadable"
            assert told(broken)[1]["code"] == 10006


async def test_an_item_that_never_decrypts_does_not_hold_for_ever_whatever_the_code() -> None:
    for code, holds in (
        (10000, False),
        (10004, False),
        (10009, False),
        (10003, True),
        (10007, True),
    ):
        async with archived(patience=60) as a:
            a.write("好")
            await a.read()
            decrypt = a.adapter.source.decrypt

            async def broken(item: Encrypted, code: int = code, decrypt: Any = decrypt) -> bytes:
                if item.seq == 2:
                    raise SourceError(code)
                plain: bytes = await decrypt(item)
                return plain

            a.adapter.source.decrypt = broken  # type: ignore[method-assign]
            a.write("坏")
            a.write("又好")
            first = asyncio.create_task(a.read())
            while not first.done():
                a.corp.jump(0.1)
                await asyncio.sleep(0.005)
            if holds:
                assert await first == []
                assert a.adapter.puller.is_held
                a.corp.jump(61)
            second = asyncio.create_task(a.read())
            while not second.done():
                a.corp.jump(0.1)
                await asyncio.sleep(0.005)
            unread, good = await second if holds else await first
            assert told(unread)[1]["code"] == code
            assert good.payload == Text("又好")
            assert not a.adapter.puller.is_held


async def test_a_hold_that_a_restart_ends_is_told_to_be_over() -> None:
    async with archived() as a:
        a.archive.archive_key()
        a.write("二版")
        async with beside(a.corp, a.port) as mended:
            assert await a.read() == []
            assert a.port.account_states[-1][1] == "down"
            assert texts(await mended.read()) == ["二版"]
            assert a.port.account_states[-1][1] == "up"


async def test_what_is_no_key_is_refused_with_its_name() -> None:
    async with corp() as c:
        known = archive_settings(c.far) | {"keys": {7: Secret("no key")}}
        port = FakePort("archive")
        with pytest.raises(Malformed, match=r"keys\.7: no private key in PEM form"):
            WeComArchive(WeComArchive.Settings.model_validate(known), port)
    for sources in ({}, {"library": "/a.so", "simulator": "http://127.0.0.1:1"}):
        fields = {"corp": "ww", "secret": Secret("s"), "keys": {1: Secret("k")}} | sources
        with pytest.raises(ValueError, match="library or simulator must be given"):
            WeComArchive.Settings.model_validate(fields)


# -- gaps, limits, failures ---------------------------------------------------------------------------------------------


async def test_gaps_are_counted_first_start_long_absence_and_expired_seq() -> None:
    async with archived() as a:
        a.write("旧")
        await a.read()
        assert a.adapter.puller.gaps == 1, "first start: nobody knows what was before"
        await a.read()
        assert a.adapter.puller.gaps == 1
        a.write("没人读")
        a.corp.jump(6 * DAY)
        a.write("新")
        assert texts(await a.read()) == ["新"]
        assert a.adapter.puller.gaps == 2
        a.fault("chatdata", kind="errcode", errcode=10010, times=1)
        a.write("更新")
        assert texts(await a.read()) == ["更新"], "what we have is left out, the rest is read"
        assert a.adapter.puller.gaps == 3


async def test_a_page_too_large_is_asked_for_in_smaller_ones() -> None:
    async with archived() as a:
        for number in range(10):
            a.write(f"{number}")
        asked: list[tuple[int, int]] = []
        fetch = a.adapter.source.fetch

        async def picky(seq: int, limit: int) -> Page:
            asked.append((seq, limit))
            if limit > 3 or (seq, limit) == (4, 1):
                raise SourceError(301058)
            return await fetch(seq, limit)

        a.adapter.source.fetch = picky  # type: ignore[method-assign]
        assert len(await a.read()) == 10
        assert [limit for _, limit in asked[:5]] == [1000, 250, 62, 15, 3]
        assert a.adapter.puller.gaps == 1

        async def hopeless(seq: int, limit: int) -> Page:
            raise SourceError(301058)

        a.adapter.source.fetch = hopeless  # type: ignore[method-assign]
        with pytest.raises(SourceError):
            await a.read()
        assert a.adapter.puller.gaps == 4, (
            "three are left out, each with an alarm; not the whole archive"
        )


async def test_no_more_than_six_hundred_calls_a_minute() -> None:
    async with archived() as a:
        limits = [(600, 60.0)]
        taken = await a.port.allow(["archive.minute"] * 599, limits)
        assert set(taken) == {0.0}
        a.write("最后一次")
        reading = asyncio.create_task(a.read())
        await a.port.until(lambda: bool(a.port.received))
        await asyncio.sleep(0.05)
        assert not reading.done(), "the look for more waits for the minute to end"
        a.corp.jump(61)
        assert texts(await reading) == ["最后一次"]


async def test_every_return_code_of_the_library_has_its_meaning() -> None:
    assert SDK_RETURNS.keys() - {0} <= CODES.keys()
    for code, (_, again) in SDK_RETURNS.items():
        if code:
            assert (SourceError(code).means is Means.AGAIN) == again
    assert SourceError(10009).means is Means.SETUP
    assert SourceError(48002).means is Means.SETUP, "an errcode of the other table"
    assert SourceError(99999).means is Means.AGAIN, "a code not listed is tried again"


# -- doorbells and the session ------------------------------------------------------------------------------------------


def bell() -> Dispatch:
    return to_staff(1, Pull("archive"))


async def until(a: Archived, text: str) -> None:
    await a.port.until(lambda: text in texts(a.port.received), 10)


async def test_a_doorbell_has_it_read_at_once_and_a_poll_without_one() -> None:
    async with corp() as c:
        port = c.port("archive")
        async with running(c, port, poll="1h") as a:
            await a.port.until(lambda: "source_lag" in port.gauges)
            a.write("按了门铃")
            assert isinstance(await one(a.adapter, bell()), Sent)
            await until(a, "按了门铃")
            a.write("没按")
            c.jump(2 * 3600)
            await until(a, "没按")
            outcome = await one(a.adapter, to_staff(1))
            assert isinstance(outcome, Rejected)
            for wrong in (None, Pull("unread"), Pull("kf:wk1")):
                with pytest.raises(Malformed, match="only reads"):
                    a.adapter.render(to_staff(1, wrong).envelope)
        await port.close()


async def test_the_session_outlives_failures_and_says_so() -> None:
    async with corp() as c:
        port = c.port("archive")
        c.far.faults.fault(endpoint="sim-archive/chatdata", kind="errcode", errcode=10009, times=1)
        async with running(c, port, poll=0.05) as a:
            a.write("迟到")
            await port.until(lambda: bool(port.account_states))
            assert port.account_states[0][1] == "down"
            assert "our IP is not allowed" in port.account_states[0][2]
            await asyncio.sleep(0.05)
            assert port.received == [], "somebody has to mend it: no hurry"
            c.jump(40)
            await until(a, "迟到")
            await port.until(lambda: port.account_states[-1][1] == "up")
            port.refuse = 2
            a.write("总线不在")
            await port.until(lambda: port.refuse == 0)
            for _ in range(200):
                if "总线不在" in texts(port.received):
                    break
                c.jump(5)
                await asyncio.sleep(0.01)
            await until(a, "总线不在")
            await port.until(lambda: port.gauges["source_lag"] < 60)
        await port.close()


async def test_its_own_callback_rings_its_doorbell() -> None:
    async with corp() as c:
        port = c.port("archive")
        async with (
            running(c, port, poll="1h", **callback_settings(c.far)) as a,
            mounted(a.adapter.webhooks()) as hooks,
        ):
            url = f"http://127.0.0.1:{hooks.port}/callback"
            await c.far.pusher.callback_set(agentid=2_000_004, url=url)
            port.refuse = 1
            a.write("有新消息")
            await c.far.pusher.drained()
            assert c.far.pusher.pushes[-1].statuses == [503, 200]
            assert [pull for pull, _ in port.rung] == [Pull("archive")]
            assert port.received == [], "the event is only a hint"
            assert isinstance(await one(a.adapter, to_staff(1, port.rung[0][0])), Sent)
            await until(a, "有新消息")
        async with running(c, port) as plain:
            assert plain.adapter.webhooks() == {}
        await port.close()


async def test_a_checkpoint_that_is_none_is_told_with_the_remedy() -> None:
    cursor = Cursor(7, 1000, {3: 5})
    assert Cursor.parse(cursor.text()) == cursor
    for text in (
        "7",
        "{}",
        "[]",
        '{"seq": "x", "looked_at": 1, "held": {}}',
        '{"seq": 1, "looked_at": 1, "held": 1}',
    ):
        with pytest.raises(Malformed, match="remove it to read the last five days again"):
            Cursor.parse(text)


# -- whose chats are archived -------------------------------------------------------------------------------------------


async def test_who_is_permitted_and_who_agreed() -> None:
    async with archived() as a:
        a.archive.archive_permit(userids=["staff0001", "staff0003"])
        assert await a.adapter.permitted("office") == ("staff0001", "staff0003")
        a.archive.archive_consent(userid="staff0001", external_userid="wm0002", status="Disagree")
        pairs = [("staff0001", f"wm{number:04d}") for number in range(1, 121)]
        found = await a.adapter.agreements(pairs)
        assert [(one.userid, one.external_userid) for one in found] == pairs
        assert [one.external_userid for one in found if one.status == "Disagree"] == ["wm0002"]
        assert await a.adapter.agreements([]) == []
        a.corp.far.msgaudit.archive_room(
            roomid="wrroom", name="内部群", creator="staff0001", members=["staff0001", "staff0002"]
        )
        room = await a.adapter.consent.room("wrroom")
        assert (room.name, len(room.members)) == ("内部群", 2)
        chat = a.corp.far.chats.chat_create(owner="staff0001", customers=["wm0001", "wm0002"])
        in_room = await a.adapter.consent.room_agreements(chat["chat_id"])
        assert {(one.external_userid, one.status) for one in in_room} == {
            ("wm0001", "Agree"),
            ("wm0002", "Disagree"),
        }
        with pytest.raises(Refusal, match="not an inner group"):
            await a.adapter.consent.room("wrelse")
