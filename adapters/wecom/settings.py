"""Settings of the WeCom kinds: whose API, with which secret, how long a call may take, and how careful to be with limits."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from msgcenter.adapter import Secret, Strict, fault
from protocols.wecom.limits import WINDOWS_S

BASE_URL = "https://qyapi.weixin.qq.com/cgi-bin/"


class HttpSettings(Strict):
    """How the far end is called. Times in seconds."""

    base_url: str = BASE_URL
    """WeCom's API; another one for a proxy or a simulator."""
    connect_s: float = Field(default=3.0, gt=0)
    """Longest time to connect."""
    read_s: float = Field(default=8.0, gt=0)
    """Longest silence while an answer is awaited."""
    total_s: float = Field(default=10.0, gt=0)
    """Longest time for one call, whatever drips; a file on its way has three times as long."""
    connections: int = Field(default=64, ge=1)
    """Connections at once."""
    at_once: int = Field(default=16, ge=1)
    """Calls at once within one batch."""
    slack_s: float = Field(default=5.0, gt=0)
    """How long after its batch began, and after it was counted against a limit, a message may still leave; the rest of the
    batch comes again. Keep `slack_s` + 4 x `total_s` below the channel's `send_timeout`: what that cuts off is unknown.

    The limits that WeCom enforces by silence are kept over their span plus `slack_s` plus `total_s`, because a call may be
    counted there that much later than here.
    """

    @field_validator("base_url")
    @classmethod
    def _with_slash(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise fault("base_url needs https://", f"leave it out for {BASE_URL}")
        return value if value.endswith("/") else f"{value}/"


class AppSettings(HttpSettings):
    """One app of one corp, for kinds that call with its access token."""

    corp: str = Field(min_length=1)
    """corpid: ww…"""
    agent_id: int = Field(ge=0)
    """AgentId of the app, as the admin console shows it."""
    secret: Secret


class Doorbells(Strict):
    """An app has one receiving address for everything it may hear: which channel fetches what such a callback announces.
    Without a channel it stays an event of this one."""

    kf: str = ""
    """Of kind `wecom-kf`: new customer-service messages."""
    archive: str = ""
    """Of kind `wecom-archive`: new items of the conversation archive."""
    contact: str = ""
    """Of kind `wecom-contact`: changes of customers, customer groups and their tags."""


class CallbackSettings(AppSettings):
    """An app whose callbacks come to us, if both callback settings are given."""

    doorbells: Doorbells = Doorbells()
    """Channel names."""

    callback_token: Secret | None = None
    """Token of the receiving address (接收消息), as the admin console shows it."""
    callback_aes_key: Secret | None = None
    """EncodingAESKey, 43 characters."""
    callback_skew_s: int = Field(default=300, ge=10)
    """How far a callback's time may be from ours."""

    @model_validator(mode="after")
    def _both_or_none(self) -> Any:
        if (self.callback_token is None) != (self.callback_aes_key is None):
            raise fault(
                "callback_token and callback_aes_key go together",
                "give both, as the admin console shows them, or none",
            )
        return self


class WeComAppSettings(CallbackSettings):
    """Settings of kind `wecom-app`."""

    join_from_tier: int = Field(default=4, ge=0, le=9)
    """From this tier on, messages of one batch that say the same in the same category go out in one call to all their
    recipients (at most 1,000); such a message cannot be recalled alone. 9 = never."""
    duplicate_check_s: int = Field(default=7200, ge=600, le=WINDOWS_S["duplicate.most"] // 2)
    """WeCom recognises a repeat for at least so long, and at most twice as long."""
    safe: bool = False
    """保密消息: not to be passed on."""
    translate_ids: bool = False
    """WeCom replaces `$userName=…$` and the like by names."""


class WeComGroupSettings(AppSettings):
    """Settings of kind `wecom-group`."""

    closed_prefix: str = Field(default="[已解散] ", min_length=1, max_length=20)
    """Put before the name of a group that was closed."""
    members_s: float = Field(default=600.0, gt=0)
    """How long a group's member list is believed, for the limits of each member."""


class WeComRobotSettings(HttpSettings):
    """Settings of kind `wecom-robot`."""

    robots: dict[str, Secret] = Field(min_length=1)
    """Name -> key, the `key=` of the webhook address. The name is the group's id on this channel."""
