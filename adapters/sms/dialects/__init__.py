"""The carrier protocols that the SMS channel speaks, one file each."""

from __future__ import annotations

from collections.abc import Callable

from adapters.sms.dialects.cmpp import Cmpp
from adapters.sms.dialects.contract import ALONE, Again, Called, Dialect, Said, Told, Use, Written
from adapters.sms.dialects.sgip import Sgip
from adapters.sms.dialects.smgp import Smgp
from adapters.sms.dialects.smpp import Smpp
from adapters.sms.settings import Endpoint

__all__ = ["ALONE", "Again", "Called", "Dialect", "Said", "Told", "Use", "Written", "dialect_of"]


def dialect_of(terms: Endpoint, stamp: Callable[[], int]) -> Dialect:
    """The one that `terms.protocol` names. `stamp` tells MMDDhhmmss of Chinese time."""
    match terms.protocol:
        case "smpp":
            return Smpp(terms)
        case "sgip":
            return Sgip(terms, stamp)
        case "smgp":
            return Smgp(terms)
        case _:
            return Cmpp(terms)
