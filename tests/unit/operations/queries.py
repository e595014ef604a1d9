"""What a PromQL expression asks for: metrics, matchers and labels, from its syntax tree; and what the product offers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import promql_parser as promql
from prometheus_client import CollectorRegistry

from msgcenter.bus import LANES
from msgcenter.metrics import Metrics
from protocols.outcome import Outcome

#: What Prometheus itself adds to every series.
GIVEN = frozenset({"instance", "job"})
#: Metrics of others that a query may use -> their labels.
OTHERS = {
    "up": frozenset[str](),
    "rabbitmq_alarms_memory_used_watermark": frozenset[str](),
    "rabbitmq_alarms_free_disk_space_watermark": frozenset[str](),
    "process_resident_memory_bytes": frozenset[str](),
    "process_cpu_seconds_total": frozenset[str](),
    "process_open_fds": frozenset[str](),
    "process_max_fds": frozenset[str](),
}
#: Label -> the only values it has, where the code bounds them.
VALUES = {
    "outcome": {one.__name__.lower() for one in Outcome.__args__},
    "lane": set(LANES),
    "part": {"bus", "state", "store"},
    "receipts": {"true", "false"},
}


def offered() -> dict[str, frozenset[str]]:
    """Name of every series -> its labels; a histogram has three."""
    out = dict(OTHERS)
    for metric in vars(Metrics(CollectorRegistry())).values():
        names = getattr(metric, "_labelnames", None)
        if names is None:
            continue
        labels, name = frozenset(names), metric._name
        if metric._type == "histogram":
            out |= {f"{name}_{end}": labels for end in ("sum", "count")}
            out[f"{name}_bucket"] = labels | {"le"}
        else:
            out[f"{name}_total" if metric._type == "counter" else name] = labels
    return out


def faults(expression: str) -> list[str]:
    """What is wrong with an expression: a metric, label or label value that does not exist. Raises ValueError (syntax)."""
    known = offered()
    tree = promql.parse(expression)
    found: list[str] = []
    reachable = set(GIVEN)
    for node in _nodes(tree):
        if isinstance(node, promql.VectorSelector):
            labels = known.get(node.name or "")
            if labels is None:
                found.append(f"no metric {node.name}")
                continue
            reachable |= labels
            for matcher in node.matchers.matchers:
                if matcher.name not in labels | GIVEN:
                    found.append(f"{node.name} has no label {matcher.name}")
                found += _values(matcher)
        elif isinstance(node, promql.Call) and node.func.name == "label_replace":
            reachable.add(node.args[1].val)
    asked = {label for node in _nodes(tree) for label in _grouped(node)}
    return found + [f"nothing in it has a label {label}" for label in sorted(asked - reachable)]


def _values(matcher: Any) -> list[str]:
    bounded = VALUES.get(matcher.name)
    if bounded is None or str(matcher.op) not in ("MatchOp.Equal", "MatchOp.Re"):
        return []
    wanted = matcher.value.split("|")
    return [f"{matcher.name} is never {one}" for one in wanted if one not in bounded]


def _nodes(node: Any) -> Iterator[Any]:
    yield node
    for name in ("expr", "lhs", "rhs", "vector_selector", "param"):
        inner = getattr(node, name, None)
        if isinstance(inner, promql.Expr):
            yield from _nodes(inner)
    for inner in getattr(node, "args", None) or ():
        yield from _nodes(inner)


def _grouped(node: Any) -> list[str]:
    """The labels that a node groups or matches by."""
    modifier = getattr(node, "modifier", None)
    if modifier is None:
        return []
    labels = getattr(modifier, "labels", None)
    matching = getattr(modifier, "matching", None)
    return [*(labels or ()), *(getattr(matching, "labels", None) or ())]
