"""One row of the category table: what may be done with messages of one kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from msgcenter.config.values import Duration, Name, Strict, fault, parse_duration

Tier = Literal["P0", "P1", "P2", "P3", "P4", "P5", "P6"]
Lane = Literal["conv", "urgent", "normal", "bulk"]

_LANES: Mapping[Tier, Lane] = {
    "P0": "urgent",
    "P1": "urgent",
    "P2": "normal",
    "P3": "normal",
    "P4": "bulk",
    "P5": "bulk",
    "P6": "bulk",
}
#: Binds categories from P3 on that say nothing of quiet hours.
NIGHT = "night"


class Retry(Strict):
    max_attempts: int = Field(ge=1, le=1000)
    """Sends at most, the first included."""
    max_age: Duration = Field(description="no attempt later than this after acceptance")


class Category(Strict):
    """What may be done with messages of one category. Where a default is said to follow the tier, it is filled in when the
    file is read."""

    name_zh: str = Field(min_length=1, max_length=40)
    """The name that people read."""
    tier: Tier
    """P0 first; P0 and P1 are never held."""
    bypass: bool = Field(description="passes caps")
    counts: bool = Field(description="counts against caps")
    quiet: tuple[Name, ...] = Field(
        default=(), description="window sets that bind it; left out: night for P3-P6"
    )
    dnd: bool = Field(
        default=True,
        description="the customer's own do-not-disturb binds it; left out: unless bypass",
    )
    service: bool = Field(
        default=False,
        description="goes to customers who want service messages only; left out: P0-P2",
    )
    on_quiet: Literal["hold", "drop", "downgrade"] | None = Field(
        default=None,
        description="in quiet time or do-not-disturb; left out: hold if max_hold, else drop",
    )
    downgrade_to: Name | None = Field(
        default=None,
        description="the kind tried instead: by on_quiet downgrade, or when hold would exceed max_hold",
    )
    consent: bool = Field(description="is refused without a consent record")
    consent_channels: tuple[Name, ...] | None = Field(
        default=None, description="kinds on which consent is needed; none: all"
    )
    opt_out: bool = Field(default=True, description="an opt-out stops it; left out: unless P0-P2")
    channels: tuple[Name, ...] | None = Field(
        default=None, description="allowed channel kinds; none: all"
    )
    max_hold: Duration = Field(description="longest wait for a quiet window to end; 0: never held")
    retry: Retry
    """How often and how long a failing send is tried again."""
    on_unknown: Literal["never", "once"] = Field(
        description="whether a send with unknown result is repeated"
    )
    receipt_wait: Duration = Field(
        600.0, description="how long a receipt may resolve an unknown before it is settled"
    )
    retention: Duration = Field(description="how long the readable history keeps it")
    content: Literal["full", "masked", "none"] = Field(
        description="how much of the text is archived"
    )
    expires_in: Duration = Field(description="validity when the caller names none")

    @property
    def rank(self) -> int:
        """0 (P0) to 6 (P6); lower goes first."""
        return int(self.tier[1])

    @property
    def lane(self) -> Lane:
        """The lane of a message without an `order_key` (one with it goes by `conv`)."""
        return _LANES[self.tier]

    @model_validator(mode="before")
    @classmethod
    def _follow_the_tier(cls, given: Any) -> Any:
        """Columns that a file from before they existed leaves out, on the safe side."""
        if not isinstance(given, Mapping) or given.get("tier") not in _LANES:
            return given
        out = dict(given)
        rank = int(str(out["tier"])[1])
        out.setdefault("dnd", rank > 1 and out.get("bypass") is not True)
        out.setdefault("quiet", (NIGHT,) if rank >= 3 else ())
        out.setdefault("service", rank <= 2)
        out.setdefault("opt_out", rank >= 3)
        if out.get("on_quiet") is None and (out["quiet"] or out["dnd"]):
            out["on_quiet"] = "drop" if _no_time(out.get("max_hold")) else "hold"
        return out

    @field_validator("quiet")
    @classmethod
    def _once_each(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) != len(value):
            raise fault("a window set is listed twice", "list each once")
        return value

    @model_validator(mode="after")
    def _tier_rules(self) -> Category:
        if self.on_unknown == "once" and self.tier not in ("P1", "P2", "P3"):
            raise fault(
                f"on_unknown: once is not allowed for tier {self.tier}", "set `on_unknown: never`"
            )
        if self.max_hold and self.rank <= 1:
            raise fault(f"tier {self.tier} is never held", "set `max_hold: 0s`")
        if self.rank <= 1 and (self.quiet or self.dnd):
            raise fault(f"tier {self.tier} knows no quiet time", "set `quiet: []` and `dnd: false`")
        if self.rank >= 4 and self.bypass:
            raise fault(
                f"tier {self.tier} must not bypass caps and do-not-disturb", "set `bypass: false`"
            )
        if self.rank >= 4 and not (self.dnd and self.opt_out):
            raise fault(
                f"tier {self.tier} must respect do-not-disturb and opt-outs",
                "set `dnd: true` and `opt_out: true`",
            )
        if self.expires_in <= 0:
            raise fault(
                "expires_in must be longer than 0", "give the time after which it is useless"
            )
        if self.retry.max_age > self.expires_in:
            raise fault("retry.max_age is longer than expires_in", "lower `retry.max_age`")
        return self

    @model_validator(mode="after")
    def _quiet_rules(self) -> Category:
        if self.on_quiet == "hold" and not self.max_hold:
            raise fault("on_quiet: hold needs a max_hold", "give one, or set `on_quiet: drop`")
        if self.on_quiet == "downgrade" and self.downgrade_to is None:
            raise fault(
                "on_quiet: downgrade needs a kind", "add `downgrade_to: KIND`, like platform"
            )
        if self.consent_channels is not None and not self.consent:
            raise fault(
                "names consent_channels but needs no consent",
                "set `consent: true`, or remove `consent_channels`",
            )
        return self


def _no_time(value: object) -> bool:
    """Whether a duration as written is 0; one that is none is somebody else's fault to tell."""
    try:
        return value is None or parse_duration(value) == 0
    except ValueError:
        return False
