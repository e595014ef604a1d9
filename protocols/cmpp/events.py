"""What a CMPP `Link` tells its owner: the events of every carrier link, with CMPP's PDUs in them."""

from protocols.sms.events import (
    Accepted,
    Event,
    LateResponse,
    LoggedIn,
    LoginRefused,
    LoginRequested,
    Lost,
    MustClose,
    Oddity,
    PeerTerminating,
    Request,
    Response,
    Unanswered,
    Why,
)

__all__ = [
    "Accepted",
    "Event",
    "LateResponse",
    "LoggedIn",
    "LoginRefused",
    "LoginRequested",
    "Lost",
    "MustClose",
    "Oddity",
    "PeerTerminating",
    "Request",
    "Response",
    "Unanswered",
    "Why",
]
