"""The carrier protocols that the simulated SMSC speaks, one file each."""

from adapters.sim.smsc.dialects.contract import Dialect, Results, Taken
from adapters.sim.smsc.dialects.of import dialect_of

__all__ = ["Dialect", "Results", "Taken", "dialect_of"]
