"""WeCom (企业微信): an app's messages, groups, robots, customer service (kf), customer contact, archive, hosted accounts; one kind each."""

from adapters.wecom.app import WeComApp
from adapters.wecom.archive import WeComArchive
from adapters.wecom.contact import WeComContact
from adapters.wecom.group import WeComGroup
from adapters.wecom.hosted import WeComHosted
from adapters.wecom.kf import WeComKf
from adapters.wecom.robot import WeComRobot

__all__ = [
    "WeComApp",
    "WeComArchive",
    "WeComContact",
    "WeComGroup",
    "WeComHosted",
    "WeComKf",
    "WeComRobot",
]
