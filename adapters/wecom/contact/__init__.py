"""Kind `wecom-contact`: customer contact (客户联系): mass tasks that members confirm, welcomes, transfers, and its events."""

from adapters.wecom.contact.adapter import WeComContact
from adapters.wecom.contact.settings import WeComContactSettings

__all__ = ["WeComContact", "WeComContactSettings"]
