"""Which dialect an SMSC simulator speaks, by its options."""

from __future__ import annotations

from adapters.sim.smsc.dialects.cmpp import Cmpp
from adapters.sim.smsc.dialects.contract import Dialect
from adapters.sim.smsc.dialects.sgip import Sgip
from adapters.sim.smsc.dialects.smgp import Smgp
from adapters.sim.smsc.dialects.smpp import Smpp
from adapters.sim.smsc.options import Faults, Options
from msgcenter.clock import Clock


def dialect_of(options: Options, faults: Faults, clock: Clock) -> Dialect:
    """The one that `options.protocol` names."""
    match options.protocol:
        case "smpp":
            return Smpp(options, faults)
        case "sgip":
            return Sgip(options, clock)
        case "smgp":
            return Smgp(options)
        case _:
            return Cmpp(options, faults)
