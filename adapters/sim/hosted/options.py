"""What a hosted-gateway simulator is started with, and what can be changed while it runs."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class HostedOptions(BaseModel):
    """Options of `msgcenter sim hosted`."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", description="address to listen on")
    port: int = Field(default=0, ge=0, le=65535, description="0 picks a free one")
    secret: str = Field(default="", description="whsec_… of commands; empty makes one up")
    event_secret: str = Field(default="", description="whsec_… of events; empty makes one up")
    callback: str = Field(default="", description="URL that gets the events")
    accounts: int = Field(default=20, ge=1, description="staff0001 and so on, all logged in")
    customers: int = Field(default=20, ge=0, description="wm0001 and so on, known to every account")
    seed: int = Field(default=1, description="seed of every random choice")
    tries: int = Field(default=5, ge=1, description="times one event is sent")
    pause: float = Field(default=0.5, ge=0, description="wait before sending an event again")
    timeout: float = Field(default=5.0, gt=0, description="seconds an event may take")
    remembered: int = Field(
        default=48 * 3600, ge=0, description="seconds a command id is remembered"
    )
    recall_window: int = Field(
        default=120, ge=0, description="seconds in which a message can be recalled"
    )
    group_size: int = Field(default=500, ge=3, description="most members of a group")


class Faults(BaseModel):
    """Switches; shares are 0..1."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, validate_assignment=True)

    answer: Literal["done", "queued"] = "done"  #: queued: a receipt follows
    receipt_delay: float = Field(default=0.1, ge=0)
    per_minute: int = Field(
        default=500, ge=0
    )  #: sends of one account, more are refused `paced`; 0 off
    slow: float = Field(default=0.0, ge=0)  #: seconds before every answer
    hang: list[str] = Field(default_factory=list)  #: accounts whose commands wait, unanswered
    lose_events: float = Field(default=0.0, ge=0, le=1)  #: messages read that are never told
    lose_sends: float = Field(default=0.0, ge=0, le=1)  #: said done, never arrives
    gap_events: float = Field(default=0.0, ge=0, le=1)  #: numbered, never sent: the gap can be seen
    repeat_events: float = Field(default=0.0, ge=0, le=1)
    busy: float = Field(default=0.0, ge=0, le=1)
    unknown: float = Field(default=0.0, ge=0, le=1)  #: done, but the answer says unknown
    timeout_next: int = Field(default=0, ge=0)  #: so many commands are done and not answered
    refuse_next: list[str] = Field(default_factory=list)  #: reason codes of the next commands
    forge_next: int = Field(default=0, ge=0)  #: so many events have a wrong signature

    def change(self, values: dict[str, Any]) -> None:
        """All or none. Raises ValueError naming what is wrong."""
        checked = Faults.model_validate(self.model_dump() | values)
        for name in values:
            setattr(self, name, getattr(checked, name))
