"""State: the fast shared memory that makes many processes act as one: claims, outcomes, suppressions, idempotency, tokens, leases.

One verb is one atomic step for a whole micro-batch: one script call on Redis (per shard on a cluster), one transaction on
SQLite. Three implementations under one contract suite (tests/contract/test_state.py): `redis`, `sqlite`, `memory`; the
latter two share the verbs in `verbs.py`. Everything is idempotent by message id; time is the server's (Redis TIME, the
injected Clock elsewhere). Message cells live `Retention.message_s` after their last write.

Long because it is the interface and its values, verb by verb; much of it is documentation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from msgcenter.state.units import Backfill, Reserve, Reserved, Take, Unite, Unspent, Usage
from msgcenter.unavailable import Unavailable
from protocols.envelope import Key

# -- accept -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Begin:
    """One POST with an Idempotency-Key. `fingerprint`: hash of route and canonical body; `new_id` is used when NEW."""

    caller: str
    key: str
    fingerprint: str
    new_id: str
    lease_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Begun:
    """`new`: go on with `id`. `retry`: an earlier try did not finish, go on with its `id`. `done`: answer `answer` again.
    `busy`: another request with this key is in flight (its lease runs). `other`: the key was used with another body."""

    verdict: Literal["new", "retry", "done", "busy", "other"]
    id: str = ""
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A message made durable on the bus: makes its status readable, and (with `caller`, `key`) the key DONE with `answer`.

    `meta` is kept with the message and returned by `get_many` (small: caller, category, created, expires …).
    """

    message: str
    meta: bytes
    caller: str = ""
    key: str = ""
    answer: bytes = b""


# -- claims and outcomes ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Admit:
    """Ask to let the bytes of one pass leave now.

    `gates`: suppression keys to check (`message:<id>`, `account:<name>`, `campaign:<c>`, `person:<p>|<category>` …).
    A `message:` gate (`message:<id>/<step>` for one step alone) must be the key's own (ValueError): no other shares its shard.
    `owner`: this worker; `deadline_s`: how long the claim stands before others may call it abandoned.
    `reservation`: the ticket of the units this pass holds, "" = none; they are spent in the step that claims.
    `again`: this pass was handed to a worker before, so State must have heard of its message; if it has not, it has lost
    its memory, and with it perhaps the claim of a pass that left.
    """

    key: Key
    gates: tuple[str, ...]
    owner: str
    deadline_s: float
    reservation: str = ""
    again: bool = False


@dataclass(frozen=True, slots=True)
class Admitted:
    """`go`: claimed, send. `suppressed`: `rule` is the suppression's reason. `done`: `outcome` is the stored one.
    `held`: not now, `rule` is the pause's that lasts longest, `remaining_s` until it ends (0 = until lifted); a suppression goes first.
    `claimed`: a claim without outcome that still runs, `remaining_s` left. `abandoned`: such a claim past its deadline.
    `unreserved`: not claimed, its reservation is over (or State was lost): conclude with `unspent="refunded"`, reserve anew.
    `forgotten`: an `again` of which State knows nothing: it may have left. Not claimed.
    """

    verdict: Literal[
        "go", "suppressed", "held", "done", "claimed", "abandoned", "unreserved", "forgotten"
    ]
    rule: str = ""
    outcome: bytes = b""
    remaining_s: float = 0.0


Evidence: TypeAlias = Literal["sent", "unknown", "undelivered", "delivered", "read"]
EVIDENCE: tuple[Evidence, ...] = ("sent", "unknown", "undelivered", "delivered", "read")
"""Rank order: a lower one never replaces a higher one on the same part."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Evidence about one part of one delivery of a message."""

    message: str
    step: int
    attempt: int
    part: int
    evidence: Evidence
    code: str = ""
    at: int = 0
    """Epoch milliseconds."""


@dataclass(frozen=True, slots=True)
class Conclude:
    """Store the outcome of one pass, with everything that follows from it, in one step.

    `view`: the message's pending view or terminal reason from now on ("" = leave). `marks`: evidence (monotone).
    `correlate`: remote id -> part number, within `scope` (the channel); later receipts are found by it. `unknown_for`:
    the recipient, when the outcome is Unknown, so that a receipt without match can find it until `unknown_until_ms`.
    `order`: a number that only grows over passes; an older pass never overwrites a newer one's view.
    `reservation`, `unspent`: the ticket of the pass's units and what becomes of them.
    """

    key: Key
    outcome: bytes
    view: str = ""
    order: int = 0
    marks: tuple[Mark, ...] = ()
    scope: str = ""
    correlate: tuple[tuple[str, int], ...] = ()
    unknown_for: str = ""
    unknown_until_ms: int = 0
    reservation: str = ""
    unspent: Unspent = ""


