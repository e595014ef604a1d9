"""Kind `wecom-app`: messages of a self-built app (企业微信应用消息) to the corp's own members, and what they write to it."""

from adapters.wecom.app.adapter import WeComApp
from adapters.wecom.app.calls import UPDATE

__all__ = ["UPDATE", "WeComApp"]
