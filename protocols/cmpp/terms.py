"""The terms of a CMPP link: its roles, states and contract settings, and the two refusals of a
request.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from protocols.cmpp import pdu as p
from protocols.cmpp.layouts import MAX_LENGTH


class Role(Enum):
    """Which end: the SP connects and submits (client), the gateway listens and delivers
    (server).
    """

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """Where a connection stands. Requests of our own may start only in OPEN."""

    NEW = "new"
    LOGIN = "login"
    OPEN = "open"
    DRAINING = "draining"  #: we want to end: waiting for what is in flight
    TERMINATING = "terminating"  #: our TERMINATE is out
    PEER_ENDING = "peer_ending"  #: the peer's TERMINATE is in, waiting for what is in flight
    CLOSED = "closed"


class NotOpen(Exception):
    """A request was made while the link is not logged in or is ending; nothing was sent."""


class WindowFull(Exception):
    """A request was made with the window full; nothing was sent."""


@dataclass(frozen=True, slots=True)
class LinkOptions:
    """Contract terms of one connection; seconds. Defaults are the specification's W, T, C and N."""

    version: int = p.V30
    window: int = 16
    peer_window: int = 16  #: only counted (`window_exceeded`), never enforced
    response_timeout: float = 60.0
    idle: float = 180.0  #: silence before an active test; 0 sends none
    test_timeout: float = 60.0
    tests: int = 3
    login_timeout: float = 30.0
    partial_timeout: float = 20.0
    terminate_timeout: float = 5.0
    max_length: int = MAX_LENGTH
    max_unknown: int = 8
    strict_auth: bool = False
