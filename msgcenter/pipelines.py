"""Pipelines: the three lists; what happens to a message, in the order in which it happens."""

from __future__ import annotations

from msgcenter.adapter import Adapter
from msgcenter.clock import Clock
from msgcenter.holds import Holds
from msgcenter.lookup import GroupLookup
from msgcenter.pipeline import Stage
from msgcenter.stages.account import Account
from msgcenter.stages.correlate import Correlate, Dispatch
from msgcenter.stages.deliver import Deliver, Resolve
from msgcenter.stages.expire import Expire
from msgcenter.stages.group import Group
from msgcenter.stages.identify import Identify, Owner
from msgcenter.stages.render import Render
from msgcenter.stages.replay import Replay
from msgcenter.stages.route import Named, Route, Routes
from msgcenter.stages.wait_until import WaitUntil
from msgcenter.state import State


def submit(
    state: State, clock: Clock, routes: Routes, named: Named, groups: GroupLookup
) -> list[Stage]:
    return [
        Replay(state, "submit"),
        Expire(clock),
        WaitUntil(clock),
        Route(routes, named, groups),
    ]


def channel(
    state: State,
    clock: Clock,
    adapter: Adapter,
    groups: GroupLookup,
    holds: Holds,
    resolve: Resolve,
    deliver: Deliver,
) -> list[Stage]:
    return [
        Replay(state, "channel"),
        Render(adapter),
        Expire(clock),
        Group(groups, clock),
        resolve,
        Account(holds),  # behind resolve: a Retry of ours must not pass for the far end's answer
        deliver,
    ]


def inbound(state: State, owner: Owner) -> list[Stage]:
    return [Identify(owner), Replay(state, "inbound"), Correlate(state), Dispatch()]
