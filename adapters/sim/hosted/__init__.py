"""A hosted-account gateway (托管) as a simulator: accounts, their customers and groups, and the ways such gateways fail."""

from adapters.sim.hosted.options import Faults, HostedOptions
from adapters.sim.hosted.server import HostedSim

__all__ = ["Faults", "HostedOptions", "HostedSim"]
