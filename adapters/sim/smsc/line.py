"""What the gateway's queues need of one of its connections; `session.Session` is it."""

from __future__ import annotations

from typing import Protocol

from protocols.sms.link import Link


class Line(Protocol):
    """A logged-in connection. `number` counts from 1."""

    number: int
    link: Link

    @property
    def ready(self) -> bool:
        """Whether a delivery may go out here now."""
        ...

    def respond(self, sequence: int, answer: object) -> None:
        """Answer later than in the read that brought the request."""
        ...

    def repeat(self) -> None:
        """Send the PDU that is queued last once more with the next write."""
        ...

    def flush(self) -> None:
        """Write what is queued, unless the switches keep it in."""
        ...

    def cut(self, flush: bool = False) -> None:
        """End the connection now: in-flight answers are lost, unless `flush`."""
        ...
