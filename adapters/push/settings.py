"""What operators write about a push channel: which engine, its credentials, and whatever differs from the engine's profile."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from msgcenter.adapter import Duration, Secret, Strict, fault
from protocols.push.profile import Profile
from protocols.push.profiles import PROFILES

_PROFILE = TypeAdapter(Profile)
Class: TypeAlias = Literal["service", "marketing"]
"""What vendors tell apart."""


class Tls(Strict):
    """Our certificate for an engine that asks for one (mutual TLS); `ca`: whom we believe instead of the system's list."""

    certificate: Path
    """File with our certificate (PEM)."""
    key: Path
    """File with its private key (PEM)."""
    ca: Path | None = None
    """File with the authorities that we believe; none = the system's."""


class PushSettings(Strict):
    """Settings of kind `push`."""

    profile: Literal["getui", "jpush", "umeng", "huawei", "plain"]
    """The engine behind the app."""
    base_url: str
    """Of the engine, https; http only on this machine."""
    auth_url: str = ""
    """Where tokens are got, when that is another host."""
    app: str = ""
    """The app's id at the engine, where it has one beside the key."""
    key: str
    """The app's key, or client id, at the engine."""
    secret: Secret
    receipt_secret: Secret | None = None
    """What receipts are signed with; none = `secret`."""
    device_secrets: tuple[Secret, ...] = ()
    """`whsec_…`: who may register devices at `/hooks/<channel>/devices`; none = nobody may."""
    roster: Path | None = None
    """YAML file that says who has a role now, for `role:<role>@<grid>`."""
    title: str = Field(default="通知", min_length=1, max_length=40)
    """Of a message that brings none."""
    marketing: frozenset[str] = frozenset({"marketing", "care", "opportunity"})
    """Categories that the vendor must take as marketing; all others are service."""
    most_devices: int = Field(default=5, ge=1, le=100)
    """The newest so many devices of a person."""
    per_minute: int | None = Field(default=None, ge=1)
    """Calls a minute; none = as the profile says."""
    per_device_day: dict[Class, int] = Field(default={})
    """Messages a day to one device; what is not said is as in the profile."""
    per_day: int | None = Field(default=None, ge=1)
    """Devices written to in a day by the whole app, such as a test allowance; none = as the profile says."""
    poll_after: tuple[Duration, ...] = (10.0, 60.0, 300.0, 600.0)
    """When receipts are asked for, where the engine does not tell them; the last one again and again."""
    dry_run: bool = False
    """The engine checks and shows nothing; refused for an engine that cannot."""
    total: Duration = 15.0
    """Longest time for one call."""
    tls: Tls | None = None
    """For an engine that wants our certificate; none = plain TLS."""
    engine: dict[str, Any] = Field(default={})
    """What differs from the profile, in the shape of protocols/push/profile.py: {receipts: {how: none}, send: {path: /x}}."""

    @field_validator("base_url", "auth_url")
    @classmethod
    def _callable(cls, value: str) -> str:
        if not value:
            return value
        url = urlsplit(value)
        local = url.hostname in ("127.0.0.1", "localhost", "::1")
        if not url.hostname or (url.scheme != "https" and not (url.scheme == "http" and local)):
            raise fault("must be an https address", "write it like https://push.example.com")
        if url.query or url.fragment or url.username:
            raise fault("must be a plain address", "leave out user, query and fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        try:
            made = self.made
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(str(part) for part in first["loc"])
            raise fault(
                f"engine.{where}: {first['msg']}", "see protocols/push/profile.py for the shape"
            ) from None
        if self.dry_run and made.validate is None and "{dry_run}" not in json.dumps(made.send.body):
            raise fault(
                f"dry_run: profile {self.profile} has none, it would really send",
                "leave it out, or give engine.validate (a call that only checks)",
            )
        if not self.poll_after and made.receipts.how == "poll":
            raise fault("poll_after: at least one time", "write it like [10s, 1m, 10m]")
        return self

    @cached_property
    def made(self) -> Profile:
        """The profile with what is configured."""
        return _PROFILE.validate_python(_merged(asdict(PROFILES[self.profile]), self.engine))


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged, but for request bodies, which are replaced whole; null takes a key out of a table."""
    out = dict(under)
    for name, value in over.items():
        below = out.get(name)
        if name != "body" and isinstance(below, Mapping) and isinstance(value, Mapping):
            out[name] = _merged(below, value)
        else:
            out[name] = value
    return out
