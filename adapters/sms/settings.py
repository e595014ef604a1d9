"""What an operator sets for one SMS channel: the contract terms with the carrier."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from msgcenter.adapter import Secret
from protocols.cmpp.results import ResultClass


class SmsSettings(BaseModel):
    """Settings of kind `sms`. Times in seconds; defaults are the specification's, but for a
    quicker active test.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    protocol: Literal["cmpp2", "cmpp3"] = "cmpp3"
    host: str = Field(min_length=1)
    port: int = Field(default=7890, ge=1, le=65535)
    account: str = Field(min_length=1, max_length=6)
    """SP_Id: six digits."""
    secret: Secret
    src: str = Field(pattern=r"^[0-9]{1,21}$")
    """The access number; a message's own account number comes before it."""
    service_id: str = Field(default="", max_length=10)
    fee_type: str = Field(default="01", max_length=2)
    fee_code: str = Field(default="000000", max_length=6)
    fee_user_type: int = Field(default=2, ge=0, le=3)
    connections: int = Field(default=1, ge=1, le=32)
    window: int = Field(default=16, ge=1, le=1024)
    """Unanswered messages on one connection."""
    rate: float = Field(default=0.0, ge=0.0)
    """Parts a second over all connections of this process; 0 = no bound here."""
    response_timeout_s: float = Field(default=15.0, gt=0)
    """T: after it the outcome is unknown; nothing is sent again."""
    queue_s: float = Field(default=10.0, gt=0)
    """How long a message may wait to be written (for the window, another connection, a reconnect)
    before it is given back. Keep the sum with `response_timeout_s` below the channel's
    `send_timeout`: what that cuts off is unknown as a whole, written or not."""
    active_test_s: float = Field(default=30.0, gt=0)
    """C: silence before an active test."""
    active_test_timeout_s: float = Field(default=10.0, gt=0)
    active_tests: int = Field(default=3, ge=1)
    """N: unanswered ones before the connection is given up."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    reconnect_min_s: float = Field(default=1.0, gt=0)
    reconnect_max_s: float = Field(default=60.0, gt=0)
    login_retry_s: float = Field(default=60.0, gt=0)
    """Wait after a refused login: accounts get locked by haste."""
    throttle_s: float = Field(default=1.0, gt=0)
    """Pause of a connection after flow control (result 8)."""
    throttle_tries: int = Field(default=30, ge=1)
    """How often one part of a message that has begun is offered again under flow control."""
    results: dict[int, ResultClass] = Field(default_factory=dict)
    """The carrier's own result codes and what they mean."""
    country_prefix: bool = False
    """Write recipients as 8613… instead of 13…."""
    ascii_septets: bool = False
    """The gateway takes 159 ASCII characters (153 a part), not 140 (134)."""
    signature: str = Field(default="", max_length=20)
    """【…】 put before texts that do not hold it; it counts in the length."""
    strict_auth: bool = False
    """Refuse a gateway that does not prove that it knows the secret."""
    long_mo_s: float = Field(default=600.0, gt=0)
    """How long the missing parts of an incoming long message are waited for."""
