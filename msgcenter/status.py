"""Status: what a caller is told about a message, derived from its evidence by one pure function; it never moves backwards.

Pending (accepted, queued, held, sending) is a *view* and may alternate. Evidence is monotone per part (State keeps the
highest rank: sent < unknown < undelivered < delivered < read). A message of several parts is as good as its worst part, a
message of several deliveries as good as its best one, so late good news may still upgrade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import msgpack

from msgcenter.state import EVIDENCE, Evidence, Snapshot
from protocols.envelope import Envelope

PENDING = ("accepted", "queued", "held", "sending")
TERMINAL = (
    "received",
    "suppressed",
    "expired",
    "cancelled",
    "rejected",
    "unknown",
    "undelivered",
    "delivered",
    "read",
)
STATUSES = (*PENDING, "sent", *TERMINAL)

PLAN = "plan"
"""What stands for the kind of a message that is a plan."""
PLAN_OPEN = "queued:plan"
"""The view of a message whose plan runs; only its plan closes it."""
PLAN_CODE = "plan_"
"""How the reason of a view begins that a closed plan wrote."""

#: How good it is for the customer; orders the deliveries of one message.
_GOODNESS: dict[str, int] = {"undelivered": 0, "unknown": 1, "sent": 2, "delivered": 3, "read": 4}
_RANK: dict[str, int] = {name: rank for rank, name in enumerate(EVIDENCE)}


@dataclass(frozen=True, slots=True)
class Meta:
    """What State keeps with a message so that a receipt's record can speak of it without a look into the Store."""

    caller: str
    category: str
    created_at: int
    expires_at: int = 0
    reference: str = ""
    order: str = ""
    """What its records are partitioned by (order_key, else empty = the message id)."""
    kind: str = ""
    """First channel kind asked for, for the metric's label."""
    to: str = ""
    not_before: int = 0
    campaign: str = ""
    account: str = ""
    channels: tuple[str, ...] = ()

    def pack(self) -> bytes:
        return _PACK([getattr(self, name) for name in _FIELDS])  # type: ignore[no-any-return]

    @classmethod
    def of(cls, envelope: Envelope) -> Meta:
        return cls(
            envelope.caller,
            envelope.category,
            envelope.created_at,
            envelope.expires_at,
            envelope.reference,
            envelope.order_key,
            envelope.channels[0] if envelope.channels else "",
            str(envelope.to),
            envelope.not_before,
            envelope.campaign,
            envelope.account,
            envelope.channels,
        )

    @staticmethod
    def packed(envelope: Envelope) -> bytes:
        """`Meta.of(envelope).pack()` without the detour: it is done for every message that comes in."""
        to, channels = envelope.to, envelope.channels
        return _PACK(  # type: ignore[no-any-return]
            (
                envelope.caller,
                envelope.category,
                envelope.created_at,
                envelope.expires_at,
                envelope.reference,
                envelope.order_key,
                channels[0] if channels else "",
                f"{to.scheme}:{to.value}",
                envelope.not_before,
                envelope.campaign,
                envelope.account,
                channels,
            )
        )

    @classmethod
    def unpack(cls, data: bytes) -> Meta:
        """Empty bytes (a message accepted while State was away) give an empty Meta."""
        return (
            cls(*msgpack.unpackb(data, use_list=False)[: len(_FIELDS)]) if data else cls("", "", 0)
        )


_PACK = msgpack.Packer(autoreset=True).pack
_FIELDS = tuple(field.name for field in fields(Meta))


def _delivery(parts: Mapping[int, tuple[Evidence, str, int]]) -> Evidence:
    """One delivery is as good as its worst part; any part unknown or undelivered spoils it."""
    return min((part[0] for part in parts.values()), key=lambda evidence: _GOODNESS[evidence])


def derive(snapshot: Snapshot) -> str:
    """The status of a message. Good evidence (sent and better) beats any view; a pending view beats bad evidence, since
    another try is under way; bad evidence beats a terminal view; the reason after the colon of a view is not the status."""
    best = best_of(snapshot)
    if best is not None and _GOODNESS[best] >= _GOODNESS["sent"]:
        return best
    view = snapshot.view.partition(":")[0]
    if view in PENDING:
        return view
    return best or view or "accepted"


def reason(snapshot: Snapshot) -> str:
    """The reason code behind the status: of a terminal view its part after the colon, of evidence the far end's code."""
    status = derive(snapshot)
    for parts in snapshot.deliveries.values():
        for evidence, code, _ in parts.values():
            if evidence == status and code:
                return code
    view, _, why = snapshot.view.partition(":")
    return why if view == status else ""


def plan_open(snapshot: Snapshot) -> bool:
    return snapshot.view == PLAN_OPEN


def of_plan(snapshot: Snapshot) -> bool:
    """Whether the message is one whose steps a plan sends."""
    return bool(snapshot.meta) and Meta.unpack(snapshot.meta).kind == PLAN


def plan_over(snapshot: Snapshot) -> bool:
    return snapshot.view.partition(":")[2].startswith(PLAN_CODE)


def of_step(snapshot: Snapshot, step: int) -> Snapshot:
    """The message as if this step of its plan were all of it."""
    deliveries = {place: parts for place, parts in snapshot.deliveries.items() if place[0] == step}
    return replace(snapshot, deliveries=deliveries)


def best_of(snapshot: Snapshot) -> Evidence | None:
    """The best evidence of all deliveries, a delivery being as good as its worst part."""
    found = [_delivery(parts) for parts in snapshot.deliveries.values() if parts]
    return max(found, key=lambda evidence: _GOODNESS[evidence], default=None)


def is_final(status: str, *, receipts: bool) -> bool:
    """Whether this is the last word: terminal, or `sent` where the channel reports nothing later.

    `delivered` may still become `read` and `unknown` may still be cleared up by a late receipt; both count as final.
    """
    return status in TERMINAL or (status == "sent" and not receipts)
