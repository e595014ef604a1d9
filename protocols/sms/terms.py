"""The terms of a carrier link: its roles, states and contract settings, and the two refusals of a
request; the same for CMPP, SMPP, SGIP and SMGP.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Role(Enum):
    """Which end: the one that connects and logs in (client), the one that listens (server)."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """Where a connection stands. Requests of our own may start only in OPEN."""

    NEW = "new"
    LOGIN = "login"
    OPEN = "open"
    DRAINING = "draining"  #: we want to end: waiting for what is in flight
    TERMINATING = "terminating"  #: our wish to end is out
    PEER_ENDING = "peer_ending"  #: the peer's wish to end is in, waiting for what is in flight
    CLOSED = "closed"


LIVE = (State.OPEN, State.DRAINING, State.TERMINATING, State.PEER_ENDING)


class NotOpen(Exception):
    """A request was made while the link is not logged in or is ending; nothing was sent."""


class WindowFull(Exception):
    """A request was made with the window full; nothing was sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkOptions:
    """Contract terms of one connection that all protocols know; seconds and octets."""

    window: int = 16
    peer_window: int = 16  #: only counted (`window_exceeded`), never enforced
    response_timeout: float = 60.0
    idle: float = 180.0  #: silence before a keep-alive test; 0 sends none
    test_timeout: float = 60.0
    tests: int = 3
    login_timeout: float = 30.0
    partial_timeout: float = 20.0
    terminate_timeout: float = 5.0
    max_length: int = 4096
    max_unknown: int = 8  #: unknown commands until the connection is given up
