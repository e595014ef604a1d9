"""The message store as a sink: what `GET /v1/messages` reads."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.archive.sink import SinkContext, SinkError
from msgcenter.store import ContentPolicy, StoreError
from msgcenter.store.store import Store
from protocols.envelope import Record


class StoreSink:
    """Writes to a Store that the composition root opens and closes."""

    def __init__(self, name: str, store: Store, policy: ContentPolicy) -> None:
        self.name = name
        self._store = store
        self._policy = policy

    async def open(self) -> None:
        """Nothing to get ready."""

    async def write(self, records: Sequence[Record]) -> None:
        """One transaction for all of them. Raises SinkError."""
        try:
            await self._store.write_records(records, self._policy)
        except StoreError as error:
            raise SinkError(f"{self.name}: {error}") from error

    async def close(self) -> None:
        """Nothing of its own to let go of."""


def make(context: SinkContext) -> StoreSink:
    """Entry point."""
    return StoreSink(context.name, context.store, context.policy)
