"""What becomes of a message that quiet time stops: it waits, goes by another channel, or is dropped with its reason."""

from __future__ import annotations

from dataclasses import dataclass

from msgcenter.policy.quiet import NEVER, Closed, Conduct
from msgcenter.policy.when import WHOLE, share_of


@dataclass(frozen=True, slots=True)
class Wait:
    """Hold the message until `until`: `opens`, when the window ends, and its place in the spread release."""

    until: int
    opens: int
    rule: str


@dataclass(frozen=True, slots=True)
class Drop:
    """Suppress it. `code`: quiet_hours, muted, service_only, max_hold or expires_in_quiet."""

    code: str
    rule: str


@dataclass(frozen=True, slots=True)
class Downgrade:
    """Try this channel kind instead; quiet time of that kind is judged anew."""

    to: str
    rule: str


_CODES = {"customer.service_only": "service_only", "customer.mute": "muted"}


def act(
    conduct: Conduct,
    closed: Closed,
    *,
    message: str,
    since: int,
    expires_at: int = 0,
    spread_s: float = 0.0,
) -> Wait | Drop | Downgrade:
    """What becomes of a message that is not allowed now. `since`: when it was first held (or now), `expires_at` 0 = never;
    epoch milliseconds.

    One that could leave only after `max_hold` or its expiry is not held for nothing: it is downgraded if the category
    names a kind, else dropped at once, with the reason.
    """
    code = _CODES.get(closed.rule, "quiet_hours")
    if conduct.on_quiet == "hold" and closed.until != NEVER:
        latest = since + round(conduct.max_hold * 1000)
        if expires_at and closed.until >= expires_at:
            code = "expires_in_quiet"
        elif closed.until > latest:
            code = "max_hold"
        else:
            if expires_at:
                latest = min(latest, expires_at - 1)
            out = release_at(
                closed.until,
                spread_s,
                rank=conduct.rank,
                waited=(closed.until - since) / max(1.0, conduct.max_hold * 1000),
                message=message,
            )
            return Wait(max(closed.until, min(out, latest)), closed.until, closed.rule)
    if conduct.downgrade_to and code != "service_only":
        return Downgrade(conduct.downgrade_to, closed.rule)
    return Drop(code, closed.rule)


#: Parts of the spread, by rank: opportunities first, then care, marketing (the bulk, so the widest), migration.
_SLOTS = {3: (0.0, 0.1), 4: (0.1, 0.3), 5: (0.3, 0.8), 6: (0.8, 1.0)}


def release_at(opens: int, spread_s: float, *, rank: int, waited: float, message: str) -> int:
    """When a held message leaves: in `[opens, opens + spread_s)`, better tiers first, in a tier older ones first.

    `waited`: 0 (just held) to 1 (as long as its category may). A campaign is one moment old: a third of a tier's part
    goes by a hash of the message id, so that it too is spread; who waited longer by half of what it may goes first.
    """
    low, high = _SLOTS.get(rank, (0.0, 0.05))
    young = 1.0 - min(1.0, max(0.0, waited))
    luck = share_of(message, "release") / WHOLE
    return opens + int(spread_s * 1000 * (low + (high - low) * (2 * young + luck) / 3))
