"""The models of the hot files that name things: channels, routes, callers and accounts; swapped whole
while the process runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    Field,
    SerializerFunctionWrapHandler,
    StringConstraints,
    field_serializer,
    field_validator,
    model_validator,
)

from msgcenter.config.values import Duration, Name, Secret, Strict, fault
from msgcenter.config.when import AgentType, When
from msgcenter.policy.when import LEVELS

Scope = Literal[
    "send",
    "read",
    "read:all",
    "groups",
    "customers",
    "read:customers",
    "inbox",
    "review",
    "subscribe",
    "admin",
]

_FarName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
_NOT_IN_A_NAME = re.compile(r"[\s/|]")
_Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]+$", max_length=21)]


class ChannelConfig(Strict):
    """One configured, running adapter."""

    kind: Name = Field(description="which adapter: sms, platform, devnull, ...")
    enabled: bool = True
    """false: out of service; what waits for it goes back to be routed anew."""
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
    accounts_of: Name | None = Field(
        None,
        description="reads along what the accounts of this other channel write and are written",
    )
    silent_after: Duration | None = Field(
        None,
        description="an account of this channel that should be up and is quiet for longer counts as silent "
        "(metric msgcenter_accounts_silent); none: not watched",
    )

    @field_validator("send_timeout")
    @classmethod
    def _positive(cls, value: float) -> float:
        if value <= 0:
            raise fault("must be longer than 0", "30s suits most far ends")
        return value

    @field_validator("silent_after")
    @classmethod
    def _silence(cls, value: float | None) -> float | None:
        if value is not None and value < 60:
            raise fault("must be at least 1m", "6h suits accounts that talk all day")
        return value


Weight = Annotated[float, Field(ge=0, le=1_000_000)]


class Route(Strict):
    """Messages of `kind` go out by `channel`, or by the channels of `split` in their proportion; the first route that fits wins.
    Who falls to which channel stays the same, and a changed weight moves only the share that it must."""

    name: Name | None = Field(
        default=None, description="what decisions and cities call it; none: route and its number"
    )
    kind: Name
    """The channel kind that it is a way for."""
    channel: Name | None = None
    """The channel that carries it; or `split`."""
    split: Mapping[Name, Weight] | None = Field(
        default=None, description="channel -> its part of the persons: {east: 30, west: 70}"
    )
    draw: Annotated[str, StringConstraints(min_length=1, max_length=64)] | None = Field(
        default=None,
        description="name of the draw of `split`: the same name takes the same persons; none: the route's name",
    )
    when: When | None = None
    """The messages it is for; none: all of the kind."""
    overridable: tuple[Literal["channel"], ...] = Field(
        default=(), description="channel: a city's file may send it another way"
    )

    @field_validator("when")
    @classmethod
    def _kind_is_given(cls, when: When | None) -> When | None:
        if when is not None and when.channels:
            raise fault("a route cannot ask for `channels`", "it is for one: that is its `kind`")
        return when

    @field_validator("split")
    @classmethod
    def _parts(cls, split: Mapping[str, float] | None) -> Mapping[str, float] | None:
        return checked_split(split)

    @field_serializer("split", mode="wrap")
    def _thaw(self, split: Mapping[str, float] | None, dump: SerializerFunctionWrapHandler) -> Any:
        return dump(None if split is None else dict(split))

    @model_validator(mode="after")
    def _one_way(self) -> Route:
        one_way(self.channel, self.split)
        if self.split is None and self.draw is not None:
            raise fault(
                "draw belongs to split", "remove it, or write `split: {east: 30, west: 70}`"
            )
        if self.split is not None and self.name is None and self.draw is None:
            raise fault(
                "a split needs a name or a draw",
                "add `name: trial`: without it, a route put in above would draw all persons anew",
            )
        if self.overridable and self.name is None:
            raise fault("is overridable but has no name", "add `name: …`, which cities/ refers to")
        return self

    @property
    def ways(self) -> tuple[tuple[str, float], ...]:
        """Channel and weight of each."""
        return ways_of(self.channel, self.split)


def checked_split(split: Mapping[str, float] | None) -> Mapping[str, float] | None:
    """Frozen. Raises ValueError when nobody would fall to any channel."""
    if split is None:
        return None
    if not any(split.values()):
        raise fault("has no part above 0", "write it like {east: 30, west: 70}")
    return MappingProxyType(dict(split))


def one_way(channel: str | None, split: Mapping[str, float] | None) -> None:
    """Raises ValueError unless exactly one is given."""
    if (channel is None) == (split is None):
        raise fault(
            "needs exactly one of channel and split",
            "write `channel: east`, or `split: {east: 30, west: 70}`",
        )


def ways_of(
    channel: str | None, split: Mapping[str, float] | None
) -> tuple[tuple[str, float], ...]:
    """Channel and weight of each way; those that take nobody are left out."""
    if split is None:
        return ((channel or "", 1.0),)
    return tuple((name, weight) for name, weight in split.items() if weight)


class RoutesConfig(Strict):
    """`routes.yaml`. A kind without a route uses its only enabled channel."""

    routes: tuple[Route, ...] = ()
    """Looked at from the top; the first that fits is taken."""

    def named(self) -> Iterator[tuple[str, Route]]:
        """Every route with the name that decisions show."""
        for number, route in enumerate(self.routes):
            yield route.name or f"routes[{number}]", route


class Callback(Strict):
    """Where a caller's status events are delivered, signed as Standard Webhooks."""

    url: str
    """Where events are posted."""
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
    """How much a caller may send; beyond it the API answers 429. Shared by all API processes."""

    rate: float | None = Field(
        default=None, gt=0, le=1_000_000, description="messages per second, lasting"
    )
    burst: int = Field(
        default=1000, ge=1, le=1_000_000, description="messages at once; goes with `rate`"
    )
    per_hour: int | None = Field(
        default=None, ge=1, le=10_000_000_000, description="messages in any clock hour"
    )
    per_day: int | None = Field(
        default=None,
        ge=1,
        le=100_000_000_000,
        description="messages in any calendar day of the policy's time zone",
    )

    @model_validator(mode="after")
    def _limits_something(self) -> Quota:
        if self.rate is None and self.per_hour is None and self.per_day is None:
            raise fault("limits nothing", "give `rate`, `per_hour` or `per_day`, or remove `quota`")
        return self


