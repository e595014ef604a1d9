"""WeCom (企业微信): messages of an app to members, internal groups, group robots; one channel kind each, over one API client."""

from adapters.wecom.app import WeComApp
from adapters.wecom.group import WeComGroup
from adapters.wecom.robot import WeComRobot

__all__ = ["WeComApp", "WeComGroup", "WeComRobot"]
