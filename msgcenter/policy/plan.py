"""Plan: what a composed reach does next: `advance(plan, progress, news, now)`, pure and deterministic.

The progress is its own journal: each start, stop, wait and the close keep the id of the news that caused them, and the actions
of a piece of news are read from there. So news that comes twice, or whose actions were lost in a crash, gives the same actions
again, and news that changes nothing gives none.

Rules, beside what `protocols.payload` says of Plan, Group and Leaf:

- a wait begins with the start of its leaf and again with its sending; at its end a leaf that was sent has *lapsed* and the next
  one starts; one that was not sent is stopped first, and the next starts only when State has said that it cannot leave any more;
- an unknown send counts as neither: only the end of its wait, if it has one, lets the next leaf start;
- what lapsed may still succeed by late good news. If the next one had started by then, that is an *overlap*: the plan is over,
  what was not sent is stopped, and the overlap is counted;
- a leaf whose cost would pass the limit counts as not sent; a definite non-send gives its cost back.

One file, for one run of `advance` goes through all of it.

One file although long: one state machine, whose moves are read against each other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal, TypeAlias

import msgpack

from protocols.payload import Leaf, NewsKind, Plan

LeafWord: TypeAlias = Literal["idle", "running", "stopping", "sent", "unknown", "failed", "stopped"]
"""`stopping`: called back, and it may be in a worker's hands. `failed` and `stopped` surely did not leave."""
Result: TypeAlias = Literal["reached", "unreached", "expired", "stopped", "cancelled"]
RESULTS: tuple[Result, ...] = ("reached", "unreached", "expired", "stopped", "cancelled")

_GOOD = {"sent": 1, "delivered": 2, "read": 3}
_NEEDED = {"accepted": 1, "delivered": 2, "read": 3}
_NOT_SENT = ("failed", "stopped")
OVER_COST = "cost_limit"
ASK_AGAIN_MS = 30_000
"""When State is asked again about a leaf that was called back while a worker had it."""


@dataclass(frozen=True, slots=True)
class LeafState:
    """Where one leaf stands. `*_by`: the id of the news that did it; times are epoch milliseconds, 0 = none."""

    word: LeafWord = "idle"
    started_by: str = ""
    started_at: int = 0
    started: int = 0
    """Which start of the plan this was, and below, which came before it lapsed: from 1."""
    lapsed: int = 0
    """0 = not; else one more than the starts there had been."""
    due: int = 0
    due_by: str = ""
    stopped_by: str = ""
    success: bool = False
    evidence: str = ""
    """The best that is known: sent, delivered, read; or undelivered."""
    code: str = ""
    fresh: bool = False
    """When it started every earlier leaf was a definite non-send."""


@dataclass(frozen=True, slots=True)
class Progress:
    """All that a plan remembers. `leaves[n]` is leaf n + 1."""

    leaves: tuple[LeafState, ...]
    begun_by: str = ""
    begun_at: int = 0
    starts: int = 0
    signals: tuple[str, ...] = ()
    overlap: bool = False
    result: Result | Literal[""] = ""
    closed_by: str = ""
    closed_at: int = 0

    @classmethod
    def of(cls, plan: Plan) -> Progress:
        return cls((LeafState(),) * len(plan.leaves))

    @property
    def closed(self) -> bool:
        return bool(self.result)

    def leaf(self, number: int) -> LeafState:
        return self.leaves[number - 1]

    def pack(self) -> bytes:
        own = [[getattr(leaf, name) for name in _LEAF_FIELDS] for leaf in self.leaves]
        data: bytes = msgpack.packb([own, *(getattr(self, name) for name in _FIELDS)])
        return data

    @classmethod
    def unpack(cls, data: bytes) -> Progress:
        leaves, *rest = msgpack.unpackb(data, use_list=False)
        return cls(tuple(LeafState(*leaf) for leaf in leaves), *rest)


_LEAF_FIELDS = tuple(field.name for field in fields(LeafState))
_FIELDS = tuple(field.name for field in fields(Progress))[1:]


@dataclass(frozen=True, slots=True)
class News:
    """What a plan hears; `protocols.payload.Advance` says what the words are. `halted`: State's answer to a stop: `` (it
    cannot leave any more), `claimed` (a worker has it, or it was sent: its outcome will be told) or `left` (an earlier try
    may have left)."""

    id: str
    kind: NewsKind
    leaf: int = 0
    word: str = ""
    code: str = ""


