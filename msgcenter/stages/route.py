"""route: pick the channel for the current step of the routing slip, and pass the message on to it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgcenter.adapter import Spec
from msgcenter.pipeline import Item
from protocols.address import Address
from protocols.envelope import Decision, Envelope
from protocols.outcome import Rejected, Retry, Routed


@dataclass(frozen=True, slots=True)
class Target:
    """A channel that a message may go to."""

    channel: str
    spec: Spec
    rule: str
    """Which rule of routes.yaml (or `only channel of its kind`) chose it."""


Routes = Callable[[str, Envelope], Target | None]
"""(kind, envelope) -> the channel for it as configured now, None = no channel of that kind takes it."""


class Route:
    name = "route"

    def __init__(self, routes: Routes) -> None:
        self._routes = routes

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            envelope = item.envelope
            if envelope.step >= len(envelope.channels):
                item.decide(Rejected("message", "the routing slip has no step left", "no_route"))
                continue
            kind = envelope.channels[envelope.step]
            target = self._routes(kind, envelope)
            if target is None:
                # The API refuses unknown kinds, so this is a channel taken out of service: it may come back.
                item.decide(
                    Retry(
                        "channel",
                        f"no enabled channel of kind {kind}; see routes.yaml and channels.yaml",
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
                        self.name, target.rule, "routed", target.channel, 0, (("kind", kind),)
                    ),
                )


def reaches(spec: Spec, address: Address) -> bool:
    return address.scheme in spec.schemes
