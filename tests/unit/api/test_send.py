"""Sending: what is answered 202 is on the bus, readable, and the same again under one
Idempotency-Key."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from msgcenter.bus import BusBlocked, BusError
from msgcenter.state import Accepted, StateError
from msgcenter.status import Meta
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Text
from tests.unit.api.parts import Parts, message, text_of


async def test_a_message_is_accepted_published_and_readable(parts: Parts) -> None:
    status, body, headers = await parts.post(
        "/v1/messages", message(reference="订单-1", campaign="c1", order_key="k")
    )
    assert status == 202
    assert body["status"] == "accepted"
    assert body["reference"] == "订单-1"
    assert headers["Location"] == f"/v1/messages/{body['id']}"
    [envelope] = parts.bus.envelopes
    assert (envelope.id, envelope.caller, str(envelope.to)) == (
        body["id"],
        "crm",
        "tel:+8613800138000",
    )
    assert (envelope.tier, envelope.account, envelope.channels) == (2, "hotline", ("sms",))
    assert (envelope.reference, envelope.campaign, envelope.order_key) == ("订单-1", "c1", "crm/k")
    assert text_of(envelope) == "您的业务已办理"
    assert envelope.expires_at - envelope.created_at == 86_400_000
    assert parts.bus.frames[0].lane == "conv"
    assert len(envelope.trace) == 55
    status, view, _ = await parts.get(headers["Location"])
    assert status == 200
    assert (view["id"], view["status"], view["to"], view["reference"]) == (
        body["id"],
        "accepted",
        "tel:+8613800138000",
        "订单-1",
    )
    assert view["final"] is False


@pytest.mark.parametrize(
    ("to", "meant"),
    [
        ("13800138000", "tel:+8613800138000"),
        ("+8613800138000", "tel:+8613800138000"),
        ("008613800138000", "tel:+8613800138000"),
        ("tel:13800138000", "tel:+8613800138000"),
        ("tel:+86 138-0013-8000", "tel:+8613800138000"),
        ("19212345678", "tel:+8619212345678"),
        ("1064812345678", "tel:+861064812345678"),
        ("1440123456789", "tel:+861440123456789"),
        ("+14155552671", "tel:+14155552671"),
    ],
)
async def test_numbers_as_people_write_them(parts: Parts, to: str, meant: str) -> None:
    status, body, _ = await parts.post("/v1/messages", message(to=to))
    assert status == 202, body
    assert str(parts.bus.envelopes[0].to) == meant


async def test_the_channel_follows_from_the_address_and_the_tier_from_the_category(
    parts: Parts,
) -> None:
    await parts.post("/v1/messages", message(to="gridapp:zhang3", channels=None))
    await parts.post("/v1/messages", message(channels=None, category="code"))
    grid, code = parts.bus.envelopes
    assert (grid.channels, grid.account) == (("push",), "")
    assert (code.channels, code.tier, parts.bus.frames[1].lane) == (("sms",), 0, "urgent")
    assert code.expires_at - code.created_at == 60_000


async def test_a_later_time_counts_validity_from_there(parts: Parts) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    body = message(send_at=at.isoformat(), expires_in="10m")
    assert (await parts.post("/v1/messages", body))[0] == 202
    [envelope] = parts.bus.envelopes
    assert abs(envelope.not_before - at.timestamp() * 1000) < 2
    assert envelope.expires_at - envelope.not_before == 600_000


async def test_a_traceparent_is_carried(parts: Parts) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await parts.post("/v1/messages", message(), headers={"traceparent": trace})
    await parts.post("/v1/messages", message(), headers={"traceparent": "00-" + "0" * 52})
    assert parts.bus.envelopes[0].trace == trace
    assert parts.bus.envelopes[1].trace[3:35].strip("0")


# -- idempotency --------------------------------------------------------------------------------


async def test_fifty_at_once_with_one_key_are_one_message(parts: Parts) -> None:
    parts.bus.delay = 0.01
    key = {"Idempotency-Key": "order-77"}
    answers = await asyncio.gather(
        *(parts.post("/v1/messages", message(), headers=key) for _ in range(50))
    )
    statuses = Counter(status for status, _, _ in answers)
    assert set(statuses) <= {202, 409}
    assert statuses[202] >= 1
    assert len(parts.bus.envelopes) == 1
    for status, body, headers in answers:
        if status == 409:
            assert body["code"] == "idempotency_busy"
            assert int(headers["Retry-After"]) >= 1
    status, body, headers = await parts.post("/v1/messages", message(), headers=key)
    assert status == 202
    assert headers["Idempotent-Replayed"] == "true"
    assert body["id"] == parts.bus.envelopes[0].id
    assert headers["Location"].endswith(body["id"])
    assert len(parts.bus.envelopes) == 1


async def test_a_key_belongs_to_one_body_and_one_caller(parts: Parts) -> None:
    key = {"Idempotency-Key": '"quoted"'}
    _, first, _ = await parts.post("/v1/messages", message(), headers=key)
    status, body, _ = await parts.post("/v1/messages", message(reference="x"), headers=key)
    assert (status, body["code"]) == (422, "idempotency_mismatch")
    same = dict(reversed(list(message().items())))  # other order of members: the same request
    status, body, headers = await parts.post(
        "/v1/messages", same, headers={"Idempotency-Key": "quoted"}
    )
    assert (status, body["id"]) == (202, first["id"])
    assert "Idempotent-Replayed" in headers
    status, other, headers = await parts.post(
        "/v1/messages", message(), headers=key, caller="limited"
    )
    assert status == 202
    assert other["id"] != first["id"]
    for bad in ("", "a b", "é", "x" * 256):
        status, body, _ = await parts.post(
            "/v1/messages", message(), headers={"Idempotency-Key": bad}
        )
        assert (status, body["code"]) == (400, "idempotency_key_invalid"), bad


@pytest.mark.parametrize("error", [BusError("gone"), BusBlocked("alarm"), TimeoutError()])
async def test_a_broker_that_is_down_answers_503_and_the_same_id_later(
    parts: Parts, error: Exception
) -> None:
    seen: list[str] = []
    publish = parts.bus.publish

    async def down(frames: Any) -> None:
        parts.bus.frames = []
        await publish(frames)
        seen.extend(envelope.id for envelope in parts.bus.envelopes)
        parts.bus.frames = []
        raise error

    parts.bus.publish = down  # type: ignore[method-assign]
    key = {"Idempotency-Key": "k1"}
    status, body, headers = await parts.post("/v1/messages", message(), headers=key)
    assert status == 503
    assert int(headers["Retry-After"]) >= 1
    assert body["code"] in {"bus_unavailable", "overloaded"}
    # at once: the failed try let go of the key
    assert (await parts.post("/v1/messages", message(), headers=key))[0] == 503
    parts.bus.publish = publish  # type: ignore[method-assign]
    status, body, headers = await parts.post("/v1/messages", message(), headers=key)
    assert status == 202
    assert "Idempotent-Replayed" not in headers
    assert {*seen, body["id"]} == {body["id"]}


async def test_a_state_that_goes_away_after_the_confirm_is_503_only_where_a_retry_is_safe(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(items: Any) -> None:
        raise StateError("gone")

    monkeypatch.setattr(parts.state, "accepted", away)
    # Without a key a second try would be a second message, and this one is durable: accepted.
    status, body, _ = await parts.post("/v1/messages", message())
    assert status == 202
    assert body["id"].startswith("msg_")
    status, body, headers = await parts.post(
        "/v1/messages", message(), headers={"Idempotency-Key": "k-1"}
    )
    assert (status, body["code"]) == (503, "state_unavailable")
    assert "Retry-After" in headers


async def test_a_short_state_failure_after_the_confirm_is_not_shown(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted, tries = parts.state.accepted, 0

    async def once(items: list[Accepted]) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise StateError("hiccup")
        await accepted(items)

    monkeypatch.setattr(parts.state, "accepted", once)
    assert (await parts.post("/v1/messages", message()))[0] == 202
    assert tries == 2


async def test_the_soft_mark_and_the_way_out_refuse(parts: Parts) -> None:
    parts.pressure = "submit holds 40000 frames"
    status, body, headers = await parts.post("/v1/messages", message())
    assert (status, body["code"]) == (503, "overloaded")
    assert (
        "40000" not in body["detail"]
    )  # what is the matter with the bus is no business of callers
    assert "the bus takes nothing" in body["detail"]
    assert "Retry-After" in headers
    parts.pressure, parts.leaving = "", True
    assert (await parts.post("/v1/messages", message()))[0] == 503
    assert not parts.bus.frames


async def test_a_quota_answers_429(parts: Parts) -> None:
    answers = [await parts.post("/v1/messages", message(), caller="limited") for _ in range(7)]
    assert [status for status, _, _ in answers][:5] == [202] * 5
    status, body, headers = answers[-1]
    assert (status, body["code"]) == (429, "quota_exceeded")
    assert int(headers["Retry-After"]) >= 1
    assert len(parts.bus.envelopes) == sum(status == 202 for status, _, _ in answers)


# -- batch --------------------------------------------------------------------------------------


async def test_a_batch_answers_each_item(parts: Parts) -> None:
    items = [
        message(reference="a"),
        message(to="12345", reference="b"),
        message(category="marketing"),
        message(nonsense=1),
        message(content={"type": "text", "text": "好"}),
    ]
    status, body, _ = await parts.post("/v1/messages:batch", {"messages": items})
    assert status == 202
    assert (body["accepted"], body["refused"]) == (2, 3)
    assert [item["index"] for item in body["results"]] == [0, 1, 2, 3, 4]
    assert [item["status"] for item in body["results"]] == [
        "accepted",
        "refused",
        "refused",
        "refused",
        "accepted",
    ]
    assert body["results"][1]["reference"] == "b"
    assert body["results"][1]["problem"]["errors"][0]["field"] == "to"
    assert body["results"][2]["problem"]["code"] == "category_not_granted"
    assert body["results"][3]["problem"]["errors"][0]["field"] == "nonsense"
    assert [envelope.id for envelope in parts.bus.envelopes] == [
        body["results"][0]["id"],
        body["results"][4]["id"],
    ]


async def test_a_full_batch_goes_in_full_frames_and_keeps_the_order_of_a_conversation(
    parts: Parts,
) -> None:
    items = [message(reference=str(n), order_key="one") for n in range(350)]
    items += [message(reference=f"n{n}") for n in range(650)]
    status, body, _ = await parts.post("/v1/messages:batch", {"messages": items})
    assert (status, body["accepted"]) == (202, 1000)
    assert sorted(frame.count for frame in parts.bus.frames) == [50, 50, *[100] * 9]
    conversation = [e.reference for e in parts.bus.envelopes if e.order_key]
    assert conversation == [str(n) for n in range(350)]


async def test_a_repeated_batch_makes_the_same_ids(parts: Parts) -> None:
    key = {"Idempotency-Key": "batch-1"}
    items = {"messages": [message(reference=str(n)) for n in range(20)] + [message(to="1")]}
    parts.bus.down = BusError("gone")
    status, body, _ = await parts.post("/v1/messages:batch", items, headers=key)
    assert (status, body["code"]) == (503, "bus_unavailable")
    parts.bus.down = None
    status, first, _ = await parts.post("/v1/messages:batch", items, headers=key)
    assert (status, first["accepted"], first["refused"]) == (202, 20, 1)
    status, again, headers = await parts.post("/v1/messages:batch", items, headers=key)
    assert (status, again) == (202, first)
    assert headers["Idempotent-Replayed"] == "true"
    assert len(parts.bus.envelopes) == 20
    assert len({envelope.id for envelope in parts.bus.envelopes}) == 20


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [message()] * 1001}, "messages"),
        ({"messages": 5}, "messages"),
        ({}, "messages"),
        ({"messages": [message()], "x": 1}, "x"),
    ],
)
async def test_what_is_no_batch_is_refused_whole(parts: Parts, body: Any, field: str) -> None:
    status, answer, _ = await parts.post("/v1/messages:batch", body)
    assert status == 422
    assert answer["errors"][0]["field"] == field
    assert not parts.bus.frames


# -- bundling -----------------------------------------------------------------------------------


async def test_two_hundred_at_once_share_few_frames(parts: Parts) -> None:
    parts.bus.gate = asyncio.Event()
    await parts.key()
    tasks = [asyncio.create_task(parts.post("/v1/messages", message())) for _ in range(200)]
    async with asyncio.timeout(30):
        while parts.bus.asked + parts.api.bundler.waiting < 200:
            await asyncio.sleep(0.01)
    parts.bus.gate.set()
    answers = await asyncio.gather(*tasks)
    assert {status for status, _, _ in answers} == {202}
    assert len(parts.bus.envelopes) == 200
    assert len({body["id"] for _, body, _ in answers}) == 200
    assert len(parts.bus.frames) <= 6


async def test_one_client_waits_for_nobody(parts: Parts) -> None:
    for _ in range(5):
        assert (await parts.post("/v1/messages", message()))[0] == 202
    assert [len(frames) for frames in parts.bus.publishes] == [1] * 5


async def test_a_backlog_has_an_end(parts: Parts) -> None:
    parts.bus.gate = asyncio.Event()
    batch = {"messages": [message() for _ in range(1000)]}
    await parts.key()
    tasks = [asyncio.create_task(parts.post("/v1/messages:batch", batch)) for _ in range(14)]
    done, waiting = await asyncio.wait(tasks, timeout=20, return_when=asyncio.FIRST_COMPLETED)
    assert done
    for task in done:
        status, body, headers = task.result()
        assert (status, body["code"]) == (503, "overloaded")
        assert "Retry-After" in headers
    parts.bus.gate.set()
    answers = await asyncio.gather(*waiting)
    accepted = sum(body["accepted"] for status, body, _ in answers if status == 202)
    assert accepted == len(parts.bus.envelopes)


def test_the_short_way_to_meta_is_the_long_way() -> None:
    envelope = Envelope(
        "msg_1",
        "crm",
        Address("tel", "+8613800138000"),
        "care",
        4,
        Text("x"),
        5,
        channels=("sms", "push"),
        order_key="k",
        not_before=6,
        expires_at=7,
        campaign="c",
        reference="r",
        account="a",
    )
    assert Meta.packed(envelope) == Meta.of(envelope).pack()
    assert Meta.unpack(Meta.packed(envelope)) == Meta.of(envelope)


async def test_what_was_promised_is_counted_once(parts: Parts) -> None:
    """Beside `submitted_total` it says whether a message was lost on the way."""

    def accepted() -> float:
        value = parts.deps.metrics.registry.get_sample_value
        return value("msgcenter_accepted_total", {"category": "transactional"}) or 0.0

    headers = {"Idempotency-Key": "one"}
    for _ in range(3):
        assert (await parts.post("/v1/messages", message(), headers=headers))[0] == 202
    assert accepted() == 1
    publish = parts.bus.publish

    async def down(_: Any) -> None:
        raise BusError("away")

    parts.bus.publish = down  # type: ignore[method-assign]
    assert (await parts.post("/v1/messages", message()))[0] == 503
    assert accepted() == 1
    parts.bus.publish = publish  # type: ignore[method-assign]
    batch = {"messages": [message(), message(to="1380"), message()]}
    assert (await parts.post("/v1/messages:batch", batch))[0] == 202
    assert accepted() == 3
