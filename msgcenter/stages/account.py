"""account: messages of an account that is held for a while wait without costing the far end or the other accounts anything."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgcenter.holds import Holds
from msgcenter.pipeline import Item
from protocols.envelope import Decision
from protocols.outcome import Retry

HELD = "account_held"


def hold(item: Item, ask: Callable[[str], tuple[float, str]]) -> bool:
    """Whether the item has to wait for its account; then it is decided. `ask`: account -> seconds to wait, and why."""
    account = item.envelope.account
    seconds, why = ask(account) if account else (0.0, "")
    if seconds <= 0:
        return False
    item.decide(
        Retry("account", f"account {account} is held: {why}", seconds, HELD),
        Decision("account", HELD, "retry", why, 0, (("account", account),)),
    )
    return True


class Account:
    name = "account"

    def __init__(self, holds: Holds) -> None:
        self._holds = holds

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            hold(item, self._holds.remaining)
