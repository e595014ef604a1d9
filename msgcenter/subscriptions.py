"""Subscriptions: callers' own places for their events; make, change, stop and replay them, and what a channel needs to deliver to one.

Delivery is the callbacks': the events become `Notice`s to `caller:<caller>/<id>/<generation>` on the channel that serves
subscribers, with its signer, its retries and its park list (`feed.py` puts them there). What was handed over and must not go any
more is stopped where everything is stopped, in `admit`: a pause is a gate that holds, a replay or the end of a subscription one
that suppresses what was handed over before it.

The signing key is not stored but derived from the pepper that all processes share, so the database alone forges nothing.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from msgcenter.adapter import Subscriber, Unavailable
from msgcenter.clock import Clock
from msgcenter.pauses import Pauses
from msgcenter.state import State, Suppression
from msgcenter.store import StoreError, SubscriptionRow
from msgcenter.store.cursors import encode_positions
from msgcenter.store.store import Store
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.payload import Notice
from protocols.webhook import signing

MOST_OF_CALLER = 50
OVERLAP_MS = 24 * 3_600_000
"""How long after a rotation the key before it still signs too."""
BELIEVED_S = 1.0
"""How long a channel goes by what it has read of a subscription."""
REMEMBERED = 1000
STOPPED_S = 14 * 86400.0
"""How long what was handed over before a replay is kept from going: longer than events are tried."""
HELD_S = 10.0
REPLAYED = "replayed"
"""Reason code of what a replay will bring again."""
ENDED = "subscription_ended"
"""Reason code of what was on its way to a subscription that is gone."""


def key_of(pepper: bytes, row: SubscriptionRow, version: int) -> str:
    """A signing key (`whsec_…`) of a subscription. A version is never used twice, an id neither."""
    text = f"subscription {row.id} {version}".encode()
    return signing.secret_of(hmac.digest(pepper, text, hashlib.sha256))


def mark_of(secret: str) -> str:
    """By which another process sees whether it derives the same key; says nothing about it."""
    return hashlib.sha256(f"mark {secret}".encode()).hexdigest()[:16]


def address_of(row: SubscriptionRow) -> Address:
    """Whom its events go to; a replay is another one."""
    return Address("caller", f"{row.caller}/{row.id}/{row.generation}")


def gates_of(envelope: Envelope) -> tuple[str, ...]:
    """The gates that stop an event on its way to a subscription; none of any other message."""
    if not isinstance(envelope.payload, Notice) or "/" not in envelope.to.value:
        return ()
    _, name, generation = envelope.to.value.split("/")
    return _gate(name), _gate(name, generation)


def _gate(name: str, generation: object = "") -> str:
    return f"subscription:{name}/{generation}" if generation else f"subscription:{name}"


def wants(row: SubscriptionRow, kind: str) -> bool:
    """Whether it takes events of this type."""
    return not row.types or any(
        kind.startswith(one[:-1]) if one.endswith(".*") else kind == one for one in row.types
    )


@dataclass(frozen=True, slots=True)
class Wish:
    """What a caller may say of a subscription."""

    url: str
    types: tuple[str, ...] = ()
    everyone: bool = False
    description: str = ""


class Subscriptions:
    """Every change is audited, may be repeated, and raises StateError, StoreError. `who`: caller and key that asks."""

    def __init__(self, state: State, store: Store, clock: Clock, pepper: bytes) -> None:
        self._state = state
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._pauses = Pauses(state, store, clock)

    async def begin(
        self, name: str, caller: str, wish: Wish, positions: Mapping[int, int], who: str
    ) -> tuple[SubscriptionRow, str] | None:
        """A new one from these positions on: it, and its signing key to show once. None: the caller has MOST_OF_CALLER."""
        now = self._clock.now_ms()
        row = SubscriptionRow(
            id=name,
            caller=caller,
            url=wish.url,
            types=list(wish.types),
            everyone=wish.everyone,
            description=wish.description,
            generation=now,
            cursor=encode_positions(positions),
            secret_mark="",
            created_at=now,
            updated_at=now,
        )
        secret = key_of(self._pepper, row, 1)
        row = replace(row, secret_mark=mark_of(secret))
        if not await self._store.add_subscription(row, MOST_OF_CALLER):
            return None
        await self._store.audit(who, "subscription.create", name, _told(wish), now)
        return row, secret

    async def change(self, name: str, wish: Wish, who: str) -> SubscriptionRow | None:
        """Another place, other types. What is on its way goes to the new place."""
        now = self._clock.now_ms()
        row = await self._store.change_subscription(
            name,
            lambda found: replace(
                found,
                url=wish.url,
                types=list(wish.types),
                everyone=wish.everyone,
                description=wish.description,
                updated_at=now,
            ),
        )
        if row is not None:
            await self._store.audit(who, "subscription.change", name, _told(wish), now)
        return row

    async def pause(self, name: str, who: str, why: str = "") -> SubscriptionRow | None:
        """When it returns nothing more leaves for it, in any process; it all waits, in order."""
        if await self._store.subscription(name) is None:
            return None
        # The gate first: whatever fails, it is silent.
        await self._pauses.pause(_gate(name), who, why)
        return await self._become(name, lambda found: replace(found, state="paused"))

    async def resume(self, name: str, who: str) -> SubscriptionRow | None:
        """It goes on where it stopped."""
        row = await self._become(name, lambda found: replace(found, state="active"))
        await self._pauses.resume(_gate(name), who, None, 0.0)
        return row

    async def replay(
        self, name: str, positions: Mapping[int, int], who: str
    ) -> SubscriptionRow | None:
        """Everything after these positions once more, in order; what is on its way from before is not sent any more."""
        found = await self._store.subscription(name)
        if found is None:
            return None
        cursor = encode_positions(positions)
        now = self._clock.now_ms()
        await self._hold(name, found.generation)
        row = await self._become(
            name,
            lambda old: replace(
                old,
                generation=max(now, old.generation + 1),
                cursor=cursor,
                handed_at=0,
            ),
        )
        await self._stop(name, found.generation, REPLAYED)
        await self._store.audit(who, "subscription.replay", name, {"cursor": cursor}, now)
        return row

    async def rotate(self, name: str, who: str) -> tuple[SubscriptionRow, str] | None:
        """A new signing key, to show once; for OVERLAP_MS the one before it signs too."""
        now = self._clock.now_ms()

        def next_one(found: SubscriptionRow) -> SubscriptionRow:
            version = found.secret_version + 1
            mark = mark_of(key_of(self._pepper, found, version))
            return replace(
                found, secret_version=version, secret_mark=mark, rotated_at=now, updated_at=now
            )

        row = await self._store.change_subscription(name, next_one)
        if row is None:
            return None
        detail = {"version": row.secret_version}
        await self._store.audit(who, "subscription.rotate", name, detail, now)
        return row, key_of(self._pepper, row, row.secret_version)

    async def end(self, name: str, who: str) -> bool:
        """Remove it, and what is on its way to it; False when there is none."""
        found = await self._store.subscription(name)
        if found is None:
            return False
        await self._hold(name, found.generation)
        await self._store.remove_subscription(name)
        await self._stop(name, found.generation, ENDED)
        await self._pauses.resume(_gate(name), who, None, 0.0)
        await self._store.audit(who, "subscription.delete", name, {}, self._clock.now_ms())
        return True

    async def _hold(self, name: str, generation: int) -> None:
        """The run that ends waits while the next one begins: never both, or events of one conversation would change places. A
        crash in between loses nothing, it goes on after HELD_S."""
        gate = _gate(name, generation)
        await self._state.suppress([Suppression(gate, gate, HELD_S, hold=True)])

    async def _stop(self, name: str, generation: int, rule: str) -> None:
        await self._state.suppress([Suppression(_gate(name, generation), rule, STOPPED_S)])

    async def _become(
        self, name: str, change: Callable[[SubscriptionRow], SubscriptionRow]
    ) -> SubscriptionRow | None:
        now = self._clock.now_ms()
        return await self._store.change_subscription(
            name, lambda found: replace(change(found), updated_at=now)
        )


class _Shelf(Protocol):
    async def subscription(self, subscription_id: str) -> SubscriptionRow | None: ...


class Places:
    """What a channel that delivers to subscriptions knows of them, for BELIEVED_S."""

    def __init__(
        self,
        store: _Shelf,
        clock: Clock,
        pepper: Callable[[], bytes],
        active: Callable[[str], bool],
    ) -> None:
        """`active(caller)`: the caller is configured and enabled."""
        self._store = store
        self._clock = clock
        self._pepper = pepper
        self._active = active
        self._known: OrderedDict[str, tuple[float, SubscriptionRow | None]] = OrderedDict()

    async def find(self, value: str) -> Subscriber | None:
        """The place of `<caller>/<id>/<generation>`; None = it is gone, or replayed since. Raises Unavailable."""
        caller, name, generation = value.split("/")
        if not self._active(caller):
            return None
        row = await self._row(name, int(generation))
        if row is None or row.caller != caller or row.generation != int(generation):
            return None
        return Subscriber(row.url, self._secrets(row))

    def _secrets(self, row: SubscriptionRow) -> tuple[str, ...]:
        try:
            pepper = self._pepper()
        except (OSError, ValueError) as error:
            raise Unavailable(f"api.pepper cannot be read: {error}") from error
        secret = key_of(pepper, row, row.secret_version)
        if mark_of(secret) != row.secret_mark:
            raise Unavailable(
                f"{row.id} was signed under another api.pepper: give every process the same one, "
                "or rotate the secret of the subscription"
            )
        young = self._clock.now_ms() - row.rotated_at < OVERLAP_MS
        if row.secret_version > 1 and young:
            return (secret, key_of(pepper, row, row.secret_version - 1))
        return (secret,)

    async def _row(self, name: str, generation: int) -> SubscriptionRow | None:
        now = self._clock.monotonic()
        known = self._known.get(name)
        if known is not None and now - known[0] < BELIEVED_S:
            row = known[1]
            # An event of a run that began since is no reason to say that there is none.
            if row is not None and row.generation >= generation:
                return row
        try:
            row = await self._store.subscription(name)
        except StoreError as error:
            raise Unavailable(f"subscription {name}: {error}") from error
        self._known[name] = (now, row)
        self._known.move_to_end(name)
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
        return row


def _told(wish: Wish) -> dict[str, object]:
    return {"url": wish.url, "types": list(wish.types), "everyone": wish.everyone}
