"""What no single file can know: whether routes, accounts and callers name things that exist."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgcenter.config.problems import ConfigProblem, did_you_mean, dotted
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    PolicyConfig,
    RoutesConfig,
)
from msgcenter.config.source import Node

Path = Sequence[str | int]

#: A word of these kinds must be a key of that file (and below that key); the plural is for people.
_NAMED_IN: dict[str, tuple[str, tuple[str, ...], str]] = {
    "channel": ("channels.yaml", (), "channels"),
    "category": ("policy.yaml", ("categories",), "categories"),
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
    problems: list[ConfigProblem] = field(default_factory=list)

    def note(self, file: str, path: Path, message: str, remedy: str) -> None:
        mark = self.nodes[file].at(path)
        self.problems.append(ConfigProblem(mark, dotted(path), message, remedy))

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


def crosscheck(draft: Draft) -> None:
    """Adds every fault between files to `draft.problems`."""
    for check in (_channels, _routes, _policy, _callers, _accounts):
        check(draft)


def _channels(draft: Draft) -> None:
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


def _routes(draft: Draft) -> None:
    file = "routes.yaml"
    closed: dict[str, int] = {}
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
            for j, word in enumerate(route.when.categories):
                draft.named("category", word, file, (*at, "when", "categories", j))
            for j, word in enumerate(route.when.callers):
                draft.named("caller", word, file, (*at, "when", "callers", j))
        _of_kind(draft, file, (*at, "channel"), route.channel, route.kind)
        channel = draft.channels.get(route.channel)
        if channel is not None and not channel.enabled:
            draft.note(
                file,
                (*at, "channel"),
                f"channel `{route.channel}` is not enabled",
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


def _policy(draft: Draft) -> None:
    for name, category in (draft.policy.categories if draft.policy else {}).items():
        for i, kind in enumerate(category.channels or ()):
            if kind not in draft.kinds:
                remedy = did_you_mean(kind, draft.kinds, what="channel kinds")
                path = ("categories", name, "channels", i)
                draft.note("policy.yaml", path, f"there is no channel kind `{kind}`", remedy)


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
