"""The models of the hot files: channels, routes, policy, callers and accounts; swapped whole while
the process runs."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, StringConstraints, field_validator, model_validator

from msgcenter.config.values import Duration, Name, Secret, Strict, fault

Tier = Literal["P0", "P1", "P2", "P3", "P4", "P5", "P6"]
Lane = Literal["conv", "urgent", "normal", "bulk"]
Scope = Literal["send", "read", "read:all", "groups", "admin"]

_LANES: Mapping[Tier, Lane] = {
    "P0": "urgent",
    "P1": "urgent",
    "P2": "normal",
    "P3": "normal",
    "P4": "bulk",
    "P5": "bulk",
    "P6": "bulk",
}
AgentType = Literal["own", "partner", "field", "campus"]
#: The levels of an organisation path, from the top.
ORGANISATION = ("省", "地市", "区县", "网格", "厅店")

_FarName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_NOT_IN_A_NAME = re.compile(r"[\s/|]")
_Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]+$", max_length=21)]


class ChannelConfig(Strict):
    """One configured, running adapter."""

    kind: Name = Field(description="which adapter: sms, platform, devnull, ...")
    enabled: bool = True
    settings: dict[str, Any] = Field(
        default_factory=dict, description="what the adapter of this kind asks for"
    )
    rate: float | None = Field(
        None, gt=0, le=1_000_000, description="messages per second; none: as fast as it goes"
    )
    in_flight: int | None = Field(
        None, ge=1, le=100_000, description="messages under way; none: the adapter's own"
    )
    send_timeout: Duration = Field(
        default=30.0, description="after this an unanswered send is unknown"
    )

    @field_validator("send_timeout")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise fault("must be longer than 0", "30s suits most far ends")
        return value


class When(Strict):
    """All given conditions must hold; each holds when one of its values does."""

    categories: tuple[Name, ...] = Field(default=(), description="any of these categories")
    callers: tuple[Name, ...] = Field(default=(), description="any of these callers")

    @model_validator(mode="after")
    def _some(self) -> When:
        if not (self.categories or self.callers):
            raise fault("has no condition", "add `categories` or `callers`, or remove `when`")
        return self


class Route(Strict):
    """Messages of `kind` go out by `channel`; the first route that fits wins."""

    kind: Name
    channel: Name
    when: When | None = None

    def fits(self, category: str, caller: str) -> bool:
        when = self.when
        return when is None or (
            (not when.categories or category in when.categories)
            and (not when.callers or caller in when.callers)
        )


class RoutesConfig(Strict):
    """`routes.yaml`. A kind without a route uses its only enabled channel."""

    routes: tuple[Route, ...] = ()


class Retry(Strict):
    max_attempts: int = Field(ge=1, le=1000)
    max_age: Duration = Field(description="no attempt later than this after acceptance")


class Category(Strict):
    """What may be done with messages of one category."""

    name_zh: str = Field(min_length=1, max_length=40)
    tier: Tier
    bypass: bool = Field(description="passes caps and do-not-disturb")
    counts: bool = Field(description="counts against caps")
    consent: bool = Field(description="is refused without a consent record")
    channels: tuple[Name, ...] | None = Field(
        default=None, description="allowed channel kinds; none: all"
    )
    max_hold: Duration = Field(description="longest wait for a quiet window to end; 0: never held")
    retry: Retry
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

    @model_validator(mode="after")
    def _tier_rules(self) -> Category:
        if self.on_unknown == "once" and self.tier not in ("P1", "P2", "P3"):
            raise fault(
                f"on_unknown: once is not allowed for tier {self.tier}", "set `on_unknown: never`"
            )
        if self.max_hold and self.rank <= 1:
            raise fault(f"tier {self.tier} is never held", "set `max_hold: 0s`")
        if self.rank >= 4 and self.bypass:
            raise fault(
                f"tier {self.tier} must not bypass caps and do-not-disturb", "set `bypass: false`"
            )
        if self.expires_in <= 0:
            raise fault(
                "expires_in must be longer than 0", "give the time after which it is useless"
            )
        if self.retry.max_age > self.expires_in:
            raise fault("retry.max_age is longer than expires_in", "lower `retry.max_age`")
        return self


class PolicyConfig(Strict):
    """`policy.yaml`. Keys given for a shipped category replace only those; a new category needs all
    of them."""

    categories: Mapping[Name, Category]

    @field_validator("categories", mode="after")
    @classmethod
    def _freeze(cls, value: Mapping[str, Category]) -> Mapping[str, Category]:
        return MappingProxyType(dict(value))


class Callback(Strict):
    """Where a caller's status events are delivered, signed as Standard Webhooks."""

    url: str
    secret: Secret = Field(description="signing key, whsec_ and base64")

    @field_validator("url")
    @classmethod
    def _web(cls, value: str) -> str:
        try:
            url = urlsplit(value)
            host, _ = url.hostname, url.port
        except ValueError:
            host = None
        if not host or url.scheme not in ("http", "https"):
            raise fault("must be an http or https URL", "write it like https://host/path")
        if url.username or url.password:
            raise fault("must not hold a login", "the receiver checks the signature instead")
        return value