@dataclass(frozen=True, slots=True)
class Start:
    leaf: int


@dataclass(frozen=True, slots=True)
class Stop:
    leaf: int


@dataclass(frozen=True, slots=True)
class Timer:
    """`leaf` 0: the end of the plan."""

    leaf: int
    at: int


@dataclass(frozen=True, slots=True)
class Close:
    result: Result


Action: TypeAlias = Start | Stop | Timer | Close


def advance(
    plan: Plan, progress: Progress, news: News, now: int, expires_at: int
) -> tuple[Progress, tuple[Action, ...]]:
    """What is so after the news, and what it asks for, at `now` (epoch milliseconds) in a plan that is over at `expires_at`."""
    run = _Run(plan, progress, news, now, expires_at)
    run.hear()
    run.go_on()
    return run.progress, actions_of(run.progress, news.id, expires_at)


def actions_of(progress: Progress, news_id: str, expires_at: int) -> tuple[Action, ...]:
    """What this piece of news asked for."""
    out: list[Action] = []
    numbered = list(enumerate(progress.leaves, 1))
    out += [Stop(n) for n, leaf in numbered if leaf.stopped_by == news_id]
    out += [Start(n) for n, leaf in numbered if leaf.started_by == news_id]
    if not progress.closed:
        out += [Timer(n, leaf.due) for n, leaf in numbered if leaf.due and leaf.due_by == news_id]
        if progress.begun_by == news_id:
            out.append(Timer(0, expires_at))
    if progress.result and progress.closed_by == news_id:
        out.append(Close(progress.result))
    return tuple(out)


def spent(plan: Plan, progress: Progress) -> int:
    """The costs of what left, or may."""
    pairs = zip(plan.leaves, progress.leaves, strict=True)
    return sum(leaf.cost for leaf, one in pairs if one.word not in ("idle", *_NOT_SENT))


def words(plan: Plan) -> frozenset[str]:
    """The signals that can move this plan."""
    waited = {leaf.success for leaf in plan.leaves if leaf.success not in _NEEDED}
    return frozenset(waited | set(plan.stop_on))


def outlook(plan: Plan, progress: Progress) -> str:
    """What a caller is told of the message as a whole, once the plan is closed: the best evidence, else how it ended."""
    best = max((_GOOD.get(leaf.evidence, 0) for leaf in progress.leaves), default=0)
    if best:
        return next(word for word, rank in _GOOD.items() if rank == best)
    for word, status in (("unknown", "unknown"), ("undelivered", "undelivered")):
        if any(word in (leaf.word, leaf.evidence) for leaf in progress.leaves):
            return status
    return VIEWS[progress.result] if progress.result else "queued"


#: How a plan that left no evidence at all ended, in the words of a message's status.
VIEWS: dict[Result, str] = {
    "reached": "suppressed",
    "unreached": "rejected",
    "expired": "expired",
    "stopped": "cancelled",
    "cancelled": "cancelled",
}


