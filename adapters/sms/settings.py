"""What an operator sets for one SMS channel: the contract terms with each supplier, and the rules
for what goes out.

A channel with one supplier has its terms at the top. With several, `suppliers` names them; what one
does not say is taken from the top.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, IPvAnyNetwork, StringConstraints, field_validator, model_validator

from adapters.sms.codes import Carrier, ProvinceCodes, read_codes
from msgcenter.adapter import Secret, Strict, TextFile, fault
from protocols.sms.content import Rules
from protocols.sms.results import ResultClass

Protocol = Literal["cmpp2", "cmpp3", "smpp", "sgip", "smgp"]
Digits = Annotated[str, StringConstraints(pattern=r"^[0-9]{1,13}$")]
_LONGEST = {"cmpp2": 6, "cmpp3": 6, "smpp": 15, "sgip": 16, "smgp": 8}
_LONGEST_SECRET = {"smpp": 8, "sgip": 16}
MAIN = "main"
"""The one supplier of a channel that names none."""
_LIVE = {"rate", "weight", "backup", "carriers"}
_SUPPLIER_ONLY = {"weight", "backup", "carriers"}


class SmppTerms(Strict):
    """What only SMPP has."""

    system_type: str = Field(default="", max_length=12)
    """As the carrier gives it; mostly empty."""
    default_alphabet: Literal["gsm7", "latin1", "ascii"] = "gsm7"
    """What data_coding 0 means to this SMSC."""
    long: Literal["udh", "sar", "payload"] = "udh"
    """How long texts travel; see `protocols.smpp.content`."""
    receipt_ids: Literal["same", "decimal", "hex"] = "same"
    """How receipts write the id of an answer: the same way, or in decimal (the answer being in
    hexadecimal), or in hexadecimal (the answer being in decimal)."""
    source_ton: int = Field(default=0, ge=0, le=6)
    """Type of number of the sender."""
    source_npi: int = Field(default=0, ge=0, le=18)
    """Numbering plan of the sender."""
    dest_ton: int = Field(default=1, ge=0, le=6)
    """Type of number of the recipient; 1 = international."""
    dest_npi: int = Field(default=1, ge=0, le=18)
    """Numbering plan of the recipient; 1 = E.164."""


class SgipTerms(Strict):
    """What only SGIP has."""

    node: int = Field(default=0, ge=0, le=0xFFFFFFFF)
    """Our node number, 3AAAAQQQQQ."""
    corp_id: str = Field(default="", max_length=5)
    """企业代码, five digits, as the carrier gives it."""
    charge_number: str = Field(default="0" * 21, max_length=21)
    """Empty = the recipients pay; 21 zeros = we do."""
    listen_account: str = Field(default="", max_length=16)
    """The name under which the gateway logs in with us; empty = `account`."""
    listen_secret: Secret | None = None
    """The password with which the gateway logs in with us; none = `secret`."""


class Endpoint(Strict):
    """The terms with one supplier. Times in seconds; defaults are the specifications', but for a
    quicker active test.
    """

    protocol: Protocol = "cmpp3"
    """Spoken by the carrier's gateway."""
    host: str = ""
    """Name or address of the gateway."""
    port: int = Field(default=0, ge=0, le=65535)
    """0 = the protocol's own: 7890, SMPP 2775, SGIP 8801, SMGP 8890."""
    account: str = ""
    """SP_Id (CMPP, six digits), system_id (SMPP), login name (SGIP), ClientID (SMGP)."""
    secret: Secret = Secret("")
    src: str = Field(default="", pattern=r"^[0-9]{0,21}$")
    """The access number; a message's own account number comes before it."""
    weight: float = Field(default=1.0, ge=0)
    """Its share among the suppliers of the channel; 0 = nothing. Taken live."""
    backup: bool = False
    """Carries only while no other can. Taken live."""
    carriers: frozenset[Carrier] = frozenset()
    """The networks it reaches; none named = all. Taken live."""
    service_id: str = Field(default="", max_length=10)
    """业务代码, as the carrier gives it."""
    fee_type: str = Field(default="", pattern=r"^[0-9]{0,2}$")
    """Empty = free of charge, as the protocol writes it."""
    fee_code: str = Field(default="000000", pattern=r"^[0-9]{0,6}$")
    """The price, in the protocol's own unit."""
    fee_user_type: int = Field(default=2, ge=0, le=3)
    """Who pays: 0 the recipient, 1 the sender, 2 the provider, 3 the number in the fee field."""
    login: Literal["one", "pair"] = "one"
    """SMPP and SMGP: one connection for both directions, or one for each."""
    connections: int = Field(default=1, ge=1, le=32)
    """Connections that each process opens; carriers count them all."""
    window: int = Field(default=16, ge=1, le=1024)
    """Unanswered messages on one connection."""
    rate: float = Field(default=0.0, ge=0.0)
    """Parts a second over all connections of this process; 0 = no bound here. Taken live."""
    recover_s: float = Field(default=30.0, gt=0)
    """After flow control has halved the rate: seconds until it is back, if nothing happens again."""
    response_timeout_s: float = Field(default=15.0, gt=0)
    """T: after it the outcome is unknown; nothing is sent again."""
    active_test_s: float = Field(default=30.0, gt=0)
    """C: silence before an active test."""
    active_test_timeout_s: float = Field(default=10.0, gt=0)
    """T of an active test."""
    active_tests: int = Field(default=3, ge=1)
    """N: unanswered ones before the connection is given up."""
    connect_timeout_s: float = Field(default=10.0, gt=0)
    """Longest time to connect."""
    reconnect_min_s: float = Field(default=1.0, gt=0)
    """First wait after a lost connection; it doubles."""
    reconnect_max_s: float = Field(default=60.0, gt=0)
    """Longest wait between two attempts."""
    login_retry_s: float = Field(default=60.0, gt=0)
    """Wait after a refused login: accounts get locked by haste."""
    throttle_s: float = Field(default=1.0, gt=0)
    """Pause of a connection after flow control; its rate is halved once in this time."""
    throttle_tries: int = Field(default=30, ge=1)
    """How often one part of a message that has begun is offered again under flow control."""
    breaker_failures: int = Field(default=5, ge=1)
    """Timeouts and gateway faults in a row after which other suppliers are preferred."""
    breaker_s: float = Field(default=30.0, gt=0)
    """How long they are, before one message tries it again."""
    results: dict[int, ResultClass] = Field(default_factory=dict)
    """The carrier's own result codes and what they mean; before those of `codes`."""
    country_prefix: bool | None = None
    """Write recipients as 8613… instead of 13…; none = as the protocol has it."""
    ascii_septets: bool = False
    """CMPP: the gateway takes 159 ASCII characters (153 a part), not 140 (134)."""
    strict_auth: bool = False
    """CMPP and SMGP: refuse a gateway that does not prove that it knows the secret."""
    smpp: SmppTerms = SmppTerms()
    """What only SMPP has."""
    sgip: SgipTerms = SgipTerms()
    """What only SGIP has."""

    @property
    def at(self) -> tuple[str, int]:
        """Where to connect."""
        own = {"smpp": 2775, "sgip": 8801, "smgp": 8890}
        return self.host, self.port or own.get(self.protocol, 7890)

    def missing(self) -> list[str]:
        """The names of terms that a supplier cannot do without and that are empty."""
        needed = {"host": self.host, "account": self.account, "src": self.src,
                  "secret": self.secret.reveal()}  # fmt: skip
        if self.protocol == "sgip":
            needed |= {"sgip.node": str(self.sgip.node or ""), "sgip.corp_id": self.sgip.corp_id}
        return [name for name, value in needed.items() if not value]

    def same_wire(self, other: Endpoint) -> bool:
        """Whether a connection made by these terms also serves those: only live ones differ."""
        fixed = Endpoint.model_fields.keys() - _LIVE
        return all(getattr(self, name) == getattr(other, name) for name in fixed)


