"""What an app asks of WeCom for its messages: send, recall, change a card; media are uploaded first, and once more when forgotten."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contents import Need, body_of, is_ours, needs
from adapters.wecom.media import FormMaker, Uploads
from adapters.wecom.sending import Call, interval, marked
from adapters.wecom.settings import WeComAppSettings
from msgcenter.adapter import Port, Rejected, Sent
from protocols.envelope import Envelope
from protocols.fields import as_text
from protocols.jsontext import parse
from protocols.outcome import Outcome
from protocols.payload import Native, Recall
from protocols.wecom import answers
from protocols.wecom import app as requests

UPDATE = "update_template_card"
"""The `Native` that changes a card sent before: `{"response_code": …, "button": {"replace_name": …} | "template_card": {…}}`."""


class AppCalls:
    """One app's calls; `api` is open while the channel's session is."""

    def __init__(self, settings: WeComAppSettings, port: Port) -> None:
        self.settings = settings
        self.port = port
        self.api = WeComApi(settings, port)
        self._uploads = Uploads(port, self._upload)

    async def send(self, call: Call) -> answers.Answer:
        """One message/send; media that WeCom forgot are uploaded once more. Raises Refusal, Malformed."""
        wanted = needs(call.payload)
        try:
            return await self.api.post("message/send", await self._request(call, wanted))
        except Refusal as refusal:
            if refusal.errcode != 40007 or not any(map(_forgettable, wanted)):
                raise
        await self._uploads.forget(wanted)
        return await self.api.post("message/send", await self._request(call, wanted))

    async def _request(self, call: Call, wanted: Sequence[Need]) -> bytes:
        settings = self.settings
        body = requests.message_send(
            settings.agent_id,
            body_of(call.payload, await self._uploads.media_ids(wanted)),
            call.users,
            safe=1 if settings.safe else 0,
            translate_ids=settings.translate_ids,
            duplicate_check_s=interval(call.token, settings.duplicate_check_s),
        )
        return marked(body, call.token)

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        kind, _ = need
        if kind == "picture":
            return await self.api.upload("media/uploadimg", {}, form)
        return await self.api.upload("media/upload", {"type": kind}, form)

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
        """Raises Refusal, Malformed."""
        body = update_of(self.settings.agent_id, envelope)
        answer = answers.Sending.of(await self.api.post("message/update_template_card", body))
        if answer.refuses(envelope.to.value):
            return Rejected("recipient", "this member has no such card", "wecom_invalid_user")
        return Sent(detail="updated")


def update_of(agent_id: int, envelope: Envelope) -> bytes:
    """The request that an `UPDATE` is. Raises Malformed."""
    assert isinstance(envelope.payload, Native)
    fields = parse(envelope.payload.body.encode())
    button, card = fields.get("button"), fields.get("template_card")
    return requests.update_card(
        agent_id,
        as_text(fields.get("response_code")),
        button=as_text(button.get("replace_name")) if isinstance(button, Mapping) else "",
        card=card if isinstance(card, Mapping) else None,
        users=[envelope.to.value],
    )


def _forgettable(need: Need) -> bool:
    return need[0] != "picture" and is_ours(need[1])


__all__ = ["UPDATE", "AppCalls", "update_of"]
