"""The gateway itself: takes signed commands, tells signed events, and does what its people are ordered to do."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from functools import partial
from typing import Any, ClassVar

from aiohttp import web
from pydantic import BaseModel

from adapters.sim.hosted.commands import Commands, content_of
from adapters.sim.hosted.events import Outbox
from adapters.sim.hosted.options import Faults, HostedOptions
from adapters.sim.hosted.world import STATES, Account, Group, HostedWorld
from adapters.sim.jumps import JumpClock
from msgcenter.clock import Clock, Random, SystemClock
from msgcenter.simulator import Journal
from protocols.webhook import signing

_LARGEST = 64 * 1024


class HostedSim:
    """A gateway with accounts (`staff0001` …), all logged in and all knowing the customers (`wm0001` …).

    The journal gets one entry per message as its recipient sees it (`kind` hosted or hosted_group, `to`, `from`, `msgtype`,
    `text`, `body`, `command`, `time`; `dropped` "lost" when it never arrived) and one per recall and group change.
    `faults` may be changed at any time, `counters` counts commands by state and code.
    """

    Options: ClassVar[type[BaseModel]] = HostedOptions

    def __init__(
        self, options: HostedOptions, journal: Journal, clock: Clock | None = None
    ) -> None:
        self.options = options
        self.journal = journal
        self.port = options.port
        self.clock = JumpClock(clock or SystemClock())
        self.faults = Faults()
        self.counters: Counter[str] = Counter()
        self._rng = Random(options.seed)
        self.secrets = self._given(options.secret)
        self.event_secrets = self._given(options.event_secret)
        accounts = [f"staff{number:04d}" for number in range(1, options.accounts + 1)]
        customers = [f"wm{number:04d}" for number in range(1, options.customers + 1)]
        self.world = HostedWorld(accounts, customers, self.clock.now_ms())
        self.outbox = Outbox(options, self.faults, self.event_secrets, self.clock, self._rng)
        self.commands = Commands(
            options,
            self.faults,
            world=self.world,
            outbox=self.outbox,
            journal=journal,
            clock=self.clock,
            rng=self._rng,
        )
        self._receipts: set[asyncio.Task[None]] = set()
        self._runner: web.AppRunner | None = None

    # --- the simulator contract ---

    async def start(self) -> None:
        """Listen; a second start after `stop` takes the same port. Raises OSError when it is taken."""
        app = web.Application(client_max_size=_LARGEST)
        app.router.add_post("/v1/commands", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.options.host, self.port, reuse_address=True).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]
        await self.outbox.start()

    async def stop(self) -> None:
        """Close every socket; events not taken yet wait for the next start, receipts to come are given up."""
        await self.outbox.stop()
        for task in set(self._receipts):
            task.cancel()
        await asyncio.gather(*self._receipts, return_exceptions=True)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.port}"

    def banner(self) -> list[str]:
        """What a client needs."""
        return [
            f"hosted-account gateway: POST {self.url}/v1/commands",
            *[f"secret: {secret}" for secret in self.secrets],
            *[f"event secret: {secret}" for secret in self.event_secrets],
            f"accounts staff0001 to staff{self.options.accounts:04d}",
        ]

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """An order by name. Raises ValueError (or TypeError) for one that makes no sense.

        `customer_writes` {account, customer, text | content, group?, archive_id?} · `account_writes` {account, customer |
        group, text | content, archive_id?}: a person types · `account_state` {account, state, reason?} · `customer_deletes`
        {account, customer, back?} · `add` {accounts?, customers?} · `group_change` {group, change, by, name?, members?,
        owner?}: by hand · `callback` {url} · `faults` {switch: value} · `advance` {seconds} · `groups` · `journal` {limit?}
        """
        match command:
            case "customer_writes":
                return self.customer_writes(**args)
            case "account_writes":
                return self.account_writes(**args)
            case "account_state":
                return self.account_state(**args)
            case "customer_deletes":
                return self.customer_deletes(**args)
            case "add":
                return self.add(**args)
            case "group_change":
                return self.group_change(**args)
            case "callback":
                self.outbox.url = str(args["url"]) if "url" in args else ""
                return {"url": self.outbox.url}
            case "faults":
                self.faults.change(args)
                return self.faults.model_dump()
            case "advance":
                self.clock.jump(**args)
                return {"now": self.clock.now_ms()}
            case "groups":
                return {one.group_id: _shown(one) for one in self.world.groups.values()}
            case "journal":
                limit = int(args.get("limit", 100))
                entries = self.journal.entries()[-limit:] if limit > 0 else []
                counters = dict(self.counters + self.outbox.counters)
                return {"entries": entries, "total": self.journal.total, "counters": counters}
            case _:
                raise ValueError(f"no such command: {command}")

    def _given(self, secrets: str) -> tuple[str, ...]:
        given = tuple(part for part in secrets.split(",") if part)
        return given or (signing.secret_of(self._rng.randbytes(32)),)

    # --- what people do ---

    def customer_writes(
        self,
        account: str,
        customer: str,
        text: str = "",
        content: dict[str, Any] | None = None,
        group: str = "",
        archive_id: str = "",
    ) -> dict[str, Any]:
        """A customer writes to an account, or in a group (then every hosted account there reads it)."""
        said = content_of(content or {"type": "text", "text": text})
        chat = {"kind": "group", "id": group} if group else {"kind": "customer", "id": customer}
        readers = self.world.hosted_in(self._group(group)) if group else [account]
        message_id = self.commands.new_id("hm")
        for reader in readers:
            if self._account(reader).state in ("online", "limited"):
                self.outbox.tell(
                    reader,
                    "message.received",
                    may_be_lost=True,
                    chat=chat,
                    message_id=message_id,
                    archive_id=archive_id,
                    sender=customer,
                    sender_name=f"客户{customer}",
                    content=said,
                )
        return {"message_id": message_id}

    def account_writes(
        self,
        account: str,
        customer: str = "",
        group: str = "",
        text: str = "",
        content: dict[str, Any] | None = None,
        archive_id: str = "",
    ) -> dict[str, Any]:
        """The person behind the account types: an echo without a command."""
        said = content_of(content or {"type": "text", "text": text})
        chat = ("group", group) if group else ("customer", customer)
        who = self._account(account)
        return {"message_id": self.commands.say(who, chat, said, archive_id=archive_id)}

    def account_state(self, account: str, state: str, reason: str = "") -> dict[str, Any]:
        """Log it out (login_lost), ban it, limit it, bring it back (online)."""
        if state not in STATES:
            raise ValueError(f"state: one of {', '.join(STATES)}")
        changed = self._account(account)
        changed.state, changed.reason, changed.since = state, reason, self.clock.now_ms()
        self.outbox.tell(account, "account.state", status=changed.report())
        return changed.report()

    def customer_deletes(self, account: str, customer: str, back: bool = False) -> dict[str, Any]:
        """The customer deletes the account (or is `back`)."""
        deleted = self._account(account).deleted
        (deleted.discard if back else deleted.add)(customer)
        return {"deleted": sorted(deleted)}

    def add(
        self, accounts: list[str] | None = None, customers: list[str] | None = None
    ) -> dict[str, Any]:
        """More accounts and customers."""
        for name in accounts or ():
            self.world.accounts[name] = Account(name, since=self.clock.now_ms())
        self.world.customers |= set(customers or ())
        return {"accounts": len(self.world.accounts), "customers": len(self.world.customers)}

    def group_change(
        self,
        group: str,
        change: str,
        by: str,
        name: str = "",
        members: list[str] | None = None,
        owner: str = "",
    ) -> dict[str, Any]:
        """Somebody changes a group by hand: renamed, members_added, members_removed, owner_changed, dissolved."""
        found, moved = self._group(group), members or []
        watching = self.world.hosted_in(found)
        match change:
            case "renamed":
                found.name = name
            case "members_added":
                found.members += [one for one in moved if one not in found.members]
            case "members_removed":
                found.members = [one for one in found.members if one not in moved]
            case "owner_changed":
                found.owner = owner
            case "dissolved":
                found.dissolved = True
            case _:
                raise ValueError(f"no such change: {change}")
        self.commands.changed(found, change, by, members=moved, watching=watching)
        return _shown(found)

    def _account(self, name: str) -> Account:
        account = self.world.accounts.get(name)
        if account is None:
            raise ValueError(f"no account {name}")
        return account

    def _group(self, group_id: str) -> Group:
        group = self.world.groups.get(group_id)
        if group is None:
            raise ValueError(f"no group {group_id}")
        return group

    # --- commands ---

    async def _take(self, request: web.Request) -> web.StreamResponse:
        try:
            body = await request.read()
            now = self.clock.now_ms() // 1000
            command_id = signing.verify(self.secrets, request.headers, body, now)
            command = json.loads(body)
            if not isinstance(command, dict):
                raise ValueError("an object expected")
            while command.get("account") in self.faults.hang:
                await self.clock.sleep(0.05)
            answer, fresh = self.commands.run(command_id, command)
        except signing.BadSignature as error:
            self.counters["forged"] += 1
            return web.json_response({"detail": str(error)}, status=401)
        except web.HTTPRequestEntityTooLarge:
            return web.json_response({"detail": f"at most {_LARGEST} octets"}, status=413)
        except ValueError as error:
            self.counters["invalid"] += 1
            return web.json_response({"code": "invalid", "detail": str(error)}, status=400)
        self.counters[answer.get("code") or answer["state"]] += 1
        if fresh and answer["state"] == "queued":
            self._later(partial(self.commands.receipt, answer, command["account"]))
        await self.clock.sleep(self.faults.slow)
        if fresh and self.faults.timeout_next > 0:
            self.faults.timeout_next -= 1
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        if fresh and self._rng.random() < self.faults.unknown:
            answer = {"command": command_id, "state": "unknown", "detail": "ordered"}
        return web.json_response(answer)

    def _later(self, act: partial[None]) -> None:
        async def wait() -> None:
            await self.clock.sleep(self.faults.receipt_delay)
            act()

        task = asyncio.get_running_loop().create_task(wait())
        self._receipts.add(task)
        task.add_done_callback(self._receipts.discard)


def _shown(group: Group) -> dict[str, Any]:
    return {
        "group_id": group.group_id,
        "name": group.name,
        "owner": group.owner,
        "members": group.members,
        "dissolved": group.dissolved,
    }
