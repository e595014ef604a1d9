"""Options of `msgcenter sim push`, and what it can be told to do wrong."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class PushFaults(BaseModel):
    """Counts are of the next calls, shares of all."""

    model_config = ConfigDict(extra="forbid", validate_assignment=True)

    throttle_next: int = Field(default=0, ge=0)
    lose_next: int = Field(default=0, ge=0)
    """Taken, and the connection cut instead of an answer."""
    fail_next: int = Field(default=0, ge=0)
    """HTTP 500, nothing taken."""
    expire_token: bool = False
    """The token given out is over at once."""
    dead: str = "dead"
    """Devices whose token begins so are gone for good."""
    calls_left: int | None = Field(default=None, ge=0)
    """Told in X-Rate-Limit-Remaining, one less with each call; none: not told."""
    lose_receipts: float = Field(default=0.0, ge=0, le=1)
    receipt_code: str = ""
    """Instead of the engine's word for delivered."""


class PushOptions(BaseModel):
    """Options of `msgcenter sim push`."""

    model_config = ConfigDict(extra="forbid")

    profile: Literal["getui", "jpush", "umeng", "huawei", "plain"] = "plain"
    host: str = "127.0.0.1"
    port: int = Field(default=0, ge=0, le=65535, description="0 picks a free one")
    app: str = Field(default="app1", description="the app's id")
    key: str = Field(default="key1", description="app key, client id")
    secret: str = Field(default="master-secret", description="master secret")
    receipts_url: str = Field(default="", description="where receipts are told; empty: nowhere")
    receipt_delay_s: float = Field(default=0.0, ge=0, description="a receipt comes so much later")
    seed: int = 1
