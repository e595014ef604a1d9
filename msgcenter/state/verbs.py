"""The State verbs once, in Python, over any store of small hashes with an expiry.

Each method is one atomic step and never waits; the caller sees to it that nothing runs between
(one event loop, or one SQLite savepoint). `memory` and `sqlite` lend
the store; the Lua scripts beside this file say the same for Redis.

One file, for the verbs share cells and steps, and are compared with their Lua twins as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from msgcenter.state import (
    Accepted,
    Admit,
    Admitted,
    Begin,
    Begun,
    Conclude,
    Concluded,
    Grant,
    Leases,
    Listing,
    Mark,
    Match,
    PlanStep,
    PlanStepped,
    Receipt,
    Snapshot,
    Suppressed,
    Suppression,
)
from msgcenter.state.cells import (
    ALLOW_PARTS,
    PLAN_ORDER,
    Cells,
    Guess,
    Hash,
    Place,
    Retention,
    checked_bucket,
    checked_limits,
    delivery_from,
    halt_of,
    key_name,
    may_have_left,
    merged,
    message_of,
    own_gate,
    part_from,
    pass_of,
    pause_from,
    pause_word,
    place_text,
    remote_name,
    snapshot,
    step_gate,
    unknown_name,
)
from msgcenter.state.ledger import Ledger
from msgcenter.state.units import Backfill, Reserve, Reserved, Take, Unite, Usage
from protocols.envelope import Key


def _number(value: int) -> bytes:
    return str(value).encode()


def _until(value: bytes) -> int:
    """The deadline at the head of a list's member."""
    return int(value.partition(b"|")[0])


def _ms(seconds: float) -> int:
    return math.ceil(seconds * 1000)


