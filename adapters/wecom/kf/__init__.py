"""Kind `wecom-kf`: customer service (微信客服) accounts: what customers write is pulled and relayed, and answered in its window."""

from adapters.wecom.kf.adapter import WeComKf
from adapters.wecom.kf.settings import WeComKfSettings

__all__ = ["WeComKf", "WeComKfSettings"]
