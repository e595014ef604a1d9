"""How a plan is shown: each step with its state, what it waits for and what is known of it."""

from __future__ import annotations

from msgcenter.api.views import PlanStepView, PlanView
from msgcenter.api.web import when
from msgcenter.plans import PlanCell
from msgcenter.policy.plan import OVER_COST, spent


def plan_view(cell: PlanCell) -> PlanView:
    plan, progress = cell.plan, cell.progress
    steps = [
        PlanStepView(
            step=number,
            channel=leaf.kind,
            to=str(leaf.to) if leaf.to is not None else None,
            state="skipped" if state.code == OVER_COST else state.word,
            success=leaf.success,
            succeeded=state.success,
            evidence=state.evidence or None,
            code=state.code or None,
            started_at=when(state.started_at),
            wait_until=when(state.due),
            cost=leaf.cost or None,
        )
        for number, (leaf, state) in enumerate(zip(plan.leaves, progress.leaves, strict=True), 1)
    ]
    return PlanView(
        state=progress.result or "open",
        overlap=progress.overlap,
        closed_at=when(progress.closed_at),
        cost=spent(plan, progress) or None,
        cost_limit=plan.cost_limit or None,
        signals=list(progress.signals) or None,
        steps=steps,
    )
