"""The simulated WeCom platform itself: one corp, its API under /cgi-bin/, its callbacks, and what its people do on order."""

from __future__ import annotations

import base64
import inspect
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, TypeAlias

from aiohttp import web
from pydantic import BaseModel, ValidationError

from adapters.sim.wecom.appchat import AppChats, Robots
from adapters.sim.wecom.archive import Archive
from adapters.sim.wecom.chats import CustomerChats
from adapters.sim.wecom.contacts import Contacts
from adapters.sim.wecom.faults import Faults
from adapters.sim.wecom.gate import Gate
from adapters.sim.wecom.kf import Kf
from adapters.sim.wecom.kf_log import KfLog
from adapters.sim.wecom.kf_sessions import KfSessions
from adapters.sim.wecom.media import Media
from adapters.sim.wecom.messages import Messages
from adapters.sim.wecom.msgaudit import MsgAudit
from adapters.sim.wecom.options import Limits, WeComOptions
from adapters.sim.wecom.pusher import Pusher
from adapters.sim.wecom.refusals import Refused
from adapters.sim.wecom.tasks import Tasks
from adapters.sim.wecom.tokens import Tokens
from adapters.sim.wecom.transfers import Transfers
from adapters.sim.wecom.world import World
from msgcenter.clock import Clock, SystemClock
from msgcenter.simulator import Journal

Order: TypeAlias = Callable[..., dict[str, Any] | Awaitable[dict[str, Any]]]

_ECHO_PAUSE = 0.5
_LARGEST = 64 * 1024 * 1024


