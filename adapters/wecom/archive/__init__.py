"""Kind `wecom-archive`: the conversation archive (会话存档), read only: by cursor, decrypted, its files fetched, told once."""

from adapters.wecom.archive.adapter import WeComArchive
from adapters.wecom.archive.settings import WeComArchiveSettings

__all__ = ["WeComArchive", "WeComArchiveSettings"]
