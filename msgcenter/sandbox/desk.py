"""A caller at its desk: HTTP calls to the API, told as part of the story, and looks into the far ends' journals."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple, TypeVar

import aiohttp

from msgcenter.clock import Clock
from msgcenter.sandbox.story import Story, short

T = TypeVar("T")
PATIENCE_S = 8.0


class Answer(NamedTuple):
    status: int
    body: Any
    headers: Mapping[str, str]


class Desk:
    """Calls with one key; `call` is told, `get` and `journal` are silent."""

    def __init__(
        self,
        http: aiohttp.ClientSession,
        story: Story,
        clock: Clock,
        *,
        url: str,
        sim_url: str,
        key: str,
    ) -> None:
        self._http = http
        self._story = story
        self._clock = clock
        self._url, self._sim_url = url, sim_url
        self._headers = {"Authorization": f"Bearer {key}"}

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        key: str = "",
    ) -> Answer:
        """A request that the story shows; `key` is an Idempotency-Key. Raises aiohttp.ClientError, TimeoutError."""
        self._story.request(method, path, body, f"  Idempotency-Key: {key}" if key else "")
        began = self._clock.monotonic()
        answer = await self._ask(method, path, body, {"Idempotency-Key": key} if key else {})
        took = (self._clock.monotonic() - began) * 1000
        self._story.answer(answer.status, summary(answer.body), took)
        return answer

    async def send(self, body: Mapping[str, Any], *, key: str = "") -> tuple[Answer, str]:
        """POST /v1/messages; the answer and the message's id ("" when it was refused)."""
        answer = await self.call("POST", "/v1/messages", body, key=key)
        return answer, str(answer.body.get("id", "")) if isinstance(answer.body, dict) else ""

    async def get(self, path: str) -> Any:
        """The body of a GET that the story does not show."""
        return (await self._ask("GET", path, None, {})).body

    async def settled(
        self, message: str, done: Callable[[dict[str, Any]], bool] = lambda view: True
    ) -> dict[str, Any]:
        """The message once its status is final, its trace is archived and `done` holds; at the latest after PATIENCE_S."""

        async def look() -> dict[str, Any]:
            return dict(await self.get(f"/v1/messages/{message}?wait=5s"))

        return await self.until(
            look, lambda view: bool(view.get("final") and view.get("trace") and done(view))
        )

    async def journal(self, name: str, **members: str) -> list[dict[str, Any]]:
        """What a far end received, in order."""
        async with self._http.get(f"{self._sim_url}/journal/{name}", params=members) as response:
            return list(await response.json())

    async def order(self, name: str, command: str, args: Mapping[str, Any]) -> dict[str, Any]:
        """An order to a far end, which the story shows."""
        self._story.request("POST", f"{self._sim_url}/control/{name}/{command}", args, "")
        url = f"{self._sim_url}/control/{name}/{command}"
        async with self._http.post(url, json=dict(args)) as response:
            return dict(await response.json())

    async def until(self, look: Callable[[], Awaitable[T]], good: Callable[[T], bool]) -> T:
        """Look until it is good; the last look, good or not, after PATIENCE_S."""
        deadline = self._clock.monotonic() + PATIENCE_S
        while True:
            seen = await look()
            if good(seen) or self._clock.monotonic() >= deadline:
                return seen
            await self._clock.sleep(0.03)

    async def _ask(
        self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]
    ) -> Answer:
        async with (
            asyncio.timeout(20),
            self._http.request(
                method,
                self._url + path,
                json=dict(body) if body is not None else None,
                headers={**self._headers, **headers},
            ) as response,
        ):
            text = await response.text()
            kind = response.content_type
            content = json.loads(text) if kind.endswith("json") else text
            return Answer(response.status, content, response.headers)


def summary(body: Any) -> str:
    """An answer in a few words."""
    if not isinstance(body, dict):
        return short(str(body))
    if "code" in body and "errors" in body:
        return f"{body['code']}: {len(body['errors'])} fault(s)"
    known = [str(body[name]) for name in ("id", "status", "code", "detail") if name in body]
    return short("  ".join(known) or body)
