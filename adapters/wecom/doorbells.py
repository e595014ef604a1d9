"""A doorbell answered beside messages: whatever goes wrong with it, it rings again, and no message of its batch pays for it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeAlias

from adapters.wecom.calls import Refusal
from msgcenter.adapter import Malformed, Port, Retry
from protocols.outcome import Outcome
from protocols.payload import Pull

Answer: TypeAlias = Callable[[Pull], Awaitable[Outcome]]
"""Raises Refusal, Malformed, and what the Port raises."""


async def answered(port: Port, pull: Pull, answer: Answer) -> Outcome:
    """What `answer` says, Retry where it could not say it. Raises Refusal, Malformed, as calls for messages do."""
    try:
        return await answer(pull)
    except (Refusal, Malformed):
        raise
    # Whatever it is: nothing was confirmed to the far end, so all of it is read again. Raised from `deliver` it would make
    # every message of the batch Unknown, those that were taken as well.
    except Exception as error:  # noqa: BLE001
        port.log.warning("doorbell_not_answered", source=pull.source, error=repr(error)[:200])
        return Retry("message", f"not read: {error!r}"[:200], 1.0, "not_ready")


__all__ = ["Answer", "answered"]
