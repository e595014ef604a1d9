"""The whole of `msgcenter config`: what a folder says (`config`), how a change comes into force (`rollout`), what
it would have done (`simulate`), what it does with one message now (`explaining`)."""

from __future__ import annotations

from msgcenter.cli import explaining, rollout, simulate
from msgcenter.cli.config import app

for _command in (
    rollout.status,
    rollout.diff,
    rollout.approve,
    rollout.apply,
    rollout.rollback,
    rollout.history,
    explaining.explain,
    simulate.simulate,
):
    app.command()(_command)

__all__ = ["app"]
