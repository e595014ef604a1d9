"""What no single file can know: whether routes, rules, accounts and callers name things that exist, and whether cities
change only what they may."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

from pydantic import BaseModel

from msgcenter.config.categories import OPT_OUT
from msgcenter.config.policy import CapWindow, CityConfig, CityRoute, PolicyConfig
from msgcenter.config.problems import ConfigProblem, did_you_mean, dotted
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    Route,
    RoutesConfig,
)
from msgcenter.config.snapshot import TEMPLATES
from msgcenter.config.source import Node
from msgcenter.config.templates import Note, TemplateConfig, crosschecked
from msgcenter.config.when import When

Path = Sequence[str | int]

#: A word of these kinds must be a key of that file (and below that key); the plural is for people.
_NAMED_IN: dict[str, tuple[str, tuple[str, ...], str]] = {
    "channel": ("channels.yaml", (), "channels"),
    "category": ("policy.yaml", ("categories",), "categories"),
    "window set": ("policy.yaml", ("quiet",), "window sets"),
    "cap": ("policy.yaml", ("caps",), "caps"),
    "word list": ("words.yaml", ("lists",), "word lists"),
    "caller": ("callers.yaml", (), "callers"),
    "account": ("accounts.yaml", (), "accounts"),
}


@dataclass(slots=True)
class Draft:
    """The files as far as they were understood.

    `nodes` as written; the models without what is faulty (None: the whole file).
    """

    nodes: Mapping[str, Node]
    kinds: Sequence[str]
    channels: Mapping[str, ChannelConfig]
    routes: RoutesConfig | None
    policy: PolicyConfig | None
    callers: Mapping[str, CallerConfig]
    accounts: Mapping[str, AccountConfig]
    settings: Mapping[str, BaseModel]
    """Channel name -> what its adapter was given."""
    cities: Mapping[str, CityConfig] = field(default_factory=dict)
    """By file name."""
    templates: Mapping[str, TemplateConfig] = field(default_factory=dict)
    """By name of the template."""
    problems: list[ConfigProblem] = field(default_factory=list)

    def note(self, file: str, path: Path, message: str, remedy: str) -> None:
        mark = self.nodes[file].at(path)
        self.problems.append(ConfigProblem(mark, dotted(path), message, remedy))

    def template_note(self, name: str) -> Note:
        """Where the faults of a template go."""
        return lambda path, message, remedy: self.note(
            f"{TEMPLATES}/{name}.yaml", path, message, remedy
        )

    def named(self, what: str, word: str, file: str, path: Path) -> bool:
        """Whether `word` is a `what` that exists; if not, that is noted.

        Names count as written even if what stands under them is faulty: each fault is told once.
        """
        home, below, many = _NAMED_IN[what]
        node: Node | None = self.nodes[home]
        for part in below:
            node = node.child(part) if node else None
        known = node.keys() if node else ()
        if word not in known:
            remedy = did_you_mean(word, known, what=many)
            self.note(file, path, f"there is no {what} `{word}`", remedy)
        return word in known

    def kind(self, word: str, file: str, path: Path) -> None:
        """Notes a channel kind that no installed adapter has."""
        if word not in self.kinds:
            remedy = did_you_mean(word, self.kinds, what="channel kinds")
            self.note(file, path, f"there is no channel kind `{word}`", remedy)


def crosscheck(draft: Draft) -> None:
    """Adds every fault between files to `draft.problems`."""
    for check in _CHECKS:
        check(draft)


def _channels(draft: Draft) -> None:
    for name, channel in draft.channels.items():
        if channel.accounts_of is not None:
            draft.named("channel", channel.accounts_of, "channels.yaml", (name, "accounts_of"))
    if draft.routes is None:
        return
    by_kind: dict[str, list[str]] = defaultdict(list)
    for name, channel in draft.channels.items():
        if channel.enabled:
            by_kind[channel.kind].append(name)
    settled = {route.kind for route in draft.routes.routes if route.when is None}
    for kind, names in by_kind.items():
        if len(names) > 1 and kind not in settled:
            draft.note(
                "channels.yaml",
                (names[1],),
                f"kind {kind} has {len(names)} enabled channels ({', '.join(names)}) "
                "and no route names the default",
                f"add `- {{kind: {kind}, channel: {names[0]}}}` at the end of routes.yaml",
            )


def _doorbells(draft: Draft) -> None:
    """Where an adapter's settings have a model `doorbells`, each of its fields names the channel that is rung for it."""
    file = "channels.yaml"
    for name, settings in draft.settings.items():
        bells = getattr(settings, "doorbells", None)
        for what, rung in bells if isinstance(bells, BaseModel) else ():
            path = (name, "settings", "doorbells", what)
            if not rung or not draft.named("channel", rung, file, path):
                continue
            channel = draft.channels.get(rung)
            if channel is not None and not channel.enabled:
                remedy = "enable it, or remove this doorbell"
                draft.note(file, path, f"channel `{rung}` is not enabled", remedy)