class StoppedShare(Strict):
    """When a caller is told that much of what it sends does not arrive: one event for each window."""

    share: float = Field(
        default=0.2, gt=0, le=1, description="part of the window's messages held or dropped"
    )
    window: Duration = Field(default=3600.0, description="windows begin at full multiples of it")
    least: int = Field(default=100, ge=1, description="messages before the share means anything")

    @field_validator("window")
    @classmethod
    def _window_bounds(cls, value: float) -> float:
        if not 60 <= value <= 86_400:
            raise fault("must be between 1m and 24h", "1h suits most callers")
        return value


class Signing(Strict):
    """Requests of the caller must be signed, on top of the key: what a leaked key alone is worth nothing for."""

    secrets: tuple[Secret, ...] = Field(
        min_length=1,
        max_length=4,
        description="signing keys, whsec_ and base64; several while one is being rotated",
    )


class CallerDefaults(Strict):
    """Used where a request says nothing."""

    category: Name | None = None
    """Of a message that names none."""
    account: Name | None = Field(default=None, description="the `from` account")
    expires_in: Duration | None = None
    """Of a message that says none; none: the category's."""


class CallerConfig(Strict):
    """Another system that uses the API. Its keys lie hashed in the Store, not here."""

    name_zh: str = Field(default="", max_length=40)
    """The name that people read."""
    enabled: bool = True
    """false: every key of it is refused."""
    scopes: tuple[Scope, ...] = Field(min_length=1)
    """What its keys may do."""
    categories: tuple[Name | Literal["*"], ...] = Field(
        default=(), description="what it may send; ['*'] for all"
    )
    roles: tuple[Name, ...] = Field(
        default=(), description="whose keys may approve changes of the rules as these (approvals)"
    )
    callback: Callback | None = None
    """Where its events go; none: they are pulled."""
    quota: Quota | None = None
    """How much it may send; none: no quota."""
    signing: Signing | None = None
    """Whether requests must be signed, too."""
    tell: StoppedShare | None = Field(
        default=None,
        description="an event when more than this share of its messages is held or dropped",
    )
    defaults: CallerDefaults = CallerDefaults()
    """For messages that say nothing."""

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
    """The channel kind that it sends by."""
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
    """The name that people read."""
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
        if len(levels) > len(LEVELS) or any(not level.strip() for level in levels):
            raise fault(
                f"must be a path of one to {len(LEVELS)} names",
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
