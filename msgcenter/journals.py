"""Journals over HTTP: what the simulated far ends really received, in order, and orders to them; loopback only, no login."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from msgcenter.simulator import Simulator

MAX_LIMIT = 100_000


class JournalServer:
    """`GET /` lists the far ends · `GET /journal/<name>` is an array, oldest first (`?limit=` the newest so many; any
    other parameter is a member that must be equal, as `?recipient=13800138000`) · `POST /control/<name>/<command>` with a
    JSON object runs `Simulator.control`.
    """

    def __init__(
        self,
        far_ends: Mapping[str, Simulator],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        aliases: Mapping[str, str] | None = None,
    ) -> None:
        """`far_ends`: the name in the path -> simulator (looked up at every request); `aliases`: further names for some."""
        self.host, self.port = host, port
        self._far_ends = far_ends
        self._aliases = dict(aliases or {})
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        """Listen. Raises OSError when the port is taken."""
        app = web.Application()
        app.router.add_get("/", self._index)
        app.router.add_get("/journal/{name}", self._journal)
        app.router.add_post("/control/{name}/{command}", self._control)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        try:
            await web.TCPSite(runner, self.host, self.port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._runner = runner
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    async def _index(self, request: web.Request) -> web.Response:
        return _json(
            {
                "far_ends": [
                    {
                        "name": name,
                        "journal": f"{self.url}/journal/{name}",
                        "control": f"{self.url}/control/{name}/{{command}}",
                        "received": far_end.journal.total,
                        "listens": far_end.banner(),
                    }
                    for name, far_end in self._far_ends.items()
                ]
            }
        )

    async def _journal(self, request: web.Request) -> web.Response:
        far_end = self._find(request)
        wanted = dict(request.query)
        limit = wanted.pop("limit", str(MAX_LIMIT))
        if not limit.isdecimal() or int(limit) > MAX_LIMIT:
            return _json({"detail": f"limit {limit!r}: a number up to {MAX_LIMIT}"}, 400)
        entries = [
            entry
            for entry in far_end.journal.entries()
            if all(str(entry.get(member)) == value for member, value in wanted.items())
        ]
        return _json(entries[-int(limit) :] if int(limit) else [])

    async def _control(self, request: web.Request) -> web.Response:
        far_end = self._find(request)
        try:
            args = await request.json() if request.can_read_body else {}
            if not isinstance(args, dict):
                raise ValueError("the body must be a JSON object")
            return _json(await far_end.control(request.match_info["command"], args))
        except (ValueError, TypeError) as error:  # a validation error is a ValueError
            return _json({"detail": str(error)}, 400)

    def _find(self, request: web.Request) -> Simulator:
        name = request.match_info["name"]
        found = self._far_ends.get(self._aliases.get(name, name))
        if found is None:
            text = json.dumps(
                {"detail": f"there is no far end {name!r}; {', '.join(self._far_ends)}"}
            )
            raise web.HTTPNotFound(text=text, content_type="application/json")
        return found


def _json(content: Any, status: int = 200) -> web.Response:
    """Indented: people read it with curl."""
    body = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
    return web.Response(status=status, text=body, content_type="application/json")
