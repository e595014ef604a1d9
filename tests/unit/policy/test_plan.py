"""What a plan does next: by example, and for any plan and any order of news by property.

Long because examples and properties speak of one function.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from msgcenter.policy.plan import (
    ASK_AGAIN_MS,
    Action,
    Close,
    News,
    Progress,
    Start,
    Stop,
    Timer,
    actions_of,
    advance,
    outlook,
    spent,
    words,
)
from protocols.payload import Group, Leaf, NewsKind, Plan, Text

T0 = 1_000_000
END = T0 + 100_000


def leaf(success: str = "accepted", wait: int = 0, cost: int = 0) -> Leaf:
    return Leaf("sms", Text("hi"), wait_ms=wait, success=success, cost=cost)


def sequence(*leaves: Leaf, **more: object) -> Plan:
    return Plan(leaves, (Group(1, tuple(range(1, len(leaves) + 1))),), **more)  # type: ignore[arg-type]


@dataclass
class Told:
    """A plan that is told things by hand."""

    plan: Plan
    now: int = T0
    progress: Progress = field(init=False)
    count: int = 0

    def __post_init__(self) -> None:
        self.progress = Progress.of(self.plan)

    def __call__(
        self, kind: NewsKind, leaf: int = 0, word: str = "", code: str = "", at: int = 0
    ) -> tuple[Action, ...]:
        self.count += 1
        self.now = at or self.now
        news = News(f"n{self.count}", kind, leaf, word, code)
        self.progress, actions = advance(self.plan, self.progress, news, self.now, END)
        return actions

    @property
    def states(self) -> list[str]:
        return [one.word for one in self.progress.leaves]


def test_a_refusal_leads_to_the_next_step() -> None:
    told = Told(sequence(leaf(), leaf()))
    assert told("begin") == (Start(1), Timer(0, END))
    assert told("outcome", 1, "failed", "no_number") == (Start(2),)
    assert told.progress.leaf(1).code == "no_number"
    assert told.progress.leaf(2).fresh
    assert told("outcome", 2, "sent") == (Close("reached"),)
    assert outlook(told.plan, told.progress) == "sent"


def test_a_wait_counts_from_the_sending() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    assert Timer(1, T0 + 500) in told("begin")
    assert told("outcome", 1, "sent", at=T0 + 300) == (Timer(1, T0 + 800),)
    assert told("timer", 1, at=T0 + 500) == (), "of the start; the sending began it anew"
    assert told("timer", 1, at=T0 + 800) == (Start(2),)
    assert not told.progress.leaf(2).fresh


def test_what_was_not_sent_is_called_back_before_the_next_one_starts() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    told("begin")
    assert told("timer", 1, at=T0 + 500) == (Stop(1),)
    assert told("halted", 1, "") == (Start(2),)
    assert told.progress.leaf(2).fresh, "the first one surely did not leave"


def test_what_is_in_a_workers_hands_is_waited_for() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    told("begin")
    told("timer", 1, at=T0 + 500)
    told("halted", 1, "claimed")
    assert told.states == ["stopping", "idle"]
    assert told("outcome", 1, "sent", at=T0 + 600) == (Timer(1, T0 + 1100),)
    assert told("timer", 1, at=T0 + 1100) == (Start(2),)


def test_what_was_given_back_without_an_outcome_is_asked_for_again() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    told("begin")
    told("timer", 1, at=T0 + 500)
    stopped = News(f"n{told.count}", "halted", 1, "claimed")
    told.progress, actions = advance(told.plan, told.progress, stopped, told.now, END)
    assert actions == (Stop(1), Timer(1, T0 + 500 + ASK_AGAIN_MS))
    assert told("timer", 1, at=T0 + 500 + ASK_AGAIN_MS) == (Stop(1),)
    assert told("halted", 1, "") == (Start(2),)


def test_a_stop_of_what_may_have_left_makes_it_unknown() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    told("begin")
    told("timer", 1, at=T0 + 500)
    assert told("halted", 1, "left") == (Start(2),)
    assert told.states == ["unknown", "running"]
    assert not told.progress.leaf(2).fresh


def test_late_good_news_is_an_overlap_and_stops_the_rest() -> None:
    told = Told(sequence(leaf("delivered", 500), leaf("delivered")))
    told("begin")
    told("outcome", 1, "sent")
    told("timer", 1, at=T0 + 500)
    assert told("receipt", 1, "delivered") == (Stop(2), Close("reached"))
    assert told.progress.overlap


def test_branches_side_by_side_are_no_overlap() -> None:
    plan = Plan(
        (leaf("delivered", 100), leaf(), leaf("read", 300), leaf()),
        (Group(2, (-1, -2)), Group(1, (1,)), Group(1, (3, 4))),
    )
    told = Told(plan)
    told("begin")
    told("outcome", 1, "sent")
    told("outcome", 3, "sent")
    told("timer", 1, at=T0 + 100)
    told("timer", 3, at=T0 + 300)
    assert told.states[3] == "running"
    told("receipt", 1, "delivered")
    assert not told.progress.overlap, "step 4 was not tried instead of step 1"


def test_an_unknown_waits_and_without_a_wait_waits_for_ever() -> None:
    told = Told(sequence(leaf("accepted", 500), leaf()))
    told("begin")
    assert told("outcome", 1, "unknown") == (Timer(1, T0 + 500),)
    assert told("timer", 1, at=T0 + 500) == (Start(2),)
    patient = Told(sequence(leaf(), leaf()))
    patient("begin")
    assert patient("outcome", 1, "unknown") == ()
    assert patient("timer", 0, at=END) == (Close("expired"),)
    assert outlook(patient.plan, patient.progress) == "unknown"


def test_signals_move_what_has_started_and_stop_what_asks_for_it() -> None:
    told = Told(sequence(leaf("signal:paid", 500), leaf("replied"), stop_on=("clicked",)))
    assert words(told.plan) == {"signal:paid", "replied", "clicked"}
    told("begin")
    assert told("signal", word="replied") == (), "the step that waits for it has not started"
    assert told("signal", word="clicked") == (Stop(1), Close("stopped"))
    again = Told(told.plan)
    again("begin")
    assert again("signal", word="signal:paid") == (Stop(1), Close("reached"))


def test_success_goes_before_a_stop_by_the_same_word() -> None:
    told = Told(sequence(leaf("replied"), stop_on=("replied",)))
    told("begin")
    told("outcome", 1, "sent")
    assert told("signal", word="replied") == (Close("reached"),)


def test_any_of_starts_as_many_as_it_needs() -> None:
    told = Told(Plan((leaf("read"),) * 4, (Group(2, (1, 2, 3, 4)),)))
    assert told("begin")[:2] == (Start(1), Start(2))
    assert told("outcome", 1, "failed") == (Start(3),)
    told("outcome", 2, "sent")
    told("outcome", 3, "sent")
    told("receipt", 2, "read")
    assert told("receipt", 3, "read") == (Close("reached"),)
    hopeless = Told(Plan((leaf(), leaf(), leaf()), (Group(3, (1, 2, 3)),)))
    hopeless("begin")
    hopeless("outcome", 1, "failed")
    assert hopeless("outcome", 2, "sent") == (), "the others are sent all the same"
    assert hopeless("outcome", 3, "sent") == (Close("unreached"),)


def test_a_group_that_has_what_it_needs_stops_its_rest() -> None:
    plan = Plan(
        (leaf("delivered", 100), leaf("delivered"), leaf("read")),
        (Group(2, (-1, 3)), Group(1, (1, 2))),
    )
    told = Told(plan)
    told("begin")
    told("outcome", 1, "sent")
    told("timer", 1, at=T0 + 100)
    assert told("receipt", 1, "delivered") == (Stop(2),)
    told("halted", 2, "")
    told("outcome", 3, "sent")
    assert told("receipt", 3, "read") == (Close("reached"),)


def test_the_end_of_time_and_a_cancel_close_once() -> None:
    told = Told(sequence(leaf("read"), leaf()))
    told("begin")
    assert told("cancel") == (Stop(1), Close("cancelled"))
    assert told("timer", 0, at=END) == ()
    assert told("outcome", 1, "failed") == ()
    late = Told(sequence(leaf()), now=END)
    assert late("begin") == (Close("expired"),)
    assert late.states == ["idle"]


@pytest.mark.parametrize("number", [-1, 3, 99])
def test_news_of_a_step_that_is_not_there_changes_nothing(number: int) -> None:
    told = Told(sequence(leaf(), leaf()))
    told("begin")
    before = told.progress
    assert told("outcome", number, "sent") == ()
    assert told.progress == before


def test_what_a_dear_step_would_cost_is_not_spent() -> None:
    told = Told(sequence(leaf(cost=9), leaf(cost=4), cost_limit=5))
    assert told("begin")[0] == Start(2)
    assert told.progress.leaf(1).code == "cost_limit"
    nothing = Told(sequence(leaf(cost=9), cost_limit=5))
    assert nothing("begin") == (Close("unreached"),)
    exact = Told(sequence(leaf("read", 500, cost=2), leaf(cost=3), leaf(), cost_limit=5))
    exact("begin")
    exact("outcome", 1, "sent")
    assert exact("timer", 1, at=T0 + 500) == (Start(2),), "the limit itself may be spent"
    assert spent(exact.plan, exact.progress) == 5


def test_bad_news_after_good_is_no_news() -> None:
    told = Told(sequence(leaf("read", 500), leaf()))
    told("begin")
    told("outcome", 1, "sent")
    told("receipt", 1, "delivered")
    assert told("receipt", 1, "undelivered", "EXPIRED") == ()
    assert (told.progress.leaf(1).evidence, told.progress.leaf(1).code) == ("delivered", "")
    assert told("receipt", 1, "read") == (Close("reached"),)


# -- any plan, any order -------------------------------------------------------------------------

successes = st.sampled_from(["accepted", "delivered", "read", "replied", "clicked", "signal:paid"])
leaves = st.builds(
    leaf, successes, st.sampled_from([0, 0, 1000, 5000]), st.integers(min_value=0, max_value=5)
)


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Nested plans of one to eight leaves."""
    found = draw(st.lists(leaves, min_size=1, max_size=8))
    groups: list[Group] = [Group(1, ())]
    numbers = list(range(1, len(found) + 1))

    def fill(at: int, mine: list[int], depth: int) -> None:
        members: list[int] = []
        while mine:
            size = draw(st.integers(1, len(mine)))
            part, mine = mine[:size], mine[size:]
            if size == 1 or depth >= 3 or size == len(numbers):
                members += part
            else:
                groups.append(Group(1, ()))
                inner = len(groups) - 1
                fill(inner, part, depth + 1)
                members.append(-inner)
        groups[at] = Group(draw(st.integers(1, len(members))), tuple(members))

    fill(0, numbers, 1)
    limit = draw(st.sampled_from([0, 0, 3, 8]))
    stop_on = draw(st.sampled_from([(), (), ("replied",), ("signal:stop",)]))
    return Plan(tuple(found), tuple(groups), limit, stop_on)


