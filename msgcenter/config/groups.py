"""The models of `groups` in `policy.yaml`: on which terms a group is dissolved."""

from __future__ import annotations

from string import Formatter
from typing import Annotated

from pydantic import Field, StringConstraints, field_validator

from msgcenter.config.values import Duration, Strict, fault

_IN_NOTICE = frozenset({"at", "name"})
_MOST_UNDO_S = 30 * 86400.0


class DissolveTerms(Strict):
    """What happens before a group is dissolved."""

    approval: bool = Field(
        default=False, description="another key than the one that asked must approve it, within 24h"
    )
    undo_for: Duration = Field(
        default=600.0, description="how long it can be undone, where the request does not say"
    )
    notice: Annotated[str, StringConstraints(max_length=500)] = Field(
        default="",
        description="said in the group when that time begins; {at} is when it ends, {name} the group's name; empty: nothing",
    )

    @field_validator("undo_for")
    @classmethod
    def _bounded(cls, value: float) -> float:
        if value > _MOST_UNDO_S:
            raise fault("is longer than 30d", "write it like 10m or 24h")
        return value

    @field_validator("notice")
    @classmethod
    def _known_names(cls, value: str) -> str:
        try:
            names = {name for _, name, _, _ in Formatter().parse(value) if name is not None}
            value.format(**dict.fromkeys(_IN_NOTICE, ""))
        except (ValueError, KeyError, IndexError, AttributeError):
            names = {""}
        if not names <= _IN_NOTICE:
            raise fault("knows only {at} and {name}", "write it like 本群将于 {at} 解散")
        return value


class GroupTerms(Strict):
    """What binds the groups that callers make and dissolve."""

    dissolve: DissolveTerms = DissolveTerms()
    """What must happen before a group is dissolved."""
