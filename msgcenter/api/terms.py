"""Terms: what one caller may send under one configuration, compiled once, so that a request costs a
dictionary look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from msgcenter.adapter import Spec
from msgcenter.api.problems import Fault, Problem
from msgcenter.config import CallerConfig, Config
from protocols.payload import Payload, Template

Ways: TypeAlias = Callable[[str, str], Sequence[Spec]]
"""Kind and account ("" = none) -> what the channels that such a message may leave by can do."""

MAX_PLANS = 4096
MOST_LISTED = 20
REPLY = "reply"
#: A customer is reached through whatever addresses the directory has for it.
_OF_A_CUSTOMER = ("customer", "tel", "wecom", "kf", "gridapp")


@dataclass(frozen=True, slots=True)
class Plan:
    """How a message may go: kinds in order, the account (may be empty), tier, validity in
    milliseconds."""

    kinds: tuple[str, ...]
    account: str
    tier: int
    life_ms: int


class Wish(NamedTuple):
    """What a request says about its way; None = nothing said, or said wrongly elsewhere."""

    scheme: str | None
    category: str | None
    channels: tuple[str, ...] | None
    account: str | None
    payload: type[Payload]
    content_type: str = "text"
    template: tuple[str, tuple[int, ...]] = ("", ())
    """Of a template: its name, and the versions that it may be sent in."""


@dataclass(slots=True)
class Terms:
    """One caller's terms. `plan` answers from memory after the first time."""

    name: str
    caller: CallerConfig
    config: Config
    kinds: Mapping[str, Spec]
    """Kinds with an enabled channel, in the order of channels.yaml."""
    granted: tuple[str, ...]
    by_kind: Mapping[str, tuple[str, ...]]
    """Kind -> active accounts."""
    ways: Ways
    _plans: dict[Wish, Plan | tuple[Fault, ...]] = field(default_factory=dict)

    def plan(self, wish: Wish) -> Plan | tuple[Fault, ...]:
        found = self._plans.get(wish)
        if found is None:
            found = self._make(wish)
            if len(self._plans) >= MAX_PLANS:
                self._plans.clear()
            self._plans[wish] = found
        return found

    def reach(self, scheme: str) -> list[str]:
        """Running kinds that reach addresses of a scheme."""
        schemes = _OF_A_CUSTOMER if scheme == "customer" else (scheme,)
        return [kind for kind, spec in self.kinds.items() if not spec.schemes.isdisjoint(schemes)]

    def _make(self, wish: Wish) -> Plan | tuple[Fault, ...]:
        faults: list[Fault] = []
        category = wish.category or self.caller.defaults.category
        known = self.config.policy.categories.get(category or "")
        if category is None:
            faults.append(Fault("category", "category_required", facts={"granted": self.granted}))
        elif known is None:
            faults.append(
                Fault("category", "category_unknown", category, {"granted": self.granted})
            )
        elif not self.caller.may_send(category):
            faults.append(
                Fault("category", "category_not_granted", category, {"granted": self.granted})
            )
        allowed = known.channels if known else None
        kinds = self._kinds(wish, category or "", allowed, faults)
        account = self.account(wish.account, kinds, faults)
        if wish.channels is None and account and kinds:
            # an account speaks for its own kind only; kinds that need none stay as a second choice
            own = self.config.accounts[account].kind
            if wish.account is not None:
                kinds = [own] if own in kinds else kinds
        if faults or known is None:
            return tuple(faults)
        life = self.caller.defaults.expires_in or known.expires_in
        return Plan(tuple(kinds), account, known.rank, round(life * 1000))

    def _kinds(
        self, wish: Wish, category: str, allowed: Sequence[str] | None, faults: list[Fault]
    ) -> list[str]:
        reach = self.reach(wish.scheme) if wish.scheme is not None else list(self.kinds)
        if wish.scheme is not None and not reach:
            schemes = sorted({s for spec in self.kinds.values() for s in spec.schemes} - {"caller"})
            facts = {"scheme": wish.scheme, "known": schemes}
            faults.append(Fault("to", "scheme_unreachable", wish.scheme, facts))
        able = [kind for kind, spec in self.kinds.items() if self._carries(spec, wish)]
        if wish.channels is None:
            fit = [k for k in reach if k in able and (allowed is None or k in allowed)]
            if reach and not fit:
                facts = {"type": wish.content_type, "known": able}
                code = "channel_not_allowed" if set(reach) & set(able) else "content_not_supported"
                if code == "channel_not_allowed":
                    facts = {"category": category, "known": allowed or ()}
                faults.append(Fault("channels", code, facts=facts))
            return fit
        for number, kind in enumerate(wish.channels):
            field_name = f"channels[{number}]"
            if kind not in self.kinds:
                facts = {"known": list(self.kinds)}
                faults.append(Fault(field_name, "channel_unknown", kind, facts))
                continue
            if kind in wish.channels[:number]:
                faults.append(Fault(field_name, "channel_repeated", kind))
            if wish.scheme is not None and reach and kind not in reach:
                facts = {"scheme": wish.scheme, "known": reach}
                faults.append(Fault(field_name, "channel_unreachable", kind, facts))
            if allowed is not None and kind not in allowed:
                facts = {"category": category, "known": list(allowed)}
                faults.append(Fault(field_name, "channel_not_allowed", kind, facts))
            if kind not in able:
                facts = {"type": wish.content_type, "known": able}
                faults.append(Fault(field_name, "content_not_supported", kind, facts))
        return list(wish.channels)

    def _carries(self, spec: Spec, wish: Wish) -> bool:
        """Whether a kind can say it; of a template, in the variant that it has for the kind. One that does not exist is told
        of elsewhere."""
        if wish.payload is not Template:
            return wish.payload in spec.payloads
        name, numbers = wish.template
        said = self.config.book.payloads(name, numbers, spec.kind)
        return not numbers or not spec.payloads.isdisjoint(said)

    def account(self, asked: str | None, kinds: Sequence[str], faults: list[Fault]) -> str:
        """The account that sends by one of `kinds`: the one asked for, the caller's default, or the only one there is; empty
        when none is needed. Adds the faults of `from`."""
        candidates = [name for kind in kinds for name in self.by_kind.get(kind, ())]
        if asked is not None:
            account = self.config.accounts.get(asked)
            if account is None:
                facts: dict[str, object] = {"candidates": listed(candidates)}
                faults.append(Fault("from", "account_unknown", asked, facts))
            elif kinds and account.kind not in kinds:
                facts = {"kind": account.kind, "candidates": listed(candidates)}
                faults.append(Fault("from", "account_mismatch", asked, facts))
            elif account.state != "active":
                facts = {"state": account.state, "candidates": listed(candidates)}
                faults.append(Fault("from", "account_inactive", asked, facts))
            return asked if account else ""
        default = self.caller.defaults.account
        if default and default in candidates:
            return default
        needing = [kind for kind in kinds if kind in self.kinds and self.kinds[kind].needs_account]
        fitting = [name for kind in needing for name in self.by_kind.get(kind, ())]
        if len(fitting) == 1:
            return fitting[0]
        if len(fitting) > 1:
            faults.append(Fault("from", "account_ambiguous", facts={"candidates": listed(fitting)}))
        elif needing:
            faults.append(Fault("from", "account_missing", facts={"kinds": needing}))
        return ""


