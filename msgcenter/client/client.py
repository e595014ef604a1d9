"""The two clients, and what they add to the operations: events that are read on for ever, a message that is waited for, files."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from msgcenter.client.models import EventView, MessageRequest, MessageView
from msgcenter.client.operations import Operations, quoted
from msgcenter.client.sync_operations import SyncOperations
from msgcenter.client.transport import Retries


class AsyncClient(Operations):
    """`async with AsyncClient("https://msgcenter.internal", key) as client: await client.send_message({...})`."""

    async def send_and_wait(
        self, body: MessageRequest, *, wait: str = "30s", idempotency_key: str | None = None
    ) -> MessageView:
        """Send, and answer with the message as it stands when its status is final or `wait` is over. Raises ApiError,
        NotReached."""
        sent = await self.send_message(body, wait=wait, idempotency_key=idempotency_key)
        return await self.get_message(sent["id"], wait="2s")

    async def events(
        self,
        cursor: str | None = None,
        *,
        wait: str = "30s",
        limit: int = 100,
        keep: Callable[[str], None] | None = None,
    ) -> AsyncIterator[EventView]:
        """Events after the cursor (none: from the first that is kept), then new ones as they come; never ends.

        `keep` is told the cursor behind each page once its last event has been taken: kept, it resumes without a gap, and after
        a crash at most one page comes twice.
        """
        while True:
            page = await self.read_events(cursor=cursor, wait=wait, limit=limit)
            for event in page["items"]:
                yield event
            cursor = page["cursor"]
            if keep is not None and page["items"]:
                keep(cursor)

    async def save_media(self, id: str, to: Path) -> None:  # noqa: A002 - as the API calls it
        """Download a file to a path, resuming what broke off."""
        await self.save(f"/v1/media/{quoted(id)}", to)


class Client(SyncOperations):
    """The same for code without an event loop: `with Client("https://msgcenter.internal", key) as client: ...`. Safe to share
    between threads."""

    _async: AsyncClient

    def __init__(
        self,
        base: str,
        key: str,
        *,
        timeout_s: float = 60.0,
        retries: Retries | None = None,
        language: str = "en",
        **more: Any,
    ) -> None:
        """As AsyncClient."""
        super().__init__()
        self._async = AsyncClient(
            base, key, timeout_s=timeout_s, retries=retries, language=language, **more
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close connections and thread. Idempotent."""
        if not self._loop.is_closed():
            self._run(self._async.close())
            self._stop()

    def send_and_wait(
        self, body: MessageRequest, *, wait: str = "30s", idempotency_key: str | None = None
    ) -> MessageView:
        """As AsyncClient.send_and_wait."""
        return self._run(
            self._async.send_and_wait(body, wait=wait, idempotency_key=idempotency_key)
        )

    def events(
        self,
        cursor: str | None = None,
        *,
        wait: str = "30s",
        limit: int = 100,
        keep: Callable[[str], None] | None = None,
    ) -> Iterator[EventView]:
        """As AsyncClient.events."""
        return self._each(self._async.events(cursor, wait=wait, limit=limit, keep=keep))

    def save_media(self, id: str, to: Path) -> None:  # noqa: A002 - as the API calls it
        """As AsyncClient.save_media."""
        self._run(self._async.save_media(id, to))
