"""The package that `msgcenter adapter new` writes: an adapter over HTTP that knows repeats, its rig with a small far end, and its metadata.

The texts below are what somebody begins with, so they show every duty of an adapter once and in few lines.
"""

from __future__ import annotations

_ADAPTER = '''"""Kind `__KIND__`: __TITLE__ over HTTP; one POST a message, its token as the key by which the far end knows a repeat."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import aiohttp

from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Rejected,
    Retry,
    Secret,
    Sent,
    Spec,
    Strict,
    Text,
    Unknown,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome

NO_CONNECTION = Retry("channel", "no connection", code="unreachable")


class __CLASS__Settings(Strict):
    """What operators write under `settings:` in channels.yaml."""

    url: str
    key: Secret
    """In the file as ${env:NAME} or ${file:/path}."""


class __CLASS__(Adapter):
    """`spec` says what it can do; router, API, documentation and contract suite believe it."""

    spec = Spec(
        kind="__KIND__",
        title="__TITLE__",
        payloads=frozenset({Text}),
        schemes=frozenset({"staff"}),
        max_batch=10,
        in_flight=2,
        idempotent=True,
        limits={"text": "2,000 characters"},
    )
    Settings = __CLASS__Settings
    settings: __CLASS__Settings

    def render(self, envelope: Envelope) -> None:
        """Refuse, before anything is claimed, what the far end cannot take."""
        if isinstance(envelope.payload, Text) and len(envelope.payload.text) > 2000:
            raise Malformed("text: at most 2,000 characters")

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """One outcome each, in order; Unreachable only when nothing at all left."""
        outcomes = list(await asyncio.gather(*map(self._post, batch)))
        if all(outcome is NO_CONNECTION for outcome in outcomes):
            raise Unreachable("no connection")
        return outcomes

    async def _post(self, item: Dispatch) -> Outcome:
        payload = item.envelope.payload
        assert isinstance(payload, Text)
        data = {"key": item.token, "to": item.envelope.to.value, "text": payload.text}
        headers = {"Authorization": f"Bearer {self.settings.key.reveal()}"}
        try:
            async with self.port.http().post(
                self.settings.url, json=data, headers=headers
            ) as answer:
                return await self._read(answer)
        except aiohttp.ClientConnectorError:
            return NO_CONNECTION  # not one octet left
        except (aiohttp.ClientError, TimeoutError, ValueError, KeyError) as error:
            return Unknown(type(error).__name__)  # it may have been taken: never Retry here

    async def _read(self, answer: aiohttp.ClientResponse) -> Outcome:
        match answer.status:
            case 200:
                return Sent((str((await answer.json())["id"]),))
            case 404:
                return Rejected("recipient", "the far end does not know them", "unknown_recipient")
            case 400 | 413:
                return Rejected("message", "the far end refuses it", "refused")
            case 401 | 403:
                return Retry("channel", "the key is refused", 60.0, "key_refused")
            case 429:
                return Retry("channel", "too fast", 10.0, "throttled")
            case status:
                return Unknown(f"HTTP {status}")
'''