class WeComSim:
    """One corp (`corp`, first app `agent`/`secret`) with members, customers and a customer-service account.

    The journal gets one entry per message as its recipient sees it: `kind`, `to`, `from`, `msgtype`, `text`, `body`,
    `time` (ms) and `dropped`, which is "" or says why it never appeared although the API said ok. Everything but the
    connections survives `stop` and `start`. The parts are attributes; what `control` offers are their methods.
    """

    Options: ClassVar[type[BaseModel]] = WeComOptions

    def __init__(self, options: WeComOptions, journal: Journal, clock: Clock | None = None) -> None:
        self.journal = journal
        self.port = options.port
        self.world = World(options, journal, clock or SystemClock())
        if not options.aes_key:
            key = base64.b64encode(self.world.rng.randbytes(32)).decode()
            options.aes_key = key.rstrip("=").replace("+", "a").replace("/", "b")[:43]
        self.options = options
        self.faults = Faults(self.world)
        self.tokens = Tokens(self.world)
        self.pusher = Pusher(self.world, self.faults)
        self.media = Media(self.world, self.pusher)
        self.messages = Messages(self.world, self.media)
        self.appchats = AppChats(self.world, self.media)
        self.robots = Robots(self.world, self.media)
        self.kf_log = KfLog(self.world, self.pusher)
        self.kf_sessions = KfSessions(self.world, self.kf_log, self.media)
        self.kf = Kf(self.world, self.kf_log, self.kf_sessions, self.media)
        self.contacts = Contacts(self.world, self.pusher, self.media)
        self.chats = CustomerChats(self.world, self.pusher)
        self.tasks = Tasks(self.world, self.media, self.chats)
        self.transfers = Transfers(self.world, self.contacts)
        self.archive = Archive(self.world, self.pusher, self.faults)
        self.contacts.on_chat.append(self.archive.chatted)
        self.msgaudit = MsgAudit(self.world, self.archive, self.chats)
        self.gate = Gate(self.world, self.tokens, self.faults, self.robots.keys)
        parts = (
            self.media,
            self.messages,
            self.appchats,
            self.robots,
            self.kf_log,
            self.kf_sessions,
            self.kf,
            self.contacts,
            self.chats,
            self.tasks,
            self.transfers,
            self.msgaudit,
        )
        for part in parts:
            self.gate.add(part.endpoints())
        self._orders: dict[str, Order] = {}
        own = (self, self.gate, self.faults, self.tokens, self.pusher, self.archive)
        for owner in (*own, *parts):
            self._orders.update(_orders_of(owner))
        self._runner: web.AppRunner | None = None

    # --- the simulator contract ---

    async def start(self) -> None:
        """Listen; a second start after `stop` takes the same port. The address `callback` is saved as soon as it echoes.

        Raises OSError when the port is taken.
        """
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_route("*", "/cgi-bin/{name:.+}", self.gate.handle)
        app.router.add_post("/sim-archive/chatdata", self.archive.chatdata)
        app.router.add_post("/sim-archive/mediadata", self.archive.mediadata)
        app.router.add_get("/sim-images/{key}", self._image)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.options.host, self.port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]
        self.world.base_url = self.url
        await self.pusher.start()
        if self.options.callback:
            self.world.spawn(self._save_callback())

    async def stop(self) -> None:
        """Close every socket; what is under way is given up."""
        await self.pusher.stop()
        await self.world.stop()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.port}"

    def banner(self) -> list[str]:
        """What a client needs."""
        options = self.options
        return [
            f"WeCom at {self.url}/cgi-bin/",
            f"corp {options.corp}",
            f"agent {options.agent}",
            f"secret {options.secret}",
            f"callback token {options.callback_token}",
            f"archive secret {options.archive_secret} (simulator-only cipher under /sim-archive/)",
            f"EncodingAESKey {options.aes_key}",
        ]

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """An order by name with its arguments: every public method of the parts whose arguments are all by keyword;
        `orders` lists them. Raises ValueError or TypeError for one that makes no sense.
        """
        order = self._orders.get(command)
        if order is None:
            raise ValueError(f"no such command: {command}; {', '.join(sorted(self._orders))}")
        try:
            answer = order(**args)
            return await answer if inspect.isawaitable(answer) else answer
        except Refused as refused:
            raise ValueError(refused.text) from None

    async def _image(self, request: web.Request) -> web.Response:
        data = self.media.image(request.match_info["key"])
        if data is None:
            raise web.HTTPNotFound
        return web.Response(body=data, content_type="image/jpeg")

    async def _save_callback(self) -> None:
        """The one who listens may come up later than we do."""
        while True:
            try:
                await self.pusher.callback_set(
                    agentid=self.options.agent, url=self.options.callback
                )
                break
            except ValueError:
                await self.world.clock.sleep(_ECHO_PAUSE)

    # --- orders ---

    def orders(self) -> dict[str, Any]:
        """Every command with its arguments and what it does."""
        return {
            name: f"{inspect.signature(order)}: {' '.join((order.__doc__ or '').split())}"
            for name, order in sorted(self._orders.items())
        }

    def limits(self, *, sizes: dict[str, int] | None = None) -> dict[str, Any]:
        """Change limits by name; answers all of them. Raises ValueError for an unknown one."""
        current = self.world.limits
        try:
            changed = Limits.model_validate(current.model_dump() | (sizes or {}))
        except ValidationError as error:
            raise ValueError(str(error)) from None
        for name in sizes or {}:
            setattr(current, name, getattr(changed, name))
        return current.model_dump()

    def advance(self, *, seconds: float) -> dict[str, Any]:
        """Let the platform's time jump on."""
        self.world.clock.jump(seconds)
        return {"now": self.world.clock.now_ms()}

    def journal_entries(self, *, limit: int = 100) -> dict[str, Any]:
        """The newest entries, how many there were, how many delivered and dropped."""
        entries = self.journal.entries()[-limit:] if limit > 0 else []
        counters = dict(self.world.counters)
        return {"entries": entries, "total": self.journal.total, "counters": counters}

    def member_add(self, *, userids: list[str], **traits: Any) -> dict[str, Any]:
        """New members; traits as licensed=False, parties=[2], tags=[3], contact=False, active=False."""
        for name in traits.keys() & {"parties", "tags"}:
            traits[name] = set(traits[name])
        for userid in userids:
            self.world.add_member(userid, **traits)
        return {"members": len(self.world.members)}

    def member_change(self, *, userid: str, **traits: Any) -> dict[str, Any]:
        """Change traits of a member: resigned=True, licensed=False …"""
        member = self.world.members.get(userid.lower())
        if member is None or any(not hasattr(member, name) for name in traits):
            raise ValueError("no such member or trait")
        for name, value in traits.items():
            setattr(member, name, set(value) if name in {"parties", "tags"} else value)
        if traits.get("resigned"):
            member.resigned_at = self.world.now()
        return {"userid": member.userid}


def _orders_of(part: object) -> dict[str, Order]:
    """The public methods that take nothing but keyword arguments and answer a table."""
    found: dict[str, Order] = {}
    for name, method in inspect.getmembers(part, inspect.ismethod):
        if name.startswith("_") or name in {"endpoints", "banner", "start", "stop", "drained"}:
            continue
        kinds = {parameter.kind for parameter in inspect.signature(method).parameters.values()}
        answer = str(inspect.signature(method).return_annotation)
        keywords = {inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD}
        if kinds <= keywords and answer == "dict[str, Any]":
            found[name] = method
    return found
