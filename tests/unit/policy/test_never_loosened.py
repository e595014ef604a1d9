"""A rule more never lets out what the rules without it kept back: random caps and quiet hours, a random past, the real stages.

What a rule says outright is not loosening: `bypass` of a category, and where a downgrade leads (here all lead the same way).
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import Any, TypeAlias

from hypothesis import example, given, settings
from hypothesis import strategies as st

from msgcenter.clock import ManualClock
from msgcenter.config.compiled import compiled
from msgcenter.config.policy import Cap, QuietSet
from msgcenter.pipeline import Item
from msgcenter.rulebook import InForce
from msgcenter.stages.policy import Policy
from msgcenter.stages.reserve import Reserve
from msgcenter.state import Admit, Conclude
from msgcenter.state.memory import MemoryState
from msgcenter.state.units import Reserve as Wanted
from protocols.address import Address
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from tests.unit.rig import SCHEMES, message, metrics, rules
from tests.unit.stages.gate import NOON, TEL, person

MINUTE_MS = 60_000
LONG_MS = 3 * 24 * 60 * MINUTE_MS
CATEGORIES = {"marketing": 5, "care": 4, "opportunity": 3}
CHANNELS, CALLERS = ("fake", "desk"), ("crm", "iop")
WAY_OUT = "desk"
WHO = person()
SHIPPED = rules()().config
REACHED = {"fake": TEL, "desk": "wecom:ww1/app/wm1"}


Probe: TypeAlias = tuple[str, str, str]


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, unique=True)


WHENS = st.fixed_dictionaries(
    {"channels": st.sampled_from([["fake"], ["fake"], ["desk"], list(CHANNELS)])},
    optional={"categories": some(*CATEGORIES), "callers": some(*CALLERS)},
)
LIMITS = st.sampled_from([0, 0, 1, 3])
WINDOWS = st.one_of(
    st.builds(
        lambda span, limit: {"rolling": span, "limit": limit},
        st.sampled_from(["30m", "2h", "1d"]),
        LIMITS,
    ),
    st.builds(
        lambda period, limit: {"calendar": period, "limit": limit},
        st.sampled_from(["day", "week"]),
        LIMITS,
    ),
    st.builds(lambda span: {"gap": span}, st.sampled_from(["10m", "3h"])),
)
ACTS = st.sampled_from(
    [
        {"on_cap": "drop"},
        {"on_cap": "hold", "max_wait": "1h"},
        {"on_cap": "hold", "max_wait": "2d"},
        {"on_cap": "merge"},
        {"on_cap": "downgrade", "to": WAY_OUT},
        {"on_cap": "downgrade", "to": WAY_OUT},
    ]
)
CAPS = st.builds(
    lambda when, scope, windows, act, kept: {
        **({"when": when} if when else {}),
        **{"scope": scope, "windows": windows, "reserve": kept},
        **act,
    },
    WHENS,
    st.sampled_from(["person", "person_channel", "person_category", "caller"]),
    st.lists(WINDOWS, min_size=1, max_size=2),
    ACTS,
    st.integers(0, 1),
)
CLOCKS = st.builds(lambda h, m: f"{h:02d}:{m:02d}", st.integers(0, 23), st.sampled_from([0, 30]))
HOURS = st.tuples(CLOCKS, CLOCKS).filter(lambda pair: pair[0] != pair[1]).map("-".join)
QUIET = st.builds(
    lambda when, hours: {
        **({"when": when} if when else {}),
        "windows": [{"hours": each} for each in hours],
    },
    WHENS,
    st.lists(HOURS, min_size=1, max_size=2),
)
MESSAGES = st.builds(
    lambda category, channel, caller, minutes: (category, channel, caller, minutes),
    st.sampled_from(list(CATEGORIES)),
    st.sampled_from(CHANNELS),
    st.sampled_from(CALLERS),
    st.integers(0, 3 * 24 * 60),
)


def book(caps: list[Any], quiet: list[Any], holds: float) -> InForce:
    """The shipped rules with these caps and quiet sets; every category obeys every quiet set."""
    sets = {f"q{number}": QuietSet.model_validate(each) for number, each in enumerate(quiet)}
    terms = {
        **{"quiet": tuple(sets), "consent": False, "bypass": False, "max_hold": holds},
        **{"on_quiet": "hold" if holds else "drop"},
    }
    categories = SHIPPED.policy.categories
    ruled = {name: categories[name].model_copy(update=terms) for name in CATEGORIES}
    policy = SHIPPED.policy.model_copy(
        update={
            "spread": 0.0,
            "categories": {**categories, **ruled},
            "quiet": sets,
            "caps": {f"c{n}": Cap.model_validate(each) for n, each in enumerate(caps)},
        }
    )
    made = compiled(policy, SHIPPED.words, SHIPPED.holidays, (), SHIPPED.routes, SHIPPED.channels)
    config = replace(SHIPPED, policy=policy, rules=made)
    return InForce(lambda: config, {"command"}, lambda kind: SCHEMES.get(kind, frozenset()))


def narrower(one: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """A rule for some of the messages of this one, with limits and an action of its own."""
    kept = {name: one[name] for name in ("scope", "reserve")}
    return st.builds(
        lambda when, windows, act: {
            **kept,
            **act,
            "when": {**when, **one["when"]},
            "windows": windows,
        },
        WHENS,
        st.lists(WINDOWS, min_size=1, max_size=2),
        ACTS,
    )


def made(id_: str, asked: Probe) -> Envelope:
    category, channel, caller = asked
    return message(
        id_,
        category=category,
        tier=CATEGORIES[category],
        channel="",
        channels=(channel,),
        caller=caller,
        to=Address.parse(REACHED[channel]),
        person=WHO.key,
    )


async def said(rulebook: InForce, past: list[Any], at: int) -> dict[Probe, Outcome | None]:
    """What the rules say of a message of every kind after these sends; None = it may leave."""
    clock = ManualClock(NOON - LONG_MS)
    state = MemoryState(clock)
    await state.covered(list(rulebook().capbook.all.keeps), 0)
    for number, sent in enumerate(sorted(past, key=lambda one: -one[3])):
        await clock.advance((NOON - sent[3] * MINUTE_MS - clock.now_ms()) / 1000)
        envelope = made(f"past_{number}", sent[:3])
        takes = rulebook().counters(envelope, None, clock.now_ms()).takes
        if takes:
            paid = tuple(replace(take, counted_only=True) for take in takes)
            (answer,) = await state.reserve([Wanted(envelope.id, 0, 0, paid)])
            await state.admit([Admit(envelope.key("channel"), (), "test", 1.0, answer.ticket)])
    await clock.advance((at - clock.now_ms()) / 1000)
    policy = Policy(rulebook, clock, metrics())
    stages = (policy, Reserve(state, policy, rulebook, clock, lambda: False))
    out: dict[Probe, Outcome | None] = {}
    for number, probe in enumerate(product(CATEGORIES, CHANNELS, CALLERS)):
        item = Item(made(f"probe_{number}", probe), who=WHO)
        for stage in stages:
            if item.undecided:
                await stage([item])
        out[probe] = item.outcome
        if item.envelope.reservation:  # it was only asked about
            key, ticket = item.envelope.key("submit"), item.envelope.reservation
            await state.conclude([Conclude(key, b"", reservation=ticket, unspent="refunded")])
    return out


CASES = st.lists(CAPS, max_size=3).flatmap(
    lambda caps: st.tuples(
        st.just(caps),
        st.one_of(CAPS, QUIET, *(narrower(one) for one in caps[:1])),
    )
)


def cap(limit: int, scope: str = "person", **act: str) -> dict[str, Any]:
    windows = [{"rolling": "1d", "limit": limit}]
    return {"when": {"channels": ["fake"]}, "scope": scope, "windows": windows, **act}


DROP, ELSEWHERE = {"on_cap": "drop"}, {"on_cap": "downgrade", "to": WAY_OUT}
SENT = ("care", "fake", "crm", 60)


@settings(deadline=None, max_examples=150)
@example(([cap(0, **DROP)], cap(0, **ELSEWHERE)), [], 0.0, [], 0)
@example(([cap(1, **DROP)], cap(3, **DROP)), [], 0.0, [SENT], 0)
@example(([cap(1, **DROP)], cap(3, "person_channel", **DROP)), [], 0.0, [SENT], 0)
@given(
    CASES,
    st.lists(QUIET, max_size=2),
    st.sampled_from([0.0, 4 * 3600.0, 3 * 86400.0]),
    st.lists(MESSAGES, max_size=8),
    st.integers(0, LONG_MS // MINUTE_MS),
)
async def test_a_rule_more_lets_out_nothing_more(
    case: tuple[list[Any], dict[str, Any]],
    quiet: list[Any],
    holds: float,
    past: list[Any],
    minutes: int,
) -> None:
    caps, more = case
    before = book(caps, quiet, holds)
    in_caps = "scope" in more
    after = book([*caps, more], quiet, holds) if in_caps else book(caps, [*quiet, more], holds)
    at = NOON + minutes * MINUTE_MS
    kept_back = await said(before, past, at)
    for probe, outcome in (await said(after, past, at)).items():
        assert outcome is not None or kept_back[probe] is None, (probe, kept_back[probe])
