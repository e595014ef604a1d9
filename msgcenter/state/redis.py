"""State on Redis, one server or a Cluster: one atomic Lua script per verb for a whole batch.

Every key carries the tag of a shard, `{s00}` to `{s63}`: a message's that of its id, anything else
that of its own hash. On one server a verb is one script call; on a Cluster one per shard touched
(`spread`). What must be atomic together lies in one shard:

- `message:<id>` suppressions lie with their message. Wide ones (account, campaign, person ...) are
  written to all 64 shards of a Cluster, so that every `admit` reads its own copy in the step that
  claims: suppressing is rare and may cost 64 writes, admitting is not. One server has one copy, so
  going from one server to a Cluster needs the wide suppressions set again (from the Store).
- `conclude` on a Cluster writes what lies elsewhere (correlations, a receipt's original message)
  before the outcome: a crash between leaves facts without outcome, which the next try repeats.

All times are the server's. The client may run a script twice when an answer was lost, so a script
answers a repeat as it did at first; `tokens` alone takes twice then: less is sent, never more.

Long because it holds every verb once: packing its arguments, one script call, reading its answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from msgcenter.clock import SHARDS, Random, base32, shard_of, shard_of_id, system_random
from msgcenter.state import (
    EVIDENCE,
    Accepted,
    Admit,
    Admitted,
    Begin,
    Begun,
    Conclude,
    Concluded,
    Grant,
    Halt,
    Leases,
    Listing,
    Mark,
    Match,
    PlanStep,
    PlanStepped,
    Receipt,
    Snapshot,
    StateError,
    Suppressed,
    Suppression,
)
from msgcenter.state.cells import (
    PLAN_ORDER,
    RANK,
    Guess,
    Place,
    Retention,
    checked_bucket,
    checked_limits,
    delivery_from,
    key_name,
    message_of,
    own_gate,
    part_from,
    pass_of,
    place_text,
    remote_name,
    snapshot,
    step_gate,
    unknown_name,
)
from msgcenter.state.redis_units import RedisUnits, What
from msgcenter.state.scripts import NOBODY, Call, Calls, Scripts
from msgcenter.state.units import Backfill, Reserve, Reserved, Take, Unite, Usage
from protocols.envelope import Key, hashed

Fsync = Literal["always", "everysec"]


class RedisState:
    """`State` shared by all processes that have the same `url` and `prefix`.

    `cluster`: `url` is a node of a Redis Cluster. `fsync`: what `check` asks of `appendfsync`;
    "everysec" may lose the last second on a power cut. `timeout_s`: see `Scripts`. `spread` (by
    default as `cluster`) forces the per-shard path on one server.
    """

    def __init__(
        self,
        url: str,
        *,
        cluster: bool = False,
        prefix: str = "mc",
        retention: Retention | None = None,
        rng: Random | None = None,
        fsync: Fsync = "always",
        timeout_s: float = 2.0,
        max_connections: int = 32,
        spread: bool | None = None,
    ) -> None:
        self._scripts = Scripts(
            url, cluster=cluster, timeout_s=timeout_s, max_connections=max_connections
        )
        self._spread = cluster if spread is None else spread
        self._fsync = fsync
        self._tags = [f"{prefix}:{{s{shard:02d}}}:" for shard in range(SHARDS)]
        retention = retention or Retention()
        self._message_ms = _ms(retention.message_s)
        self._key_ms = _ms(retention.key_s)
        self._units = RedisUnits(
            self._scripts, self._tags, spread=self._spread, message_ms=self._message_ms
        )
        self._rng = rng or system_random()
        self._process = base32(self._rng.getrandbits(60), 12)
        self._admits = 0
        self._held: dict[tuple[str, str], frozenset[str]] = {}

    async def check(self) -> None:
        """Raise StateError, naming setting and remedy, unless the server keeps what it was told."""
        want = {
            "maxmemory-policy": ("noeviction",),
            "appendonly": ("yes",),
            "appendfsync": ("always",) if self._fsync == "always" else ("always", "everysec"),
        }
        faults = [
            f"{node}: {name} is {values.get(name, 'not readable')}, must be {' or '.join(good)}"
            f' (redis.conf, or CONFIG SET {name} "{good[0]}")'
            for node, values in await self._scripts.settings(*want)
            for name, good in want.items()
            if values.get(name) not in good
        ]
        if faults:
            raise StateError("this Redis could forget claims and caps: " + "; ".join(faults))

    async def ping(self) -> None:
        await self._scripts.ping()

    async def close(self) -> None:
        await self._scripts.close()

    # -- where things lie -------------------------------------------------------------------------

    def _calls(self) -> Calls:
        return Calls(self._spread)

    def _message(self, message: str) -> tuple[int, str]:
        shard = shard_of_id(message)
        return shard, f"{self._tags[shard]}m:{message}"

    def _named(self, name: str) -> tuple[int, str]:
        shard = shard_of(name)
        return shard, self._tags[shard] + name

    def _copies(self, gate: str) -> Iterable[int]:
        """The shards that a suppression is written to; a wide one is read in the claim's shard."""
        message = message_of(gate)
        if message:
            return (shard_of_id(message),)
        return range(SHARDS) if self._spread else (0,)

    # -- accept -----------------------------------------------------------------------------------

    async def begin(self, items: Sequence[Begin]) -> list[Begun]:
        calls = self._calls()
        for position, item in enumerate(items):
            shard, name = self._named(key_name(item.caller, item.key))
            call = calls.at(shard)
            row = [call.key(name), item.fingerprint, item.new_id, _ms(item.lease_s)]
            call.add(position, row)
        found = dict(await self._scripts.run("begin", calls, self._key_ms))
        return [
            Begun(verdict.decode(), message.decode(), answer)
            for verdict, message, answer in (found[n] for n in range(len(items)))
        ]

    async def accepted(self, items: Sequence[Accepted]) -> None:
        messages = self._calls()
        for item in items:
            shard, name = self._message(item.message)
            call = messages.at(shard)
            call.add(NOBODY, [call.key(name), self._message_ms, "meta", item.meta])
        # On a Cluster keys come second: one that is DONE has a message whose status is readable.
        keys = self._calls() if self._spread else messages
        for item in items:
            if item.key:
                shard, name = self._named(key_name(item.caller, item.key))
                call = keys.at(shard)
                row = [call.key(name), self._key_ms, "ans", item.answer, item.message]
                call.add(NOBODY, row)
        await self._scripts.run("accepted", messages)
        if keys is not messages:
            await self._scripts.run("accepted", keys)

    # -- claims and outcomes ----------------------------------------------------------------------

    async def replay(self, keys: Sequence[Key]) -> list[bytes | None]:
        calls = self._calls()
        for position, key in enumerate(keys):
            shard, name = self._message(key.message)
            call = calls.at(shard)
            call.add(position, [call.key(name), f"o:{pass_of(key)}"])
        found = dict(await self._scripts.run("replay", calls))
        return [_cell(found[n]) for n in range(len(keys))]

    async def admit(self, items: Sequence[Admit]) -> list[Admitted]:
        self._admits += 1
        calls = self._calls()
        places = [self._message(item.key.message) for item in items]
        records: dict[int, int] = {}
        for position, (item, (shard, name)) in enumerate(zip(items, places, strict=True)):
            calls.at(shard).key(name)
            if item.reservation:
                record = self._units.record(item.key, item.reservation)
                records[position] = calls.at(shard).key(record)
        # Spent before the claim: a crash between counts too much, never too little.
        held = {n: (items[n].key, items[n].reservation) for n in records}
        lost = await self._units.held("confirm", held)
        for position, (item, (shard, name)) in enumerate(zip(items, places, strict=True)):
            call = calls.at(shard)
            if not call.constants:  # the keys of all messages are there, those of gates follow
                call.constants = [f"{self._process}{self._admits}", len(call.keys) + 1]
            here = self._tags[shard if self._spread else 0]
            gates = []
            for gate in item.gates:
                own = own_gate(gate, item.key.message)
                gates.append(call.key(f"{self._tags[shard] if own else here}g:{gate}"))
            row = [call.key(name), pass_of(item.key), item.owner, _ms(item.deadline_s), gates]
            units: list[object] = []
            if position in records:
                units = [records[position], item.key.step, item.key.attempt, position not in lost]
            call.add(position, [*row, units, item.again])
        found = dict(await self._scripts.run("admit", calls, self._message_ms))
        return [_admitted(*found[n]) for n in range(len(items))]

    async def conclude(self, items: Sequence[Conclude]) -> list[Concluded]:
        calls = self._calls()
        away = await self._conclude_away(items) if self._spread else {}
        for position, item in enumerate(items):
            shard, name = self._message(item.key.message)
            call = calls.at(shard)
            own = call.key(name)
            row = [own, pass_of(item.key), item.outcome, item.view, item.order]
            units: list[object] = []
            if item.reservation and item.unspent:
                record = call.key(self._units.record(item.key, item.reservation))
                units = [record, item.key.step, item.key.attempt, item.unspent]
            call.add(position, [*row, *self._consequences(call, shard, item), units])
        answers = dict(await self._scripts.run("conclude", calls, self._message_ms))
        concluded: list[Concluded] = []
        for position in range(len(items)):
            outcome, fresh, *cells = answers[position]
            seen = snapshot(*map(_cell, away.get(position, cells)))
            concluded.append(Concluded(outcome, fresh, seen))
        return concluded

    async def _conclude_away(self, items: Sequence[Conclude]) -> dict[int, list[bytes]]:
        """Write what lies in other shards than the outcome; snapshot cells of those who want one.

        Nothing is written for an item whose pass has another outcome already.
        """
        elsewhere = {
            position: shards
            for position, item in enumerate(items)
            if (shards := self._shards(item) - {shard_of_id(item.key.message)})
            or (item.unspent and "@" in item.reservation)
        }
        stored = await self.replay([items[position].key for position in elsewhere])
        calls = self._calls()
        seen: dict[int, list[bytes]] = {}
        unspent: dict[What, dict[int, tuple[Key, str]]] = {}
        for (position, shards), outcome in zip(elsewhere.items(), stored, strict=True):
            item = items[position]
            first = item.marks[0].message if item.marks else item.key.message
            won = outcome is None or outcome == item.outcome
            if won and item.unspent and "@" in item.reservation:
                unspent.setdefault(item.unspent, {})[position] = (item.key, item.reservation)
            for shard in shards:
                call = calls.at(shard)
                wanted = first if shard_of_id(first) == shard else ""
                rest = self._consequences(call, shard, item, facts=won)
                call.add(position if wanted else NOBODY, [0, "", "", "", 0, *rest, []])
        for position, (_, _, *cells) in await self._scripts.run(
            "conclude", calls, self._message_ms
        ):
            if position != NOBODY:
                seen[position] = cells
        for what, held in unspent.items():
            await self._units.held(what, held)
        return seen

    def _shards(self, item: Conclude) -> set[int]:
        shards = {shard_of_id(mark.message) for mark in item.marks}
        shards |= {shard_of(remote_name(item.scope, remote)) for remote, _ in item.correlate}
        if item.unknown_for:
            shards.add(shard_of(unknown_name(item.scope, item.unknown_for)))
        return shards

    def _consequences(
        self, call: Call, shard: int, item: Conclude, *, facts: bool = True
    ) -> list[object]:
        """Marks, correlations, unknown and snapshot of an item, as far as they lie in `shard`."""
        key = item.key
        spread = self._spread
        marks: dict[int, list[object]] = {}
        remotes: list[object] = []
        unknown: list[object] = []
        seen = 0
        for mark in item.marks:
            at, name = self._message(mark.message)
            if not spread or at == shard:
                index = call.key(name)
                if mark.message == item.marks[0].message:
                    seen = index
                marks.setdefault(index, []).append(_mark_row(mark))
        if not item.marks and (not spread or shard_of_id(key.message) == shard):
            seen = call.key(self._message(key.message)[1])
        for remote_id, part in item.correlate:
            at, name = self._named(remote_name(item.scope, remote_id))
            if not spread or at == shard:
                place = place_text(key.message, key.step, key.attempt, part)
                remotes.append([call.key(name), place])
        if item.unknown_for:
            at, name = self._named(unknown_name(item.scope, item.unknown_for))
            if not spread or at == shard:
                place = place_text(key.message, key.step, key.attempt)
                unknown = [call.key(name), place, item.unknown_until_ms]
        if not facts:
            return [[], [], [], seen]
        return [list(marks.items()), remotes, unknown, seen]

    async def release(self, keys: Sequence[Key], reservations: Sequence[str] = ()) -> None:
        calls = self._calls()
        tickets = reservations or [""] * len(keys)
        for position, (key, text) in enumerate(zip(keys, tickets, strict=True)):
            shard, name = self._message(key.message)
            call = calls.at(shard)
            units: list[object] = []
            if text:
                units = [call.key(self._units.record(key, text)), key.step, key.attempt]
            call.add(position, [call.key(name), f"c:{pass_of(key)}", units])
        taken_back = await self._scripts.run("release", calls, self._message_ms)
        # Reopened after the claim is gone: a crash between counts too much, never too little.
        await self._units.held("reopen", {n: (keys[n], tickets[n]) for n, yes in taken_back if yes})

    async def correlate(self, receipts: Sequence[Receipt]) -> list[Match | None]:
        calls = self._calls()
        for position, receipt in enumerate(receipts):
            shard, name = self._named(remote_name(receipt.scope, receipt.remote_id))
            call = calls.at(shard)
            call.add(position, ["remote", call.key(name)])
        found = dict(await self._scripts.run("correlate", calls))
        matches = [
            part_from(place.decode()) if (place := found[n]) else None for n in range(len(receipts))
        ]
        unmatched = [
            n for n, match in enumerate(matches) if match is None and receipts[n].recipient
        ]
        if unmatched:
            await self._guess(receipts, unmatched, matches)
        return matches

    async def _guess(
        self, receipts: Sequence[Receipt], unmatched: Sequence[int], matches: list[Match | None]
    ) -> None:
        calls = self._calls()
        for position in unmatched:
            receipt = receipts[position]
            shard, name = self._named(unknown_name(receipt.scope, receipt.recipient))
            call = calls.at(shard)
            call.add(position, ["unknowns", call.key(name)])
        candidates: dict[int, list[Place]] = {
            position: [delivery_from(place.decode()) for place in places]
            for position, places in await self._scripts.run("correlate", calls)
        }
        messages = sorted({place[0] for places in candidates.values() for place in places})
        snapshots = await self.get_many(messages)
        guess = Guess(dict(zip(messages, snapshots, strict=True)))
        for position in unmatched:
            matches[position] = guess.match(receipts[position], candidates[position])

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        calls = self._calls()
        for position, message in enumerate(messages):
            shard, name = self._message(message)
            call = calls.at(shard)
            call.add(position, call.key(name))
        found = dict(await self._scripts.run("get_many", calls))
        return [snapshot(*map(_cell, found[n])) for n in range(len(messages))]

    # -- plans ------------------------------------------------------------------------------------

    async def plan_step(self, items: Sequence[PlanStep]) -> list[PlanStepped]:
        calls = self._calls()
        for position, item in enumerate(items):
            shard, message = self._message(item.message)
            call = calls.at(shard)
            tag = self._tags[shard]
            stops = [
                [call.key(f"{tag}g:{step_gate(item.message, step)}"), step] for step in item.stop
            ]
            row = [
                *(call.key(f"{tag}p:{item.message}"), call.key(message)),
                *(item.version, item.value, _ms(item.ttl_s), item.view, item.meta),
                *(stops, item.rule),
            ]
            call.add(position, row)
        found = dict(await self._scripts.run("plan_step", calls, self._message_ms, PLAN_ORDER))
        stepped = []
        for position in range(len(items)):
            version, value, taken, halts = found[position]
            words: tuple[Halt, ...] = tuple(halt.decode() for halt in halts)
            stepped.append(PlanStepped(int(version), value or b"", bool(taken), words))
        return stepped

    async def plans(self, messages: Sequence[str]) -> list[tuple[int, bytes]]:
        calls = self._calls()
        for position, message in enumerate(messages):
            shard = shard_of_id(message)
            call = calls.at(shard)
            call.add(position, call.key(f"{self._tags[shard]}p:{message}"))
        found = dict(await self._scripts.run("plans", calls))
        return [(int(found[n][0]), found[n][1]) for n in range(len(messages))]

    async def enlist(self, items: Sequence[Listing]) -> None:
        calls = self._calls()
        for item in items:
            shard, name = self._named(f"i:{item.name}")
            call = calls.at(shard)
            call.add(NOBODY, [call.key(name), item.member, item.note, _ms(item.ttl_s)])
        await self._scripts.run("enlist", calls)

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        calls = self._calls()
        for position, name in enumerate(names):
            shard, key = self._named(f"i:{name}")
            call = calls.at(shard)
            call.add(position, call.key(key))
        found = dict(await self._scripts.run("listed", calls))
        return [
            {member.decode(): note.decode() for member, note in found[n]} for n in range(len(names))
        ]

    # -- caps -------------------------------------------------------------------------------------

    async def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        return await self._units.reserve(items)

    async def peek(self, takes: Sequence[Take]) -> list[Usage]:
        return await self._units.peek(takes)

    async def backfill(self, items: Sequence[Backfill]) -> None:
        await self._units.backfill(items)

    async def unite(self, items: Sequence[Unite]) -> list[bool]:
        return await self._units.unite(items)

    async def covered(self, series: Sequence[str], since_ms: int) -> None:
        await self._units.covered(series, since_ms)

    async def policy_epoch(self) -> tuple[int, ...]:
        return await self._units.covered((), 0)

    # -- suppressions, tokens, leases -------------------------------------------------------------

    async def suppress(self, items: Sequence[Suppression]) -> Suppressed:
        calls = self._calls()
        for position, item in enumerate(items):
            message = message_of(item.gate)
            ttl_ms = _ms(item.ttl_s) if item.ttl_s > 0 else 0
            for shard in self._copies(item.gate):
                call = calls.at(shard)
                cells = call.key(self._message(message)[1]) if message else 0
                gate = call.key(f"{self._tags[shard]}g:{item.gate}")
                call.add(position, [gate, item.rule, ttl_ms, cells, item.hold])
        answers = await self._scripts.run("suppress", calls, EVIDENCE)
        late = sorted(position for position, is_late in answers if is_late)
        return Suppressed(tuple(dict.fromkeys(message_of(items[n].gate) for n in late)))

    async def unsuppress(self, gates: Sequence[str]) -> None:
        calls = self._calls()
        for gate in gates:
            for shard in self._copies(gate):
                call = calls.at(shard)
                call.add(NOBODY, call.key(f"{self._tags[shard]}g:{gate}"))
        await self._scripts.run("unsuppress", calls)

    async def tokens(
        self, bucket: str, *, want: int, rate: float, burst: float, lasts_s: float = 0.0
    ) -> Grant:
        checked_bucket(rate, burst, lasts_s)
        granted, wait_s, left = await self._one(
            "tokens", f"t:{bucket}", want, rate, burst, _ms(lasts_s)
        )
        return Grant(granted, float(wait_s), int(left))

    async def lease(self, group: str, owner: str, names: Sequence[str], ttl_s: float) -> Leases:
        believed = sorted(self._held.get((group, owner), ()))
        wanted = sorted(set(names))
        found, members = await self._one("lease", f"l:{group}", owner, wanted, _ms(ttl_s), believed)
        held = frozenset(name.decode() for name in found)
        self._held[group, owner] = held
        return Leases(held, members)

    async def lock(self, name: str, owner: str, ttl_s: float) -> float:
        [remaining_ms] = await self._one("lock", f"w:{name}", owner, _ms(ttl_s))
        return float(remaining_ms) / 1000

    async def memo(self, keys: Sequence[str]) -> list[bytes | None]:
        calls = self._calls()
        for position, name in enumerate(keys):
            shard, key = self._named(f"x:{name}")
            call = calls.at(shard)
            call.add(position, call.key(key))
        found = dict(await self._scripts.run("memo", calls))
        return [_cell(found[n]) for n in range(len(keys))]

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._one("remember", f"x:{key}", value, _ms(ttl_s))

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        checked = [list(limit) for limit in checked_limits(limits)]
        calls = self._calls()
        for position, name in enumerate(keys):
            shard, key = self._named(f"a:{name}")
            call = calls.at(shard)
            call.add(position, call.key(key))
        waits = dict(await self._scripts.run("allow", calls, checked))
        return [float(waits[n]) / 1000 for n in range(len(keys))]

    async def _one(self, script: str, name: str, *rest: object) -> list[Any]:
        calls = self._calls()
        shard, key = self._named(name)
        call = calls.at(shard)
        call.add(0, [call.key(key), *rest])
        ((_, answer),) = await self._scripts.run(script, calls)
        found: list[Any] = answer
        return found

    async def epoch(self) -> str:
        """On a Cluster made of every shard's own, so that the loss of one node shows."""
        fresh = base32(self._rng.getrandbits(80), 16)
        calls = self._calls()
        for shard in self._copies("epoch"):
            call = calls.at(shard)
            call.add(shard, [call.key(f"{self._tags[shard]}epoch"), fresh])
        epochs: list[str] = [
            value.decode() for _, value in sorted(await self._scripts.run("epoch", calls))
        ]
        return epochs[0] if len(epochs) == 1 else hashed(*epochs)


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


def _cell(value: bytes | Literal[False]) -> bytes | None:
    """A nil of Redis arrives as False."""
    return None if value is False else value


def _mark_row(mark: Mark) -> list[object]:
    return [mark.step, mark.attempt, mark.part, RANK[mark.evidence], mark.at, mark.code]


def _admitted(verdict: bytes, value: bytes | int, remaining_ms: int = 0) -> Admitted:
    match verdict, value:
        case b"held", bytes(rule):
            return Admitted("held", rule=rule.decode(), remaining_s=remaining_ms / 1000)
        case b"go", _:
            return Admitted("go")
        case b"suppressed", bytes(rule):
            return Admitted("suppressed", rule=rule.decode())
        case b"done", bytes(outcome):
            return Admitted("done", outcome=outcome)
        case b"claimed", int(remaining_ms):
            return Admitted("claimed", remaining_s=remaining_ms / 1000)
        case b"abandoned", _:
            return Admitted("abandoned")
        case b"unreserved", _:
            return Admitted("unreserved")
        case b"forgotten", _:
            return Admitted("forgotten")
        case _:
            raise StateError(f"redis: admit answered {verdict!r} {value!r}")