class ListenSettings(Strict):
    """Where SGIP gateways connect to deliver; one for the channel."""

    host: str = Field(default="127.0.0.1", min_length=1)
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    allow: tuple[IPvAnyNetwork, ...] = ()
    """Networks that may connect; none = any that can log in."""


class SmsSettings(Endpoint):
    """Settings of kind `sms`."""

    suppliers: dict[str, Endpoint] = Field(default_factory=dict)
    """Several far ends of one channel by name, each with a share (`weight`). The ids that its gateway gives are told apart by the
    name, so keep it while receipts are under way; the one that a channel had before it had several is `main`."""
    queue_s: float = Field(default=10.0, gt=0)
    """How long a message may wait to be written (for the window, another connection, a reconnect)
    before it is given back. Keep the sum with `response_timeout_s` below the channel's
    `send_timeout`: what that cuts off is unknown as a whole, written or not."""
    listen: ListenSettings | None = None
    """SGIP: where the gateway delivers; without it there are no receipts and no replies."""
    signature: str = Field(default="", max_length=20)
    """【…】 exactly once in every text; it counts in the length."""
    signature_place: Literal["front", "end"] = "front"
    """Where it stands."""
    opt_out: str = Field(default="", max_length=40)
    """Put under texts of `opt_out_categories` that do not say how to refuse, as 拒收请回复R."""
    opt_out_categories: frozenset[str] = frozenset({"marketing"})
    """Categories whose texts say how to refuse."""
    max_parts: int = Field(default=255, ge=1, le=255)
    """Longer texts are refused."""
    codes: TextFile | None = None
    """A file beside the configuration with the province's own codes; see `adapters.sms.codes`."""
    ranges: dict[Digits, Carrier] = Field(default_factory=dict)
    """Beginnings of numbers and their carrier, over the shipped number plan; the longest wins."""
    ported_days: float = Field(default=90.0, gt=0)
    """How long it is remembered that a number has moved to another carrier."""
    long_mo_s: float = Field(default=600.0, gt=0)
    """How long the missing parts of an incoming long message are waited for."""

    @model_validator(mode="before")
    @classmethod
    def _inherit(cls, data: Any) -> Any:
        """What a supplier does not say is the channel's; its own blocks (`smpp`, `sgip`) likewise."""
        if not isinstance(data, Mapping) or not isinstance(data.get("suppliers"), Mapping):
            return data
        names = Endpoint.model_fields.keys() - _SUPPLIER_ONLY
        common = {name: data[name] for name in names if name in data}
        suppliers: dict[Any, Any] = {}
        for name, own in data["suppliers"].items():
            if not isinstance(own, Mapping):
                suppliers[name] = own
                continue
            merged = common | dict(own)
            for block in ("smpp", "sgip"):
                top = common.get(block)
                if isinstance(top, Mapping) and isinstance(own.get(block), Mapping):
                    merged[block] = {**top, **own[block]}
            suppliers[name] = merged
        return {**data, "suppliers": suppliers}

    @field_validator("codes")
    @classmethod
    def _readable(cls, value: TextFile | None) -> TextFile | None:
        read_codes(value)
        return value

    @field_validator("signature")
    @classmethod
    def _bracketed(cls, value: str) -> str:
        inner = value[1:-1]
        if value and not (value[0] == "【" and value[-1] == "】" and inner and "【" not in inner):
            raise fault("must be a name in brackets", "write it like 【中国移动】")
        return value

    @model_validator(mode="after")
    def _whole(self) -> SmsSettings:
        for name, terms in self.endpoints.items():
            at = f"supplier {name}: " if self.suppliers else ""
            if missing := terms.missing():
                raise fault(f"{at}{', '.join(missing)} missing", f"{terms.protocol} needs them")
            if len(terms.account) > (most := _LONGEST[terms.protocol]):
                raise fault(f"{at}account is too long", f"{terms.protocol} has {most} characters")
            limit = _LONGEST_SECRET.get(terms.protocol, 64)
            if len(terms.secret.reveal()) > limit:
                raise fault(f"{at}secret is too long", f"{terms.protocol} has {limit} characters")
        self._callers_differ()
        return self

    def _callers_differ(self) -> None:
        """Whose gateway it is that calls us is known by its login alone."""
        seen: dict[tuple[str, str], str] = {}
        for name, terms in self.endpoints.items():
            if self.listen is None or terms.protocol != "sgip":
                continue
            secret = (terms.sgip.listen_secret or terms.secret).reveal()
            first = seen.setdefault((terms.sgip.listen_account or terms.account, secret), name)
            if first != name:
                raise fault(
                    f"suppliers {first} and {name}: their gateways log in with us alike",
                    "give each an `sgip.listen_account` of its own",
                )

    @property
    def endpoints(self) -> Mapping[str, Endpoint]:
        """The suppliers by name; a channel with one has it as `main`."""
        return self.suppliers or {MAIN: self}

    @property
    def rules(self) -> Rules:
        """What is done to every text."""
        return Rules(self.signature, self.signature_place, self.opt_out, self.max_parts)

    @property
    def province(self) -> ProvinceCodes:
        """The rows of `codes`."""
        return read_codes(self.codes)
