"""From the files as ops write them to the rules as the policy functions take them, cities laid over the province."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import get_args

from msgcenter.config.category import Category
from msgcenter.config.policy import (
    Cap,
    CapWindow,
    CityConfig,
    ContentList,
    HolidaysConfig,
    OptOutWords,
    PolicyConfig,
    QuietSet,
    QuietWindow,
    WordsConfig,
)
from msgcenter.config.rules import ChannelConfig, RoutesConfig
from msgcenter.config.when import When
from msgcenter.policy.approvals import ApprovalRule
from msgcenter.policy.capbook import CapEntry
from msgcenter.policy.caps import (
    Calendar,
    CapRule,
    Downgrade,
    Drop,
    Gap,
    Hold,
    Merge,
    OnCap,
    Rolling,
)
from msgcenter.policy.consent import ConsentRule, Needs
from msgcenter.policy.content import Content, ContentRule
from msgcenter.policy.days import DayKind, Days
from msgcenter.policy.opt_out import OptOutRule, plain
from msgcenter.policy.quiet import Conduct, QuietRules, Window, WindowSet
from msgcenter.policy.routing import RouteRule, Routing
from msgcenter.policy.rules import Rules
from msgcenter.policy.when import EVERYTHING, LEVELS, WEEKDAYS, Matcher, Place

_KINDS: tuple[DayKind, ...] = get_args(DayKind)


def compiled(
    policy: PolicyConfig,
    words: WordsConfig,
    holidays: HolidaysConfig,
    cities: Sequence[CityConfig],
    routes: RoutesConfig,
    channels: Mapping[str, ChannelConfig],
) -> Rules:
    """One immutable value; the files are taken as checked (`crosscheck`)."""
    return Rules(
        conducts=MappingProxyType({n: conduct(c) for n, c in policy.categories.items()}),
        needs=MappingProxyType({n: needs(c) for n, c in policy.categories.items()}),
        quiet=QuietRules(
            sets=MappingProxyType(
                {n: tuple(_quiet(n, found, cities)) for n, found in policy.quiet.items()}
            ),
            days=Days(MappingProxyType(dict(holidays.days))),
            zone=policy.zone,
            city_zones=MappingProxyType({c.path: c.zone for c in cities if c.zone}),
            spread_s=policy.spread,
        ),
        consent=tuple(
            ConsentRule(
                name=name,
                when=matcher(terms.when),
                wordings=frozenset(terms.wordings),
                sources=frozenset(terms.sources),
                proof=terms.proof,
                valid_for=terms.valid_for or 0.0,
            )
            for name, terms in policy.consent.items()
        ),
        content=Content(
            tuple(_content(name, rule, words.lists) for name, rule in policy.content.items())
        ),
        opt_out=tuple(_opt_out(name, entry) for name, entry in policy.opt_out.items()),
        approvals=tuple(
            ApprovalRule(name, terms.files, terms.roles) for name, terms in policy.approvals.items()
        ),
        caps=tuple(CapEntry(when, cap_rule(name, cap)) for name, when, cap in caps(policy, cities)),
        routing=routing(routes, channels, cities),
    )


def routing(
    routes: RoutesConfig, channels: Mapping[str, ChannelConfig], cities: Sequence[CityConfig]
) -> Routing:
    """The routes by kind, a city's own way before the province's."""
    rules: dict[str, list[RouteRule]] = defaultdict(list)
    for name, route in routes.named():
        when, draw = matcher(route.when), route.draw or name
        for city in cities:
            own = city.routes.get(name)
            if own is not None:
                here = inside(when, Place(city.path))
                rules[route.kind].append(RouteRule(f"{name} in {city.city}", here, own.ways, draw))
        rules[route.kind].append(RouteRule(name, when, route.ways, draw))
    only: dict[str, str] = {}
    for channel, configured in channels.items():
        if configured.enabled:
            only.setdefault(configured.kind, channel)
    return Routing(
        MappingProxyType({kind: tuple(found) for kind, found in rules.items()}),
        MappingProxyType(only),
    )


def matcher(when: When | None) -> Matcher:
    return EVERYTHING if when is None else when.matcher()


def conduct(category: Category) -> Conduct:
    return Conduct(
        rank=category.rank,
        sets=category.quiet,
        dnd=category.dnd,
        service=category.service,
        on_quiet=category.on_quiet or "drop",
        downgrade_to=category.downgrade_to or "",
        max_hold=category.max_hold,
    )


def needs(category: Category) -> Needs:
    channels = category.consent_channels
    return Needs(
        category.consent, None if channels is None else frozenset(channels), category.opt_out
    )


def window(entry: QuietWindow) -> Window:
    return Window(
        hours=entry.hours,
        weekdays=frozenset(WEEKDAYS.index(day) for day in entry.days if day in WEEKDAYS),
        kinds=frozenset(kind for kind in _KINDS if kind in entry.days),
    )


def caps(policy: PolicyConfig, cities: Sequence[CityConfig]) -> Iterator[tuple[str, Matcher, Cap]]:
    """Name, when it applies, and the cap: the cities' own versions first, then the province's for everywhere else."""
    for name, cap in policy.caps.items():
        when = matcher(cap.when)
        own = [(Place(city.path), city.caps[name]) for city in cities if name in city.caps]
        for place, entry in own:
            yield name, inside(when, place), cap.model_copy(update={"windows": entry.windows})
        yield name, replace(when, elsewhere=tuple(place for place, _ in own)), cap


def cap_rule(name: str, cap: Cap) -> CapRule:
    """The cap without its `when`, which goes beside it."""
    return CapRule(
        name=name,
        scope=cap.scope,
        windows=tuple(map(_cap_window, cap.windows)),
        on_cap=_on_cap(cap),
        source=cap.source,
        level=LEVELS.index(cap.level) + 1 if cap.level else 0,
        kept=cap.reserve,
    )


def _cap_window(window: CapWindow) -> Rolling | Calendar | Gap:
    if window.gap is not None:
        return Gap(window.gap)
    assert window.limit is not None
    if window.calendar is not None:
        return Calendar(window.calendar, window.limit)
    assert window.rolling is not None
    return Rolling(window.rolling, window.limit)


def _on_cap(cap: Cap) -> OnCap:
    match cap.on_cap:
        case "drop":
            return Drop()
        case "hold":
            return Hold(cap.max_wait or 0.0)
        case "downgrade":
            return Downgrade(cap.to or "")
        case "merge":
            return Merge()


def _quiet(name: str, rule: QuietSet, cities: Sequence[CityConfig]) -> Iterator[WindowSet]:
    """The cities' own versions of a set, and the province's for everywhere else; all keep its name."""
    when = matcher(rule.when)
    own = [(Place(city.path), city.quiet[name]) for city in cities if name in city.quiet]
    for place, entry in own:
        yield WindowSet(name, tuple(map(window, entry.windows)), inside(when, place))
    elsewhere = tuple(place for place, _ in own)
    yield WindowSet(name, tuple(map(window, rule.windows)), replace(when, elsewhere=elsewhere))


def inside(when: Matcher, place: Place) -> Matcher:
    """The same conditions, in one city only."""
    return replace(when, within=place)


def _content(name: str, rule: ContentList, lists: Mapping[str, tuple[str, ...]]) -> ContentRule:
    listed = tuple(word for key in rule.lists for word in lists[key])
    return ContentRule(
        name=name,
        action=rule.action,
        when=matcher(rule.when),
        words=tuple(dict.fromkeys((*rule.words, *listed))),
        personal=frozenset(rule.personal),
        links=None if rule.links is None else frozenset(rule.links),
    )


def _opt_out(name: str, entry: OptOutWords) -> OptOutRule:
    return OptOutRule(
        name=name,
        numbers=entry.numbers,
        kinds=frozenset(entry.channels),
        out=frozenset(map(plain, entry.out)),
        back=frozenset(map(plain, entry.back)),
        inside=entry.inside,
        answer_out=entry.answer_out,
        answer_back=entry.answer_back,
        scope=entry.scope,
    )
