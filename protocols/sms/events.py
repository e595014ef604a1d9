"""What a carrier `Link` tells its owner: a closed union of values, in the order in which things
happened; the same for CMPP, SMPP, SGIP and SMGP.

A `pdu` is one of the link's own protocol; the owner matches on its type. `sequence` is the number
the peer echoes (SGIP: its 96 bits).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple


class Lost(StrEnum):
    """Why a request ended without a readable answer; whether the peer acted on it is unknown in
    every case.
    """

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"


class Why(StrEnum):
    """Why a connection must be closed."""

    FRAMING = (
        "framing"  #: a length below the header's or above the maximum: nothing after it can be read
    )
    PARTIAL = "partial"  #: half a PDU, and then nothing
    NOT_CONNECT = "not_connect"  #: something else before the login
    LOGIN_TIMEOUT = "login_timeout"
    LOGIN_REFUSED = "login_refused"
    LOGIN_AUTH = "login_auth"  #: the server does not know the secret (strict mode)
    UNKNOWN_COMMANDS = "unknown_commands"
    SILENT = "silent"  #: N keep-alive tests unanswered
    IDLE = "idle"  #: nothing to do on a link without keep-alive (SGIP)
    PEER_TERMINATED = "peer_terminated"
    DRAINED = "drained"  #: the end of our own `drain`
    CONNECTION = "connection"  #: the owner reported it gone


@dataclass(frozen=True, slots=True)
class LoginRequested:
    """Server: answer with `Link.accept` or `Link.refuse`."""

    sequence: int
    pdu: object


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Client: requests may be sent. `peer_version` is the highest the server claims (0: it does
    not say); `trusted` whether its digest fits (protocols without one: always).
    """

    peer_version: int
    trusted: bool


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """Client: the server said no with `status`, a code of its protocol (do not hammer).
    `MustClose` follows.
    """

    status: int
    peer_version: int


@dataclass(frozen=True, slots=True)
class Request:
    """The peer wants something; answer with `Link.respond(sequence, …)`, a delivery only after
    durable storage.
    """

    sequence: int
    pdu: object


class Accepted(NamedTuple):
    """The usual answer to what `Link.submit` sent: it was taken, as `remote_id` (in the protocol's own writing,
    lower case). `tag` is what the owner passed with it.
    """

    sequence: int
    remote_id: str
    tag: object


class Response(NamedTuple):
    """Any other answer to the request that was given `sequence`; `tag` is what the owner passed with
    it. To what `Link.submit` sent: a refusal, or that it was taken, in an unusual form.
    """

    sequence: int
    pdu: object
    tag: object


@dataclass(frozen=True, slots=True)
class LateResponse:
    """An answer nobody waits for (after timeout, duplicate, of the wrong type). A message id in it
    is still worth keeping.
    """

    sequence: int
    pdu: object


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request whose outcome is unknown; it no longer counts in the window."""

    sequence: int
    tag: object
    why: Lost


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something wrong that the link survived, for the log: `what` is a bounded word, `detail` holds
    no content.
    """

    what: str
    detail: str


@dataclass(frozen=True, slots=True)
class PeerTerminating:
    """The peer asked to end: no new requests; the link answers and ends when those in flight are
    done.
    """


@dataclass(frozen=True, slots=True)
class MustClose:
    """The last event but for `Unanswered`: write `data_to_send()`, then close the connection."""

    why: Why
    detail: str = ""


Event = (
    LoginRequested
    | LoggedIn
    | LoginRefused
    | Request
    | Accepted
    | Response
    | LateResponse
    | Unanswered
    | Oddity
    | PeerTerminating
    | MustClose
)
