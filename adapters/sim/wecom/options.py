"""What a WeCom simulator is started with: who the corp is, and every limit it enforces, each settable.

The figures are written here from the platform's documents and are not shared with any client code: a client that has
read a limit wrongly meets the right one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Limits(BaseModel):
    """Sizes of the counters and windows; durations in seconds. 0 switches a counter off."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    token_life: int = 7200
    token_renew: int = 300  #: gettoken gives a new token when the old one has less than this left
    gettoken_minute: int = 300  #: per (corp, secret); the real figure is not published
    bad_secrets: int = 20  #: wrong secrets from one address until it is blocked for an hour
    api_minute: int = 10_000  #: per corp and API
    api_hour: int = 150_000
    ip_minute: int = 20_000  #: per source address and API
    ip_hour: int = 600_000
    concurrency: int = 0  #: calls of one API at once, else 45033
    app_seats: int = 10_000  #: 通讯录帐号上限: an app sends 200 times that per day
    member_minute: int = 30  #: app messages to one member; the excess vanishes
    member_hour: int = 1_000
    duplicate_max: int = 14_400
    appchat_create_day: int = 1_000
    appchat_update_hour: int = 1_000
    appchat_minute: int = 20_000  #: man-times
    appchat_hour: int = 150_000  #: man-times
    group_member_minute: int = (
        200  #: group messages one member gets from one app; the excess vanishes
    )
    group_member_day: int = 10_000
    robot_minute: int = 20
    uploadimg_day: int = 1_000
    uploadimg_month: int = 3_000
    media_life: int = 3 * 86_400
    kf_retention: int = 3 * 86_400
    kf_token_life: int = 600
    kf_bare_minute: int = (
        10  #: sync_msg without a callback's token; the real figure is not published
    )
    kf_window: int = 48 * 3600
    kf_messages: int = 5
    kf_welcome: int = 20
    welcome_life: int = 20
    remind_day: int = 3
    mass_month: int = (
        0  #: mass messages a customer takes per month; 0 = as many as the month has days
    )
    mass_dispatch: float = 0.0  #: seconds in which a new task answers 41063
    archive_retention: int = 5 * 86_400
    archive_minute: int = 600
    archive_notify_gap: int = 15
    transfer_wait: int = 86_400
    onjob_groups_day: int = 300

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Only what differs from the documents, so that --help stays readable."""
        for name, value in super().__repr_args__():
            if name is None or value != type(self).model_fields[name].default:
                yield name, value


class WeComOptions(BaseModel):
    """Options of `msgcenter sim wecom`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="0 picks a free one")
    corp: str = Field(default="wwsandbox", description="corpid")
    agent: int = Field(default=1_000_002, ge=0, description="agentid of the self-built app")
    secret: str = Field(default="sandbox-secret", description="its secret")
    callback: str = Field(
        default="", description="URL that gets the events; verified by echo on start"
    )
    callback_token: str = Field(
        default="sandbox-token", description="signing token of the callbacks"
    )
    aes_key: str = Field(
        default="", description="EncodingAESKey, 43 characters; empty makes one up"
    )
    archive_secret: str = Field(
        default="sandbox-archive", description="secret of the message archive"
    )
    members: int = Field(default=20, ge=1, description="staff0001 and so on, all in party 1")
    customers: int = Field(
        default=20, ge=0, description="wm0001 and so on; wm000N belongs to staff000N"
    )
    seed: int = Field(default=1, description="seed of every random choice")
    callback_timeout: float = Field(default=5.0, gt=0, description="seconds a callback may take")
    callback_tries: int = Field(default=3, ge=1, description="times one callback is sent")
    callback_pause: float = Field(default=0.5, ge=0, description="wait before sending one again")
    echo_timeout: float = Field(
        default=1.0, gt=0, description="seconds an address may take to echo"
    )
    kf_short_pages: float = Field(
        default=0.0, ge=0, le=1, description="share of sync_msg pages cut short"
    )
    kf_empty_pages: float = Field(
        default=0.0,
        ge=0,
        le=1,
        description="share of sync_msg pages that are empty but say has_more",
    )
    welcome_delay: float = Field(
        default=0.0, ge=0, description="time a welcome message is under way"
    )
    kf_fail_delay: float = Field(
        default=0.2, ge=0, description="wait before a msg_send_fail appears"
    )
    kf_duplicate_errcode: int = Field(default=40058, description="answer to a msgid used before")
    limits: Limits = Field(default_factory=Limits, description="counters by name, see Limits")
