"""Settings of kind `wecom-archive`: whose archive, through which library, with which private keys, and how patient it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from adapters.wecom.settings import CallbackSettings
from msgcenter.adapter import Duration, Secret, fault

AGENT = 2_000_004
"""The agent id of 会话存档 itself."""


class WeComArchiveSettings(CallbackSettings):
    """`secret`: the archive's own secret (会话存档), for the library and for `msgaudit/*` alike. With the callback settings the
    adapter hears `msgaudit_notify` itself; where the corp's one receiving address leads to an app, that rings this channel.
    """

    agent_id: int = Field(default=AGENT, ge=0)
    """The archive's own, fixed by WeCom."""
    library: str = ""
    """Path of the vendor's shared library (libWeWorkFinanceSdk_C.so) for this machine."""
    simulator: str = ""
    """Simulator only: the URL of a simulated WeCom, whose archive has a cipher of its own. Instead of `library`."""
    keys: dict[int, Secret] = Field(min_length=1)
    """publickey_ver -> RSA private key (PEM), as in `3: ${file:/run/secrets/archive-3.pem}`. Keep every old one: what was
    written under it can be read with no other."""
    poll: Duration = 15.0
    """How often it is looked for new items: `msgaudit_notify` is only a hint."""
    limit: int = Field(default=1000, ge=1, le=1000)
    """Items asked for at once."""
    sdk_timeout_s: int = Field(default=10, ge=1, le=120)
    """Longest time for one call of the library."""
    threads: int = Field(default=4, ge=1, le=32)
    """Calls of the library, and files, at once."""
    proxy: str = ""
    """Of the library, as in socks5://10.0.0.1:8081."""
    proxy_password: Secret | None = None
    """user:password of the proxy."""
    media_tries: int = Field(default=5, ge=1, le=20)
    """A piece of a file that fails so often in a row makes the file lost; the message is relayed without it."""
    media_time: Duration = Field(default=600.0, gt=0)
    """Longest time for one file."""
    patience: Duration = Field(default=3600.0, le=4 * 86_400)
    """How long an item that cannot be decrypted (its key is not here) holds everything after it, an alarm raised, before it is
    relayed unread. At most four days: what was not fetched within five is gone."""

    @model_validator(mode="after")
    def _one_source(self) -> Any:
        if bool(self.library) == bool(self.simulator):
            raise fault(
                "library or simulator must be given, and not both",
                "write `library: /opt/wework/libWeWorkFinanceSdk_C.so`",
            )
        return self
