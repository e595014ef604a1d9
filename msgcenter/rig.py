"""The rig contract: how the adapter contract suite gets an adapter of one kind running against its far end; every installed adapter needs one.

Rigs are found by the entry point `msgcenter.rigs` (same name as the kind), so that a third-party adapter runs the same
suite: `pytest tests/contract/test_adapter.py -k <kind>`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
        """Message ids (`envelope.id`) that the far end really took, in order, repeats included; what
        an idempotent far end recognised as a repeat it did not take again."""
        ...

    async def unplug(self) -> None:
        """Cut the far end off: nothing can be handed over until `plug`."""
        ...

    async def plug(self) -> None: ...

    async def lose_answer(self) -> None:
        """The far end takes the next message but its answer is lost."""
        ...

    async def say(self, text: str) -> None:
        """A person writes `text` to our side (only when `spec.receives`); returns once our side has
        confirmed it to the far end, which repeats it until then."""
        ...


class Rig(Protocol):
    """Makes running adapters. `settings` is what channels.yaml would hold, for documentation and for the sandbox.

    A kind that speaks to several sorts of far ends names the others in a class attribute `variants`, a tuple of words; the
    suite then runs on `Rig(variant)` as well, as `<kind>:<variant>`."""

    kind: ClassVar[str]

    def run(self, port: Port) -> AbstractAsyncContextManager[Running]: ...

    def settings(self) -> dict[str, Any]: ...


@asynccontextmanager
async def kept(adapter: Adapter, seconds: float = 10.0) -> AsyncIterator[list[bool]]:
    """Run the adapter's session, restarted as the core would; entered once it is up.

    Yields what `up` has said so far. Raises TimeoutError when it is not up in time, and what the
    first session raised before it was up.
    """
    said: list[bool] = []
    up = asyncio.Event()

    def tell(state: bool) -> None:
        said.append(state)
        if state:
            up.set()

    async def run() -> None:
        await adapter.session(tell)
        while True:
            await asyncio.sleep(0.05)
            await adapter.session(tell)

    task = asyncio.create_task(run())
    try:
        waiting = asyncio.create_task(up.wait())
        async with asyncio.timeout(seconds):
            await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if task.done():
            await task
        yield said
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
