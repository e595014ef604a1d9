"""Hooks: calls that far ends make to us, taken in every api process by adapters in hook mode: no session, no deliver, only their web hooks.

What a handler emits or rings is durable before it answers (`Spool`), so an answer of 2xx is never followed by a loss; and it
comes within a second whatever the state of the parts behind, as far ends give up soon after and send again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from msgcenter.adapter import Adapter, Malformed, Port, Request, Response
from msgcenter.bus import BusError
from msgcenter.clock import Clock
from msgcenter.config import Config
from msgcenter.log import said
from msgcenter.media import MediaError
from msgcenter.metrics import Metrics
from msgcenter.spool import SpoolError, SpoolFull
from msgcenter.state import StateError
from msgcenter.store import StoreError

ANSWER_S = 0.95
MAX_BODY = 256 << 10

Handler = Callable[[Request], Awaitable[Response]]

_BUSY = (SpoolFull, SpoolError, BusError, StateError, StoreError, MediaError)
_AGAIN = Response(503, b"try again")
_REFUSED = Response(400, b"refused")
"""One text for whatever was wrong with a call: who forges one learns nothing from it."""


class NoHook(Exception):
    """No enabled channel has a web hook at this path."""


class Hooks:
    """`await call(channel, suffix, request)`; `changed` follows the configuration."""

    def __init__(
        self,
        adapters: Mapping[str, type[Adapter]],
        port: Callable[[str], Port],
        *,
        clock: Clock,
        metrics: Metrics,
        log: Any,
    ) -> None:
        """`port(channel)`: a Port whose outlet is the spool."""
        self._adapters = adapters
        self._port = port
        self._clock = clock
        self._metrics = metrics
        self._log = log
        self._mounted: dict[str, Mapping[str, Handler] | None] = {}

    def mount(self, config: Config) -> None:
        """Mount the web hooks of every enabled channel."""
        for name in config.channels:
            self._mount(name, config)

    async def changed(self, old: Config, new: Config) -> None:
        """Mount anew what changed, take down what is gone; the others keep what they have in hand."""
        for name in old.channels.keys() | new.channels.keys():
            now, before = new.channels.get(name), old.channels.get(name)
            if now != before or new.settings.get(name) != old.settings.get(name):
                self._mounted.pop(name, None)
                if now is not None:
                    self._mount(name, new)

    def _mount(self, name: str, config: Config) -> None:
        channel = config.channels[name]
        adapter = self._adapters.get(channel.kind)
        if not channel.enabled or adapter is None or adapter.webhooks is Adapter.webhooks:
            return
        try:
            made = adapter(config.settings[name], self._port(name))
            hooks = {path.strip("/"): handler for path, handler in made.webhooks().items()}
        except Exception:  # noqa: BLE001 - one adapter's fault must not take the others down
            self._log.exception("hooks_not_mounted", channel=name)
            self._mounted[name] = None
            return
        if hooks:
            self._mounted[name] = hooks

    async def call(self, channel: str, suffix: str, request: Request) -> Response:
        """Answer a far end's call. Raises NoHook."""
        hooks = self._mounted.get(channel, {})
        handler = None if hooks is None else hooks.get(suffix.strip("/"))
        if hooks is not None and handler is None:
            raise NoHook
        started = self._clock.monotonic()
        result, response = await self._answer(channel, handler, request)
        self._metrics.hooks_total.labels(channel, result).inc()
        took = self._clock.monotonic() - started
        self._metrics.hook_duration_seconds.labels(channel).observe(took)
        return response

    async def _answer(
        self, channel: str, handler: Handler | None, request: Request
    ) -> tuple[str, Response]:
        if handler is None:  # its adapter could not be made: the far end keeps what it has to say
            return "failed", _AGAIN
        try:
            async with asyncio.timeout(ANSWER_S):
                response = await handler(request)
            return "taken" if response.status < 400 else "refused", response
        except Malformed as error:
            self._log.warning("hook_refused", channel=channel, error=said(error)[:200])
            return "refused", _REFUSED
        except TimeoutError:
            self._log.error("hook_late", channel=channel)
            return "late", _AGAIN
        except _BUSY as error:
            self._log.warning("hook_busy", channel=channel, error=said(error)[:200])
            return "busy", _AGAIN
        except Exception:  # noqa: BLE001 - the far end is told to come again, and the log says why
            self._log.exception("hook_failed", channel=channel)
            return "failed", Response(500, b"failed")
