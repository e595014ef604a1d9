"""Outcome: how a message leaves a pipeline; exactly one each, a value and never an exception.

After RFC 3463: `Sent` and `Routed` are class 2, `Held` and `Retry` class 4, `Rejected` and `Suppressed` class 5;
`Unknown` is the honest rest: it may have left, and nobody may send it again blindly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from protocols.address import Address
from protocols.payload import Payload

Scope: TypeAlias = Literal["message", "recipient", "account", "channel"]
SCOPES: frozenset[str] = frozenset({"message", "recipient", "account", "channel"})


@dataclass(frozen=True, slots=True)
class Sent:
    """The far end took it. `remote_ids`: its id for each part, in order of the parts; receipts are joined by them."""

    remote_ids: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Amended:
    """What the rules made of a message before it was passed on; empty or None = as it came.

    `to`: the address found for a customer. `payload`: masked. `channels`: the slip with another kind for this step, and then
    `account` is the one for it (possibly none). `reservation`: the ticket of the units that it holds.
    """

    to: Address | None = None
    person: str = ""
    payload: Payload | None = None
    channels: tuple[str, ...] = ()
    account: str = ""
    reservation: str = ""


@dataclass(frozen=True, slots=True)
class Routed:
    """Passed on inside: to a channel's queue, to subscribers. `to`: where, in words an operator reads. `amended`: with what
    changes; it lies in the outcome so that a replay passes on the same."""

    to: tuple[str, ...] = ()
    amended: Amended | None = None


@dataclass(frozen=True, slots=True)
class Suppressed:
    """Deliberately not sent. `rule` is the reason code: `expired`, `cancelled`, `opt_out`, a cap's name."""

    rule: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Not now: looked at again at `until` (epoch milliseconds). `rule` is the reason code. `since`: when the rules first held
    it, epoch milliseconds; 0 = it was not the rules."""

    until: int
    rule: str
    detail: str = ""
    since: int = 0


@dataclass(frozen=True, slots=True)
class Retry:
    """Definitely not sent, worth another try `after` seconds (0 = the policy's own back-off)."""

    scope: Scope
    detail: str
    after: float = 0.0
    code: str = ""


@dataclass(frozen=True, slots=True)
class Unknown:
    """It may have left. `remote_ids`: of the parts the far end is known to have taken."""

    detail: str
    remote_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """Definitely not sent, and another try would not help. `code`: stable reason code."""

    scope: Scope
    detail: str
    code: str


Outcome: TypeAlias = Sent | Routed | Suppressed | Held | Retry | Unknown | Rejected


def reason_of(outcome: Outcome) -> str:
    """The reason code of an outcome: what an operator filters by and a metric may carry (bounded by the code base)."""
    match outcome:
        case Sent():
            return "sent"
        case Routed():
            return "routed"
        case Suppressed(rule=rule) | Held(rule=rule):
            return rule
        case Retry(code=code):
            return code or "retry"
        case Unknown():
            return "unknown"
        case Rejected(code=code):
            return code