def _routes(draft: Draft) -> None:
    file = "routes.yaml"
    closed: dict[str, int] = {}
    names: dict[str, int] = {}
    for i, route in enumerate(draft.routes.routes if draft.routes else ()):
        at: Path = ("routes", i)
        if route.kind in closed:
            draft.note(
                file,
                at,
                f"is never reached: routes[{closed[route.kind]}] already takes "
                f"every message of kind {route.kind}",
                "move it up, or remove one of the two",
            )
        if route.when is None:
            closed.setdefault(route.kind, i)
        else:
            _when(draft, file, (*at, "when"), route.when)
        if route.name is not None and names.setdefault(route.name, i) != i:
            first = f"routes[{names[route.name]}]"
            draft.note(file, (*at, "name"), f"{first} has this name too", "choose another")
        _way(draft, file, at, route, route.kind)


def _way(draft: Draft, file: str, at: Path, way: Route | CityRoute, kind: str) -> None:
    """The channels that a route names must exist, be of its kind, and run; one that takes nobody need not run."""
    for name, weight in (way.split or {way.channel or "": 1.0}).items():
        path: Path = (*at, "channel") if way.split is None else (*at, "split", name)
        _of_kind(draft, file, path, name, kind)
        channel = draft.channels.get(name)
        if channel is not None and not channel.enabled and weight:
            draft.note(
                file,
                path,
                f"channel `{name}` is not enabled",
                "enable it, or route to another one",
            )


def _of_kind(draft: Draft, file: str, path: Path, name: str, kind: str) -> None:
    """The channel `name` must exist and be of `kind`."""
    draft.named("channel", name, file, path)
    channel = draft.channels.get(name)
    if channel is not None and channel.kind != kind:
        draft.note(
            file,
            path,
            f"channel `{name}` is of kind {channel.kind}, not {kind}",
            f"name a channel of kind {kind}",
        )


def _when(draft: Draft, file: str, at: Path, when: When | None) -> None:
    """What the conditions of a rule name must exist."""
    if when is None:
        return
    for i, word in enumerate(when.categories):
        draft.named("category", word, file, (*at, "categories", i))
    for i, word in enumerate(when.callers):
        draft.named("caller", word, file, (*at, "callers", i))
    for i, word in enumerate(when.channels):
        draft.kind(word, file, (*at, "channels", i))


def _policy(draft: Draft) -> None:
    file = "policy.yaml"
    for name, category in (draft.policy.categories if draft.policy else {}).items():
        at: Path = ("categories", name)
        for key, kinds in (
            ("channels", category.channels or ()),
            ("consent_channels", category.consent_channels or ()),
        ):
            for i, kind in enumerate(kinds):
                draft.kind(kind, file, (*at, key, i))
        if category.downgrade_to is not None:
            draft.kind(category.downgrade_to, file, (*at, "downgrade_to"))
        for i, word in enumerate(category.quiet):
            draft.named("window set", word, file, (*at, "quiet", i))


def _rules(draft: Draft) -> None:
    file, policy = "policy.yaml", draft.policy
    if policy is None:
        return
    for section, entries in (
        *(("quiet", policy.quiet), ("caps", policy.caps)),
        *(("consent", policy.consent), ("content", policy.content)),
    ):
        for name, entry in entries.items():
            _when(draft, file, (section, name, "when"), entry.when)
    for name, cap in policy.caps.items():
        if cap.to is not None:
            draft.kind(cap.to, file, ("caps", name, "to"))
    for name, rule in policy.content.items():
        for i, word in enumerate(rule.lists):
            draft.named("word list", word, file, ("content", name, "lists", i))
    seen: dict[tuple[str, str], str] = {}
    for name, words in policy.opt_out.items():
        shipped = OPT_OUT.get(name, {}).get("channels", ())
        for i, kind in enumerate(words.channels):
            if kind not in shipped:  # that one need not be installed
                draft.kind(kind, file, ("opt_out", name, "channels", i))
        for number, kind in product(words.numbers or ("",), words.channels or ("",)):
            first = seen.setdefault((number, kind), name)
            if first != name:
                which = f"number {number}" if number else "all other numbers"
                which += f" on {kind}" if kind else ""
                message = f"{which}: opt_out.{first} already has the words"
                draft.note(file, ("opt_out", name), message, "keep one of the two")


