"""Webhooks as their receiver sees them: is the signature right, is it of now, and was it here before."""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from protocols.webhook.signing import TOLERANCE_S, BadSignature, verify

__all__ = ["BadSignature", "Replayed", "Webhook", "WebhookEvent"]


class Replayed(BadSignature):
    """This event was received before: answer 200 and do nothing."""


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A CloudEvents 1.0 event. `id` is the same in every try of the same event."""

    id: str
    type: str
    data: dict[str, Any]
    event: dict[str, Any]


class Webhook:
    """Checks calls after the Standard Webhooks specification. `secrets`: `whsec_…`; several while one is being rotated.

    Ids are remembered for twice the tolerance, which is as long as a copied call stays fresh. The memory is this object's: several
    receiving processes share it by giving `seen`, which says whether an id is new to all of them (in Redis: SET NX EX).
    """

    def __init__(
        self,
        *secrets: str,
        tolerance_s: int = TOLERANCE_S,
        seen: Callable[[str, int], bool] | None = None,
        now: Callable[[], float] = time.time,  # noqa: TID251 - a client has the machine's clock
    ) -> None:
        """`seen(id, seconds)`: True when the id was noted before; else note it for so long."""
        self._secrets: Sequence[str] = secrets
        self._tolerance = tolerance_s
        self._seen = seen or self._noted
        self._now = now
        self._ids: OrderedDict[str, float] = OrderedDict()

    def verify(self, headers: Mapping[str, str], body: bytes) -> WebhookEvent:
        """The event in a call, `body` being the octets as they came. Raises BadSignature (answer 401), Replayed (answer 200)."""
        lower = {name.lower(): value for name, value in headers.items()}
        event_id = verify(self._secrets, lower, body, int(self._now()), self._tolerance)
        if self._seen(event_id, 2 * self._tolerance):
            raise Replayed(f"{event_id} was here before")
        event = json.loads(body)
        return WebhookEvent(event_id, str(event["type"]), dict(event.get("data") or {}), event)

    def _noted(self, event_id: str, seconds: int) -> bool:
        now = self._now()
        while self._ids and next(iter(self._ids.values())) <= now:
            self._ids.popitem(last=False)
        if event_id in self._ids:
            return True
        self._ids[event_id] = now + seconds
        return False
