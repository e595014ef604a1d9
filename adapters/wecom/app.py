"""Kind `wecom-app`: messages of a self-built app to the corp's own members, their recall and card updates, and what members write to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contents import NATIVE, Need, body_of, checked, is_ours, needs
from adapters.wecom.inbox import Inbox
from adapters.wecom.media import FormMaker, Uploads
from adapters.wecom.sending import Call, chains, interval, marked, member_of, of_account
from adapters.wecom.settings import WeComAppSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Request,
    Response,
    Retry,
    Sent,
    Spec,
    Unknown,
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

UPDATE = "update_template_card"
"""The `Native` that changes a card sent before: `{"response_code": …, "button": {"replace_name": …} | "template_card": {…}}`."""
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
        self._limits = [(rate.count, rate.seconds + late) for rate in _MEMBER_LIMITS]

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
        work = _Work(self, batch)
        await work.run()
        return work.outcomes()

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        kind, _ = need
        if kind == "picture":
            return await self.api.upload("media/uploadimg", {}, form)
        return await self.api.upload("media/upload", {"type": kind}, form)

    async def allowances(self, users: Sequence[str]) -> list[float]:
        """For each member 0.0 = counted, or the seconds until another message would not be dropped in silence."""
        return await self.port.allow([f"member:{user.lower()}" for user in users], self._limits)

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


class _Work:
    """One batch on its way: an outcome for each message, and whether anything may have left."""

    def __init__(self, app: WeComApp, batch: Sequence[Dispatch]) -> None:
        self._app = app
        self._port = app.port
        self._batch = batch
        self._outcomes: list[Outcome | None] = [None] * len(batch)
        self._unreachable = 0
        self._slots = asyncio.Semaphore(app.settings.at_once)

    def outcomes(self) -> list[Outcome]:
        """Raises Unreachable when there was no connection for any of them."""
        if self._unreachable == len(self._batch):
            raise Unreachable("WeCom cannot be reached")
        assert all(outcome is not None for outcome in self._outcomes)
        return [outcome for outcome in self._outcomes if outcome is not None]

    async def run(self) -> None:
        jobs = []
        messages: list[int] = []
        for index, item in enumerate(self._batch):
            match item.envelope.payload:
                case Recall() | Pull():
                    jobs.append(self._single(index))
                case Native(kind=kind) if kind == UPDATE:
                    jobs.append(self._single(index))
                case _:
                    messages.append(index)
        repeats = await self._joined_before(messages)
        left = [
            index for index in messages if self._outcomes[index] is None and index not in repeats
        ]
        allowed = await self._within_limits(left)
        began = self._port.clock.monotonic()
        joined = chains(self._batch, allowed, self._app.settings.join_from_tier)
        jobs += [self._chain(chain, began) for chain in joined]
        jobs += [self._again(token, found) for token, found in _by_value(repeats).items()]
        if jobs:
            async with asyncio.TaskGroup() as group:
                for job in jobs:
                    group.create_task(job)

    def _set(self, index: int, outcome: Outcome, unreachable: bool = False) -> None:
        self._outcomes[index] = of_account(outcome, self._batch[index])
        self._unreachable += unreachable

    # -- recalls, updates, files to be fetched --------------------------------------------------------------------------

    async def _single(self, index: int) -> None:
        envelope = self._batch[index].envelope
        app = self._app
        async with self._slots:
            try:
                match envelope.payload:
                    case Recall() as recall:
                        outcome = await app.recall(recall)
                    case Pull() as pull if app.inbox is not None:
                        outcome = await app.inbox.fetch(pull, app.api)
                    case Native():
                        outcome = await app.update(envelope)
                    case _:
                        outcome = Rejected("message", "no callbacks are set up", "wrong_payload")
            except Refusal as refusal:
                self._set(index, refusal.outcome, refusal.unreachable)
            except Malformed as error:
                self._set(index, Rejected("message", str(error), "malformed"))
            else:
                self._set(index, outcome)

    # -- messages -------------------------------------------------------------------------------------------------------

    async def _joined_before(self, messages: Sequence[int]) -> dict[int, str]:
        """Messages to be repeated (index -> token of the call) that left in one call with others: that call is made again
        as it was. A repeat that WeCom would not recognise any more is not made.
        """
        found: dict[int, str] = {}
        for index in messages:
            envelope = self._batch[index].envelope
            if envelope.token_of < 0:
                continue
            if not await self._is_recognised(self._batch[index]):
                self._set(index, Unknown("too late to repeat: WeCom would not recognise it"))
                continue
            joined = await self._port.memo(_joined(self._batch[index].token))
            if joined:
                found[index] = joined.decode()
        return found

    async def _is_recognised(self, item: Dispatch) -> bool:
        """Whether WeCom still knows the first try: it was noted when its answer was lost; where it could not be noted (our
        process ended), it is not older than the message."""
        age = self._port.clock.now_ms() - item.envelope.created_at
        if age <= self._app.settings.duplicate_check_s * 1000:
            return True
        return await self._port.memo(_lost(item.token)) is not None

    async def _within_limits(self, messages: Sequence[int]) -> list[int]:
        """Those that may leave now; what follows in a conversation waits with the one that may not."""
        waits = await self._app.allowances([member_of(self._batch[index]) for index in messages])
        allowed = []
        held: dict[str, float] = {}
        for index, wait in zip(messages, waits, strict=True):
            order_key = self._batch[index].envelope.order_key
            longest = max(wait, held.get(order_key, 0.0) if order_key else 0.0)
            if longest <= 0:
                allowed.append(index)
                continue
            if order_key:
                held[order_key] = longest
            told = "as many messages to this member as WeCom delivers; it would drop this one"
            self._set(index, Retry("recipient", told, longest, "wecom_member_limit"))
        return allowed

    async def _chain(self, calls: Sequence[Call], began: float) -> None:
        for at, call in enumerate(calls):
            await self._call(call, began)
            first = self._outcomes[call.indices[0]]
            if isinstance(first, Retry | Unknown):
                after = first.after if isinstance(first, Retry) else 0.0
                told = "an earlier message of this conversation was not taken"
                for later in calls[at + 1 :]:
                    self._set(later.indices[0], Retry("recipient", told, after, "waits"))
                return

    async def _call(self, call: Call, began: float) -> None:
        async with self._slots:
            if self._port.clock.monotonic() - began > self._app.settings.slack_s:
                told = "waited too long here for the limits it was counted against"
                for index in call.indices:
                    self._set(index, Retry("message", told, 1.0, "wecom_slow"))
                return
            if call.is_joint:
                await self._remember(call)
            await self._made(call, call.indices, self._app.send(call))

    async def _made(
        self, call: Call, indices: Sequence[int], sending: Awaitable[answers.Answer]
    ) -> None:
        """Wait for the call and give each of `indices` its outcome."""
        try:
            answer = answers.Sending.of(await sending)
        except Refusal as refusal:
            for index in indices:
                self._set(index, refusal.outcome, refusal.unreachable)
            if isinstance(refusal.outcome, Unknown):
                ttl = float(self._app.settings.duplicate_check_s)
                for index in indices:
                    await self._port.remember(_lost(self._batch[index].token), b"1", ttl)
        except Malformed as error:
            for index in indices:
                self._set(index, Rejected("message", str(error), "malformed"))
        else:
            for index in indices:
                self._set(index, _taken(answer, member_of(self._batch[index]), call.is_joint))

    # -- calls for several messages -------------------------------------------------------------------------------------

    async def _remember(self, call: Call) -> None:
        """Before it leaves: which messages leave together, so that a repeat of one of them is a repeat of the call."""
        kept = json.dumps(call.users).encode()
        ttl = float(self._app.settings.duplicate_check_s)
        tokens = [self._batch[index].token for index in call.indices]
        await self._port.remember(_users(call.token), kept, ttl)
        await asyncio.gather(
            *[self._port.remember(_joined(token), call.token.encode(), ttl) for token in tokens]
        )

    async def _again(self, token: str, indices: Sequence[int]) -> None:
        users = await self._port.memo(_users(token))
        if not users:
            for index in indices:
                self._set(index, Unknown("too late to repeat: WeCom would not recognise it"))
            return
        names: list[Any] = json.loads(users)
        payload = self._batch[indices[0]].envelope.payload
        call = Call(list(range(len(names))), [str(name) for name in names], payload, token)
        async with self._slots:
            await self._made(call, indices, self._app.send(call))


def _taken(answer: answers.Sending, user: str, is_joint: bool) -> Outcome:
    """The outcome of one recipient of a call that WeCom took; ids of a call for several are told apart by the member."""
    if answer.refuses(user):
        unlicensed = user.lower() in {each.lower() for each in answer.unlicensed_users}
        if unlicensed:
            told = "the member has no licence for this app's messages"
            return Rejected("recipient", told, "wecom_unlicensed")
        told = "WeCom knows no such member in the app's visible range"
        return Rejected("recipient", told, "wecom_invalid_user")
    remote_id = f"{answer.msgid}/{user}" if is_joint else answer.msgid
    code = f"response_code={answer.response_code}" if answer.response_code else ""
    return Sent((remote_id,) if answer.msgid else (), code)


def _by_value(found: Mapping[int, str]) -> dict[str, list[int]]:
    turned: dict[str, list[int]] = {}
    for index, token in found.items():
        turned.setdefault(token, []).append(index)
    return turned


def _forgettable(need: Need) -> bool:
    return need[0] != "picture" and is_ours(need[1])


def _joined(token: str) -> str:
    return f"joined:{token}"


def _lost(token: str) -> str:
    return f"lost:{token}"


def _users(token: str) -> str:
    return f"joint:{token}"


__all__ = ["UPDATE", "WeComApp"]
