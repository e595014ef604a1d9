"""A subscriber's system as a simulator: it checks signatures, keeps every event in order, and
answers badly on command.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections import deque
from collections.abc import Mapping
from random import Random
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from msgcenter.clock import Clock, SystemClock
from msgcenter.simulator import Journal
from protocols.errors import Malformed
from protocols.webhook import signing


class PlatformOptions(BaseModel):
    """Options of `msgcenter sim platform`."""

    model_config = ConfigDict(extra="forbid")

    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0 picks a free one")
    secret: str = Field(default="", description="whsec_…; several with commas; empty makes one up")
    statuses: str = Field(
        default="",
        pattern=r"^([1-5][0-9]{2}=[0-9.]+(,[1-5][0-9]{2}=[0-9.]+)*)?$",
        description="share of calls answered with a status, as 500=0.1,429=0.2",
    )
    delay_s: float = Field(default=0.0, ge=0, description="wait before each answer")
    drop: float = Field(default=0.0, ge=0, le=1, description="share of calls taken, not answered")
    retry_after_s: int = Field(default=0, ge=0, description="sent along with a 429 or 503")
    seed: int = 1


class PlatformSim:
    """Takes events at any path. `answers` fixes the status of a path; the other switches are
    `options`, live.

    An event counts as taken, and is written down, when it is answered 2xx or its answer is dropped;
    `repeat` marks one whose `webhook-id` was taken before.
    """

    Options = PlatformOptions

    def __init__(
        self, options: PlatformOptions, journal: Journal, clock: Clock | None = None
    ) -> None:
        self.options = options
        self.journal = journal
        self.port = options.port
        self.clock: Clock = clock or SystemClock()
        given = tuple(part for part in options.secret.split(",") if part)
        self.secrets = given or (signing.secret_of(secrets.token_bytes(32)),)
        self.answers: dict[str, int] = {}
        self.drop_next = 0
        self.forged = 0
        """Calls without a good signature; answered 401, not written down."""
        self.calls: deque[tuple[str, Mapping[str, str], int]] = deque(maxlen=10_000)
        """The latest calls as they came: path, headers, status answered (0 = dropped)."""
        self._dice = Random(options.seed)  # noqa: S311 - not secret
        self._seen: set[str] = set()
        self._shares = _shares(options.statuses)
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen; also after `stop`, on the same port. Raises OSError when the port is taken."""
        app = web.Application(client_max_size=1024 * 1024)
        app.router.add_post("/{path:.*}", self._take)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, self.options.host, self.port, reuse_address=True)
        try:
            await site.start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Close the port and every connection: from here on the far end is down."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.options.host}:{self.port}/events"

    def banner(self) -> list[str]:
        return [f"platform: POST {self.url}", *[f"secret: {secret}" for secret in self.secrets]]

    async def control(self, command: str, args: dict[str, Any]) -> dict[str, Any]:
        """An order by name, for a control surface. Raises ValueError for one that makes no sense.

        `faults` {statuses?, delay_s?, drop?, retry_after_s?} answers all options but the secret ·
        `journal` {limit?} answers the newest entries, the total and the count of forged calls.
        """
        match command:
            case "faults":
                fixed = sorted(args.keys() & {"host", "port", "secret", "seed"})
                if fixed:
                    raise ValueError(f"cannot be changed while it runs: {', '.join(fixed)}")
                self.options = PlatformOptions.model_validate(self.options.model_dump() | args)
                self._shares = _shares(self.options.statuses)
                return self.options.model_dump(exclude={"secret"})
            case "journal":
                limit = int(args.get("limit", 100))
                entries = self.journal.entries()[-limit:] if limit > 0 else []
                return {"entries": entries, "total": self.journal.total, "forged": self.forged}
            case _:
                raise ValueError(f"no such command: {command}; faults, journal")

    async def _take(self, request: web.Request) -> web.StreamResponse:
        options = self.options
        body = await request.read()
        now = self.clock.now_ms()
        try:
            event_id = signing.verify(self.secrets, request.headers, body, now // 1000)
            event = json.loads(body)
            if not isinstance(event, dict):
                raise Malformed("body: a JSON object is expected")
        except signing.BadSignature as error:
            self.forged += 1
            return self._answer(request, 401, str(error))
        except ValueError as error:
            return self._answer(request, 400, str(error))
        status = self._status(request.path)
        drop = status < 300 and self._drops()
        if status < 300:
            self.journal.append(self._entry(event_id, event, request.path, now))
        if options.delay_s:
            await asyncio.sleep(options.delay_s)
        if drop:
            self.calls.append((request.path, dict(request.headers), 0))
            if request.transport is not None:
                request.transport.abort()
            return web.Response(status=500)
        return self._answer(request, status)

    def _status(self, path: str) -> int:
        if path in self.answers:
            return self.answers[path]
        dice = self._dice.random() if self._shares else 1.0
        for status, share in self._shares:
            if dice < share:
                return status
            dice -= share
        return 204

    def _drops(self) -> bool:
        if self.drop_next > 0:
            self.drop_next -= 1
            return True
        return self.options.drop > 0 and self._dice.random() < self.options.drop

    def _entry(self, event_id: str, event: dict[str, Any], path: str, now: int) -> dict[str, Any]:
        repeat = event_id in self._seen
        self._seen.add(event_id)
        return {
            "id": event_id,
            "type": event.get("type", ""),
            "path": path,
            "repeat": repeat,
            "time": now,
            "event": event,
        }

    def _answer(self, request: web.Request, status: int, text: str = "") -> web.Response:
        self.calls.append((request.path, dict(request.headers), status))
        after = self.options.retry_after_s
        headers = {"Retry-After": str(after)} if after and status in (429, 503) else {}
        return web.Response(status=status, text=text or None, headers=headers)


def _shares(statuses: str) -> list[tuple[int, float]]:
    pairs = [part.split("=") for part in statuses.split(",") if part]
    return [(int(status), float(share)) for status, share in pairs]
