"""A carrier's short message gateway (CMPP 2.0 and 3.0) that keeps a journal and has a switch for
every known misbehaviour.
"""

from adapters.sim.smsc.options import Faults, Options
from adapters.sim.smsc.server import Smsc
from adapters.sim.smsc.submits import Submitted

__all__ = ["Faults", "Options", "Smsc", "Submitted"]
