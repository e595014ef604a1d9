"""Caps by `when`: the rules that one message falls under, ready to be asked, each with counters of exactly what it counts.

`Caps` tells rules apart by category, tag and channel. Any other condition of `when` becomes a tag of its own, made of the
conditions themselves: so a rule for one caller does not count what another sends, whatever else the rules share, and keeps
its past when it is renamed. A city's own version counts together with the province's: only what it allows differs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from msgcenter.policy.caps import CapRule, Caps
from msgcenter.policy.when import Facts, Matcher

#: Different sets of rules that messages fall under; each is made once.
MAX_SETS = 1024


@dataclass(frozen=True, slots=True)
class CapEntry:
    """`rule` without categories, tags and channels: `when` has them."""

    when: Matcher
    rule: CapRule


@dataclass(frozen=True, slots=True)
class Picked:
    """`caps`: to `ask` with facts whose tags are `tags`."""

    caps: Caps
    tags: frozenset[str]


@dataclass(slots=True)
class CapBook:
    """The caps of one configuration. Not for several threads at once."""

    entries: Sequence[CapEntry]
    _rules: list[CapRule] = field(init=False)
    _all: Caps = field(init=False)
    _made: dict[tuple[int, ...], Picked] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        """Raises ValueError for a rule that counts nothing (see CapRule)."""
        self._rules = [_counting(entry) for entry in self.entries]
        self._all = Caps(self._rules)

    @property
    def all(self) -> Caps:
        """Every rule: for what State counts, not to be asked."""
        return self._all

    def pick(self, facts: Facts) -> Picked:
        """The rules whose `when` holds, by this message's own facts."""
        fitting = tuple(i for i, entry in enumerate(self.entries) if entry.when.match(facts).holds)
        made = self._made.get(fitting)
        if made is None:
            rules = [self._rules[i] for i in fitting]
            own = frozenset(tag for rule in rules for tag in rule.tags if tag.startswith(_OWN))
            made = Picked(Caps(rules), own)
            if len(self._made) >= MAX_SETS:
                self._made.clear()
            self._made[fitting] = made
        return replace(made, tags=made.tags | facts.tags) if facts.tags else made


_OWN = "when:"


def _counting(entry: CapEntry) -> CapRule:
    when = entry.when
    conditions = when.conditions()
    if conditions:
        return replace(entry.rule, tags=frozenset({_OWN + conditions}))
    return replace(entry.rule, categories=when.categories, tags=when.tags, channels=when.channels)
