"""Short messages over a carrier's long connection: kind `sms`, spoken as CMPP 2.0 or 3.0."""

from adapters.sms.adapter import Sms
from adapters.sms.settings import SmsSettings

__all__ = ["Sms", "SmsSettings"]