class World:
    """Far ends, State and time around a plan: every action has its due consequence, news comes late, twice and in any order."""

    def __init__(self, plan: Plan, seed: int, *, twice: bool) -> None:
        self.plan = plan
        self.rng = random.Random(seed)
        self.twice = twice
        self.now = T0
        self.progress = Progress.of(plan)
        self.inbox: list[News] = [News("begin", "begin")]
        self.timers: list[tuple[int, News]] = []
        self.started: Counter[int] = Counter()
        self.closes: list[Close] = []
        self.seen: dict[str, tuple[Action, ...]] = {}
        self.asked: set[tuple[int, str]] = set()
        self.left: set[int] = set()
        self.number = 0

    def run(self) -> None:
        for _ in range(400):
            if not self.inbox and not self.timers:
                break
            self.wander()
            if self.inbox:
                self.hear(self.inbox.pop(self.rng.randrange(len(self.inbox))))
            elif self.timers:
                self.timers.sort(key=lambda timer: timer[0])
                at, news = self.timers.pop(0)
                self.now = max(self.now, at)
                self.hear(news)

    def wander(self) -> None:
        if self.rng.random() < 0.1:
            word = self.rng.choice(["replied", "clicked", "signal:paid", "signal:stop"])
            self.say("signal", word=word)
        if self.rng.random() < 0.02:
            self.say("cancel")
        if self.timers and self.rng.random() < 0.2:
            at, news = self.timers.pop(self.rng.randrange(len(self.timers)))
            self.now = max(self.now, at)
            self.inbox.append(news)

    def say(self, kind: NewsKind, leaf: int = 0, word: str = "") -> None:
        self.number += 1
        self.inbox.append(News(f"n{self.number}", kind, leaf, word))

    def hear(self, news: News) -> None:
        before = self.progress
        self.progress, actions = advance(self.plan, before, news, self.now, END)
        again, repeated = advance(self.plan, self.progress, news, self.now, END)
        assert again == self.progress, "the same news twice changes nothing"
        assert set(repeated) == set(actions), "and asks for the same"
        assert Progress.unpack(self.progress.pack()) == self.progress
        self.check(before, news)
        for action in actions:
            if action not in self.seen.get(news.id, ()):
                self.act(action, before)
        self.seen[news.id] = (*self.seen.get(news.id, ()), *actions)
        if self.twice and self.rng.random() < 0.2:
            self.inbox.append(news)
        for number, one in enumerate(self.progress.leaves, 1):
            asked = (number, news.id)
            if one.word == "stopping" and one.stopped_by == news.id and asked not in self.asked:
                self.asked.add(asked)
                self.halt(number, news)

    def halt(self, number: int, news: News) -> None:
        """State's answer is part of the same step."""
        claimed = number in self.left
        word = self.rng.choice(["claimed", "left"]) if claimed else ""
        self.hear(News(news.id, "halted", number, word))

    def act(self, action: Action, before: Progress) -> None:
        match action:
            case Start(number):
                assert not before.closed, "nothing starts after the close"
                self.started[number] += 1
                self.far_end(number)
            case Timer(number, at):
                self.number += 1
                self.timers.append((at, News(f"n{self.number}", "timer", number)))
            case Close():
                self.closes.append(action)

    def far_end(self, number: int) -> None:
        word = self.rng.choice(["sent", "sent", "failed", "unknown", "silent"])
        if word in ("sent", "unknown"):
            self.left.add(number)
            for receipt in ("delivered", "read", "undelivered"):
                if self.rng.random() < 0.3:
                    self.number += 1
                    at = self.now + self.rng.choice([0, 900, 6000])
                    self.timers.append((at, News(f"n{self.number}", "receipt", number, receipt)))
        if word != "silent":
            self.say("outcome", number, word)

    def check(self, before: Progress, news: News) -> None:
        after = self.progress
        if before.closed:
            assert after.result == before.result
            assert after.starts == before.starts
        if self.plan.cost_limit:
            # What was called back in vain and left all the same had given nothing back.
            assert spent(self.plan, after) <= self.plan.cost_limit or any(
                one.word == "sent" and one.lapsed for one in after.leaves
            )
        for group in self.plan.groups:
            under = [
                number
                for number in group.members
                if number > 0 and after.leaf(number).word in ("running", "stopping")
            ]
            assert len(under) <= group.need, "no more at a time than are needed"
        assert not (after.overlap and not before.overlap) or news.kind in (
            "receipt",
            "outcome",
            "signal",
        )


@settings(max_examples=400, deadline=None)
@given(plans(), st.integers(0, 2**32), st.booleans())
def test_any_plan_closes_exactly_once_and_starts_nothing_twice(
    plan: Plan, seed: int, twice: bool
) -> None:
    world = World(plan, seed, twice=twice)
    world.run()
    assert world.progress.closed
    assert len(world.closes) == 1
    assert all(count == 1 for count in world.started.values())
    assert not actions_of(world.progress, "never heard", END)


@settings(max_examples=100, deadline=None)
@given(plans(), st.integers(0, 2**32))
def test_the_same_news_in_the_same_order_is_the_same_plan(plan: Plan, seed: int) -> None:
    one, two = World(plan, seed, twice=False), World(plan, seed, twice=False)
    one.run()
    two.run()
    assert one.progress == two.progress
