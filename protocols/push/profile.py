"""What one push engine wants and means, as data: how to sign in, what to send, what its answers and receipts say; all of it can be configured.

`{name}` in a template is a fact: `app key secret` (settings), `id` (our token of the message), `token tokens` (devices),
`title body url data click priority` (content), `ttl_s ttl_ms expires` (validity), `class` (vendor's word for service or marketing),
`dry_run`, `timestamp timestamp_ms nonce` (of the call), `method path_url body_text` (for signatures), `remote_id` (withdraw),
`sign`. Paths into answers are `a/b/c`; `*` is the first member whatever its name, `%` that name itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeAlias

from protocols.push.signing import Signature

#: What an answer means. `refresh`: sign in anew; `account`: our credentials are refused; `dead`: the device is gone for good;
#: `limit`: this device gets no more for now; `unknown`: nobody can say whether it was taken.
Verdict: TypeAlias = Literal[
    "ok", "retry", "throttle", "refresh", "account", "reject", "dead", "limit", "unknown"
]
State: TypeAlias = Literal["delivered", "undelivered", "read", "unknown"]

_FORBID: dict[str, str] = {"extra": "forbid"}


@dataclass(frozen=True, slots=True)
class Call:
    """One request. `form`: the body goes as a form instead of JSON. `body` None: there is none."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    path: str
    method: str = "POST"
    body: Mapping[str, Any] | None = None
    form: bool = False


@dataclass(frozen=True, slots=True)
class Auth:
    """`basic` · `header`: the secret itself · `exchange`: a token got by `call`, renewed early and when refused · `sign`: every
    call is signed. Mutual TLS comes on top, from the channel's settings."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    mode: Literal["none", "basic", "header", "exchange", "sign"] = "none"
    header: str = "Authorization"
    prefix: str = ""
    call: Call | None = None
    token: str = ""
    """Where the token is in the answer of `call`."""
    lasts_s: float = 3600.0
    lasts: str = ""
    """Where the answer says how many seconds it lasts; `lasts_s` when it does not."""
    signature: Signature | None = None
    query: str = ""
    """`sign`: the query parameter that carries the signature; else the headers do."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """`sign`: headers with facts, `{sign}` among them."""


@dataclass(frozen=True, slots=True)
class Answers:
    """How an answer is read. `outcomes`: code -> verdict; `http 429`, `http 5xx` where there is no code; `*` any other code."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    codes: tuple[str, ...]
    """Paths to the code; the first that is there counts."""
    ids: tuple[str, ...] = ()
    """Paths to the message's id at the engine."""
    details: tuple[str, ...] = ()
    outcomes: Mapping[str, Verdict] = field(default_factory=dict)
    reset_header: str = ""
    """Header that says in how many seconds the quota is renewed."""
    left_header: str = ""
    """Header that says how many calls are left until then; at 0 the next one waits."""


@dataclass(frozen=True, slots=True)
class Receipts:
    """How receipts come. `push`: to our web hook, one JSON object a line or a list under `items`; `poll`: asked for with `call`."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    how: Literal["none", "push", "poll"] = "none"
    lines: bool = False
    items: str = ""
    """Path of the list; empty = the whole is one item (or, polled, the list itself)."""
    id: str = ""
    token: str = ""
    code: str = ""
    at: str = ""
    states: Mapping[str, State] = field(default_factory=dict)
    """Code -> state; `*` any other."""
    dead: frozenset[str] = frozenset()
    """Codes that say the device is gone for good."""
    counts: tuple[str, ...] = ()
    """Polled: numbers of devices reached; one above 0 is `delivered`."""
    check: Literal["none", "item", "header", "huawei"] = "none"
    """What is signed: each item (by its own members), the whole body, or as Huawei does."""
    signature: Signature | None = None
    signed: str = ""
    """Member (`item`) or header (`header`) that holds the signature."""
    timestamp_header: str = ""
    nonce_header: str = ""
    call: Call | None = None
    at_once: int = 100
    """Polled: ids in one question."""
    late_s: float = 3 * 86_400.0
    """After this no receipt is waited for."""


@dataclass(frozen=True, slots=True)
class Profile:
    """One engine. `repeat`: what a second send with the same id does: gives the first answer, loses the message, or sends twice."""

    __pydantic_config__: ClassVar[dict[str, str]] = _FORBID

    title: str
    auth: Auth
    send: Call
    answers: Answers
    batch: int = 1
    """Device tokens in one call."""
    repeat: Literal["returns-first", "loses", "none"] = "none"
    receipts: Receipts = Receipts()
    ours: bool = False
    """The engine calls the message as we do, so that a receipt finds it though the answer was lost."""
    withdraw: Call | None = None
    validate: Call | None = None
    """Made instead of `send` in a dry run; none: `send` says so with the fact `dry_run`, or there is no dry run."""
    ids: Call | None = None
    """Where ids for `repeat` must be fetched first; `ids_at` is the path to the list."""
    ids_at: str = ""
    ttl_most_s: int = 3 * 86_400
    max_body: int = 4096
    per_minute: int = 0
    """Calls a minute that the engine allows us; 0 = no limit known."""
    per_day: int = 0
    """Devices written to in a day, of the whole app (a test allowance); 0 = no limit known."""
    per_device_day: Mapping[str, int] = field(default_factory=dict)
    """Class -> messages a day to one device."""
    classes: Mapping[str, str] = field(default_factory=dict)
    """`service` and `marketing` in the engine's words."""
    priorities: Mapping[str, str] = field(default_factory=dict)
    """`high` (tiers P0, P1) and `normal` in the engine's words, for the fact `priority`."""
    clicks: tuple[str, str] = ("url", "none")
    """The engine's words for a message with an address to open, and for one without."""
    limits: Mapping[str, str] = field(default_factory=dict)
    """For people."""
