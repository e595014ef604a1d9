"""The rig contract: how the adapter contract suite gets an adapter of one kind running against its far end; every installed adapter needs one.

Rigs are found by the entry point `msgcenter.rigs` (same name as the kind), so that a third-party adapter runs the same
suite: `pytest tests/contract/test_adapter.py -k <kind>`.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, ClassVar, Protocol

from msgcenter.adapter import Adapter, Dispatch, Port


class Running(Protocol):
    """One adapter and its far end, both up; every method leaves the far end usable."""

    adapter: Adapter

    def dispatch(self, number: int) -> Dispatch:
        """A deliverable message, different for each number (different recipients and ids)."""
        ...

    def refused(self, number: int) -> Dispatch:
        """A message that the far end (already told so) refuses for its recipient."""
        ...

    def received(self) -> Sequence[str]:
        """Message ids (`envelope.id`) that the far end really took, in order, repeats included."""
        ...

    async def unplug(self) -> None:
        """Cut the far end off: nothing can be handed over until `plug`."""
        ...

    async def plug(self) -> None: ...

    async def lose_answer(self) -> None:
        """The far end takes the next message but its answer is lost."""
        ...

    async def say(self, text: str) -> None:
        """A person writes `text` to our side (only when `spec.receives`)."""
        ...


class Rig(Protocol):
    """Makes running adapters. `settings` is what channels.yaml would hold, for documentation and for the sandbox."""

    kind: ClassVar[str]

    def run(self, port: Port) -> AbstractAsyncContextManager[Running]: ...

    def settings(self) -> dict[str, Any]: ...
