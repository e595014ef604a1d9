"""Kind `wecom-app`: messages of a self-built app to the corp's own members, their recall and card updates, and what members write to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from adapters.wecom.api import WeComApi
from adapters.wecom.batch import UPDATE, Batch
from adapters.wecom.calls import Refusal
from adapters.wecom.contents import NATIVE, Need, body_of, checked, is_ours, needs
from adapters.wecom.inbox import Inbox
from adapters.wecom.media import FormMaker, Uploads
from adapters.wecom.sending import Call, interval, marked
from adapters.wecom.settings import WeComAppSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Request,
    Response,
    Sent,
    Spec,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.fields import as_text
from protocols.jsontext import parse
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
from protocols.wecom import answers
from protocols.wecom import app as requests
from protocols.wecom.crypto import Crypt
from protocols.wecom.limits import RATES, user_ids

_MEMBER_LIMITS = (RATES["app.member.minute"], RATES["app.member.hour"])


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
        self.api = WeComApi(settings, port)
        self.uploads = Uploads(port, self._upload)
        token, key = settings.callback_token, settings.callback_aes_key
        self.inbox: Inbox | None = None
        if token is not None and key is not None:
            crypt = Crypt(token.reveal(), key.reveal(), settings.corp)
            self.inbox = Inbox(port, crypt, settings.agent_id, settings.callback_skew_s)
        late = settings.slack_s + settings.total_s
        self.limits = [(rate.count, rate.seconds + late) for rate in _MEMBER_LIMITS]

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.api.open():
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
            self._update_of(envelope)
            return
        if isinstance(payload, Native) and payload.kind not in NATIVE:
            raise Malformed(
                f"native {payload.kind[:40]!r}: one of {', '.join(sorted({*NATIVE, UPDATE}))}"
            )
        requests.message_send(self.settings.agent_id, checked(payload), [envelope.to.value])

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        if not self.api.http.is_open:
            raise Unreachable("wecom-app: no session")
        work = Batch(self, batch)
        await work.run()
        return work.outcomes()

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        kind, _ = need
        if kind == "picture":
            return await self.api.upload("media/uploadimg", {}, form)
        return await self.api.upload("media/upload", {"type": kind}, form)

    async def allowances(self, users: Sequence[str]) -> list[float]:
        """For each member 0.0 = counted, or the seconds until another message would not be dropped in silence."""
        return await self.port.allow([f"member:{user.lower()}" for user in users], self.limits)

    async def send(self, call: Call) -> answers.Answer:
        """One message/send; media that WeCom forgot are uploaded once more. Raises Refusal, Malformed."""
        wanted = needs(call.payload)
        try:
            return await self.api.post("message/send", await self._request(call, wanted))
        except Refusal as refusal:
            if refusal.errcode != 40007 or not any(map(_forgettable, wanted)):
                raise
        await self.uploads.forget(wanted)
        return await self.api.post("message/send", await self._request(call, wanted))

    async def _request(self, call: Call, wanted: Sequence[Need]) -> bytes:
        settings = self.settings
        body = requests.message_send(
            settings.agent_id,
            body_of(call.payload, await self.uploads.media_ids(wanted)),
            call.users,
            safe=1 if settings.safe else 0,
            translate_ids=settings.translate_ids,
            duplicate_check_s=interval(call.token, settings.duplicate_check_s),
        )
        return marked(body, call.token)

    async def recall(self, payload: Recall) -> Outcome:
        """Raises Refusal."""
        if any("/" in remote_id for remote_id in payload.remote_ids):
            told = "it left in one call with others, from whom it would be taken as well"
            return Rejected("message", told, "sent_jointly")
        if not payload.remote_ids:
            return Rejected("message", "WeCom gave no id for it", "no_remote_id")
        for remote_id in payload.remote_ids:
            await self.api.post("message/recall", requests.recall(remote_id))
        return Sent(detail="recalled")

    async def update(self, envelope: Envelope) -> Outcome:
        """Raises Refusal."""
        body = self._update_of(envelope)
        answer = answers.Sending.of(await self.api.post("message/update_template_card", body))
        if answer.refuses(envelope.to.value):
            return Rejected("recipient", "this member has no such card", "wecom_invalid_user")
        return Sent(detail="updated")

    def _update_of(self, envelope: Envelope) -> bytes:
        assert isinstance(envelope.payload, Native)
        fields = parse(envelope.payload.body.encode())
        button, card = fields.get("button"), fields.get("template_card")
        return requests.update_card(
            self.settings.agent_id,
            as_text(fields.get("response_code")),
            button=as_text(button.get("replace_name")) if isinstance(button, Mapping) else "",
            card=card if isinstance(card, Mapping) else None,
            users=[envelope.to.value],
        )


def _forgettable(need: Need) -> bool:
    return need[0] != "picture" and is_ours(need[1])


__all__ = ["UPDATE", "WeComApp"]
