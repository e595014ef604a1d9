"""Settings of kind `wecom-hosted`: which gateway, signed with what, how gently its accounts are used, where files come from."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator

from msgcenter.adapter import Duration, Secret, Size, Strict, fault

LONGEST_LINK_S = 7 * 86_400.0


def _web(value: str) -> str:
    url = urlsplit(value)
    if url.scheme not in ("https", "http") or not url.hostname or url.username is not None:
        raise fault(
            "needs an http(s) address without credentials", "write it like https://gateway.internal"
        )
    if url.query or url.fragment:
        raise fault("takes no query", "leave out what follows ? or #")
    return value.rstrip("/")


Web = Annotated[str, AfterValidator(_web)]
Secrets = Annotated[tuple[Secret, ...], Field(min_length=1, max_length=8)]


class WeComHostedSettings(Strict):
    """One gateway for accounts of one corp; the accounts stand in accounts.yaml, each with its `address` at the gateway."""

    gateway: Web
    """Commands go to `<gateway>/v1/commands`."""
    corp: str = Field(min_length=1, max_length=64, pattern=r"^[^\s/|]+$")
    """corpid: the first part of the customers' addresses, `wecom:<corp>/<external_userid>`. The gateway's ids of customers
    and groups are WeCom's own, so that other channels of this corp call them alike."""
    command_secrets: Secrets
    """whsec_…, newest first; every one signs our commands."""
    event_secrets: Secrets
    """whsec_…, of events; any one is good."""
    public_url: Web | None = None
    """Where the gateway reaches our API: files are handed to it as links. None: no files can be sent."""
    link_for: Duration = Field(default=86_400.0, ge=60.0, le=LONGEST_LINK_S)
    """How long the link to a file leads to it."""
    media_hosts: tuple[str, ...] = ()
    """Hosts (`host` or `host:port`) that files of customers may be fetched from; none: the gateway's own."""
    largest_file: Size = Field(default=50 << 20, ge=1)
    """Octets of one file that comes in; a larger one is told as lost."""
    files_for: Duration = Field(default=86_400.0, gt=0)
    """How long after a message its file is still tried for."""
    messages_per_minute: int = Field(default=60, ge=1)
    """Of one account, over all processes; what is over waits (reason `account_paced`)."""
    groups_per_hour: int = Field(default=60, ge=1)
    """Commands to groups of one account: create, change, dissolve."""
    at_once: int = Field(default=2, ge=1, le=20)
    """Calls under way for one account, in each process."""
    connect: Duration = Field(default=3.0, gt=0)
    """Longest time to connect."""
    total: Duration = Field(default=10.0, gt=0)
    """Longest time for one command. Keep `patience` + 2 x `total` below the channel's `send_timeout`."""
    patience: Duration = Field(default=3.0, gt=0)
    """How long messages wait for a call of their account to end, and a batch for accounts that are slower than most."""
    status_every: Duration = Field(default=900.0, ge=1.0)
    """How often each account is asked how it is, events aside."""

    @field_validator("media_hosts")
    @classmethod
    def _hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if "/" in host or "@" in host or not urlsplit(f"//{host}").hostname:
                raise fault(f"{host[:60]!r} is no host", "write host or host:port")
        return tuple(host.lower() for host in value)
