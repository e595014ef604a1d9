"""The rules of one configuration, compiled: what the policy functions are asked with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from msgcenter.policy.approvals import ApprovalRule
from msgcenter.policy.capbook import CapEntry
from msgcenter.policy.consent import ConsentRule, Needs
from msgcenter.policy.content import Content
from msgcenter.policy.opt_out import OptOutRule
from msgcenter.policy.quiet import Conduct, QuietRules
from msgcenter.policy.routing import Routing
from msgcenter.policy.when import Facts


@dataclass(frozen=True, slots=True)
class Rules:
    """Immutable; take it once per piece of work. A category that is not in it is known by the strictest row."""

    conducts: Mapping[str, Conduct] = field(default_factory=lambda: MappingProxyType({}))
    needs: Mapping[str, Needs] = field(default_factory=lambda: MappingProxyType({}))
    quiet: QuietRules = field(default_factory=QuietRules)
    consent: tuple[ConsentRule, ...] = ()
    content: Content = field(default_factory=Content)
    opt_out: tuple[OptOutRule, ...] = ()
    approvals: tuple[ApprovalRule, ...] = ()
    caps: tuple[CapEntry, ...] = ()
    """Each cap and when it applies; one that cities have changed stands here once for each, and for elsewhere."""
    routing: Routing = field(default_factory=Routing)

    def conduct(self, category: str) -> Conduct:
        """What a category does about quiet time; one that was taken out of the file is bound by every window set."""
        found = self.conducts.get(category)
        return found if found is not None else Conduct(rank=6, sets=tuple(self.quiet.sets))

    def needs_of(self, category: str) -> Needs:
        """What a category needs of consent; one that was taken out of the file needs it everywhere."""
        return self.needs.get(category, _STRICT)

    def caps_for(self, facts: Facts) -> tuple[str, ...]:
        """The caps that a message falls under, by name."""
        return tuple(entry.rule.name for entry in self.caps if entry.when.match(facts).holds)


_STRICT = Needs(consent=True)
