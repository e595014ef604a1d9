"""account: messages of an account that is held for a while wait without costing the far end or the other accounts anything."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.holds import Holds
from msgcenter.pipeline import Item
from protocols.envelope import Decision
from protocols.outcome import Retry

HELD = "account_held"


class Account:
    name = "account"

    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            account = item.envelope.account
            if not account:
                continue
            seconds, why = self._holds.remaining(account)
            if seconds > 0:
                item.decide(
                    Retry("account", f"account {account} is held: {why}", seconds, HELD),
                    Decision(self.name, HELD, "retry", why, 0, (("account", account),)),
                )
