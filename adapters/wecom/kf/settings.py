"""Settings of kind `wecom-kf`: the app that manages the kf accounts, how they are read, and what they greet customers with."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator, model_validator

from adapters.wecom.settings import CallbackSettings
from msgcenter.adapter import Duration, Malformed, Strict, fault
from protocols.wecom import kf
from protocols.wecom.bodies import Body


class Item(Strict):
    """A line of a greeting's menu: tapped, it answers with `content` and `id`."""

    id: str
    """What the tap tells us."""
    content: str
    """What the line says."""


class Greeting(Strict):
    """What a customer is told who opens the chat and is due a welcome: a text, or a menu under it."""

    text: str
    """What is said."""
    menu: tuple[Item, ...] = ()
    """Lines to tap, below the text."""
    tail: str = ""
    """Below the menu."""

    def body(self) -> Body:
        """Raises Malformed."""
        if not self.menu:
            return kf.text(self.text)
        items = [kf.Click(item.id, item.content) for item in self.menu]
        return kf.msgmenu(items, self.text, self.tail)

    @model_validator(mode="after")
    def _sendable(self) -> Any:
        try:
            self.body()
        except Malformed as error:
            raise fault(str(error), "shorten it, as WeCom would refuse it") from None
        return self


class WeComKfSettings(CallbackSettings):
    """Settings of kind `wecom-kf`. The accounts read on their own are those of accounts.yaml; any other is read when WeCom
    rings for it."""

    greetings: dict[str, Greeting] = Field(default_factory=dict)
    """open_kfid -> the welcome that this channel sends by itself; `*` = every account without one of its own."""
    poll: Duration = 120.0
    """How often an account is read although nothing rang: a lost callback costs at most so much. WeCom allows few such reads."""
    bare_per_minute: int = Field(default=5, ge=1)
    """Reads of one account in a minute without a callback's token; WeCom says only that its limit is strict."""
    pull: Duration = 5.0
    """How long one doorbell reads on; what is left then rings again, so that sends get their turn."""
    file_patience: Duration = 20.0
    """How long a file that cannot be fetched holds up the reading of its account; then `kf_file_late` stands in its place, and
    the file follows when it can be had."""

    @field_validator("poll")
    @classmethod
    def _gentle(cls, value: float) -> float:
        if value < 10:
            raise fault("poll is too often", "10s or more; callbacks tell of news at once")
        return value