def listed(names: Sequence[str]) -> list[str]:
    """Names as a problem shows them: a thousand would help nobody."""
    if len(names) <= MOST_LISTED:
        return list(names)
    return [*names[:MOST_LISTED], f"… ({len(names)} in all, see GET /v1/accounts)"]


class TermsBook:
    """Terms by caller for the configuration in force; a new configuration starts a new page."""

    def __init__(self, specs: Mapping[str, Spec], ways: Ways) -> None:
        self._specs = specs
        self._ways = ways
        self._config: Config | None = None
        self._terms: dict[str, Terms] = {}

    def terms(self, config: Config, caller: str) -> Terms:
        """Raises Problem `caller_disabled` for a caller that is not configured or disabled."""
        if config is not self._config:
            self._config, self._terms = config, {}
        terms = self._terms.get(caller)
        if terms is None:
            found = config.callers.get(caller)
            if found is None or not found.enabled:
                raise Problem("caller_disabled", caller=caller)
            terms = self._terms[caller] = self._compile(config, caller, found)
        return terms

    def _compile(self, config: Config, name: str, caller: CallerConfig) -> Terms:
        kinds: dict[str, Spec] = {}
        for channel in config.channels.values():
            spec = self._specs.get(channel.kind)
            if channel.enabled and spec is not None:
                kinds.setdefault(channel.kind, spec)
        by_kind: dict[str, list[str]] = {}
        for account, entry in config.accounts.items():
            if entry.state == "active":
                by_kind.setdefault(entry.kind, []).append(account)
        granted = tuple(c for c in config.policy.categories if caller.may_send(c))
        frozen = {kind: tuple(names) for kind, names in by_kind.items()}
        return Terms(name, caller, config, kinds, granted, frozen, self._ways)
