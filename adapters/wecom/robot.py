"""Kind `wecom-robot`: messages of group robots, one webhook address each, at most 20 a minute."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from functools import partial

from adapters.wecom.api import RobotApi
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.contents import Need, is_ours
from adapters.wecom.media import FormMaker, Uploads
from adapters.wecom.sending import slow
from adapters.wecom.settings import WeComRobotSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Received,
    Rejected,
    Retry,
    Sent,
    Spec,
    Unknown,
    Unreachable,
)
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.outcome import Outcome
from protocols.payload import Card, Happening, Link, Markdown, Media, Native, Payload, Text
from protocols.wecom import answers, robot
from protocols.wecom.bodies import Article
from protocols.wecom.limits import RATES, between

_RATE = RATES["robot.minute"]
NATIVE = ("markdown_v2", "template_card", "text")


class WeComRobot(Adapter):
    """Reaches `group:<id>`; `Dispatch.target` (else the id) is the robot's name in the settings.

    At its start it tells of every robot as of a group that exists, so that the groups can be found and written to.
    """

    spec = Spec(
        kind="wecom-robot",
        title="WeCom group robot (企业微信群机器人)",
        payloads=frozenset({Text, Markdown, Media, Link, Card, Native}),
        schemes=frozenset({"group"}),
        max_batch=20,
        in_flight=4,
        limits={
            "rate": "20 messages a minute for each robot; what is over waits here (reason wecom_robot_limit)",
            "text": "2,048 octets; Markdown 4,096",
            "image": "2 MB, inside the message; voice and files are uploaded for each robot",
            "receipts": "none, no recall, and a repeat is not recognised",
        },
    )
    Settings = WeComRobotSettings
    settings: WeComRobotSettings

    def __init__(self, settings: WeComRobotSettings, port: Port) -> None:
        super().__init__(settings, port)
        self.api = RobotApi(settings, port)
        late = settings.slack_s + settings.total_s
        self._limits = [(_RATE.count, _RATE.seconds + late)]
        self._uploads = {
            name: Uploads(port, partial(self._upload, name), f"robot:{name}")
            for name in settings.robots
        }

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.api.http.open():
            await self.port.emit([_group_of(name, self.port) for name in self.settings.robots])
            up(True)
            await self.port.clock.sleep(float("inf"))

    def render(self, envelope: Envelope) -> None:
        if envelope.to.scheme != "group":
            raise Malformed("wecom-robot reaches group: addresses")
        if not isinstance(envelope.payload, Media):
            _request(envelope.payload)
        elif envelope.payload.kind == "video":
            raise Malformed("a robot sends no video")
        if isinstance(envelope.payload, Link) and is_ours(envelope.payload.picture):
            raise Malformed("a robot's picture must be an https address")

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Robots at once, the messages of one robot in order. Raises Unreachable when nothing at all left."""
        if not self.api.http.is_open:
            raise Unreachable("wecom-robot: no session")
        outcomes: list[Outcome] = [
            Retry("recipient", "an earlier message of this robot was not taken", 0.0, "waits")
        ] * len(batch)
        chains: dict[str, list[int]] = {}
        for index, item in enumerate(batch):
            chains.setdefault(_robot_of(item), []).append(index)
        unreachable = 0
        latest = self.port.clock.monotonic() + self.settings.slack_s

        async def run(name: str, chain: Sequence[int]) -> None:
            nonlocal unreachable
            for index in chain:
                if self.port.clock.monotonic() > latest:
                    outcomes[index] = slow()
                    continue
                try:
                    outcome = await self._one(name, batch[index])
                except Refusal as refusal:
                    outcome = refusal.outcome
                    unreachable += refusal.unreachable and index == chain[0]
                except Malformed as error:
                    outcome = Rejected("message", str(error), "malformed")
                outcomes[index] = outcome
                if isinstance(outcome, Retry | Unknown):
                    return

        async with asyncio.TaskGroup() as group:
            for name, chain in chains.items():
                group.create_task(run(name, chain))
        if unreachable == len(chains):  # the first of every chain met no connection
            raise Unreachable("WeCom cannot be reached")
        return outcomes

    async def _one(self, name: str, item: Dispatch) -> Outcome:
        secret = self.settings.robots.get(name)
        if secret is None:
            return Rejected("recipient", "no robot of this name is configured", "robot_unknown")
        payload = item.envelope.payload
        body = await self._body(name, payload)
        with nothing_left("limit of a robot"):
            [wait] = await self.port.allow([f"robot:{name}"], self._limits)
        if wait > 0:
            return Retry("recipient", "20 messages in a minute", wait, "wecom_robot_limit")
        try:
            await self.api.post(name, secret.reveal(), body)
        except Refusal as refusal:
            if refusal.errcode != 40007 or not isinstance(payload, Media):
                raise
            await self._uploads[name].forget([(payload.kind, payload.media)])
            await self.api.post(name, secret.reveal(), await self._body(name, payload))
        return Sent()

    async def _body(self, name: str, payload: Payload) -> bytes:
        if not isinstance(payload, Media):
            return _request(payload)
        if payload.kind == "image":
            file = await self.port.media(payload.media)
            between("robot.image", file.size)
            return robot.image(await asyncio.to_thread(file.path.read_bytes))
        need: Need = (payload.kind, payload.media)
        media_id = (await self._uploads[name].media_ids([need]))[need]
        return robot.voice(media_id) if payload.kind == "voice" else robot.file(media_id)

    async def _upload(self, name: str, need: Need, form: FormMaker) -> answers.Answer:
        return await self.api.upload(name, self.settings.robots[name].reveal(), need[0], form)


def _robot_of(item: Dispatch) -> str:
    return item.target or item.envelope.to.value


def _group_of(name: str, port: Port) -> Received:
    """A robot's group as something that is there; the same one at every start."""
    body = json.dumps({"chat": name, "name": name}, ensure_ascii=False)
    happening = Happening("group_created", body)
    return Received(Address("group", name), name, happening, f"robot:{name}", port.clock.now_ms())


def _request(payload: Payload) -> bytes:
    """Raises Malformed."""
    match payload:
        case Text(text=text):
            return robot.text(text)
        case Markdown(text=text):
            return robot.markdown(text)
        case Link(title=title, url=url, description=description, picture=picture):
            return robot.news([Article(title, description, url, picture)])
        case Card(title=title, description=description, url=url, button=button):
            return robot.card(
                {
                    "card_type": "text_notice",
                    "main_title": {"title": title, "desc": description},
                    "card_action": {"type": 1, "url": url},
                    **({"jump_list": [{"type": 1, "url": url, "title": button}]} if button else {}),
                }
            )
        case Native(kind="template_card", body=body):
            return robot.card(parse(body.encode()))
        case Native(kind="markdown_v2", body=body):
            return robot.markdown_v2(as_text(parse(body.encode()).get("content")))
        case Native(kind="text", body=body):
            fields = parse(body.encode())
            mention, mobiles = (
                fields.get(name) or [] for name in ("mentioned_list", "mentioned_mobile_list")
            )
            if not isinstance(mention, list) or not isinstance(mobiles, list):
                raise Malformed("mentioned_list: a list expected")
            return robot.text(
                as_text(fields.get("content")),
                [as_text(one) for one in mention],
                [as_text(one) for one in mobiles],
            )
        case _:
            raise Malformed(f"a robot's message may be native {', '.join(NATIVE)}")


__all__ = ["WeComRobot"]
