"""What a CMPP `Link` tells its owner: a closed union of values, in the order in which things
happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from protocols.cmpp import pdu as p


class Lost(StrEnum):
    """Why a request ended without a readable answer; whether the peer acted on it is unknown in
    every case.
    """

    TIMEOUT = "timeout"
    CONNECTION = "connection"
    MALFORMED = "malformed"


class Why(StrEnum):
    """Why a connection must be closed."""

    FRAMING = "framing"  #: a length below 12 or above the maximum: nothing after it can be read
    PARTIAL = "partial"  #: half a PDU, and then nothing
    NOT_CONNECT = "not_connect"  #: something else before CONNECT
    LOGIN_TIMEOUT = "login_timeout"
    LOGIN_REFUSED = "login_refused"
    LOGIN_AUTH = "login_auth"  #: the server does not know the secret (strict mode)
    UNKNOWN_COMMANDS = "unknown_commands"
    SILENT = "silent"  #: N active tests unanswered
    PEER_TERMINATED = "peer_terminated"
    DRAINED = "drained"  #: the end of our own `drain`
    CONNECTION = "connection"  #: the owner reported it gone


@dataclass(frozen=True, slots=True)
class LoginRequested:
    """Server: answer with `Link.accept` or `Link.refuse`."""

    sequence: int
    pdu: p.Connect


@dataclass(frozen=True, slots=True)
class LoggedIn:
    """Client: requests may be sent. `peer_version` is the highest the server claims; `trusted`
    whether its digest fits.
    """

    peer_version: int
    trusted: bool


@dataclass(frozen=True, slots=True)
class LoginRefused:
    """Client: the server said no with `status` (4: try 2.0; 3: do not hammer). `MustClose`
    follows.
    """

    status: int
    peer_version: int


@dataclass(frozen=True, slots=True)
class Request:
    """The peer wants something; answer with `Link.respond(sequence, …)`, DELIVER only after durable
    storage.
    """

    sequence: int
    pdu: p.Submit | p.Deliver | p.Query | p.Cancel


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to the request that was given `sequence`; `tag` is what the owner passed with
    it.
    """

    sequence: int
    pdu: p.SubmitResp | p.DeliverResp | p.QueryResp | p.CancelResp
    tag: object


@dataclass(frozen=True, slots=True)
class LateResponse:
    """An answer nobody waits for (after timeout, duplicate, of the wrong type). A Msg_Id in it is
    still worth keeping.
    """

    sequence: int
    pdu: p.Response


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
    | Response
    | LateResponse
    | Unanswered
    | Oddity
    | PeerTerminating
    | MustClose
)