class Quota(Strict):
    """How much a caller may send; beyond it the API answers 429."""

    rate: float = Field(gt=0, le=1_000_000, description="messages per second, lasting")
    burst: int = Field(default=1000, ge=1, le=1_000_000, description="messages at once")


class CallerDefaults(Strict):
    """Used where a request says nothing."""

    category: Name | None = None
    account: Name | None = Field(default=None, description="the `from` account")
    expires_in: Duration | None = None


class CallerConfig(Strict):
    """Another system that uses the API. Its keys lie hashed in the Store, not here."""

    name_zh: str = Field(default="", max_length=40)
    enabled: bool = True
    scopes: tuple[Scope, ...] = Field(min_length=1)
    categories: tuple[Name | Literal["*"], ...] = Field(
        default=(), description="what it may send; ['*'] for all"
    )
    callback: Callback | None = None
    quota: Quota | None = None
    defaults: CallerDefaults = CallerDefaults()

    def may_send(self, category: str) -> bool:
        return "send" in self.scopes and ("*" in self.categories or category in self.categories)

    @model_validator(mode="after")
    def _categories_to_send(self) -> CallerConfig:
        if "send" in self.scopes and not self.categories:
            raise fault(
                "has scope send but no categories",
                "add `categories: [transactional]` (or ['*'] for all)",
            )
        return self


class AccountConfig(Strict):
    """A sending identity: an employee, a customer-service (kf) or hosted account by its `address`, an SMS access number by
    `number` and `extension`."""

    kind: Name
    channel: Name = Field(description="the channel that this account belongs to")
    address: _FarName | None = Field(
        default=None,
        description="its name at the far end: userid, open_kfid, hosted account; for sms give number",
    )
    number: Annotated[_Digits, Field(min_length=3)] | None = Field(
        default=None, description="access number, in quotes"
    )
    extension: _Digits | Literal[""] = Field(
        default="", description="digits after the access number"
    )
    name_zh: str = Field(default="", max_length=40)
    corp: str = Field(
        default="", max_length=64, description="the enterprise it belongs to (corpid)"
    )
    owner: str = Field(
        default="", max_length=100, description="person or department that answers for it"
    )
    organisation: str = Field(
        default="",
        max_length=200,
        description="where it stands, from the province down, at most 省/地市/区县/网格/厅店",
    )
    agent: AgentType | None = Field(
        default=None, description="自营 own, 社渠 partner, 行销 field, 校园 campus"
    )
    state: Literal["active", "retired"] = Field(
        default="active", description="a retired account receives, but is not sent from"
    )
    caller: Name | None = Field(default=None, description="who receives what arrives for it")

    @property
    def far_name(self) -> str:
        """Its name at the far end: the address, or number and extension."""
        return self.address or f"{self.number}{self.extension}"

    @property
    def path(self) -> tuple[str, ...]:
        """The organisation path, from the province down; empty when none is given."""
        return tuple(self.organisation.split("/")) if self.organisation else ()

    @field_validator("address")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and _NOT_IN_A_NAME.search(value):
            raise fault("may not contain blanks, / or |", "write it as the far end does")
        return value

    @field_validator("organisation")
    @classmethod
    def _levels(cls, value: str) -> str:
        levels = value.split("/") if value else []
        if len(levels) > len(ORGANISATION) or any(not level.strip() for level in levels):
            raise fault(
                f"must be a path of one to {len(ORGANISATION)} names",
                "write it like 广东/广州/天河/珠江新城/体育西厅",
            )
        return value

    @model_validator(mode="after")
    def _one_name(self) -> AccountConfig:
        if (self.address is None) == (self.number is None):
            raise fault(
                "needs either an address or a number",
                "give `number` for an SMS access number, else `address`",
            )
        if self.address is not None and self.extension:
            raise fault("has an extension without a number", "remove `extension`")
        if self.number is not None and len(self.far_name) > 21:
            raise fault("number and extension are longer than 21 digits", "shorten the extension")
        return self
