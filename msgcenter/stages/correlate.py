"""correlate: find the message a receipt speaks of; a receipt that came before its answer waits and looks again."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.pipeline import Item
from msgcenter.port import UNASSIGNED
from msgcenter.settle import receipt_to
from msgcenter.state import Receipt, State
from protocols.envelope import Decision
from protocols.outcome import Retry, Routed, Suppressed
from protocols.payload import DeliveryReport

WAITS_S = (1.0, 1.0, 5.0, 5.0, 30.0, 30.0, 120.0, 600.0)
"""How long a receipt without match is kept, try by try: about thirteen minutes in all."""
GUESS_FROM = 5
"""From this try on, 42 s after it came, a receipt may join the only Unknown of its recipient. By then the outcome of its own
send is stored even when it left in a pass that waited for a lost answer to another message (`send_timeout`, 30 s), or
whose process was killed and its frame worked again: a guess before that may take the receipt of the next message."""


class Correlate:
    name = "correlate"

    def __init__(self, state: State) -> None:
        self._state = state

    async def __call__(self, items: Sequence[Item]) -> None:
        receipts = [item for item in items if isinstance(item.envelope.payload, DeliveryReport)]
        if not receipts:
            return
        matches = await self._state.correlate([self._receipt(item) for item in receipts])
        for item, match in zip(receipts, matches, strict=True):
            envelope = item.envelope
            if match is not None:
                to = receipt_to(match.message, match.step, match.attempt, match.part, match.guessed)
                rule = "only unknown of this recipient" if match.guessed else "remote id"
                item.decide(Routed(to), Decision(self.name, rule, "matched", match.message))
            elif envelope.tries < len(WAITS_S):
                item.decide(
                    Retry(
                        "message",
                        "no message with this remote id yet",
                        WAITS_S[envelope.tries],
                        "early_receipt",
                    )
                )
            else:
                item.decide(
                    Suppressed(
                        "no_match",
                        f"receipt {envelope.remote_id!r} fits no message of channel {envelope.channel}",
                    ),
                    Decision(self.name, "remote id", "no match", "kept as a record"),
                )

    def _receipt(self, item: Item) -> Receipt:
        envelope = item.envelope
        guess = envelope.tries >= GUESS_FROM and envelope.to != UNASSIGNED
        return Receipt(envelope.channel, envelope.remote_id, str(envelope.to) if guess else "")


class Dispatch:
    """dispatch: what is left is a message for a subscriber; its record carries it to the event log and to callbacks."""

    name = "dispatch"

    async def __call__(self, items: Sequence[Item]) -> None:
        for item in items:
            caller = item.envelope.caller
            item.decide(
                Routed((caller or "unassigned", *item.answered)),
                Decision(
                    self.name,
                    "account",
                    "routed",
                    caller or "no account has this number; see accounts.yaml",
                ),
            )
