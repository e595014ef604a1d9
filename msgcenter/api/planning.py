"""Planning: the plan of a request becomes leaves and groups, or the list of everything that is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from msgcenter.api.content import AnyContent
from msgcenter.api.models import MessageRequest, PlanNode, PlanRequest
from msgcenter.api.problems import Fault
from msgcenter.api.recipient import read_recipient
from msgcenter.api.templating import versions_of
from msgcenter.api.terms import Plan as Way
from msgcenter.api.terms import Terms, Wish
from protocols.address import Address
from protocols.payload import Group, Leaf, Plan

MAX_DEPTH = 4
MAX_LEAVES = 10
SHAPES = ("channel", "first_success", "all_of", "wait_then_next", "of")
_OF_A_STEP = ("content", "from_", "to", "wait", "success", "cost")
_REPORTED = ("delivered", "read")


def steps_of(node: PlanNode, path: str = "plan", depth: int = 1) -> Iterator[tuple[str, PlanNode]]:
    """The steps in order, each with its path; no deeper than a plan may be."""
    if node.channel is not None:
        yield path, node
    if depth > MAX_DEPTH:
        return
    for name in SHAPES[1:]:
        for number, member in enumerate(getattr(node, name) or ()):
            yield from steps_of(member, f"{path}.{name}[{number}]", depth + 1)


def contents_of(request: MessageRequest) -> Iterator[tuple[str, AnyContent]]:
    """What the message and its steps say: (path of what holds it, content)."""
    yield "", request.content
    if request.plan is not None:
        for path, step in steps_of(request.plan):
            if step.content is not None:
                yield f"{path}.", step.content


@dataclass(slots=True)
class Planner:
    """Reads the plan of one request. `faults` grows; `way` is what the category says of every step."""

    request: MessageRequest
    to: Address | None
    terms: Terms
    faults: list[Fault]
    at: int
    """When the first step may be sent; epoch milliseconds."""
    way: Way | None = None
    _leaves: list[Leaf] = field(default_factory=list)
    _groups: list[Group] = field(default_factory=list)

    def plan(self, plan: PlanRequest) -> Plan | None:
        """None when there are faults."""
        for name, value in (
            ("channels", self.request.channels),
            ("reply_to", self.request.reply_to),
            ("order_key", self.request.order_key),
        ):
            if value is not None:
                self.faults.append(Fault(name, "plan_conflict", value))
        if self.to is not None and self.to.scheme == "group":
            self.faults.append(Fault("plan", "plan_group"))
        count = sum(1 for _ in steps_of(plan))
        if count > MAX_LEAVES:
            self.faults.append(Fault("plan", "plan_too_many", facts={"limit": MAX_LEAVES}))
            return None
        root = self._visit(plan, "plan", 1, "accepted", waits=False)
        if root > 0:
            self._groups.append(Group(1, (root,)))
        if self.faults:
            return None
        return Plan(
            tuple(self._leaves),
            tuple(self._groups),
            plan.cost_limit or 0,
            tuple(dict.fromkeys(plan.stop_on or ())),
        )

    def _visit(self, node: PlanNode, path: str, depth: int, success: str, *, waits: bool) -> int:
        """The member that this node becomes: a leaf's number, or minus a group's place."""
        given = [name for name in SHAPES if getattr(node, name) is not None]
        if len(given) != 1:
            facts = {"known": SHAPES, "given": given}
            self.faults.append(Fault(path, "plan_shape", facts=facts))
            return 0
        shape = given[0]
        if node.any_ is not None and shape != "of":
            self.faults.append(Fault(f"{path}.any", "plan_any", node.any_))
        if shape == "channel":
            return self._step(node, path, success, waits=waits)
        for name in _OF_A_STEP:
            if getattr(node, name) is not None:
                self.faults.append(Fault(f"{path}.{name.rstrip('_')}", "plan_step_only"))
        members = list(getattr(node, shape))
        if depth >= MAX_DEPTH:
            self.faults.append(Fault(path, "plan_too_deep", facts={"limit": MAX_DEPTH}))
            return 0
        at = len(self._groups)
        self._groups.append(Group(1, ()))  # its place; what it is follows below
        inner = "delivered" if shape == "wait_then_next" else "accepted"
        numbers = [
            self._visit(
                member,
                f"{path}.{shape}[{number}]",
                depth + 1,
                inner,
                waits=shape == "wait_then_next" and number < len(members) - 1,
            )
            for number, member in enumerate(members)
        ]
        self._groups[at] = Group(self._need(node, path, shape, len(members)), tuple(numbers))
        return -at

    def _need(self, node: PlanNode, path: str, shape: str, count: int) -> int:
        if shape == "all_of":
            return count
        if shape != "of":
            return 1
        if node.any_ is None:
            self.faults.append(Fault(f"{path}.any", "missing", facts={"name": "any"}))
            return 1
        if node.any_ > count:
            facts = {"expected": f"1 to {count}"}
            self.faults.append(Fault(f"{path}.any", "out_of_range", node.any_, facts))
        return node.any_

    def _step(self, node: PlanNode, path: str, success: str, *, waits: bool) -> int:
        kind = node.channel or ""
        content = node.content or self.request.content
        to = self._to(node, path)
        reached = to or self.to
        wish = Wish(
            reached.scheme if reached is not None else None,
            self.request.category,
            (kind,),
            self._account(node, kind),
            type(content.payload()),
            content.type,
            versions_of(content, self.terms.config, self.at),
        )
        way = self.terms.plan(wish)
        if isinstance(way, Way):
            self.way = self.way or way
        else:
            known = {(fault.field, fault.code) for fault in self.faults}
            here = (self._placed(fault, node, path) for fault in way)
            self.faults += [fault for fault in here if (fault.field, fault.code) not in known]
        success = node.success or success
        account = way.account if isinstance(way, Way) else ""
        if success in _REPORTED and kind in self.terms.kinds:
            self._seen(success, kind, account, path)
        if waits and node.wait is None:
            self.faults.append(Fault(f"{path}.wait", "missing", facts={"name": "wait"}))
        self._leaves.append(
            Leaf(
                kind,
                content.payload(),
                account,
                to,
                round((node.wait or 0.0) * 1000),
                success,
                node.cost or 0,
            )
        )
        return len(self._leaves)

    def _seen(self, success: str, kind: str, account: str, path: str) -> None:
        """Refuse a step that waits for what none of the channels it may leave by ever reports."""
        told = frozenset().union(*(spec.receipts for spec in self.terms.ways(kind, account)))
        if success not in told:
            facts = {"kind": kind, "known": ["accepted", *sorted(told), "replied"]}
            self.faults.append(Fault(f"{path}.success", "success_unseen", success, facts))

    def _to(self, node: PlanNode, path: str) -> Address | None:
        if node.to is None:
            return None
        read = read_recipient(node.to, f"{path}.to")
        if isinstance(read, Fault):
            self.faults.append(read)
            return None
        if read.scheme == "group":
            self.faults.append(Fault(f"{path}.to", "plan_group", node.to))
        return read

    def _account(self, node: PlanNode, kind: str) -> str | None:
        """The message's own account speaks for the steps of its kind."""
        if node.from_ is not None or self.request.from_ is None:
            return node.from_
        account = self.terms.config.accounts.get(self.request.from_)
        return self.request.from_ if account is None or account.kind == kind else None

    def _placed(self, fault: Fault, node: PlanNode, path: str) -> Fault:
        """A fault of a routing slip of one kind, said of this step."""
        where = {
            "channels[0]": f"{path}.channel",
            "channels": f"{path}.channel",
            "from": f"{path}.from" if node.from_ is not None or not self.request.from_ else "from",
            "to": f"{path}.to" if node.to is not None else "to",
        }
        return Fault(where.get(fault.field, fault.field), fault.code, fault.value, fault.facts)
