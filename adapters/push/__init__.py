"""Kind `push`: app notifications through any push engine; what differs between engines is a profile, that is, data."""

from adapters.push.adapter import Push
from adapters.push.settings import PushSettings

__all__ = ["Push", "PushSettings"]