def _cities(draft: Draft) -> None:
    seen: dict[str, str] = {}
    for file, city in draft.cities.items():
        first = seen.setdefault(city.city, file)
        if first != file:
            draft.note(file, ("city",), f"{first} is of {city.city} too", "keep one of the two")
        for name, own in city.caps.items():
            path: Path = ("caps", name)
            if not draft.named("cap", name, file, path) or draft.policy is None:
                continue
            cap = draft.policy.caps[name]
            if "windows" not in cap.overridable and _shapes(own.windows) != _shapes(cap.windows):
                _refuse(draft, file, path, "windows", cap.overridable)
            elif not cap.overridable:
                _refuse(draft, file, path, "limit", cap.overridable)
        for name in city.quiet:
            path = ("quiet", name)
            if not draft.named("window set", name, file, path) or draft.policy is None:
                continue
            quiet = draft.policy.quiet[name]
            if not quiet.overridable:
                _refuse(draft, file, path, "windows", quiet.overridable)
        _city_routes(draft, file, city)


def _city_routes(draft: Draft, file: str, city: CityConfig) -> None:
    if draft.routes is None:
        return
    named = {route.name: route for route in draft.routes.routes if route.name is not None}
    for name, own in city.routes.items():
        path: Path = ("routes", name)
        route = named.get(name)
        if route is None:
            remedy = did_you_mean(name, sorted(named), what="named routes")
            draft.note(file, path, f"there is no route `{name}`", remedy)
            continue
        if not route.overridable:
            _refuse(draft, file, path, "channel", route.overridable, "routes.yaml")
        _way(draft, file, path, own, route.kind)


def _shapes(windows: Sequence[CapWindow]) -> list[tuple[str, object]]:
    return [window.shape for window in windows]


def _refuse(
    draft: Draft,
    file: str,
    path: Path,
    what: str,
    allowed: Sequence[str],
    home: str = "policy.yaml",
) -> None:
    """A city changes what the province keeps."""
    rule = dotted(path)
    only = f"only its {' and '.join(allowed)}" if allowed else "nothing of it"
    draft.note(
        file,
        path,
        f"a city may not change the {what} of {rule}",
        f"{home} allows {only}: take it out here, or add `overridable: [{what}]` there",
    )


def _templates(draft: Draft) -> None:
    crosschecked(
        draft.templates,
        draft.kinds,
        draft.template_note,
        lambda kind, known: did_you_mean(kind, known, what="channel kinds"),
    )


def _callers(draft: Draft) -> None:
    file = "callers.yaml"
    for name, caller in draft.callers.items():
        for i, word in enumerate(caller.categories):
            if word != "*":
                draft.named("category", word, file, (name, "categories", i))
        if caller.defaults.account is not None:
            path: Path = (name, "defaults", "account")
            draft.named("account", caller.defaults.account, file, path)
            default = draft.accounts.get(caller.defaults.account)
            if default is not None and default.state != "active":
                message = f"account `{caller.defaults.account}` is {default.state}"
                draft.note(file, path, message, "choose an active account")
        category, path = caller.defaults.category, (name, "defaults", "category")
        if category is None or not draft.named("category", category, file, path):
            continue
        if not caller.may_send(category):
            message = f"the caller may not send `{category}`"
            remedy = "add it to `categories`, or choose another default"
            draft.note(file, path, message, remedy)


def _accounts(draft: Draft) -> None:
    file = "accounts.yaml"
    seen: dict[tuple[str, str], str] = {}
    for name, account in draft.accounts.items():
        if account.caller is not None:
            draft.named("caller", account.caller, file, (name, "caller"))
        _of_kind(draft, file, (name, "channel"), account.channel, account.kind)
        first = seen.setdefault((account.channel, account.far_name), name)
        if first != name and account.number is not None:
            draft.note(
                file,
                (name, "number"),
                f"account `{first}` already has this number on channel `{account.channel}`",
                "give one of them another extension",
            )
        elif first != name:
            draft.note(
                file,
                (name, "address"),
                f"account `{first}` already has this address on channel `{account.channel}`",
                "remove one of the two",
            )


_CHECKS = (
    _channels,
    _doorbells,
    _routes,
    _policy,
    _rules,
    _cities,
    _templates,
    _callers,
    _accounts,
)
