"""Settings of kind `wecom-contact`: the allowance of mass messages, how long members may take to confirm, and who is greeted how."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from adapters.wecom.settings import CallbackSettings
from msgcenter.adapter import Strict, fault

DAY_S = 86_400.0


class Greeting(Strict):
    """A welcome message. `attachments` as WeCom writes them (image, link, miniprogram, video, file), at most 9; a file or
    picture may be named by an id of our media store (`med_…`)."""

    text: str = ""
    """What is said; empty: attachments alone."""
    attachments: tuple[dict[str, Any], ...] = ()
    """As WeCom writes them, at most 9."""

    @model_validator(mode="after")
    def _says_something(self) -> Any:
        if not (self.text or self.attachments):
            raise fault("a greeting needs text or attachments", "give one, or leave it out")
        return self


class WeComContactSettings(CallbackSettings):
    """Settings of kind `wecom-contact`. Times in seconds.

    Callbacks come either to this channel (the callback settings) or, where the app has one receiving address for all, by
    a channel that hands them on.
    """

    allowance: Literal["month", "week", "day"] = "month"
    """Mass messages that one customer or group gets, as the admin console has it: as many a month as it has days, 7 a
    week, or 1 a day (calendar, UTC+8)."""
    confirm_s: float = Field(default=3 * DAY_S, gt=0, le=7 * DAY_S)
    """How long members may take to confirm a task; then it is over (`not_confirmed`)."""
    cancel_at_end: bool = True
    """A task that is over is cancelled, so that what was reported as not confirmed is not sent after all."""
    poll_s: float = Field(default=60.0, gt=0)
    """First look at a task's results; the pause doubles up to `poll_most_s`."""
    poll_most_s: float = Field(default=1800.0, gt=0)
    """Longest pause between two looks."""
    transfer_poll_s: float = Field(default=3600.0, gt=0)
    """Pause between two looks at the results of a transfer."""
    transfer_s: float = Field(default=3 * DAY_S, gt=0, le=7 * DAY_S)
    """How long results of a transfer are asked for; WeCom completes one after 24 h."""
    group_wait_s: float = Field(default=2.0, ge=0)
    """A customer group's details lag behind its events by about so much."""
    greeting: Greeting | None = None
    """Sent to whoever adds a member, within the 20 s that WeCom gives. None: callers send it, or nobody."""
    greetings: dict[str, Greeting] = Field(default_factory=dict)
    """By userid, in the place of `greeting`."""

    def greeting_of(self, userid: str) -> Greeting | None:
        by_id = {name.lower(): one for name, one in self.greetings.items()}
        return by_id.get(userid.lower(), self.greeting)
