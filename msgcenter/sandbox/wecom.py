"""The walk-through's WeCom scenes: a customer of the WeChat service, a customer group on a hosted account, a group of the staff's own."""

from __future__ import annotations

from typing import Any

from msgcenter.sandbox.scene import Scene, has_receipt, text_of
from msgcenter.sandbox.scene import told as told_of

CORP = "wwsandbox"
SERVICE = "wk0001"
CUSTOMER_WORDS = ["你好", "我的套餐还剩多少流量？"]


async def service(scene: Scene) -> None:
    """A customer opens the WeChat service chat, writes, and is answered; the whole talk is one timeline."""
    desk, story = scene.desk, scene.story
    customer = f"wm{scene.run:06d}"
    address = f"kf:{SERVICE}/{customer}"
    who = {"open_kfid": SERVICE, "external_userid": customer}
    await desk.order("wecom", "customer_enters", who)

    async def phone() -> list[dict[str, Any]]:
        return await desk.journal("wecom", to=customer)

    shown = await desk.until(phone, lambda found: len(found) >= 1)
    story.claim("the greeting came by itself, within WeCom's 20 s", len(shown) == 1, shown)
    for words in CUSTOMER_WORDS:
        await desk.order("wecom", "customer_writes", {**who, "text": words})

    async def called_back() -> list[dict[str, Any]]:
        calls = await desk.journal("platform")
        told = [c["event"]["data"] for c in calls if not c["repeat"]]
        return [data for data in told if data.get("from") == address and _text(data)]

    told = await desk.until(called_back, lambda found: len(found) >= len(CUSTOMER_WORDS))
    story.seen("crm", told, "from", "account", "content")
    story.claim(
        "the platform has what the customer wrote, once and in order",
        [_text(data) for data in told] == CUSTOMER_WORDS,
        told,
    )
    answer = "您好，本月剩余流量 12.6 GB。"
    body = {"reply_to": told[-1]["message"] if told else "", "content": text_of(answer)}
    _, message = await desk.send(body)
    await desk.settled(message)
    shown = await desk.until(phone, lambda found: len(found) >= 2)
    story.seen("phone", shown, "from", "text")
    story.claim(
        "the answer is on the customer's phone, from the service account",
        [entry["text"] for entry in shown[1:]] == [answer],
        shown,
    )

    async def timeline() -> list[dict[str, Any]]:
        page = await desk.get(f"/v1/messages?address={address}&limit=50")
        return [item for item in reversed(page["items"]) if item["content"].get("text")]

    wanted = [("in", words) for words in CUSTOMER_WORDS] + [("out", answer)]
    items = await desk.until(timeline, lambda found: len(found) >= len(wanted))
    story.claim(
        "and all of it is one timeline: GET /v1/messages?address=kf:…",
        [(item["direction"], item["content"]["text"]) for item in items] == wanted,
        items,
    )


async def customer_group(scene: Scene) -> None:
    """A group with customers, which WeCom's own interfaces cannot make, on an account that a gateway keeps logged in."""
    desk, story = scene.desk, scene.story
    body = {
        "name": "天河网格服务群",
        "from": "manager",
        "members": ["wm0001", "wm0002"],
        "kind": "wecom-hosted",
    }
    group, chat = await _make(scene, body)
    words = "各位好，本网格今晚 22 点光缆割接。"
    _, message = await desk.send({"to": f"group:{group}", "content": text_of(words)})
    view = await desk.settled(message, has_receipt)
    story.trace(view)
    shown = await desk.journal("hosted", kind="hosted_group", to=chat)
    story.seen("group", shown, "from", "text")
    story.claim("the group reads it, once", [e["text"] for e in shown] == [words], shown)
    asked = {"account": "staff0001", "customer": "wm0002", "group": chat, "text": "多久恢复？"}
    await desk.order("hosted", "customer_writes", asked)

    async def heard() -> list[dict[str, Any]]:
        events = [event["data"] for event in await told_of(desk, "wm0002")]
        return [data for data in events if data.get("chat") == chat]

    events = await desk.until(heard, lambda found: len(found) >= 1)
    story.claim("a customer's question in it names group and sender", len(events) == 1, events)
    reply = {"reply_to": events[0]["message"] if events else "", "content": text_of("约半小时。")}
    await desk.send(reply)

    async def answered() -> list[dict[str, Any]]:
        return await desk.journal("hosted", kind="hosted_group", to=chat)

    shown = await desk.until(answered, lambda found: len(found) >= 2)
    story.claim("the answer went to the same group", len(shown) == 2, shown)
    await _dissolve(scene, group)
    groups = await desk.order("hosted", "groups", {})
    story.claim("at the gateway it is gone", groups[chat]["dissolved"], groups[chat])


async def staff_group(scene: Scene) -> None:
    """A group of the staff's own (appchat), through WeCom's own interface, which cannot dissolve one."""
    desk, story = scene.desk, scene.story
    members = ["staff0001", "staff0002", "staff0003"]
    body = {"name": "割接值班群", "kind": "wecom-group", "members": members}
    group, _ = await _make(scene, body)
    words = "22:00 前请确认到岗。"
    _, message = await desk.send({"to": f"group:{group}", "content": text_of(words)})
    await desk.settled(message)
    shown = await desk.journal("wecom", kind="appchat", text=words)
    story.seen("group", shown[:3], "to", "text")
    story.claim("each member reads it, once", sorted(e["to"] for e in shown) == members, shown)
    await _dissolve(scene, group)
    answer, _ = await desk.send({"to": f"group:{group}", "content": text_of("还有人吗")})
    story.claim("nothing is sent to it any more: 422", answer.status == 422, answer)


async def _make(scene: Scene, body: dict[str, Any]) -> tuple[str, str]:
    """(our id, the far end's) of a new group, once it is active."""
    desk, story = scene.desk, scene.story
    answer = await desk.call("POST", "/v1/groups", body, key=f"group-{body['kind']}-{scene.run}")
    group = str(answer.body.get("id", ""))
    again = await desk.call("POST", "/v1/groups", body, key=f"group-{body['kind']}-{scene.run}")
    story.claim("asked for twice with one key, it is made once", again.body.get("id") == group)
    view = await _group(scene, group, "active")
    story.claim(
        f"it is active; the far end calls it {view.get('chat')}",
        view.get("state") == "active" and view.get("chat"),
        view,
    )
    return group, str(view.get("chat", ""))


async def _dissolve(scene: Scene, group: str) -> None:
    order = {"undo_for": "1s"}
    answer = await scene.desk.call("POST", f"/v1/groups/{group}:dissolve", order)
    scene.story.claim("dissolving can be undone for a second", answer.status == 202, answer)
    view = await _group(scene, group, "dissolved")
    scene.story.claim("then it is dissolved", view.get("state") == "dissolved", view)


async def _group(scene: Scene, group: str, state: str) -> dict[str, Any]:
    async def look() -> dict[str, Any]:
        return dict(await scene.desk.get(f"/v1/groups/{group}"))

    return await scene.desk.until(look, lambda view: bool(view.get("state") == state))


def _text(data: dict[str, Any]) -> str:
    return str((data.get("content") or {}).get("text", ""))
