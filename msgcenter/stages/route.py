"""route: pick the channel for the current step of the routing slip, and pass the message on to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from msgcenter.adapter import Spec
from msgcenter.lookup import GroupLookup
from msgcenter.pipeline import Item
from msgcenter.policy.when import Facts, Told
from protocols.address import Address
from protocols.envelope import Decision, Envelope
from protocols.outcome import Rejected, Retry, Routed
from protocols.payload import Recall


@dataclass(frozen=True, slots=True)
class Target:
    """A channel that a message may go to."""

    channel: str
    spec: Spec
    rule: str
    """Which rule of routes.yaml (or `only channel of its kind`) chose it."""
    facts: Told = ()
    """What that rule looked at."""


Routes = Callable[[str, Envelope, Facts], Target | None]
"""(kind, envelope, facts) -> the channel for it as configured now, None = no channel of that kind takes it."""


FactsFor = Callable[[Sequence[Envelope]], Awaitable[Sequence[Facts]]]
"""What the rules may ask of each envelope of a micro-batch."""


Named = Callable[[str], Target | None]
"""The channel of this name as configured now, None = it is not in service."""


class Route:
    """A group lives on one channel: what is for it goes there and nowhere else."""

    name = "route"

    def __init__(self, routes: Routes, named: Named, groups: GroupLookup, facts: FactsFor) -> None:
        self._routes = routes
        self._facts = facts
        self._named = named
        self._groups = groups

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StoreError."""
        ids = [item.envelope.to.value for item in items if item.envelope.to.scheme == "group"]
        rows = await self._groups.find(ids) if ids else {}
        known = await self._facts([item.envelope for item in items])
        for item, facts in zip(items, known, strict=True):
            envelope = item.envelope
            if envelope.step >= len(envelope.channels):
                item.decide(Rejected("message", "the routing slip has no step left", "no_route"))
                continue
            kind = envelope.channels[envelope.step]
            if envelope.to.scheme == "group":
                row = rows.get(envelope.to.value)
                if row is None or row.kind not in ("", kind):
                    detail = "no such group" if row is None else f"the group lives on {row.kind}"
                    item.decide(Rejected("recipient", detail, "group_unknown"))
                    continue
                target = self._named(row.channel)
            elif isinstance(envelope.payload, Recall) or repeats(envelope):
                # Only where it left can it be taken back; only there is a repeat no second message.
                target = self._named(envelope.channel)
            else:
                target = self._routes(kind, envelope, facts)
            if target is None:
                # The API refuses unknown kinds, so this is a channel taken out of service: it may come back.
                item.decide(
                    Retry(
                        "channel",
                        f"no enabled channel of kind {kind}; see routes.yaml and channels.yaml"
                        if not repeats(envelope)
                        else f"channel {envelope.channel}, which may have sent it, is out of service",
                        code="no_route",
                    ),
                    Decision(self.name, kind, "retry", "no enabled channel of this kind"),
                )
            elif not reaches(target.spec, envelope.to):
                item.decide(
                    Rejected(
                        "account",
                        f"{kind} does not reach {envelope.to.scheme}: addresses",
                        "address_scheme",
                    ),
                    Decision(
                        self.name,
                        target.rule,
                        "rejected",
                        f"{kind} does not reach {envelope.to.scheme}:",
                    ),
                )
            else:
                item.decide(
                    Routed((target.channel,)),
                    Decision(
                        self.name,
                        target.rule,
                        "routed",
                        target.channel,
                        0,
                        (("kind", kind), *target.facts),
                    ),
                )


def repeats(envelope: Envelope) -> bool:
    """Whether it asks a far end again for what that may have done already."""
    return envelope.token_of >= 0 and bool(envelope.channel)


def reaches(spec: Spec, address: Address) -> bool:
    return address.scheme in spec.schemes
