"""The WeCom platform (企业微信) as a simulator: its server API, callbacks, people and misbehaviour."""

from adapters.sim.wecom.options import Limits, WeComOptions
from adapters.sim.wecom.server import WeComSim

__all__ = ["Limits", "WeComOptions", "WeComSim"]
