"""What customers and accounts say to each other, and what a hosted gateway and an archive tell of it: lost, late, twice, out of order."""

from __future__ import annotations

import asyncio
import base64
import random
from dataclasses import dataclass
from typing import Any

from adapters.sim.hosted import HostedSim
from adapters.sim.wecom import WeComSim

ACCOUNTS, CUSTOMERS = 5, 12
UNLICENSED = "staff0005"
"""Has no archive licence: nothing of it is archived."""
DISAGREED = ("staff0004", "wm0002")
"""A customer who does not want to be archived with this member."""
LOST = 0.05
"""Events that the gateway never tells."""
REPEATED = 0.05
"""Events, and archived items, that come twice."""
LATE_S = 1.5
"""How much later than the gateway's the archive's copy may come, out of order."""
SKEW_MS = 800
"""How far the archive's clock is from the gateway's."""
TEXTS = ("好", "好", "好", "好的", "收到", "谢谢", "在吗", "？")
"""As people write: the same again and again."""
LINKS = ("https://a.example/1", "https://a.example/2")
PICTURE = b"\xff\xd8\xff\xe0" + bytes(range(256)) * 4
DOOMED = "不明"
"""A send whose answer is lost for good: only its copy tells that it arrived."""


@dataclass(frozen=True)
class Talk:
    """A conversation."""

    account: str
    customer: str

    @property
    def archived(self) -> bool:
        return self.account != UNLICENSED and (self.account, self.customer) != DISAGREED


@dataclass
class Said:
    """One message that somebody said. `hosted`, `archived`: its ids there, "" = not told, not kept."""

    talk: Talk
    direction: str
    words: str
    number: int
    hosted: str = ""
    archived: str = ""

    @property
    def kind(self) -> tuple[str, str, str, str]:
        return self.talk.account, self.talk.customer, self.direction, self.words


class World:
    """What is said, and what each far end tells of it."""

    def __init__(self, far: HostedSim, wecom: WeComSim, files: str, rng: random.Random) -> None:
        self.far = far
        self.wecom = wecom
        self.files = files
        self.rng = rng
        self.said: list[Said] = []
        self.held: list[Said] = []
        """Doomed sends, whose copies come later."""
        self._mute: set[str] = set()
        self._late: set[asyncio.Task[None]] = set()
        self._run, self._say, self._tell = far.commands.run, far.commands.say, far.outbox.tell
        far.commands.run = self.answer  # type: ignore[method-assign]
        far.commands.say = self.heard  # type: ignore[method-assign]
        far.outbox.tell = self.told  # type: ignore[method-assign]
        self._told: dict[str, str] = {}

    # -- the gateway, overheard ----------------------------------------------------------------------------------------

    def answer(self, command_id: str, command: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        content = command.get("content")
        if isinstance(content, dict) and str(content.get("text")).startswith(DOOMED):
            self._mute.add(command_id)
        answer, fresh = self._run(command_id, command)
        if command_id in self._mute or command.get("command") in self._mute:
            return {"command": command_id, "state": "unknown", "detail": "ordered"}, False
        return answer, fresh

    def told(self, account: str, kind: str, **facts: Any) -> str:
        if facts.get("command") in self._mute:
            return ""
        event = self._tell(account, kind, **facts)
        if event and "message_id" in facts:
            self._told[facts["message_id"]] = event
        return event

    def heard(
        self,
        account: Any,
        chat: tuple[str, str],
        content: dict[str, Any],
        command_id: str = "",
        *more: Any,
        **rest: Any,
    ) -> str:
        """The account said something, on command or typed."""
        message_id = self._say(account, chat, content, command_id, *more, **rest)
        direction = "out" if command_id else "staff"
        self._happened(Talk(account.name, chat[1]), direction, content, message_id)
        return message_id

    # -- people --------------------------------------------------------------------------------------------------------

    def content(self) -> dict[str, Any]:
        dice = self.rng.random()
        if dice < 0.08:
            return {"type": "image", "url": f"http://{self.files}/picture", "name": "图.jpg"}
        if dice < 0.16:
            return {"type": "link", "title": "资费", "url": self.rng.choice(LINKS)}
        return {"type": "text", "text": self.rng.choice(TEXTS)}

    def talk(self) -> Talk:
        account = f"staff{self.rng.randint(1, ACCOUNTS):04d}"
        # Few customers talk much: the same words come again within a minute.
        return Talk(account, f"wm{min(self.rng.randint(1, CUSTOMERS) for _ in range(2)):04d}")

    def customer_writes(self, talk: Talk | None = None) -> None:
        talk, content = talk or self.talk(), self.content()
        made = self.far.customer_writes(talk.account, talk.customer, content=content)
        self._happened(talk, "in", content, made["message_id"])

    def lost(self) -> None:
        """A customer writes what the gateway never tells; the archive does."""
        self.far.faults.change({"lose_events": 1.0})
        self.customer_writes(Talk("staff0001", "wm0001"))
        self.far.faults.change({"lose_events": LOST})

    def human_types(self) -> None:
        talk = self.talk()
        self.far.account_writes(talk.account, talk.customer, content=self.content())

    # -- the archive ---------------------------------------------------------------------------------------------------

    def _happened(
        self, talk: Talk, direction: str, content: dict[str, Any], message_id: str
    ) -> None:
        words = str(content.get("text") or content["type"])
        if content["type"] == "link":
            words = content["url"]
        said = Said(talk, direction, words, len(self.said))
        said.hosted = message_id if message_id in self._told else ""
        self.said.append(said)
        if words.startswith(DOOMED):
            self.held.append(said)
        else:
            self._later(said)

    def release(self) -> None:
        """The copies of the doomed."""
        for said in self.held:
            self._later(said)
        self.held.clear()

    def _later(self, said: Said) -> None:
        at = self.far.clock.now_ms() + self.rng.randint(-SKEW_MS, SKEW_MS)
        late, repeated = self.rng.uniform(0, LATE_S), self.rng.random() < REPEATED
        task = asyncio.get_running_loop().create_task(self._archive(said, at, late, repeated))
        self._late.add(task)
        task.add_done_callback(self._late.discard)

    async def _archive(self, said: Said, at: int, late: float, repeated: bool) -> None:
        await asyncio.sleep(late)
        people = [said.talk.account, said.talk.customer]
        sender, to = people if said.direction != "in" else reversed(people)
        what: dict[str, Any] = {"text": said.words}
        if said.words == "image":
            what = {"msgtype": "image", "data": base64.b64encode(PICTURE).decode()}
        elif said.words in LINKS:
            what = {"msgtype": "link", "body": {"title": "资费", "link_url": said.words}}
        archive = self.wecom.archive
        said.archived = archive.archive_message(sender=sender, to=[to], msgtime=at, **what)["msgid"]
        if repeated and said.archived:
            await asyncio.sleep(late)
            archive.archive_repeat(msgid=said.archived)

    async def told_all(self) -> None:
        """Both far ends have told what they will tell."""
        await self.far.outbox.drained()
        while self._late:
            await asyncio.wait(set(self._late))
