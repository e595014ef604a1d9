"""group: what a group is called at its far end; a message to one that is being created waits, to one that is gone it is refused."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.clock import Clock
from msgcenter.groups import CATEGORY
from msgcenter.lookup import GroupLookup
from msgcenter.pipeline import Item
from msgcenter.policy.retry import WAITS_FOR_GROUP
from msgcenter.store import GroupRow
from protocols.envelope import Decision
from protocols.outcome import Rejected, Retry
from protocols.payload import CreateGroup, DissolveGroup

SOONEST_S, LATEST_S = 1.0, 60.0
"""How soon a message looks again for a group that is being created: a quarter of what it has waited, within these."""


class Group:
    """Runs where the channel is known; `route` in the submit pipeline has found the channel by the same registry."""

    name = "group"

    def __init__(self, groups: GroupLookup, clock: Clock) -> None:
        self._groups = groups
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        to_groups = [
            item
            for item in items
            if item.envelope.to.scheme == "group"
            and not isinstance(item.envelope.payload, CreateGroup)
        ]
        if not to_groups:
            return
        rows = await self._groups.find(item.envelope.to.value for item in to_groups)
        for item in to_groups:
            self._decide(item, rows.get(item.envelope.to.value))

    def _decide(self, item: Item, row: GroupRow | None) -> None:
        if row is None:
            item.decide(Rejected("recipient", "no such group", "group_unknown"))
            return
        state = row.state
        payload = item.envelope.payload
        # The core's own: commands, and the notice that the group will be dissolved.
        works_on_it = (state == "dissolving" and item.envelope.category == CATEGORY) or (
            state == "dissolved" and isinstance(payload, DissolveGroup)
        )
        waits = state == "creating" or (state == "uncertain" and not row.chat)
        facts = (("state", state),)
        if waits:
            waited = (self._clock.now_ms() - item.envelope.created_at) / 1000
            after = min(max(waited / 4, SOONEST_S), LATEST_S)
            item.decide(
                Retry("recipient", f"the group is {state}", after, WAITS_FOR_GROUP),
                Decision(self.name, "state", "retry", f"waits: {state}", 0, facts),
            )
        elif state in ("active", "uncertain") or works_on_it:
            item.target = row.chat
        else:
            item.decide(
                Rejected("recipient", f"the group is {state}", f"group_{state}"),
                Decision(self.name, "state", "rejected", f"it is {state}", 0, facts),
            )