class _Run:
    """One piece of news on its way through one plan."""

    def __init__(
        self, plan: Plan, progress: Progress, news: News, now: int, expires_at: int
    ) -> None:
        self.plan = plan
        self.progress = progress
        self.news = news
        self.now = now
        self.expires_at = expires_at

    # -- what was said -------------------------------------------------------------------------------------------------

    def hear(self) -> None:
        news, progress = self.news, self.progress
        if news.leaf and not 1 <= news.leaf <= len(progress.leaves):
            return
        match news.kind:
            case "begin":
                if not progress.begun_by:
                    self.progress = replace(progress, begun_by=news.id, begun_at=self.now)
            case "outcome":
                self._outcome(news.leaf, news.word, news.code)
            case "receipt":
                self._receipt(news.leaf, news.word, news.code)
            case "halted":
                self._halted(news.leaf, news.word)
            case "signal":
                self._signal(news.word)
            case "timer":
                if news.leaf:
                    self._wait_over(news.leaf)
            case "cancel":
                self._close("cancelled")

    def _outcome(self, number: int, word: str, code: str) -> None:
        leaf = self.progress.leaf(number)
        if leaf.word == "idle":
            return
        if word == "sent":
            if leaf.word != "sent":
                self._sent(number)
        elif leaf.word in ("running", "stopping"):
            if word == "unknown":
                self._set(number, word="unknown", code=code)
                if leaf.word == "stopping":
                    self._lapse(number)
                else:
                    self._wait(number)
            else:
                self._set(number, word="failed", code=code)
                self._lapse(number)

    def _sent(self, number: int) -> None:
        """Its wait counts from here; a stop that came too late is forgotten."""
        leaf = self.progress.leaf(number)
        self._set(number, word="sent", evidence=leaf.evidence or "sent", code="", due=0)
        if leaf.evidence == "undelivered":
            self._lapse(number)
        elif not leaf.lapsed:
            self._wait(number)
        self._judge(number)

    def _receipt(self, number: int, word: str, code: str) -> None:
        leaf = self.progress.leaf(number)
        if leaf.word == "idle":
            return
        if _GOOD.get(word, 0) > _GOOD.get(leaf.evidence, 0):
            if leaf.word != "sent":
                self._set(number, word="sent")
                if not leaf.lapsed:
                    self._wait(number)
            self._set(number, evidence=word)
            self._judge(number)
        elif word == "undelivered" and leaf.evidence in ("", "sent"):
            self._set(number, evidence=word, code=code)
            if leaf.word in ("sent", "unknown") and not leaf.success:
                self._lapse(number)

    def _halted(self, number: int, word: str) -> None:
        if self.progress.leaf(number).word != "stopping":
            return
        if word == "claimed":
            # Its worker may yet give it back, without an outcome to tell of: State is asked again.
            if not self.progress.closed:
                self._set(number, due=self.now + ASK_AGAIN_MS, due_by=self.news.id)
            return
        self._set(number, word="unknown" if word == "left" else "stopped")
        self._lapse(number)

    def _signal(self, word: str) -> None:
        progress = self.progress
        if word in progress.signals or progress.closed:
            return
        self.progress = replace(progress, signals=(*progress.signals, word))
        for number, leaf in self._numbered():
            if leaf.word != "idle" and self._leaf(number).success == word:
                self._succeed(number)
        if word in self.plan.stop_on and self._verdict(0) != "won":
            self._close("stopped")

    def _wait_over(self, number: int) -> None:
        leaf = self.progress.leaf(number)
        if not leaf.due or self.now < leaf.due or leaf.success:
            return
        self._set(number, due=0)
        if leaf.word in ("running", "stopping"):
            self._stop(number)
        elif leaf.word in ("sent", "unknown"):
            self._lapse(number)

    # -- what follows --------------------------------------------------------------------------------------------------

    def go_on(self) -> None:
        """Start what may start until nothing more does, or close."""
        if not self.progress.begun_by or self.progress.closed:
            return
        verdict = self._verdict(0)
        if verdict != "won" and self.now >= self.expires_at:
            self._close("expired")
            return
        for _ in range(len(self.plan.leaves) + 1):
            verdict = self._verdict(0)
            wanted = list(self._wanted(0)) if verdict == "open" else []
            if not wanted:
                break
            for number in wanted:
                self._start(number)
        if verdict == "open":
            self._stop_needless()
        else:
            self._close("reached" if verdict == "won" else "unreached")

    def _verdict(self, at: int) -> Literal["idle", "open", "won", "lost"]:
        """Of `groups[at]`."""
        group = self.plan.groups[at]
        verdicts = [self._of_member(member) for member in group.members]
        if verdicts.count("won") >= group.need:
            return "won"
        if self.progress.begun_by and at == 0 and not self.progress.starts:
            return "open"
        if all(verdict == "idle" for verdict in verdicts):
            return "idle"
        may_start = verdicts.count("idle") and len(verdicts) - verdicts.count("lost") >= group.need
        return "open" if verdicts.count("open") or may_start else "lost"

    def _of_member(self, member: int) -> Literal["idle", "open", "won", "lost"]:
        if member < 0:
            return self._verdict(-member)
        leaf = self.progress.leaf(member)
        if leaf.success:
            return "won"
        if leaf.word == "idle":
            return "lost" if leaf.code else "idle"
        if leaf.word in ("running", "stopping"):
            return "open"
        return "lost" if leaf.lapsed or leaf.word in _NOT_SENT else "open"

    def _wanted(self, at: int) -> Iterator[int]:
        """The leaves that `groups[at]` would have started now."""
        group = self.plan.groups[at]
        verdicts = [self._of_member(member) for member in group.members]
        able = len(verdicts) - verdicts.count("lost") >= group.need
        room = (group.need - verdicts.count("won") - verdicts.count("open")) if able else 0
        for member, verdict in zip(group.members, verdicts, strict=True):
            if verdict == "open" and member < 0:
                yield from self._wanted(-member)
            elif verdict == "idle" and room > 0:
                room -= 1
                if member < 0:
                    yield from self._wanted(-member)
                else:
                    yield member

    def _start(self, number: int) -> None:
        leaf, progress = self._leaf(number), self.progress
        limit = self.plan.cost_limit
        self.progress = replace(progress, starts=progress.starts + 1)
        if limit and spent(self.plan, progress) + leaf.cost > limit:
            self._set(number, code=OVER_COST)
            return
        # A leaf that the limit has passed over is idle still; only what was started can have reached anybody.
        fresh = all(one.word in ("idle", *_NOT_SENT) for one in progress.leaves)
        self._set(
            number,
            word="running",
            started_by=self.news.id,
            started_at=self.now,
            started=self.progress.starts,
            fresh=fresh,
        )
        self._wait(number)

    def _stop_needless(self) -> None:
        """What still runs in a group that has what it needs."""
        for at, group in enumerate(self.plan.groups):
            if at and self._verdict(at) == "won":
                for number in self._leaves(group.members):
                    if self.progress.leaf(number).word == "running":
                        self._stop(number)

    def _leaves(self, members: Sequence[int]) -> Iterator[int]:
        for member in members:
            if member > 0:
                yield member
            else:
                yield from self._leaves(self.plan.groups[-member].members)

    def _close(self, result: Result) -> None:
        if self.progress.closed:
            return
        for number, leaf in self._numbered():
            if leaf.word == "running":
                self._stop(number)
        self.progress = replace(
            self.progress, result=result, closed_by=self.news.id, closed_at=self.now
        )

    # -- one leaf ------------------------------------------------------------------------------------------------------

    def _leaf(self, number: int) -> Leaf:
        return self.plan.leaves[number - 1]

    def _numbered(self) -> list[tuple[int, LeafState]]:
        return list(enumerate(self.progress.leaves, 1))

    def _set(self, number: int, **changes: object) -> None:
        leaves = list(self.progress.leaves)
        leaves[number - 1] = replace(leaves[number - 1], **changes)  # type: ignore[arg-type]
        self.progress = replace(self.progress, leaves=tuple(leaves))

    def _wait(self, number: int) -> None:
        leaf = self._leaf(number)
        if leaf.wait_ms and not self.progress.leaf(number).success:
            self._set(number, due=self.now + leaf.wait_ms, due_by=self.news.id)

    def _stop(self, number: int) -> None:
        self._set(number, word="stopping", stopped_by=self.news.id)

    def _lapse(self, number: int) -> None:
        if not self.progress.leaf(number).lapsed:
            self._set(number, lapsed=self.progress.starts + 1, due=0)

    def _judge(self, number: int) -> None:
        """Whether its evidence is its success; late evidence, after another one was started instead, is an overlap."""
        leaf = self.progress.leaf(number)
        needed = _NEEDED.get(self._leaf(number).success, len(_GOOD) + 1)
        if not leaf.success and _GOOD.get(leaf.evidence, 0) >= needed:
            self._succeed(number)

    def _succeed(self, number: int) -> None:
        lapsed = self.progress.leaf(number).lapsed
        self._set(number, success=True, due=0)
        after = [n for n, leaf in self._numbered() if lapsed and leaf.started >= lapsed]
        if any(self._instead(number, other) for other in after):
            self.progress = replace(self.progress, overlap=True)

    def _instead(self, one: int, other: int) -> bool:
        """Whether the other was meant to be tried instead of this one, and not beside it."""
        for group in self.plan.groups:
            branches = [set(self._leaves([member])) for member in group.members]
            apart = not any({one, other} <= branch for branch in branches)
            if apart and {one, other} <= set().union(*branches):
                return group.need < len(group.members)
        return False
