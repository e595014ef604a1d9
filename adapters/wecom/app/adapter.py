"""Kind `wecom-app`: messages of a self-built app to the corp's own members, their recall and card updates, and what members write to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from adapters.wecom.app.batch import Batch
from adapters.wecom.app.calls import UPDATE, AppCalls, update_of
from adapters.wecom.contents import NATIVE, checked
from adapters.wecom.fetching import Fetching
from adapters.wecom.inbox import Inbox, crypt_of
from adapters.wecom.settings import WeComAppSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Request,
    Response,
    Spec,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import (
    Card,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Pull,
    Recall,
    Text,
)
from protocols.wecom import app as requests
from protocols.wecom.limits import user_ids


class WeComApp(Adapter):
    """Reaches `staff:<userid>`. WeCom tells only who could not be reached at all: there are no receipts."""

    spec = Spec(
        kind="wecom-app",
        title="WeCom application (企业微信应用消息)",
        payloads=frozenset({Text, Markdown, Media, Link, MiniProgram, Card, Native, Recall, Pull}),
        schemes=frozenset({"staff"}),
        max_batch=1000,
        in_flight=4,
        receives=True,
        idempotent=True,
        recall=True,
        limits={
            "members": "30 messages a minute and 1,000 an hour to one member; WeCom drops the excess without a word, "
            "so what is over waits here (reason wecom_member_limit)",
            "day": "200 recipients a day for each account the corp may have",
            "text": "2,048 octets; longer texts are refused here, WeCom would cut them",
            "receipts": "none: sent means that WeCom took it",
            "recall": "24 h, in the WeCom client only; not for messages that shared a call with others",
            "repeats": "recognised for duplicate_check_s; a later repeat of an unknown outcome is not made",
            "markdown": "not shown in the WeChat plug-in",
        },
    )
    Settings = WeComAppSettings
    settings: WeComAppSettings

    def __init__(self, settings: WeComAppSettings, port: Port) -> None:
        """Raises Malformed for an EncodingAESKey that is none."""
        super().__init__(settings, port)
        self.calls = AppCalls(settings, port)
        self.fetching = Fetching()
        crypt = crypt_of(settings)
        self.inbox = None if crypt is None else Inbox(port, crypt, settings)

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.calls.api.open(), self.fetching.open():
            up(True)
            await self.port.clock.sleep(float("inf"))

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`callback`: the app's receiving address (接收消息), if the callback settings are given."""
        return {} if self.inbox is None else {"callback": self.inbox.handle}

    def render(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if isinstance(payload, Recall | Pull):
            return
        if envelope.to.scheme != "staff":
            raise Malformed("wecom-app reaches staff: addresses")
        user_ids("app.touser", [envelope.to.value])
        if isinstance(payload, Native) and payload.kind == UPDATE:
            update_of(self.settings.agent_id, envelope)
            return
        if isinstance(payload, Native) and payload.kind not in NATIVE:
            raise Malformed(
                f"native {payload.kind[:40]!r}: one of {', '.join(sorted({*NATIVE, UPDATE}))}"
            )
        requests.message_send(self.settings.agent_id, checked(payload), [envelope.to.value])

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        if not self.calls.api.http.is_open:
            raise Unreachable("wecom-app: no session")
        work = Batch(self.calls, self._answer, batch)
        await work.run()
        return work.outcomes()

    async def _answer(self, pull: Pull) -> Outcome:
        """A doorbell: have the file of a callback fetched. Raises what `Inbox.fetch` raises."""
        if self.inbox is None:
            return Rejected("message", "no callbacks are set up", "wrong_payload")
        return await self.fetching(pull, partial(self.inbox.fetch, pull, self.calls.api))


__all__ = ["WeComApp"]
