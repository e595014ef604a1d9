"""opt_out: a customer refuses, or comes back, by a word: it holds for State before anything else of the frame goes on, is written
down with its proof, and is answered once; the message itself is passed on as any other.

The answer is published before the message is settled: a crash between the two makes the same answer, under the same id, again, and
`replay` absorbs it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from msgcenter.bus.topology import SUBMIT, place
from msgcenter.customers import ANY, Consent
from msgcenter.customers.wishes import number_place
from msgcenter.customers.writes import By, CustomerWrites
from msgcenter.metrics import Metrics
from msgcenter.outlet import Outlet, Parcel
from msgcenter.pipeline import Item
from msgcenter.policy.opt_out import Command, read
from msgcenter.policy.rules import Rules
from msgcenter.state import Accepted, State
from msgcenter.status import Meta
from protocols import wire
from protocols.envelope import Decision, Envelope, hashed
from protocols.payload import Text

ANSWERED_S = 86400.0
"""The same word again within this long changes nothing and is not answered."""
ANSWER = "reply"
"""The category of the answer."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How an answer is sent. `life_ms`: its validity."""

    outlet: Outlet
    partitions: int
    life_ms: Callable[[], int]
    now_ms: Callable[[], int]


class OptOut:
    name = "opt_out"

    def __init__(
        self,
        rules: Callable[[], Rules],
        kind_of: Callable[[str], str],
        customers: CustomerWrites,
        state: State,
        answers: Answers,
        metrics: Metrics,
    ) -> None:
        """`kind_of`: channel -> kind."""
        self._rules = rules
        self._kind_of = kind_of
        self._customers = customers
        self._state = state
        self._answers = answers
        self._metrics = metrics

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StateError, StoreError, BusError."""
        for item in items:
            envelope = item.envelope
            # A later pass of a message has been heard already; and what is said in a group is said to all.
            if envelope.attempt or envelope.chat or envelope.typed_by_us or envelope.sender is None:
                continue
            if not isinstance(envelope.payload, Text):
                continue
            kind = self._kind_of(envelope.channel)
            number = item.number or envelope.account
            command = read(self._rules().opt_out, number, envelope.payload.text, kind)
            if command is not None:
                await self._obey(item, command, kind, number)

    async def _obey(self, item: Item, command: Command, kind: str, number: str) -> None:
        envelope = item.envelope
        sender = str(envelope.sender)
        place_ = {"number": number_place(kind, number), "channel": kind, "all": ANY}[command.scope]
        consent = Consent(
            id=f"cns_{hashed('opt_out', envelope.id)}",
            channel=place_,
            category=ANY,
            state="withdrawn" if command.action == "out" else "granted",
            at=envelope.created_at,
            wording=command.word,
            source=envelope.channel,
            proof=envelope.id,
        )
        by = By("opt_out", envelope.channel)
        await self._customers.consent_of(sender, envelope.created_at, [consent], by)
        first = await self._first(item, command.action, number, sender)
        said = first and bool(command.answer)
        if said:
            await self._say(envelope, command.answer, kind)
        self._metrics.opt_outs_total.labels(envelope.channel, command.action).inc()
        facts = (("word", command.word), ("number", number), ("scope", command.scope))
        item.decisions.append(
            Decision(
                self.name,
                command.rule,
                "opted_out" if command.action == "out" else "opted_in",
                "answered" if said else "not answered: no text, or answered already",
                0,
                facts,
            )
        )

    async def _first(self, item: Item, action: str, number: str, sender: str) -> bool:
        """Whether this is to be answered: the last word was another one, or this very message (a second run of it)."""
        key = hashed("opt_out answered", item.envelope.channel, number, sender)
        mine = f"{action} {item.envelope.id}".encode()
        (last,) = await self._state.memo([key])
        if last is not None and last != mine and last.split(b" ")[0] == action.encode():
            return False
        await self._state.remember(key, mine, ANSWERED_S)
        return True

    async def _say(self, inbound: Envelope, text: str, kind: str) -> None:
        answers = self._answers
        assert inbound.sender is not None
        now = answers.now_ms()
        answer = Envelope(
            id=f"msg_{hashed('opt_out', inbound.id)}",
            caller=inbound.caller,
            to=inbound.sender,
            category=ANSWER,
            tier=1,
            payload=Text(text),
            created_at=now,
            person=inbound.person,
            account=inbound.account,
            channels=(kind,),
            order_key=inbound.order_key,
            expires_at=now + answers.life_ms(),
            reply_to=inbound.id,
            trace=inbound.trace,
        )
        await self._state.accepted([Accepted(answer.id, Meta.packed(answer))])
        queue = place(SUBMIT, answer, answers.partitions)
        await answers.outlet([Parcel(queue, wire.seal(answer))])
