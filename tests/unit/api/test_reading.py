"""Reading and stopping: status, trace, lists, waiting, cancelling, events, dead letters, health,
the description.

Long because each reading operation has a few short tests on one stand.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest
from openapi_spec_validator import validate

from msgcenter.api.app import ROUTES
from msgcenter.archive.events_sink import rfc3339
from msgcenter.bus import BusError
from msgcenter.pipeline import Item
from msgcenter.policy.retry import GiveUp, RetryRule, next_try
from msgcenter.stages.waited import Waited
from msgcenter.state import Admit, Conclude, Mark, StateError
from msgcenter.status import Meta
from msgcenter.store import DeadRow, DueRow, Event
from protocols import wire
from protocols.address import Address
from protocols.envelope import Decision, Envelope, Key, Record
from protocols.outcome import Retry, Sent, Suppressed
from protocols.payload import Text
from tests.unit.api.parts import SPECS, Parts, message


async def send(parts: Parts, **more: Any) -> str:
    status, body, _ = await parts.post("/v1/messages", message(**more))
    assert status == 202, body
    return str(body["id"])


def key_of(message_id: str) -> Key:
    return Key(message_id, 0, 0, "channel")


async def delivered(parts: Parts, message_id: str) -> None:
    await parts.state.admit([Admit(key_of(message_id), (f"message:{message_id}",), "w", 60.0)])
    mark = Mark(message_id, 0, 0, 0, "delivered", "DELIVRD", parts.clock.now_ms())
    outcome = wire.seal_outcome(Sent(("r1",)))
    await parts.state.conclude(
        [Conclude(key_of(message_id), outcome, view="sent", order=1, marks=(mark,))]
    )


def content_policy(category: str) -> Any:
    return "full"


async def test_the_trace_of_a_message(parts: Parts) -> None:
    message_id = await send(parts)
    await delivered(parts, message_id)
    envelope = parts.bus.envelopes[0]
    decision = Decision("reserve", "cap.day", "pass", "1 of 3", 0, (("window", "1d"),))
    record = Record(
        "rec1", parts.clock.now_ms(), "channel", envelope, Sent(("r1",)), (decision,), status="sent"
    )
    await parts.store.write_records([record], content_policy)
    status, view, _ = await parts.get(f"/v1/messages/{message_id}")
    assert status == 200
    assert (view["status"], view["final"]) == ("delivered", True)
    assert view["content"]
    [delivery] = view["deliveries"]
    assert delivery["parts"] == [
        {"part": 0, "evidence": "delivered", "code": "DELIVRD", "at": delivery["parts"][0]["at"]}
    ]
    [step] = view["trace"]
    assert (step["pipeline"], step["outcome"], step["remote_ids"]) == ("channel", "sent", ["r1"])
    assert step["decisions"][0]["rule"] == "cap.day"
    assert step["decisions"][0]["facts"] == {"window": "1d"}


async def test_a_message_outlives_one_of_its_two_memories(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = await send(parts)
    record = Record(
        "r", parts.clock.now_ms(), "channel", parts.bus.envelopes[0], Sent(()), status="sent"
    )
    await parts.store.write_records([record], content_policy)

    async def away(*_: Any) -> Any:
        raise StateError("gone")

    monkeypatch.setattr(parts.state, "get_many", away)
    status, view, _ = await parts.get(f"/v1/messages/{message_id}")
    assert (status, view["status"]) == (200, "sent")
    status, problem, headers = await parts.get("/v1/messages/msg_unknown")
    assert (status, problem["code"]) == (503, "state_unavailable")
    assert "Retry-After" in headers


async def test_lists_and_their_cursor(parts: Parts) -> None:
    ids = [await send(parts, campaign="c" if n % 2 else None) for n in range(5)]
    for envelope in parts.bus.envelopes:
        record = Record(envelope.id, parts.clock.now_ms(), "submit", envelope, Sent(()), status="x")
        await parts.store.write_records([record], content_policy)
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        _, page, _ = await parts.get(f"/v1/messages?limit=2&cursor={cursor}")
        seen += [item["id"] for item in page["items"]]
        cursor = page.get("next_cursor", "")
        if not cursor:
            break
    assert sorted(seen) == sorted(ids)
    _, page, _ = await parts.get("/v1/messages?campaign=c&address=13800138000")
    assert {item["id"] for item in page["items"]} == {ids[1], ids[3]}
    assert (await parts.get("/v1/messages", caller="iop"))[1]["items"] == []
    assert len((await parts.get("/v1/messages?caller=crm", caller="ops"))[1]["items"]) == 5


# -- waiting ------------------------------------------------------------------------------------


async def test_waits_end_with_the_status_or_the_time(parts: Parts) -> None:
    message_id = await send(parts)
    calls = 0
    get_many = parts.state.get_many

    async def counted(messages: Any) -> Any:
        nonlocal calls
        calls += 1
        return await get_many(messages)

    parts.state.get_many = counted  # type: ignore[method-assign]
    loop = asyncio.get_running_loop()
    started = loop.time()
    _, view, _ = await parts.get(f"/v1/messages/{message_id}?wait=200ms")
    assert view["status"] == "accepted"
    assert 0.19 <= loop.time() - started < 2
    calls = 0
    waiting = [
        asyncio.create_task(parts.get(f"/v1/messages/{message_id}?wait=20s")) for _ in range(30)
    ]
    await asyncio.sleep(0.2)
    await delivered(parts, message_id)
    answers = await asyncio.wait_for(asyncio.gather(*waiting), 5)
    assert {view["status"] for _, view, _ in answers} == {"delivered"}
    # 30 to look first, 30 to look last, and one poller for all in between
    assert calls < 60 + 30


async def test_sent_is_the_last_word_where_the_channel_has_no_receipts(parts: Parts) -> None:
    """Channels of one kind may differ: it is asked what they can do as they are configured."""
    message_id = await send(parts)
    await parts.state.admit([Admit(key_of(message_id), (f"message:{message_id}",), "w", 60.0)])
    mark = Mark(message_id, 0, 0, 0, "sent", "", parts.clock.now_ms())
    outcome = wire.seal_outcome(Sent(("r1",)))
    await parts.state.conclude(
        [Conclude(key_of(message_id), outcome, view="sent", order=1, marks=(mark,))]
    )

    async def final() -> bool:
        _, view, _ = await parts.get(f"/v1/messages/{message_id}")
        assert view["status"] == "sent"
        return bool(view["final"])

    assert not await final(), "its kind has receipts"
    plain = replace(SPECS["sms"], receipts=frozenset())
    parts.own["sms-east"] = plain
    assert not await final(), "a number may be served by several: it may have left by one that has"
    config = parts.deps.live.current
    number = config.accounts["hotline"]
    login = number.model_copy(update={"number": None, "extension": "", "address": "li"})
    parts.deps.live.current = replace(config, accounts={"hotline": login})  # type: ignore[misc]
    assert await final(), "a login is on one channel, and that has none"
    parts.deps.live.current = replace(config, accounts={})  # type: ignore[misc]
    assert not await final(), "of no known account: it may have left by one that has"
    parts.own["sms-west"] = plain
    assert await final(), "none of its kind has"


async def test_a_post_may_wait_too(parts: Parts) -> None:
    async def deliver_soon() -> None:
        for _ in range(500):
            if parts.bus.envelopes:
                break
            await asyncio.sleep(0.01)
        await delivered(parts, parts.bus.envelopes[0].id)

    task = asyncio.create_task(deliver_soon())
    status, body, _ = await parts.post("/v1/messages?wait=5s", message())
    await task
    assert (status, body["status"]) == (202, "delivered")
    for bad in ("-1s", "5h", "x"):
        status, problem, _ = await parts.post(f"/v1/messages?wait={bad}", message())
        assert (status, problem["errors"][0]["field"]) == (422, "wait")


# -- cancelling ---------------------------------------------------------------------------------


async def test_cancel_stops_what_has_not_left(parts: Parts) -> None:
    message_id = await send(parts)
    row = DueRow("d1", parts.clock.now_ms() + 3_600_000, b"x", message_id, "crm")
    await parts.store.hold([row])
    for _ in range(2):
        status, body, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
        assert (status, body["id"], body["status"]) == (200, message_id, "cancelled")
        assert body["created_at"] < body["expires_at"]  # as it was answered when it was accepted
    [admitted] = await parts.state.admit(
        [Admit(key_of(message_id), (f"message:{message_id}",), "w", 60.0)]
    )
    assert (admitted.verdict, admitted.rule) == ("suppressed", "cancelled")
    # a held one is looked at again at once
    page = await parts.store.list_due()
    assert page.items[0].at_ms <= parts.clock.now_ms()


async def test_a_message_that_waits_is_cancelled_at_once_and_for_good(parts: Parts) -> None:
    """Its next pass ends it; a loss of State until its time came would else let it go."""
    message_id = await send(parts, send_at=rfc3339(parts.clock.now_ms() + 5 * 86_400_000))
    [envelope] = parts.bus.envelopes
    assert (await parts.post(f"/v1/messages/{message_id}:cancel"))[0] == 200
    woken = Item(envelope.again(counts=False))
    await Waited(parts.state, parts.clock)([woken])
    assert isinstance(woken.outcome, Suppressed)
    assert woken.outcome.rule == "cancelled"
    other = Item(replace(envelope, id="msg_other"))
    await Waited(parts.state, parts.clock)([other])
    assert other.outcome is None


async def test_a_message_that_waits_longer_than_state_remembers_is_still_its_callers(
    parts: Parts,
) -> None:
    message_id = await send(parts, send_at=rfc3339(parts.clock.now_ms() + 5 * 86_400_000))
    [envelope] = parts.bus.envelopes
    row = DueRow("d1", envelope.not_before, wire.seal(envelope), message_id, "crm")
    await parts.store.hold([row])
    parts.state.cells._hashes.clear()
    assert (await parts.post(f"/v1/messages/{message_id}:cancel", caller="iop"))[0] == 404
    status, body, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert (status, body["status"]) == (200, "cancelled")
    parts.state.cells._hashes.clear()
    woken = Item(replace(envelope, attempt=1, created_at=envelope.created_at - 4 * 86_400_000))
    await Waited(parts.state, parts.clock)([woken])
    [snapshot] = await parts.state.get_many([message_id])
    assert (woken.outcome, Meta.unpack(snapshot.meta).caller) == (None, "crm")


async def test_cancel_after_it_left_is_too_late(parts: Parts) -> None:
    message_id = await send(parts)
    await parts.state.admit([Admit(key_of(message_id), (), "w", 60.0)])
    status, problem, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert (status, problem["code"]) == (409, "too_late")
    await delivered(parts, message_id)
    status, problem, _ = await parts.post(f"/v1/messages/{message_id}:cancel")
    assert (status, problem["code"]) == (409, "too_late")
    assert "delivered" in problem["detail"]
    other = await send(parts)
    done = Conclude(key_of(other), b"x", view="expired", order=1)
    await parts.state.conclude([done])
    status, problem, _ = await parts.post(f"/v1/messages/{other}:cancel")
    assert (status, problem["code"]) == (409, "already_final")
    status, problem, _ = await parts.post("/v1/messages/msg_none:cancel")
    assert (status, problem["code"]) == (404, "not_found")


# -- events -------------------------------------------------------------------------------------


def event(number: int, caller: str = "crm") -> Event:
    return Event(
        f"evt{number}", caller, "msgcenter.message.sent.v1", 1, "s", f"msg{number}", {"n": number}
    )


async def test_events_are_read_on_from_the_cursor(parts: Parts) -> None:
    await parts.store.append_events(0, [event(1), event(2, "iop"), event(3)])
    await parts.store.append_events(1, [event(4)])
    seen: list[str] = []
    cursor = ""
    for _ in range(10):
        _, page, _ = await parts.get(f"/v1/events?limit=1&cursor={cursor}")
        if not page["items"]:
            break
        seen += [item["id"] for item in page["items"]]
        cursor = page["cursor"]
    assert sorted(seen) == ["evt1", "evt3", "evt4"]
    late = asyncio.create_task(parts.get(f"/v1/events?wait=10s&cursor={cursor}"))
    await asyncio.sleep(0.1)
    await parts.store.append_events(1, [event(5, "iop"), event(6)])
    _, page, _ = await asyncio.wait_for(late, 5)
    [item] = page["items"]
    assert (item["id"], item["specversion"], item["data"]) == ("evt6", "1.0", {"n": 6})
    _, everything, _ = await parts.get("/v1/events", caller="ops")
    assert len(everything["items"]) == 6
    status, problem, _ = await parts.get("/v1/events?cursor=rubbish")
    assert (status, problem["errors"][0]["field"]) == (422, "cursor")


async def test_events_begin_where_from_says(parts: Parts) -> None:
    old = replace(event(1), at=parts.clock.now_ms() - 3_600_000)
    await parts.store.append_events(0, [old, replace(event(2), at=parts.clock.now_ms())])

    async def seen(query: str) -> list[str]:
        _, page, _ = await parts.get(f"/v1/events?{query}")
        return [item["id"] for item in page["items"]]

    since = rfc3339(parts.clock.now_ms() - 60_000)
    assert await seen("from=earliest") == await seen("") == ["evt1", "evt2"]
    assert await seen(f"from={since}") == ["evt2"]
    assert await seen("from=now") == []
    _, page, _ = await parts.get("/v1/events?limit=1")
    assert await seen(f"from=now&cursor={page['cursor']}") == ["evt2"]  # the cursor goes before
    status, problem, _ = await parts.get("/v1/events?from=yesterday")
    assert (status, problem["errors"][0]["field"]) == (422, "from")


async def test_schemas_are_published(parts: Parts) -> None:
    _, page, _ = await parts.get("/v1/schemas")
    kinds = {item["type"]: item["url"] for item in page["items"]}
    assert "msgcenter.message.received.v1" in kinds
    status, schema, _ = await parts.get(kinds["msgcenter.message.received.v1"])
    assert (status, schema["properties"]["type"]) == (
        200,
        {"const": "msgcenter.message.received.v1"},
    )
    status, problem, _ = await parts.get("/v1/schemas/msgcenter.message.eaten.v1")
    assert (status, problem["code"]) == (404, "route_not_found")


# -- dead letters -------------------------------------------------------------------------------


def dead(parts: Parts, number: int, caller: str = "crm", life_ms: int = 60_000) -> DeadRow:
    now = parts.clock.now_ms()
    envelope = Envelope(
        f"msg_{number}",
        caller,
        Address("tel", "+8613800138000"),
        "transactional",
        2,
        Text("x"),
        now,
        attempt=4,
        tries=3,
        expires_at=now + life_ms,
    )
    return DeadRow(
        f"dead{number}", envelope.id, caller, "sms-east", "boom", "why", number, wire.seal(envelope)
    )


async def test_dead_letters_are_listed_and_replayed_once(parts: Parts) -> None:
    rows = [dead(parts, 1), dead(parts, 2, "iop"), dead(parts, 3, life_ms=-1)]
    await parts.store.add_dead([*rows, DeadRow("dead4", "m", "crm", "", "poison", "", 4, b"junk")])
    _, page, _ = await parts.get("/v1/dead-letters")
    assert [item["id"] for item in page["items"]] == ["dead4", "dead3", "dead1"]
    assert page["items"][2]["category"] == "transactional"
    assert (await parts.get("/v1/dead-letters/dead2"))[0] == 404
    status, body, _ = await parts.post("/v1/dead-letters/dead1:replay")
    assert (status, body["replayed"]) == (202, ["dead1"])
    [envelope] = parts.bus.envelopes
    assert (envelope.id, envelope.attempt, envelope.tries) == ("msg_1", 5, 0)
    assert parts.bus.frames[0].topic == "submit"
    status, problem, _ = await parts.post("/v1/dead-letters/dead1:replay")
    assert (status, problem["code"]) == (409, "already_replayed")
    for letter, word in (("dead3", "expire"), ("dead4", "cannot be read")):
        status, problem, _ = await parts.post(f"/v1/dead-letters/{letter}:replay", {})
        assert (status, problem["code"]) == (422, "not_replayable")
        assert word in problem["detail"]
    status, _, _ = await parts.post("/v1/dead-letters/dead3:replay", {"expires_in": "1h"})
    assert status == 202
    [audited] = (await parts.store.list_audit(target="dead1")).items
    assert audited.what == "dead.replay"
    assert audited.who.startswith("crm/")
    assert (await parts.post("/v1/dead-letters/dead2:replay"))[0] == 404


async def test_replaying_many(parts: Parts) -> None:
    await parts.store.add_dead([dead(parts, n) for n in range(150)])
    await parts.store.add_dead([dead(parts, 900, "iop"), dead(parts, 901, life_ms=-1)])
    parts.bus.down = BusError("gone")
    assert (await parts.post("/v1/dead-letters:replay", {"code": "boom"}))[0] == 503
    parts.bus.down = None
    status, body, _ = await parts.post("/v1/dead-letters:replay", {"code": "boom"})
    assert status == 202
    assert len(body["replayed"]) == 150
    assert list(body["skipped"]) == ["dead901"]
    assert len(parts.bus.envelopes) == 150
    _, page, _ = await parts.get("/v1/dead-letters?replayed=false", caller="ops")
    assert {item["id"] for item in page["items"]} == {"dead900", "dead901"}


# -- the rest -----------------------------------------------------------------------------------


async def test_replies_use_what_the_received_message_says(parts: Parts) -> None:
    received = Envelope(
        "msg_in",
        "crm",
        Address("caller", "crm"),
        "reply",
        1,
        Text("在吗"),
        parts.clock.now_ms(),
        sender=Address("tel", "+8613911112222"),
        inbound=True,
        account="market",
        channel="sms-east",
        order_key="conversation-1",
    )
    record = Record("r", parts.clock.now_ms(), "inbound", received, Sent(()), status="received")
    await parts.store.write_records([record], content_policy)
    body = {"reply_to": "msg_in", "content": {"type": "text", "text": "在的"}}
    status, answer, _ = await parts.post("/v1/messages", body)
    assert status == 202, answer
    [envelope] = parts.bus.envelopes
    assert (str(envelope.to), envelope.account, envelope.channels) == (
        "tel:+8613911112222",
        "market",
        ("sms",),
    )
    assert (envelope.category, envelope.tier, envelope.order_key) == ("reply", 1, "conversation-1")
    status, problem, _ = await parts.post("/v1/messages", body, caller="limited")
    assert (status, problem["errors"][0]["code"]) == (422, "reply_unknown")


async def test_channels_accounts_and_status(parts: Parts) -> None:
    _, body, _ = await parts.get("/v1/channels")
    kinds = {item["kind"]: item for item in body["items"]}
    assert [channel["name"] for channel in kinds["sms"]["channels"]] == ["sms-east", "sms-west"]
    assert kinds["sms"]["schemes"] == ["tel"]
    _, body, _ = await parts.get("/v1/accounts?kind=sms")
    assert [(a["name"], a["number"]) for a in body["items"]] == [
        ("hotline", "1069000001"),
        ("market", "1069000002"),
    ]
    _, body, _ = await parts.get("/v1/status", caller="ops")
    assert body["queues"][0] == {
        "name": "submit.normal.0",
        "topic": "submit",
        "lane": "normal",
        "ready": 3,
        "leased": 1,
        "oldest_seconds": 2.5,
    }
    assert body["held"] == {"count": 0}
    assert body["ready"] is True


async def test_health(parts: Parts) -> None:
    for path, status in (("/livez", 200), ("/readyz?verbose", 200), ("/healthz", 200)):
        async with parts.client.get(path) as response:
            assert response.status == status
    async with parts.client.get("/readyz?verbose") as response:
        names = [check["name"] for check in (await response.json())["checks"]]
        assert names == ["bus", "state", "store", "accepting"]
    await send(parts)
    async with parts.client.get("/metrics") as response:
        text = await response.text()
        assert (
            'msgcenter_api_requests_total{method="POST",route="/v1/messages",status="202"} 1'
            in text
        )
        assert "13800138000" not in text
    async with parts.client.get("/version") as response:
        assert (await response.json())["version"] == "0.0.1"
    parts.leaving = True
    async with parts.client.get("/readyz") as response:
        assert response.status == 503
        assert (await response.json())["checks"][0]["name"] == "accepting"
    async with parts.client.get("/livez") as response:
        assert response.status == 200


async def test_a_replayed_message_has_its_whole_budget_again(parts: Parts) -> None:
    """Of retries, and of the time that it may be held: what it waited before it died is over."""
    now, day = parts.clock.now_ms(), 86_400_000
    old = replace(
        wire.open_sealed(dead(parts, 1, life_ms=10 * day).body),
        created_at=now - 9 * day,
        held_since=now - 9 * day,
        tries=5,
    )
    row = replace(dead(parts, 1), body=wire.seal(old))
    await parts.store.add_dead([row])
    assert (await parts.post("/v1/dead-letters/dead1:replay"))[0] == 202
    [again] = parts.bus.envelopes
    assert (again.attempt, again.held_since) == (old.attempt + 1, 0)
    rule, away = RetryRule(max_age_s=86_400), Retry("channel", "the link is down")
    assert not isinstance(next_try(rule, again, away, now, random.Random(1)), GiveUp)


async def test_a_dead_bus_is_not_ready(parts: Parts) -> None:
    parts.bus.down = BusError("no broker")
    async with parts.client.get("/readyz") as response:
        assert response.status == 503
        [check] = (await response.json())["checks"]
        assert (check["name"], check["ok"], check["detail"]) == ("bus", False, "no broker")


async def test_the_description_is_valid_and_complete(parts: Parts) -> None:
    async with parts.client.get("/openapi.json") as response:
        document = await response.json()
    validate(document)
    assert document["openapi"].startswith("3.1")
    described = {
        (method.upper(), path)
        for path, operations in document["paths"].items()
        for method in operations
    }
    assert described == {(route.method, route.path) for route in ROUTES}
    served = {
        (route.method, route.resource.canonical.replace(":[^/:{}]+}", "}"))
        for route in parts.client.app.router.routes()  # type: ignore[union-attr]
        if route.resource is not None
    }
    assert described <= {(method, path) for method, path in served}
    message_schema = document["components"]["schemas"]["MessageRequest"]
    assert "from" in message_schema["properties"]
    assert message_schema["additionalProperties"] is False
    identifiers = [o["operationId"] for ops in document["paths"].values() for o in ops.values()]
    assert len(identifiers) == len(set(identifiers))


async def test_the_page_is_served_from_here(parts: Parts) -> None:
    async with parts.client.get("/docs") as response:
        page = await response.text()
        assert response.status == 200
        assert "http" not in page
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "start.js"):
        async with parts.client.get(f"/docs/{name}") as response:
            assert response.status == 200
            body = await response.text()
            assert name != "swagger-ui-bundle.js" or "3.1" in body
    async with parts.client.get("/docs/secret.txt") as response:
        assert response.status == 404


async def test_the_log_holds_no_query_and_nobodys_number(parts: Parts) -> None:
    await parts.get("/v1/messages?address=13800138000")
    await parts.post("/v1/messages", message(to="1380013800"))
    await parts.get("/v1/nothing?address=13800138000")
    requests = [facts for _, event, facts in parts.log.lines if event == "request"]
    assert [facts["status"] for facts in requests] == [200, 422, 404]
    assert "1380013" not in str(parts.log.lines)
    assert await parts.key() not in str(parts.log.lines)
