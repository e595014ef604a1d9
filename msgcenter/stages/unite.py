"""unite: a message that two channels read becomes one, and the copy of one that we sent is recognised as ours.

An account may be read live (hosted) and from the archive; whichever tells of a message first has it passed on, the other adds
its id to it. A copy of an own send is evidence that it arrived: a message that was Unknown ends as delivered.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from msgcenter.adapter import Adapter, Spec
from msgcenter.clock import Clock
from msgcenter.pipeline import Item
from msgcenter.settle import OWN_COPY, SECOND_SOURCE, read_again
from msgcenter.stages.deliver import dispatch_of
from msgcenter.state import State
from msgcenter.store import Sighting
from protocols import wire
from protocols.envelope import Decision, Envelope, Key, hashed
from protocols.likeness import likeness
from protocols.outcome import Retry, Sent, Suppressed, Unknown

IN_FLIGHT_S = 2.0
"""When to look again at a copy whose send has no outcome yet."""
LOOKS = 4
"""After so many looks, about three minutes, such a send is taken for not made (it waits for its channel): better told twice than not at all."""


class SightingStore(Protocol):
    async def announce(self, items: Sequence[Sighting]) -> None: ...

    async def announced(self, items: Sequence[Sighting]) -> list[Sighting]: ...

    async def unite(
        self, items: Sequence[Sighting], not_sent: Sequence[str] = ()
    ) -> list[Sighting]: ...


def _place(order_key: str, *, ours: bool, like: str) -> str:
    return hashed("sighting", order_key, "ours" if ours else "theirs", like)


def _sighting(envelope: Envelope, like: str) -> Sighting:
    return Sighting(
        id=envelope.id,
        place=_place(envelope.order_key, ours=envelope.typed_by_us, like=like),
        at=envelope.created_at,
        channel=envelope.channel,
        message=envelope.id,
        remote_id=envelope.remote_id,
        account=envelope.account,
        person=envelope.person,
    )


class Unite:
    """In the inbound pipeline, behind `replay`."""

    name = "unite"

    def __init__(
        self, store: SightingStore, state: State, spec_of: Callable[[str], Spec | None]
    ) -> None:
        self._store = store
        self._state = state
        self._spec_of = spec_of

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StoreError, StateError."""
        read: list[tuple[Item, Sighting]] = []
        for item in items:
            spec = self._spec_of(item.envelope.channel)
            if spec is not None and spec.shared and (like := likeness(item.envelope.payload)):
                read.append((item, _sighting(item.envelope, like)))
        if not read:
            return
        barred = await self._not_sent(read)
        read = [(item, sighting) for item, sighting in read if item.undecided]
        kept = await self._store.unite([sighting for _, sighting in read], barred)
        for (item, _), sighting in zip(read, kept, strict=True):
            if sighting.message == item.envelope.id:
                continue
            rule = OWN_COPY if sighting.copy else SECOND_SOURCE
            item.decide(
                Suppressed(rule, read_again(sighting.message, sighting.step, sighting.attempt)),
                Decision(self.name, rule, "joined", sighting.message),
            )

    async def _not_sent(self, read: Sequence[tuple[Item, Sighting]]) -> list[str]:
        """The announcements that came to nothing: what looks like their copy was written by somebody else. A copy that comes
        while its send is under way looks again."""
        ours = [(item, one) for item, one in read if item.envelope.typed_by_us]
        if not ours:
            return []
        announced = await self._store.announced([one for _, one in ours])
        keys = [Key(one.message, one.step, one.attempt, "channel") for one in announced]
        outcomes = await self._state.replay(keys) if keys else []
        barred: list[str] = []
        under_way: dict[str, list[str]] = {}
        for one, outcome in zip(announced, outcomes, strict=True):
            if outcome is None:
                under_way.setdefault(one.place, []).append(one.id)
            elif not isinstance(wire.open_outcome(outcome), Sent | Unknown):
                barred.append(one.id)
        for item, one in ours:
            if one.place not in under_way:
                continue
            if item.envelope.tries < LOOKS:
                detail = "a message that says the same is being sent"
                item.decide(Retry("message", detail, IN_FLIGHT_S, "copy_in_flight"))
            else:
                barred += under_way[one.place]
        return barred


class Announce:
    """In the channel pipeline, before `deliver`: what is about to be sent will be read by another channel."""

    name = "announce"

    def __init__(
        self,
        store: SightingStore,
        adapter: Adapter,
        sender: Callable[[str], str],
        clock: Clock,
    ) -> None:
        self._store = store
        self._adapter = adapter
        self._sender = sender
        self._clock = clock

    async def __call__(self, items: Sequence[Item]) -> None:
        """Raises StoreError."""
        within = self._adapter.spec.copied_within_s
        if not within:
            return
        now = self._clock.now_ms()
        announced: list[Sighting] = []
        for item in items:
            envelope = item.envelope
            like = likeness(item.payload)
            order_key = self._adapter.copied(dispatch_of(item, self._sender)) if like else ""
            if order_key:
                # Repeated under the token of an earlier pass it is still the one message, and has one copy.
                attempt = envelope.attempt if envelope.token_of < 0 else envelope.token_of
                key = Key(envelope.id, envelope.step, attempt, "channel")
                announced.append(
                    Sighting(
                        id=key.derived("announced"),
                        place=_place(order_key, ours=True, like=like),
                        at=now,
                        channel=envelope.channel,
                        message=envelope.id,
                        own=True,
                        until=now + round(within * 1000),
                        step=envelope.step,
                        attempt=attempt,
                        account=envelope.account,
                        person=envelope.person,
                    )
                )
        await self._store.announce(announced)