_RIG = '''"""Rig of `__KIND__`: a small far end in this process, so that the contract suite can judge the adapter."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from aiohttp import web

from msgcenter.adapter import Dispatch, Port, Secret, Text
from msgcenter.rig import kept
from __MODULE__.adapter import __CLASS__, __CLASS__Settings
from protocols.address import Address
from protocols.envelope import Envelope


class FarEnd:
    """Takes messages, knows a repeat by its key, and can be told to lose an answer."""

    def __init__(self) -> None:
        self.taken: dict[str, str] = {}
        self.lose = False
        self.port = 0
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/messages", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _take(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer secret":
            return web.Response(status=401)
        data = await request.json()
        if data["to"].startswith("nobody"):
            return web.Response(status=404)
        self.taken.setdefault(data["key"], data["text"])
        if self.lose and request.transport is not None:
            self.lose = False
            request.transport.abort()
        return web.json_response({"id": data["key"]})


class Running:
    def __init__(self, adapter: __CLASS__, far: FarEnd) -> None:
        self.adapter = adapter
        self.far = far
        self._ids: dict[str, str] = {}

    def dispatch(self, number: int) -> Dispatch:
        return self._made(number, f"person{number}")

    def refused(self, number: int) -> Dispatch:
        return self._made(number, f"nobody{number}")

    def _made(self, number: int, to: str) -> Dispatch:
        text = Text(f"message {number}")
        envelope = Envelope(f"msg_{number:026d}", "rig", Address("staff", to), "care", 4, text, 0)
        item = Dispatch(envelope, envelope.token())
        self._ids[item.token] = envelope.id
        return item

    def received(self) -> Sequence[str]:
        return [self._ids[key] for key in self.far.taken]

    async def unplug(self) -> None:
        await self.far.stop()

    async def plug(self) -> None:
        await self.far.start()

    async def lose_answer(self) -> None:
        self.far.lose = True

    async def say(self, text: str) -> None:
        raise RuntimeError(f"nobody writes to this channel: {len(text)} characters lost")


class Rig:
    kind: ClassVar[str] = "__KIND__"

    def settings(self) -> dict[str, Any]:
        return {"url": "https://__KIND__.internal/messages", "key": "${env:__ENV___KEY}"}

    @asynccontextmanager
    async def run(self, port: Port) -> AsyncIterator[Running]:
        far = FarEnd()
        await far.start()
        try:
            settings = __CLASS__Settings(
                url=f"http://127.0.0.1:{far.port}/messages", key=Secret("secret")
            )
            adapter = __CLASS__(settings, port)
            async with kept(adapter):
                yield Running(adapter, far)
        finally:
            await far.stop()
'''

_PROJECT = """[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "msgcenter-__KIND__"
version = "0.1.0"
description = "msgcenter adapter: __TITLE__"
requires-python = ">=3.11"
dependencies = ["msgcenter"]
classifiers = ["Private :: Do Not Upload"]

[project.entry-points."msgcenter.adapters"]
__KIND__ = "__MODULE__.adapter:__CLASS__"

[project.entry-points."msgcenter.rigs"]
__KIND__ = "__MODULE__.rig:Rig"

[tool.hatch.build.targets.wheel]
packages = ["__MODULE__"]
"""

_README = """# msgcenter-__KIND__

__TITLE__ as a channel of msgcenter: kind `__KIND__`.

    pip install -e .
    python -m pytest tests/contract/test_adapter.py -k __KIND__      # in a checkout of msgcenter

```yaml
# channels.yaml
__KIND__-main:
  kind: __KIND__
  settings:
    url: https://__KIND__.internal/messages
    key: ${env:__ENV___KEY}
```

What an adapter owes: docs/adapter-guide.md of msgcenter. Where to go on: `spec` (what it can do), `_post` and `_read` (how it is
said and what answers mean), `FarEnd` (make it refuse, throttle and forget as the real one does).
"""


def files(kind: str) -> dict[str, str]:
    """Path -> text of the package for a kind such as `notice-board`."""
    module = f"msgcenter_{kind.replace('-', '_')}"
    words = {
        "__KIND__": kind,
        "__MODULE__": module,
        "__CLASS__": "".join(part.capitalize() for part in kind.split("-")),
        "__TITLE__": kind.replace("-", " ").capitalize(),
        "__ENV__": kind.replace("-", "_").upper(),
    }
    texts = {
        "pyproject.toml": _PROJECT,
        "README.md": _README,
        f"{module}/__init__.py": "",
        f"{module}/py.typed": "",
        f"{module}/adapter.py": _ADAPTER,
        f"{module}/rig.py": _RIG,
    }
    out = {}
    for path, text in texts.items():
        filled = text
        for mark, word in words.items():
            filled = filled.replace(mark, word)
        out[path] = filled
    return out
