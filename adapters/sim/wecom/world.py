"""The corp itself: members, parties, apps and customers with their relations, and what every part of the simulator shares."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from adapters.sim.jumps import JumpClock
from adapters.sim.wecom.options import WeComOptions
from adapters.sim.wecom.windows import Windows
from msgcenter.clock import Clock, Random, base32
from msgcenter.simulator import Journal

#: What an app may be allowed to call; a self-built app of the sandbox may do everything.
ABILITIES = frozenset({"app", "kf", "contact", "archive"})


@dataclass(slots=True)
class Member:
    """An employee. `contact`: has the customer-contact feature; `kf_active`: has activated WeCom."""

    userid: str
    parties: set[int] = field(default_factory=lambda: {1})
    tags: set[int] = field(default_factory=set)
    licensed: bool = True
    contact: bool = True
    active: bool = True
    resigned: bool = False
    resigned_at: int = 0
    native_welcome: bool = False


@dataclass(slots=True)
class App:
    """One app. `scope`: the members it may reach, None for the root party."""

    agentid: int
    secret: str
    abilities: set[str] = field(default_factory=lambda: set(ABILITIES))
    enabled: bool = True
    scope: set[str] | None = None


@dataclass(slots=True)
class Customer:
    """Somebody outside. `type`: 1 on WeChat, 2 on WeCom. `mass_received`: month -> mass messages taken."""

    external_userid: str
    name: str
    type: int = 1
    unionid: str = ""
    gender: int = 0
    refuses: bool = False


@dataclass(slots=True)
class Relation:
    """A member and a customer who have each other. `deleted_by`: "", "member" or "customer"."""

    userid: str
    external_userid: str
    createtime: int
    state: str = ""
    remark: str = ""
    description: str = ""
    remark_corp_name: str = ""
    remark_mobiles: list[str] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    add_way: int = 1
    half: bool = False
    last_chat_ms: int = 0
    deleted_by: str = ""

    @property
    def reachable(self) -> bool:
        """Whether APIs work: a customer who deleted the member leaves a one-way relation that still does."""
        return not self.half and self.deleted_by != "member"


class World:
    """Shared by all parts: time, dice, counters, people. Lookups of userids ignore case."""

    def __init__(self, options: WeComOptions, journal: Journal, clock: Clock) -> None:
        self.options = options
        self.limits = options.limits
        self.journal = journal
        self.clock = JumpClock(clock)
        self.rng = Random(options.seed)
        self.windows = Windows(self.clock)
        self.counters: Counter[str] = Counter()
        self.corp = options.corp
        self.base_url = ""
        self.apps: dict[int, App] = {options.agent: App(options.agent, options.secret)}
        self.members: dict[str, Member] = {}
        self.customers: dict[str, Customer] = {}
        self.relations: dict[tuple[str, str], Relation] = {}
        self._of_customer: dict[str, dict[str, Relation]] = {}
        self._of_member: dict[str, dict[str, Relation]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._serial = 0
        for number in range(1, options.members + 1):
            self.add_member(f"staff{number:04d}")
        for number in range(1, options.customers + 1):
            customer = self.add_customer(f"wm{number:04d}")
            member = f"staff{(number - 1) % options.members + 1:04d}"
            self.relate(member, customer.external_userid)

    # --- time and chance ---

    def now(self) -> int:
        """Seconds."""
        return self.clock.now_ms() // 1000

    def chance(self, share: float) -> bool:
        return share > 0 and self.rng.random() < share

    def new_id(self, prefix: str = "", width: int = 26) -> str:
        """Unique and not to be guessed from the one before."""
        self._serial += 1
        return (
            prefix
            + base32(self.rng.getrandbits((width - 6) * 5), width - 6)
            + base32(self._serial, 6)
        )

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run on the side until done or until the simulator stops."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        """Call `act` when so much of the simulator's time has passed."""

        async def wait() -> None:
            await self.clock.sleep(seconds)
            act()

        self.spawn(wait())

    async def settled(self) -> None:
        """Until nothing runs on the side any more."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def stop(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- people ---

    def add_member(self, userid: str, **traits: Any) -> Member:
        member = Member(userid, **traits)
        self.members[userid.lower()] = member
        return member

    def member(self, userid: str) -> Member | None:
        found = self.members.get(userid.lower())
        return found if found is not None and not found.resigned else None

    def add_customer(self, external_userid: str, **traits: Any) -> Customer:
        traits.setdefault("name", f"客户{external_userid}")
        traits.setdefault("unionid", f"un{external_userid}")
        customer = Customer(external_userid, **traits)
        self.customers[external_userid] = customer
        return customer

    def relate(self, userid: str, external_userid: str, **traits: Any) -> Relation:
        """The two have added each other; also again after a deletion."""
        member = self.members.get(userid.lower())
        known = member.userid if member else userid
        relation = Relation(known, external_userid, self.now(), **traits)
        self.relations[known.lower(), external_userid] = relation
        self._of_customer.setdefault(external_userid, {})[known.lower()] = relation
        self._of_member.setdefault(known.lower(), {})[external_userid] = relation
        return relation

    def relation(self, userid: str, external_userid: str) -> Relation | None:
        return self.relations.get((userid.lower(), external_userid))

    def relations_of(self, external_userid: str) -> list[Relation]:
        return list(self._of_customer.get(external_userid, {}).values())

    def customers_of(self, userid: str) -> list[Relation]:
        return list(self._of_member.get(userid.lower(), {}).values())

    def visible(self, app: App, userid: str) -> Member | None:
        """The member, when the app's visible range has him."""
        member = self.member(userid)
        if member is None or (app.scope is not None and member.userid not in app.scope):
            return None
        return member

    # --- what arrived ---

    def deliver(self, kind: str, to: str, sender: str, **entry: Any) -> None:
        """One journal entry: what `to` sees on the screen (or would see, when `dropped` names a cause)."""
        self.counters["dropped" if entry.get("dropped") else "delivered"] += 1
        self.journal.append(
            {"kind": kind, "to": to, "from": sender, "time": self.clock.now_ms(), "dropped": ""}
            | entry
        )


def text_of(msgtype: str, body: dict[str, Any]) -> str:
    """The words in a message body, for the journal."""
    content = body.get("content")
    if isinstance(content, str):
        return content
    for key in ("title", "head_content", "name"):
        value = body.get(key)
        if isinstance(value, str):
            return value
    articles = body.get("articles")
    if isinstance(articles, list):
        return "\n".join(str(one.get("title", "")) for one in articles if isinstance(one, dict))
    main = body.get("main_title")
    if isinstance(main, dict):
        return str(main.get("title", ""))
    return f"[{msgtype}]"
