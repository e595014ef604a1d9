"""Kind `wecom-hosted`: staff accounts that a gateway keeps logged in (托管): 1:1 and group messages, groups, and what is said to them."""

from adapters.wecom.hosted.adapter import WeComHosted
from adapters.wecom.hosted.settings import WeComHostedSettings

__all__ = ["WeComHosted", "WeComHostedSettings"]