class Verbs:
    """The verbs of `msgcenter.state.State`, synchronous; shapes and meanings as there."""

    def __init__(self, cells: Cells, retention: Retention) -> None:
        self._cells = cells
        self._message_ms = _ms(retention.message_s)
        self._key_ms = _ms(retention.key_s)

    # -- accept ---------------------------------------------------------------------------------

    def begin(self, items: Sequence[Begin]) -> list[Begun]:
        return [self._begin(item) for item in items]

    def _begin(self, item: Begin) -> Begun:
        now = self._cells.now_ms()
        name = key_name(item.caller, item.key)
        cells = self._cells.load(name)
        own = item.new_id.encode()
        if not cells:
            cells = {"fp": item.fingerprint.encode(), "id": own}
        elif cells.get("fp", item.fingerprint.encode()) != item.fingerprint.encode():
            return Begun("other")
        elif "ans" in cells:
            return Begun("done", cells["id"].decode(), cells["ans"])
        elif int(cells["until"]) > now and cells["by"] != own:
            return Begun("busy", cells["id"].decode())
        # `by` is the request that holds the lease: if its answer was lost and it asks again, the
        # answer is the same.
        cells["by"] = own
        cells["until"] = _number(now + _ms(item.lease_s))
        self._cells.store(name, cells, now + self._key_ms)
        return Begun("new" if cells["id"] == own else "retry", cells["id"].decode())

    def accepted(self, items: Sequence[Accepted]) -> None:
        now = self._cells.now_ms()
        for item in items:
            cells = self._message(item.message)
            cells["meta"] = item.meta
            self._keep(item.message, cells)
            if item.key:
                name = key_name(item.caller, item.key)
                cells = self._cells.load(name)
                cells.setdefault("id", item.message.encode())
                cells["ans"] = item.answer
                self._cells.store(name, cells, now + self._key_ms)

    # -- claims and outcomes --------------------------------------------------------------------

    def replay(self, keys: Sequence[Key]) -> list[bytes | None]:
        return [self._message(key.message).get("o:" + pass_of(key)) for key in keys]

    def admit(self, items: Sequence[Admit]) -> list[Admitted]:
        ledger = self._ledger()
        admitted = [self._admit(item, ledger) for item in items]
        ledger.flush()
        return admitted

    def _admit(self, item: Admit, ledger: Ledger) -> Admitted:
        now = self._cells.now_ms()
        for gate in item.gates:
            own_gate(gate, item.key.message)
        cells = self._message(item.key.message)
        one = pass_of(item.key)
        outcome = cells.get("o:" + one)
        if outcome is not None:
            return Admitted("done", outcome=outcome)
        claim = cells.get("c:" + one)
        if claim is not None:
            remaining = int(claim.partition(b"|")[0]) - now
            if remaining > 0:
                return Admitted("claimed", remaining_s=remaining / 1000)
            return Admitted("abandoned")
        if item.again and not cells:
            return Admitted("forgotten")
        words = (self._cells.load("g:" + gate).get("rule") for gate in item.gates)
        pauses: list[tuple[int, str]] = []
        for word in (word.decode() for word in words if word is not None):
            pause = pause_from(word)
            if pause is None:
                return Admitted("suppressed", rule=word)
            pauses.append(pause)
        if pauses:
            until, rule = max(pauses, key=lambda one: one[0] or math.inf)
            return Admitted("held", rule=rule, remaining_s=max(0, until - now) / 1000)
        if item.reservation and not ledger.confirm(
            item.reservation, item.key.step, item.key.attempt
        ):
            return Admitted("unreserved")
        cells["c:" + one] = f"{now + _ms(item.deadline_s)}|{item.owner}".encode()
        self._keep(item.key.message, cells)
        return Admitted("go")

    def conclude(self, items: Sequence[Conclude]) -> list[Concluded]:
        ledger = self._ledger()
        concluded = [self._conclude(item, ledger) for item in items]
        ledger.flush()
        return concluded

    def _conclude(self, item: Conclude, ledger: Ledger) -> Concluded:
        message = item.key.message
        cells = self._message(message)
        one = pass_of(item.key)
        stored = cells.get("o:" + one)
        if stored is None or stored == item.outcome:
            cells["o:" + one] = item.outcome
            cells.pop("c:" + one, None)
            if item.view and item.order >= int(cells.get("vo", b"0")):
                cells["v"] = item.view.encode()
                cells["vo"] = _number(item.order)
            self._keep(message, cells)
            self._mark(item.marks)
            self._remember(item)
            if item.reservation and item.unspent:
                key = item.key
                ledger.give_back(item.reservation, key.step, key.attempt, item.unspent)
        seen = item.marks[0].message if item.marks else message
        return Concluded(
            item.outcome if stored is None else stored, stored is None, self._snapshot(seen)
        )

    def _mark(self, marks: Iterable[Mark]) -> None:
        by_message: dict[str, list[Mark]] = {}
        for mark in marks:
            by_message.setdefault(mark.message, []).append(mark)
        for message, group in by_message.items():
            cells = self._message(message)
            cells["e"] = merged(cells.get("e", b""), group)
            self._keep(message, cells)

    def _remember(self, item: Conclude) -> None:
        now = self._cells.now_ms()
        key = item.key
        for remote_id, part in item.correlate:
            place = place_text(key.message, key.step, key.attempt, part)
            self._cells.store(
                remote_name(item.scope, remote_id), {"at": place.encode()}, now + self._message_ms
            )
        if item.unknown_for and item.unknown_until_ms > now:
            name = unknown_name(item.scope, item.unknown_for)
            cells = {k: v for k, v in self._cells.load(name).items() if int(v) > now}
            place = place_text(key.message, key.step, key.attempt)
            cells[place] = _number(item.unknown_until_ms)
            self._cells.store(name, cells, max(int(until) for until in cells.values()))

    def release(self, keys: Sequence[Key], reservations: Sequence[str]) -> None:
        ledger = self._ledger()
        for key, held in zip(keys, reservations or [""] * len(keys), strict=True):
            cells = self._message(key.message)
            # A concluded pass has no claim any more, so what is found here has no outcome.
            if cells.pop("c:" + pass_of(key), None) is not None:
                self._keep(key.message, cells)
                if held:
                    ledger.give_back(held, key.step, key.attempt, "open", next_attempt=False)
        ledger.flush()

    def correlate(self, receipts: Sequence[Receipt]) -> list[Match | None]:
        now = self._cells.now_ms()
        found: list[Match | list[Place]] = []
        for receipt in receipts:
            by_id = self._cells.load(remote_name(receipt.scope, receipt.remote_id))
            if by_id:
                found.append(part_from(by_id["at"].decode()))
            elif receipt.recipient:
                unknowns = self._cells.load(unknown_name(receipt.scope, receipt.recipient))
                found.append([delivery_from(k) for k, v in unknowns.items() if int(v) > now])
            else:
                found.append([])
        messages = {place[0] for one in found if isinstance(one, list) for place in one}
        guess = Guess({message: self._snapshot(message) for message in messages})
        return [
            guess.match(receipt, one) if isinstance(one, list) else one
            for receipt, one in zip(receipts, found, strict=True)
        ]

    def get_many(self, messages: Sequence[str]) -> list[Snapshot]:
        return [self._snapshot(message) for message in messages]

    # -- plans ----------------------------------------------------------------------------------

    def plan_step(self, items: Sequence[PlanStep]) -> list[PlanStepped]:
        return [self._plan_step(item) for item in items]

    def _plan_step(self, item: PlanStep) -> PlanStepped:
        now = self._cells.now_ms()
        plan = self._cells.load("p:" + item.message)
        version, value = int(plan.get("v", b"0")), plan.get("d", b"")
        if (version, value) != (item.version + 1, item.value) and version != item.version:
            return PlanStepped(version, value, False)
        version, until = item.version + 1, now + _ms(item.ttl_s)
        self._cells.store("p:" + item.message, {"v": _number(version), "d": item.value}, until)
        cells = self._message(item.message)
        if item.meta:
            cells.setdefault("meta", item.meta)
        if item.view:
            cells["v"], cells["vo"] = item.view.encode(), _number(PLAN_ORDER + version)
        self._keep(item.message, cells)
        for step in item.stop:
            gate = "g:" + step_gate(item.message, step)
            self._cells.store(gate, {"rule": item.rule.encode()}, until)
        halts = tuple(halt_of(cells, step) for step in item.stop)
        return PlanStepped(version, item.value, True, halts)

    def plans(self, messages: Sequence[str]) -> list[tuple[int, bytes]]:
        found = [self._cells.load("p:" + message) for message in messages]
        return [(int(plan.get("v", b"0")), plan.get("d", b"")) for plan in found]

    def enlist(self, items: Sequence[Listing]) -> None:
        now = self._cells.now_ms()
        for item in items:
            name = "i:" + item.name
            cells = {k: v for k, v in self._cells.load(name).items() if _until(v) > now}
            cells.pop(item.member, None)
            if item.ttl_s > 0:
                cells[item.member] = f"{now + _ms(item.ttl_s)}|{item.note}".encode()
            self._cells.store(name, cells, max(map(_until, cells.values()), default=now))

    def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        now = self._cells.now_ms()
        found = [self._cells.load("i:" + name) for name in names]
        return [
            {k: v.decode().partition("|")[2] for k, v in cells.items() if _until(v) > now}
            for cells in found
        ]

    # -- caps -----------------------------------------------------------------------------------

    def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        ledger = self._ledger()
        reserved = ledger.reserve(items)
        ledger.flush()
        return reserved

    def peek(self, takes: Sequence[Take]) -> list[Usage]:
        return self._ledger().peek(takes)

    def backfill(self, items: Sequence[Backfill]) -> None:
        ledger = self._ledger()
        ledger.backfill(items)
        ledger.flush()

    def unite(self, items: Sequence[Unite]) -> list[bool]:
        ledger = self._ledger()
        found = ledger.unite(items)
        ledger.flush()
        return found

    def covered(self, series: Sequence[str], since_ms: int) -> None:
        self._ledger().covered(series, since_ms)

    def policy_epoch(self) -> tuple[int, ...]:
        return (self._ledger().policy_epoch(),)

    # -- suppressions, tokens, leases -----------------------------------------------------------

    def suppress(self, items: Sequence[Suppression]) -> Suppressed:
        now = self._cells.now_ms()
        late: dict[str, None] = {}
        for item in items:
            expires = now + _ms(item.ttl_s) if item.ttl_s > 0 else 0
            word = pause_word(item.rule, expires) if item.hold else item.rule
            self._cells.store("g:" + item.gate, {"rule": word.encode()}, expires)
            message = message_of(item.gate)
            if message and may_have_left(self._message(message)):
                late[message] = None
        return Suppressed(tuple(late))

    def unsuppress(self, gates: Sequence[str]) -> None:
        for gate in gates:
            self._cells.store("g:" + gate, {}, 0)

    def tokens(
        self, bucket: str, want: int, rate: float, burst: float, lasts_s: float = 0.0
    ) -> Grant:
        checked_bucket(rate, burst, lasts_s)
        now = self._cells.now_ms()
        name = "t:" + bucket
        cells = self._cells.load(name)
        have = burst
        if cells:
            # A clock that was set back must not freeze the bucket: no time has passed, that is all.
            passed = max(0, now - int(cells["at"])) / 1000
            have = min(burst, float(cells["n"]) + passed * rate)
            if lasts_s and "of" in cells:
                # What was taken stays taken when the size of a bucket without a rate changes.
                have = max(0.0, burst - (float(cells["of"]) - float(cells["n"])))
        granted = max(0, min(want, math.floor(have + 1e-9)))
        have -= granted
        # A bucket that is full again needs no memory.
        kept_ms = (
            round(lasts_s * 1000) if lasts_s else math.ceil((burst - have) / rate * 1000) + 1000
        )
        wait_s = lasts_s or max(0.0, (1 - have) / rate)
        cells = {"n": repr(have).encode(), "at": _number(now), "of": repr(burst).encode()}
        self._cells.store(name, cells, now + kept_ms)
        return Grant(granted, 0.0 if granted >= want else wait_s, math.floor(have + 1e-9))

    def lease(
        self, group: str, owner: str, names: Sequence[str], ttl_s: float, believed: frozenset[str]
    ) -> Leases:
        """`believed`: what the owner's last answer said it holds. Such a name is not given away
        before an answer without it has reached the owner: it lapses, or the next call frees it."""
        now = self._cells.now_ms()
        cells = self._cells.load("l:" + group)
        members: dict[str, int] = {}
        holds: dict[str, tuple[int, str]] = {}
        for field, value in cells.items():
            until, _, holder = value.decode().partition("|")
            if int(until) > now:
                if field.startswith("m:"):
                    members[field[2:]] = int(until)
                else:
                    holds[field[2:]] = (int(until), holder)
        mine = {name for name, (_, holder) in holds.items() if holder == owner}
        held: list[str] = []
        if names:
            until_ms = now + _ms(ttl_s)
            members[owner] = until_ms
            wanted = set(names)
            limit = _limit(owner, len(wanted), len(members), holds)
            stay = sorted(mine & wanted, key=lambda name: (name not in believed, name))
            held = stay[:limit]
            free = sorted(wanted - set(holds))
            held += free[: limit - len(held)]
            for name in mine - set(held):
                if name not in believed:
                    del holds[name]
            for name in held:
                holds[name] = (until_ms, owner)
        else:
            members.pop(owner, None)
            for name in mine:
                del holds[name]
        cells = {f"m:{name}": _number(until) for name, until in members.items()}
        cells |= {f"n:{name}": f"{end}|{holder}".encode() for name, (end, holder) in holds.items()}
        ends = [*members.values(), *(end for end, _ in holds.values())]
        self._cells.store("l:" + group, cells, max(ends, default=now))
        return Leases(frozenset(held), len(members))

    def lock(self, name: str, owner: str, ttl_s: float) -> float:
        now = self._cells.now_ms()
        cells = self._cells.load("w:" + name)
        by, until = cells.get("by", b"").decode(), int(cells.get("until", b"0"))
        if until > now and by != owner:
            return 0.0 if ttl_s <= 0 else (until - now) / 1000
        ends = now + _ms(ttl_s)
        held = {"by": owner.encode(), "until": _number(ends)}
        self._cells.store("w:" + name, held if ttl_s > 0 else {}, ends)
        return 0.0

    def memo(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._cells.load("x:" + key).get("v") for key in keys]

    def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        cells = {"v": value} if ttl_s > 0 else {}
        self._cells.store("x:" + key, cells, self._cells.now_ms() + _ms(ttl_s))

    def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        checked = checked_limits(limits)
        now = self._cells.now_ms()
        return [self._allow("a:" + key, checked, now) for key in keys]

    def _allow(self, name: str, limits: Sequence[tuple[int, int, int]], now: int) -> float:
        cells = self._cells.load(name)
        wait = 0
        kept: Hash = {}
        for count, span, part in limits:
            slot = now // part
            taken: dict[int, int] = {}
            for field, value in cells.items():
                of, _, at = field.partition(":")
                if of == str(span) and int(at) >= slot - ALLOW_PARTS:
                    taken[int(at)] = int(value)
            over = sum(taken.values()) + 1 - count
            for oldest in sorted(taken):
                if over <= 0:
                    break
                over -= taken[oldest]
                wait = max(wait, (oldest + ALLOW_PARTS + 1) * part - now)
            taken[slot] = taken.get(slot, 0) + 1
            kept.update({f"{span}:{when}": _number(held) for when, held in taken.items()})
        if wait > 0:
            return wait / 1000
        longest = max((span + part for _, span, part in limits), default=0)
        self._cells.store(name, kept, now + longest)
        return 0.0

    def epoch(self, fresh: str) -> str:
        """The stored epoch; `fresh` becomes it when there is none."""
        cells = self._cells.load("epoch")
        if not cells:
            cells = {"epoch": fresh.encode()}
            self._cells.store("epoch", cells, 0)
        return cells["epoch"].decode()

    # -- messages -------------------------------------------------------------------------------

    def _ledger(self) -> Ledger:
        return Ledger(self._cells, self._message_ms)

    def _message(self, message: str) -> Hash:
        return self._cells.load("m:" + message)

    def _keep(self, message: str, cells: Hash) -> None:
        self._cells.store("m:" + message, cells, self._cells.now_ms() + self._message_ms)

    def _snapshot(self, message: str) -> Snapshot:
        cells = self._message(message)
        return snapshot(cells.get("meta"), cells.get("v"), cells.get("e"))


def _limit(owner: str, names: int, members: int, holds: dict[str, tuple[int, str]]) -> int:
    """How many names the owner may hold: the even share, plus one while the remainder lasts.

    `names % members` owners have one more. That never exceeds ceil(names / members), and leaves
    nobody without who could have one.
    """
    share, extra = divmod(names, members)
    counts: dict[str, int] = {}
    for _, holder in holds.values():
        counts[holder] = counts.get(holder, 0) + 1
    above = sum(1 for holder, n in counts.items() if holder != owner and n > share)
    return share + 1 if above < extra else share
