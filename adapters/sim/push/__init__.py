"""A push engine as a simulator: it speaks as Getui, JPush, Umeng, Huawei or the plain one, tells receipts, and misbehaves on command."""

from adapters.sim.push.options import PushOptions
from adapters.sim.push.server import PushSim

__all__ = ["PushOptions", "PushSim"]