@dataclass(frozen=True, slots=True)
class Concluded:
    """`outcome`: the one that is stored now: an earlier one wins over the one given (a zombie's late word).
    `snapshot`: the message's cells after this step (of the first mark's message when there are marks, else the key's).
    Not `fresh`: stored before, be it by a try whose answer was lost."""

    outcome: bytes
    fresh: bool
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What State knows of a message. `exists` False: never accepted here (nor concluded or marked), or long over.

    `deliveries`: (step, attempt) -> part -> (evidence, code, at_ms).
    """

    exists: bool = False
    meta: bytes = b""
    view: str = ""
    deliveries: Mapping[tuple[int, int], Mapping[int, tuple[Evidence, str, int]]] = field(
        default_factory=dict
    )


@dataclass(frozen=True, slots=True)
class Receipt:
    """Find whom a receipt speaks of: by `remote_id` within `scope`; with `recipient`, else the only Unknown of (scope, recipient)."""

    scope: str
    remote_id: str
    recipient: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """The part a receipt belongs to. `guessed`: joined by recipient, not by id."""

    message: str
    step: int
    attempt: int
    part: int
    guessed: bool = False


# -- suppressions, tokens, leases ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Suppression:
    """Stop what carries this gate key. `rule`: the reason code given; `ttl_s` 0 = until lifted. `hold`: a pause, what is stopped
    waits for its end. A gate has one word, the last."""

    gate: str
    rule: str
    ttl_s: float = 0.0
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Suppressed:
    """`late`: message ids (of `message:<id>` gates) of which a pass was already admitted and is not known as not sent."""

    late: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """`granted` of the tokens asked for; when fewer, `wait_s` until at least one more is there. `left`: whole tokens that
    stay in the bucket."""

    granted: int
    wait_s: float = 0.0
    left: int = 0


@dataclass(frozen=True, slots=True)
class Leases:
    """`held`: the names this owner holds now; `members`: live owners of the group."""

    held: frozenset[str]
    members: int


# -- plans --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PlanStep:
    """Write the progress of a plan, if nobody else has since `version` (0 = there is none yet).

    `value`: the progress. `view`: the message's from now on, whatever its passes say. `meta`: kept when the message has none.
    `stop`: steps of which from now on no `admit` lets a pass go, `rule` being the reason. All of it for `ttl_s`.
    """

    message: str
    version: int
    value: bytes
    ttl_s: float
    view: str = ""
    meta: bytes = b""
    stop: tuple[int, ...] = ()
    rule: str = "plan_stopped"


Halt: TypeAlias = Literal["", "claimed", "left"]
"""Of a step that is stopped: `` it cannot leave any more; `claimed` a pass of it is in a worker's hands, or was sent: its outcome
is still to be told; `left` nobody knows what became of an earlier pass of it, and no later one leaves."""


@dataclass(frozen=True, slots=True)
class PlanStepped:
    """`version`, `value`: what is stored now. `taken`: it is what the call asked for, be it by a try whose answer was lost.
    `halts`: one for each of `stop`, when taken."""

    version: int
    value: bytes
    taken: bool
    halts: tuple[Halt, ...] = ()


@dataclass(frozen=True, slots=True)
class Listing:
    """Put `member` with a `note` on the list `name` for `ttl_s` seconds; 0 takes it off."""

    name: str
    member: str
    note: str
    ttl_s: float


class StateError(Unavailable):
    """State could not answer; nothing may be assumed. The caller gives its frame back and tries again."""


class State(Protocol):
    """All verbs raise StateError when the far side is away; every one may be repeated after that."""

    async def begin(self, items: Sequence[Begin]) -> list[Begun]: ...

    async def accepted(self, items: Sequence[Accepted]) -> None: ...

    async def replay(self, keys: Sequence[Key]) -> list[bytes | None]:
        """The stored outcome of each pass, if it has one."""
        ...

    async def admit(self, items: Sequence[Admit]) -> list[Admitted]: ...

    async def conclude(self, items: Sequence[Conclude]) -> list[Concluded]: ...

    async def release(self, keys: Sequence[Key], reservations: Sequence[str] = ()) -> None:
        """Take back claims of which surely nothing left; a claim that has an outcome stays. `reservations`: their tickets, one
        each ("" = none) or none at all: the units of a claim taken back are open again, for a new `open_s`."""
        ...

    async def reserve(self, items: Sequence[Reserve]) -> list[Reserved]:
        """Units of counters for passes that may leave later, all takes of an item or none. The same pass again gets the same
        answer while it holds them; what was denied, refunded or is over is decided anew. Raises ValueError for an item that
        cannot be kept."""
        ...

    async def peek(self, takes: Sequence[Take]) -> list[Usage]:
        """What `reserve` would find, read-only; `counted_only` is not looked at."""
        ...

    async def backfill(self, items: Sequence[Backfill]) -> None:
        """Tell counters of sends before their time. Idempotent."""
        ...

    async def unite(self, items: Sequence[Unite]) -> list[bool]:
        """Let counters count the sends of others, too; whether those others hold anything, sent or open."""
        ...

    async def covered(self, series: Sequence[str], since_ms: int) -> None:
        """All counters of these series are known since then (0: there was nothing before), on every shard."""
        ...

    async def policy_epoch(self) -> tuple[int, ...]:
        """Since when each shard remembers (one server: one value), epoch milliseconds; a value that grew: the counters of that
        shard were lost. What must not be sent on half knowledge says so by `must_know`."""
        ...

    async def correlate(self, receipts: Sequence[Receipt]) -> list[Match | None]: ...

    async def get_many(self, messages: Sequence[str]) -> list[Snapshot]: ...

    async def plan_step(self, items: Sequence[PlanStep]) -> list[PlanStepped]:
        """One step of each plan: its progress, the message's view and the stops in one; whoever comes second learns it."""
        ...

    async def plans(self, messages: Sequence[str]) -> list[tuple[int, bytes]]:
        """(version, progress) of each plan; (0, b"") = none."""
        ...

    async def enlist(self, items: Sequence[Listing]) -> None: ...

    async def listed(self, names: Sequence[str]) -> list[dict[str, str]]:
        """Member -> note of each list."""
        ...

    async def suppress(self, items: Sequence[Suppression]) -> Suppressed:
        """From the return on, no `admit` lets a gated pass go."""
        ...

    async def unsuppress(self, gates: Sequence[str]) -> None: ...

    async def tokens(
        self, bucket: str, *, want: int, rate: float, burst: float, lasts_s: float = 0.0
    ) -> Grant:
        """Take up to `want` from a token bucket shared by all processes; `rate` per second, at most `burst` saved up.

        With `rate` 0 nothing is added: the bucket holds `burst` once, lasts `lasts_s` from its last use, and what was taken
        stays taken when `burst` changes."""
        ...

    async def lease(self, group: str, owner: str, names: Sequence[str], ttl_s: float) -> Leases:
        """Stay a member of `group` and hold a fair share of `names`: `ceil(names / live members)`; renews, gives up the
        surplus, takes free ones. `names` empty: leave the group and let everything go. A surplus name is free for others
        from the owner's next call on (it knows by then), so shares settle after two rounds. Whoever cannot renew must
        stop using its names `ttl_s` after it *began* its last successful call."""
        ...

    async def lock(self, name: str, owner: str, ttl_s: float) -> float:
        """Take or renew `name` for `owner` (one word per holder): 0.0 = it is the owner's for `ttl_s` from when this call
        *began*; else the seconds until its holder's time is over. `ttl_s` 0 lets it go, if it is the owner's."""
        ...

    async def memo(self, keys: Sequence[str]) -> list[bytes | None]:
        """What was remembered under each key and is not over."""
        ...

    async def remember(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep a small value (an access token, a far end's id) for `ttl_s` seconds, for every process; 0 forgets it."""
        ...

    async def allow(self, keys: Sequence[str], limits: Sequence[tuple[int, float]]) -> list[float]:
        """Count one under each key (a repeated key counts again) if every limit has room for it: 0.0 = counted; else nothing
        was, and the seconds until there may be room. A limit is (at most so many, in any so many seconds): never more within
        any such span, for all processes together; what is counted is given back up to a twelfth of the span late."""
        ...

    async def epoch(self) -> str:
        """A value written at first use and kept; a new one means that State was lost."""
        ...

    async def ping(self) -> None: ...

    async def close(self) -> None: ...
