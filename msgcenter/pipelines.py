"""Pipelines: the three lists; what happens to a message, in the order in which it happens."""

from __future__ import annotations

from collections.abc import Callable

from msgcenter.adapter import Adapter
from msgcenter.clock import Clock
from msgcenter.holds import Holds
from msgcenter.lookup import GroupLookup
from msgcenter.metrics import Metrics
from msgcenter.pipeline import Stage
from msgcenter.reviews import Reviews
from msgcenter.rulebook import People, Rulebook
from msgcenter.stages.account import Account
from msgcenter.stages.correlate import Correlate, Dispatch
from msgcenter.stages.deliver import Deliver, Resolve
from msgcenter.stages.expire import Expire
from msgcenter.stages.fill import Fill
from msgcenter.stages.flood import Flood
from msgcenter.stages.group import Group
from msgcenter.stages.identify import Identify, Owner
from msgcenter.stages.lost import Lost
from msgcenter.stages.opt_out import OptOut
from msgcenter.stages.plan import Hear, LoadPlans, Plans, Replies
from msgcenter.stages.policy import Hours, Policy
from msgcenter.stages.render import Render
from msgcenter.stages.replay import Replay
from msgcenter.stages.reserve import Reserve
from msgcenter.stages.resolve import Recipients
from msgcenter.stages.route import FactsFor, Named, Route, Routes
from msgcenter.stages.tell import Tell
from msgcenter.stages.unite import Announce, Unite
from msgcenter.stages.wait_until import WaitUntil
from msgcenter.stages.waited import Waited
from msgcenter.state import State


def submit(
    state: State,
    clock: Clock,
    routes: Routes,
    named: Named,
    groups: GroupLookup,
    facts: FactsFor,
    fill: Fill,
    people: People,
    book: Callable[[], Rulebook],
    reviews: Reviews,
    rebuilding: Callable[[], bool],
    metrics: Metrics,
) -> list[Stage]:
    policy = Policy(book, clock, metrics, reviews)
    return [
        LoadPlans(state),
        Replay(state, "submit"),
        Lost(state),
        Hear(state),
        Plans(state, clock, metrics),
        Waited(state, clock),
        Expire(clock),
        WaitUntil(clock),
        Tell(),
        fill,
        Recipients(people, book, clock),
        policy,
        Reserve(state, policy, book, clock, rebuilding),
        Route(routes, named, groups, facts),
    ]


def channel(
    state: State,
    clock: Clock,
    adapter: Adapter,
    groups: GroupLookup,
    holds: Holds,
    fill: Fill,
    resolve: Resolve,
    hours: Hours,
    announce: Announce,
    deliver: Deliver,
) -> list[Stage]:
    return [
        Replay(state, "channel"),
        fill,
        Render(adapter),
        Expire(clock),
        Group(groups, clock),
        resolve,
        Account(holds),  # behind resolve: a Retry of ours must not pass for the far end's answer
        hours,
        announce,
        deliver,
    ]


def inbound(
    state: State,
    owner: Owner,
    unite: Unite,
    opt_out: OptOut,
    flood: Flood,
    people: People,
    clock: Clock,
) -> list[Stage]:
    return [
        Identify(owner),
        Replay(state, "inbound"),
        Correlate(state),
        unite,
        opt_out,  # before `flood`: a refusal is heard however often somebody writes
        flood,
        Replies(state, people, clock),
        Dispatch(),
    ]
