"""The walk-through: small scenes between a caller, the product and its far ends; every claim is checked against the
API or against what a far end really received.

Each scene uses phone numbers of its own run, so that it reads only what it has done itself.

Long because it is a list of scenes, read from top to bottom.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp

from msgcenter.clock import Clock, Random
from msgcenter.sandbox import wecom
from msgcenter.sandbox.box import REFUSED
from msgcenter.sandbox.desk import Desk
from msgcenter.sandbox.scene import Scene, has_receipt, text_of, told
from msgcenter.sandbox.story import Story

HOTLINE = "10690000101"
SOON_S = 2
TARIFF = "尊敬的客户，您订购的畅享套餐将于下月一日生效，包含国内流量三十吉字节与通话五百分钟，套餐外流量按每兆零点二九元计收。"


async def code(scene: Scene) -> None:
    """A verification code by SMS."""
    desk, story, number = scene.desk, scene.story, scene.number(1)
    text = "您的验证码是 482913，60 秒内有效，请勿告诉他人。"
    answer, message = await desk.send(
        {"to": number, "category": "code", "content": {"type": "text", "text": text}}
    )
    story.claim("accepted: 202", answer.status == 202, answer)
    view = await desk.settled(message, has_receipt)
    story.trace(view)
    shown = await desk.journal("sms", recipient=number)
    story.seen("handset", shown, "recipient", "sender", "text", "parts", "time")
    story.claim(
        "the handset shows one SMS, exactly this text", [e["text"] for e in shown] == [text], shown
    )
    story.claim(
        "the carrier's receipt joined: status delivered", view.get("status") == "delivered", view
    )
    kept = (view.get("content") or {}).get("text", "")
    story.claim(
        f"the archive keeps the code masked: {kept}", kept and "482913" not in str(view), view
    )


async def long_text(scene: Scene) -> None:
    """500 Chinese characters: one message, several parts, one text at the handset."""
    desk, story, number = scene.desk, scene.story, scene.number(2)
    text = (TARIFF * 10)[:500]
    parts = -(-len(text) // 67)
    _, message = await desk.send({"to": f"tel:+86{number}", "content": text_of(text)})
    view = await desk.settled(message, has_receipt)
    story.trace(view)
    shown = await desk.journal("sms", recipient=number)
    story.seen("handset", shown, "recipient", "text", "parts")
    story.claim(
        f"{len(text)} characters went out as {parts} parts and are one text at the handset",
        [(e["text"], e["parts"]) for e in shown] == [(text, parts)],
        shown,
    )
    deliveries = view.get("deliveries") or []
    evidence = [part["evidence"] for delivery in deliveries for part in delivery["parts"]]
    story.claim(
        f"all {parts} receipts joined the one message: status delivered",
        evidence == ["delivered"] * parts and view.get("status") == "delivered",
        view,
    )


async def same_key(scene: Scene) -> None:
    """A client that asks twice, because the first answer was lost on its way."""
    desk, story, number = scene.desk, scene.story, scene.number(3)
    key = f"order-{scene.run}"
    body = {"to": number, "content": text_of("您的订单已受理，编号 20931。"), "reference": key}
    first, message = await desk.send(body, key=key)
    again, same = await desk.send(body, key=key)
    story.claim("both answers name the same message", message and message == same, (message, same))
    story.claim(
        "the repeat says that it is one (Idempotent-Replayed)",
        again.headers.get("Idempotent-Replayed") == "true"
        and "Idempotent-Replayed" not in first.headers,
        dict(again.headers),
    )
    other, _ = await desk.send({**body, "content": text_of("另一条")}, key=key)
    story.claim("the same key with another body is refused: 422", other.status == 422, other)
    await desk.settled(message, has_receipt)
    shown = await desk.journal("sms", recipient=number)
    story.claim("the handset shows it once", len(shown) == 1, shown)


async def later(scene: Scene) -> None:
    """One message for later, and one that is cancelled before it leaves."""
    desk, story = scene.desk, scene.story
    number, dropped = scene.number(4), scene.number(14)
    at = datetime.fromtimestamp(scene.clock.now_ms() / 1000, UTC) + timedelta(seconds=SOON_S)
    body = {"content": text_of("您预约的营业厅服务将在一小时后开始。"), "send_at": at.isoformat()}
    _, message = await desk.send({**body, "to": number})
    _, unwanted = await desk.send({**body, "to": dropped})

    async def look() -> Any:
        return await desk.get(f"/v1/messages/{unwanted}")

    held = await desk.until(
        look, lambda view: view.get("status") == "held" and bool(view.get("trace"))
    )
    words = story.why(held)
    story.claim(
        "until then its status is held, and it says until when",
        held.get("status") == "held" and "next eligible" in words,
        held,
    )
    answer = await desk.call("POST", f"/v1/messages/{unwanted}:cancel")
    story.claim("the second one is cancelled: 200", answer.status == 200, answer)
    view = await desk.settled(message, has_receipt)
    story.trace(view)
    shown = await desk.journal("sms", recipient=number)
    late = (
        (datetime.fromisoformat(shown[0]["time"]) - at).total_seconds() if len(shown) == 1 else -1.0
    )
    story.claim(
        f"the first reached its handset {late:.1f} s after its time, not before",
        0 <= late < 5,
        shown,
    )
    gone = await desk.settled(unwanted)
    story.claim(
        "the cancelled one never left: status cancelled, nothing at the handset",
        gone.get("status") == "cancelled" and not await desk.journal("sms", recipient=dropped),
        gone,
    )


async def refused(scene: Scene) -> None:
    """A number that the carrier refuses."""
    desk, story, number = scene.desk, scene.story, scene.number(5, REFUSED)
    _, message = await desk.send({"to": number, "content": text_of("您好")})
    view = await desk.settled(message)
    story.trace(view)
    shown = await desk.journal("sms", recipient=number)
    story.claim(
        f"status rejected, with the reason: {view.get('code')}",
        view.get("status") == "rejected" and view.get("code"),
        view,
    )
    story.claim("nothing reached a handset", not shown, shown)


async def customer_writes(scene: Scene) -> None:
    """A customer writes three times to the hotline number."""
    desk, story, number = scene.desk, scene.story, scene.number(6)
    texts = ["你好", f"请问：{TARIFF * 2}这是什么意思？", "谢谢"]
    for text in texts:
        order = {"sender": number, "destination": HOTLINE, "text": text, "shuffle": True}
        done = await desk.order("sms", "mo", order)
        story.claim(
            f"the gateway was told that we have it, in {done.get('parts')} part(s)",
            done.get("delivered"),
            done,
        )

    async def logged() -> list[dict[str, Any]]:
        return await told(desk, number)

    events = await desk.until(logged, lambda found: len(found) >= len(texts))
    words = [event["data"]["content"]["text"] for event in events]
    story.claim(
        "the event log has all three, in order, the long one joined", words == texts, events
    )
    story.claim(
        "they belong to account hotline",
        all(event["data"]["account"] == "hotline" for event in events) and events,
        events,
    )

    async def called_back() -> list[dict[str, Any]]:
        calls = await desk.journal("platform")
        return [c for c in calls if number in str(c["event"]["data"].get("from"))]

    calls = await desk.until(called_back, lambda found: len(found) >= len(texts))
    story.seen("crm", [call["event"]["data"] for call in calls], "from", "to", "account", "content")
    words = [call["event"]["data"]["content"]["text"] for call in calls if not call["repeat"]]
    story.claim("crm's callback received the same, in the same order", words == texts, calls)
    forged = (await desk.order("platform", "journal", {"limit": 0})).get("forged")
    story.claim("every call was signed (crm refuses others)", forged == 0, forged)


async def reply(scene: Scene) -> None:
    """The agent answers; only the message that is answered needs naming."""
    desk, story, number = scene.desk, scene.story, scene.number(6)
    events = await told(desk, number)
    answered = events[-1]["data"]["message"]
    text = "不客气，套餐下月一日起生效，可随时退订。"
    _, message = await desk.send({"reply_to": answered, "content": text_of(text)})
    view = await desk.settled(message, has_receipt)
    story.trace(view)
    shown = await desk.journal("sms", recipient=number)
    story.seen("handset", shown, "recipient", "sender", "text")
    story.claim(
        f"it reached the customer from the number written to, {HOTLINE}",
        [(e["sender"], e["text"]) for e in shown] == [(HOTLINE, text)],
        shown,
    )
    story.claim("its category is reply, ahead of all bulk", view.get("category") == "reply", view)


async def why_not(scene: Scene) -> None:
    """Four messages that do not simply leave: held, capped, refused by the customer, looked at; each says why and until when."""
    desk, story = scene.desk, scene.story
    muted, capped, refused_by, doubted = (scene.number(n) for n in (7, 8, 9, 10))
    customer = f"sandbox-{scene.run}"
    await desk.call(
        "PUT", f"/v1/customers/{customer}", {"addresses": [{"address": f"tel:+86{muted}"}]}
    )
    until = datetime.fromtimestamp(scene.clock.now_ms() / 1000, UTC) + timedelta(hours=1)
    wish = {"mutes": [{"until": until.isoformat()}]}
    await desk.call("PUT", f"/v1/customers/{customer}/preferences", wish)
    care: dict[str, Any] = {"category": "care", "content": text_of("您的宽带本周升级。")}

    async def held(message: str) -> dict[str, Any]:
        async def look() -> dict[str, Any]:
            return dict(await desk.get(f"/v1/messages/{message}"))

        return await desk.until(look, lambda v: v.get("status") == "held" and bool(v.get("trace")))

    answer = await desk.call("POST", "/v1/messages:explain", {**care, "to": f"customer:{customer}"})
    verdict = answer.body.get("verdict") if isinstance(answer.body, dict) else answer
    story.claim("asked beforehand, it says that it would wait", verdict == "wait", answer)
    _, first = await desk.send({**care, "to": f"customer:{customer}"})
    view = await held(first)
    words = story.why(view)
    story.claim(
        "muted for an hour: held, and it says until when",
        view.get("status") == "held" and "customer.mute" in words and "next eligible" in words,
        view,
    )
    await desk.call("POST", f"/v1/messages/{first}:cancel")
    for _ in range(2):
        _, last = await desk.send({**care, "to": capped})
        view = await desk.settled(last)
    words = story.why(view)
    story.claim(
        "the second in an hour: capped, by which rule, and when the next may go",
        view.get("status") == "suppressed"
        and view.get("code") == "care-hourly"
        and "1 of 1" in words
        and "next eligible" in words,
        view,
    )
    order = {"sender": refused_by, "destination": HOTLINE, "text": "TD"}
    await desk.order("sms", "mo", order)

    async def refusal() -> Any:
        return await desk.call("POST", "/v1/messages:explain", {**care, "to": refused_by})

    await desk.until(refusal, lambda told: "opted_out" in str(told.body))
    _, unwanted = await desk.send({**care, "to": refused_by})
    view = await desk.settled(unwanted)
    words = story.why(view)
    story.claim(
        "the customer had answered TD: refused, and waiting does not help",
        view.get("code") == "opted_out" and "waiting does not help" in words,
        view,
    )
    promise = {**care, "to": doubted, "content": text_of("办理即返现一百元")}
    _, risky = await desk.send(promise)
    view = await held(risky)
    words = story.why(view)
    story.claim(
        "a promise of money: held until somebody has looked at it",
        view.get("status") == "held" and "promises" in words and "if nobody decides by" in words,
        view,
    )
    await desk.call("POST", f"/v1/messages/{risky}:cancel")


async def bad_input(scene: Scene) -> None:
    """A request with five mistakes."""
    desk, story = scene.desk, scene.story
    body = {
        "to": "1380013",
        "category": "marketting",
        "channels": ["pigeon"],
        "chanels": ["sms"],
        "content": {"type": "text", "text": ""},
    }
    answer = await desk.call("POST", "/v1/messages", body)
    errors = answer.body.get("errors", []) if isinstance(answer.body, dict) else []
    for error in errors:
        story.line(f"     {error['field']}: {error['detail']}; {error['remedy']}", "dim")
    named = {error["field"].partition("[")[0] for error in errors}
    story.claim(
        "422 application/problem+json that names all five at once",
        answer.status == 422
        and answer.headers["Content-Type"].startswith("application/problem+json")
        and named == {"to", "category", "channels", "chanels", "content.text"},
        sorted(named),
    )
    story.claim(
        "each with a remedy", errors and all(error.get("remedy") for error in errors), errors
    )


async def bad_edit(scene: Scene) -> None:
    """An operator mistypes a key in policy.yaml, while everything runs."""
    desk, story = scene.desk, scene.story
    path = scene.config / "policy.yaml"
    before = (await desk.get("/v1/status"))["config"]
    good = path.read_bytes()
    kept = path.with_name(path.name + ".kept")
    kept.write_bytes(good)

    async def look() -> dict[str, Any]:
        return dict((await desk.get("/v1/status"))["config"])

    def result(config: dict[str, Any]) -> Any:
        return (config.get("last_reload") or {}).get("result")

    lines = good.decode().rstrip("\n").split("\n")
    lines.append("  migration: {max_holt: 2h}")
    story.say(f"{path}, line {len(lines)}: {lines[-1].strip()}")
    try:
        path.write_text("\n".join(lines) + "\n", "utf-8")
        seen = await desk.until(look, lambda config: bool(result(config) == "refused"))
    finally:
        kept.replace(path)
    problems = (seen.get("last_reload") or {}).get("problems") or []
    for problem in problems:
        story.line(
            f"     {problem['at']}  {problem['path']}: {problem['message']}; {problem['remedy']}",
            "dim",
        )
    place = f"policy.yaml:{len(lines)}:"
    story.claim(
        f"the edit is refused, naming {place} and the key that was meant",
        any(p["at"].startswith(place) and "max_hold" in p["remedy"] for p in problems),
        seen,
    )
    story.claim(
        "the configuration of before is still in force",
        (seen["generation"], seen["hash"]) == (before["generation"], before["hash"]),
        (before, seen),
    )
    healed = await desk.until(look, lambda config: bool(result(config) == "unchanged"))
    story.claim("with the line taken out again all is well", result(healed) == "unchanged", healed)


async def numbers(scene: Scene) -> None:
    """What an operator sees: status and metrics."""
    desk, story = scene.desk, scene.story

    async def look() -> dict[str, Any]:
        return dict(await desk.get("/v1/status"))

    def idle(status: dict[str, Any]) -> bool:
        return not any(queue["ready"] or queue["leased"] for queue in status["queues"])

    status = await desk.until(look, idle)
    up = {channel["name"]: channel["health"] for channel in status["channels"]}
    links = ", ".join(f"{name} {health}" for name, health in up.items())
    story.say(f"{links}; held {status['held']['count']}; dead {status['dead']}")
    story.claim(
        "every channel is up", set(up.values()) == {"up"} and status["ready"] is True, status
    )
    story.claim(f"all {len(status['queues'])} queues are empty", idle(status), status["queues"])
    metrics = str(await desk.get("/metrics")).split("\n")
    shown = [line for line in metrics if line.startswith("msgcenter_messages_total{")]
    for line in shown[:4]:
        story.line(f"     {line}", "dim")
    sent = [line for line in shown if 'channel="sms-sandbox"' in line and 'outcome="sent"' in line]
    story.claim("/metrics counts what was sent by SMS", sent, shown)
    reloads = 'msgcenter_config_reload_total{result="refused"} 1.0'
    story.claim("and the refused edit", reloads in metrics, reloads)


SCENES: tuple[tuple[str, Callable[[Scene], Awaitable[None]]], ...] = (
    ("A code by SMS", code),
    ("500 Chinese characters", long_text),
    ("The same request twice", same_key),
    ("Later, and never mind", later),
    ("A number the carrier refuses", refused),
    ("A customer writes", customer_writes),
    ("The answer", reply),
    ("A customer of the WeChat service", wecom.service),
    ("A group with customers", wecom.customer_group),
    ("A group of the staff's own", wecom.staff_group),
    ("Why a message does not leave", why_not),
    ("Five mistakes in one request", bad_input),
    ("A bad edit of the configuration", bad_edit),
    ("What operators see", numbers),
)


async def walk(
    *, url: str, sim_url: str, key: str, config: Path, story: Story, clock: Clock, rng: Random
) -> bool:
    """All scenes; True when every claim was true. A scene that breaks off is a false claim."""
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as http:
        desk = Desk(http, story, clock, url=url, sim_url=sim_url, key=key)
        scene = Scene(desk, story, clock, config, rng.randrange(1_000_000))
        for number, (title, play) in enumerate(SCENES, 1):
            story.chapter(number, title)
            try:
                await play(scene)
            except (aiohttp.ClientError, OSError, LookupError, TypeError, ValueError) as error:
                story.claim("the scene ran to its end", False, repr(error))
    return story.end()
