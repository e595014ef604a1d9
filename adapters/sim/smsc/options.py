"""What an SMSC simulator is started with (`Options`) and what can be changed while it runs
(`Faults`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
)

#: Octets that a login has for the account and its secret; where no secret is named it is hashed.
ACCOUNT = {"cmpp2": 6, "cmpp3": 6, "smpp": 15, "sgip": 16, "smgp": 8}
SECRET = {"smpp": 8, "sgip": 16}


class Options(BaseModel):
    """Start-up settings; seconds unless said otherwise."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    protocol: Literal["cmpp2", "cmpp3", "smpp", "sgip", "smgp"] = Field(
        "cmpp3", description="what is spoken; of CMPP the highest version served"
    )
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(0, ge=0, le=65535, description="0 picks a free one")
    account: str = Field("901234", description="SP_Id (system_id, name, ClientID) that may log in")
    secret: str = Field("sandbox", description="shared secret of the account")
    window: int = Field(16, ge=1, description="unanswered requests allowed per direction")
    gateway: int = Field(
        106001, ge=0, le=0x3FFFFF, description="gateway code inside Msg_Ids; SGIP: node number"
    )
    sp_host: str = Field("127.0.0.1", description="SGIP: where the SP listens for deliveries")
    sp_port: int = Field(0, ge=0, le=65535, description="SGIP: its port; 0 delivers nothing")
    seed: int = Field(1, description="seed of every random choice")
    idle: float = Field(
        60.0, ge=0, description="seconds of silence before an active test; 0 sends none"
    )
    deliver_timeout: float = Field(
        5.0, gt=0, description="seconds to wait for DELIVER_RESP, then resend"
    )
    deliver_tries: int = Field(3, ge=1, description="times one DELIVER is sent before giving up")
    deliver_pause: float = Field(
        0.2, ge=0, description="seconds before resending a refused DELIVER"
    )
    join_timeout: float = Field(
        60.0, gt=0, description="seconds to wait for missing parts of a long message"
    )
    keep_submits: int = Field(1_000_000, ge=0, description="accepted submits remembered")
    max_octets: int = Field(140, ge=1, le=255, description="longest content taken; else result 6")
    report_delay: float = Field(0.05, ge=0, description="seconds from submit to status report")
    response_delay: float = Field(0.0, ge=0, description="seconds from submit to SUBMIT_RESP")
    throttle_rate: float = Field(0.0, ge=0, description="messages/s above which result 8; 0 off")
    max_connections: int = Field(0, ge=0, description="connections per account; 0 unlimited")
    unplug_every: int = Field(0, ge=0, description="cut the connection every so many submits")

    @field_validator("account", "secret")
    @classmethod
    def _fits_a_login(cls, value: str, info: ValidationInfo) -> str:
        protocol = info.data.get("protocol", "")
        most = (ACCOUNT if info.field_name == "account" else SECRET).get(protocol, 64)
        if not 0 < len(value.encode()) <= most:
            raise ValueError(f"no client could log in: {protocol} takes 1 to {most} octets")
        return value

    def terms(self) -> dict[str, Any]:
        """What every protocol's link options take of these."""
        return {
            "window": self.window,
            "peer_window": self.window,
            "response_timeout": self.deliver_timeout,
            "idle": self.idle,
        }


@dataclass(slots=True)
class Faults:
    """Switches, read at every use: assign to them at any time. Fractions are 0..1 of the
    messages concerned.
    """

    report_delay: float = 0.05
    report_jitter: float = 0.0  #: up to this much more, at random
    stats: dict[str, float] = field(default_factory=lambda: {"DELIVRD": 1.0})  #: Stat -> weight
    stat_by_number: dict[str, str] = field(default_factory=dict)  #: number or prefix -> Stat
    drop_reports: float = 0.0
    duplicate_reports: float = 0.0
    early_reports: float = 0.0  #: report first, SUBMIT_RESP after it
    cross_reports: float = 0.0  #: on another connection of the account, when there is one
    report_width: int = 0  #: CMPP: 60 or 71 whatever the version; 0 as the version says
    short_tail: int = 0  #: octets missing at the end of every delivery (Reserve, LinkID)
    refuse: dict[str, int] = field(default_factory=dict)  #: number or prefix -> result code
    throttle_fraction: float = 0.0
    throttle_rate: float = 0.0  #: messages/s, bursts of one second; 0 off
    response_delay: float = 0.0
    response_jitter: float = 0.0
    drop_responses: float = 0.0  #: accepted, journaled, never answered
    unplug_every: int = 0  #: cut the connection that brings every k-th accepted submit
    unplug_flush: bool = False  #: let answers out before the cut
    unplug_inside: bool = False  #: half of the last answer too: the cut is inside a PDU
    duplicate_responses: float = 0.0  #: the answer to a submit comes twice
    split_writes: int = 0  #: octets in one write; 0 writes what there is at once
    decimal_receipts: bool = False  #: SMPP: ids are hexadecimal in answers, decimal in receipts
    plain_receipts: bool = False  #: SMPP: receipts without optional parameters
    down: bool = False  #: cut every new connection at once
    half_open: bool = False  #: stop reading and writing, keep connections
    silent: bool = False  #: read, never answer
    connect_status: int = 0  #: refuse every login with this status
    max_connections: int = 0

    def change(self, values: dict[str, Any]) -> None:
        """Set several switches at once, all or none. Raises ValueError naming the switch that is
        wrong.
        """
        unknown = sorted(set(values) - set(asdict(self)))
        if unknown:
            raise ValueError(f"no such switch: {', '.join(unknown)}")
        try:
            checked = _CHECK.validate_python(asdict(self) | values)
        except ValidationError as error:
            first = error.errors(include_input=False)[0]
            raise ValueError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from None
        for name in values:
            setattr(self, name, getattr(checked, name))

    @classmethod
    def of(cls, options: Options) -> Faults:
        return cls(
            report_delay=options.report_delay,
            response_delay=options.response_delay,
            throttle_rate=options.throttle_rate,
            max_connections=options.max_connections,
            unplug_every=options.unplug_every,
        )


_CHECK = TypeAdapter(Faults)


T = TypeVar("T")


def by_prefix(table: dict[str, T], number: str) -> T | None:
    """The entry of the longest prefix of `number` in the table; country code 86 or +86 may be
    left out of it.
    """
    bare = number.removeprefix("+").removeprefix("86")
    for candidate in (number, bare):
        for size in range(len(candidate), 0, -1):
            if candidate[:size] in table:
                return table[candidate[:size]]
    return None
