"""Kind `wecom-contact` (客户联系): mass messages that members confirm, welcome messages, events of customers and groups, inheritance.

WeCom has no call that sends something from a member to a customer at once: what is sent here becomes a to-do of the member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal
from adapters.wecom.contact.commands import KINDS as COMMANDS
from adapters.wecom.contact.commands import Commands
from adapters.wecom.contact.contents import MASS, content_in, content_of
from adapters.wecom.contact.events import GROUP_SOURCE, ContactInbox, Events
from adapters.wecom.contact.events import SOURCE as EVENT_SOURCE
from adapters.wecom.contact.mass import Mass
from adapters.wecom.contact.settings import WeComContactSettings
from adapters.wecom.contact.transfers import SOURCE as TRANSFER_SOURCE
from adapters.wecom.contact.transfers import Transfers
from adapters.wecom.contact.watch import CANCELLED, Watch
from adapters.wecom.contact.watch import SOURCE as MASS_SOURCE
from adapters.wecom.contact.welcome import SOURCE as WELCOME_SOURCE
from adapters.wecom.contact.welcome import Welcomes
from adapters.wecom.contents import Need
from adapters.wecom.conversation import order_key
from adapters.wecom.doorbells import answered
from adapters.wecom.fetching import Fetching
from adapters.wecom.inbox import SOURCE as FILE_SOURCE
from adapters.wecom.inbox import crypt_of
from adapters.wecom.media import FormMaker, Uploads
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
from protocols.outcome import Outcome
from protocols.payload import Link, Media, MiniProgram, Native, Pull, Recall, Text
from protocols.wecom import answers


class WeComContact(Adapter):
    """Reaches `wecom:<corp>/<external_userid>` and customer groups (`group:`, chat id as target).

    The account is the member who is asked to confirm; without one WeCom asks the member who chatted last.
    """

    spec = Spec(
        kind="wecom-contact",
        title="WeCom customer contact (企业微信客户联系)",
        payloads=frozenset({Text, Media, Link, MiniProgram, Native, Recall, Pull}),
        schemes=frozenset({"wecom", "group"}),
        max_batch=1000,
        in_flight=4,
        receives=True,
        receipts=frozenset({"delivered", "undelivered"}),
        resolves=True,
        recall=True,
        receipt_wait_s=8 * 86_400.0,
        copied_within_s=7 * 86_400.0,  # as long as a member may take to confirm
        limits={
            "confirmation": "nothing is sent until the member presses send in the client: sent means that the to-do is there; "
            "after confirm_s it is over (not_confirmed) and, unless set otherwise, cancelled",
            "allowance": "a customer or group gets as many mass messages a month as it has days, or 7 a week or 1 a day, as "
            "the admin console has it; more are refused here (wecom_monthly_allowance)",
            "joined": "messages of one batch with one content, category and account are one to-do",
            "recall": "what is unsent only, by cancelling the to-do: refused while others wait in it (sent_jointly); the "
            "command cancel_groupmsg_send cancels all of it",
            "reminders": "3 in 24 h for a to-do",
            "welcome": "within 20 s of the event; later it is refused (welcome_late), never sent as a message",
            "groups": "written to only; WeCom has no call that makes, changes or dissolves a customer group",
            "repeats": "not recognised: a lost answer is looked for in the list of tasks, and a task is never made twice blindly",
        },
    )
    Settings = WeComContactSettings
    settings: WeComContactSettings

    def __init__(self, settings: WeComContactSettings, port: Port) -> None:
        """Raises Malformed for a greeting that cannot be sent, or an EncodingAESKey that is none."""
        super().__init__(settings, port)
        for greeting in filter(None, [settings.greeting, *settings.greetings.values()]):
            content_in(greeting.model_dump()).checked()
        self.api = WeComApi(settings, port)
        self.fetching = Fetching()
        self.uploads = Uploads(port, self._upload)
        self.watch = Watch(self.api, port, settings)
        self.mass = Mass(self.api, port, settings, self.uploads, self.watch)
        self.welcomes = Welcomes(self.api, port, settings, self.uploads)
        self.transfers = Transfers(self.api, port, settings)
        self.events = Events(self.api, port, settings, self.welcomes)
        self.commands = Commands(self.api, settings.corp, self.welcomes, self.transfers, self.watch)
        crypt = crypt_of(settings)
        self.inbox = None if crypt is None else ContactInbox(port, crypt, settings, self.events)

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.api.open(), self.fetching.open():
            up(True)
            await self.port.clock.sleep(float("inf"))

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`callback`: the app's receiving address, if the callback settings are given."""
        return {} if self.inbox is None else {"callback": self.inbox.handle}

    def render(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if isinstance(payload, Recall | Pull):
            return
        item = Dispatch(envelope, envelope.token())
        if isinstance(payload, Native) and payload.kind in COMMANDS:
            self.commands.check(item)
            return
        if isinstance(payload, Native) and payload.kind != MASS:
            known = ", ".join(sorted({MASS, *COMMANDS}))
            raise Malformed(f"native {payload.kind[:40]!r}: one of {known}")
        if envelope.to.scheme not in self.spec.schemes:
            raise Malformed("wecom-contact reaches wecom: and group: addresses")
        self.mass.target_of(item)
        content_of(payload).checked()

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        if not self.api.http.is_open:
            raise Unreachable("wecom-contact: no session")
        outcomes: dict[int, Outcome] = {}
        unreachable: set[int] = set()
        messages: list[int] = []
        recalls: dict[str, list[int]] = {}
        singles: list[int] = []
        for index, item in enumerate(batch):
            match item.envelope.payload:
                case Recall(remote_ids=ids):
                    recalls.setdefault(ids[0].partition("#")[0] if ids else "", []).append(index)
                case Native(kind=kind) if kind in COMMANDS:
                    singles.append(index)
                case Pull():
                    singles.append(index)
                case _:
                    messages.append(index)
        slots = asyncio.Semaphore(self.settings.at_once)

        async def send() -> None:
            work = await self.mass.send(batch, messages)
            outcomes.update(work.outcomes)
            unreachable.update(work.unreachable)

        async def run(
            indices: Sequence[int], job: Callable[[], Awaitable[Sequence[Outcome]]]
        ) -> None:
            async with slots:
                try:
                    answered = await job()
                except Refusal as refusal:
                    answered = [refusal.outcome] * len(indices)
                    unreachable.update(indices if refusal.unreachable else ())
                except Malformed as error:
                    answered = [Rejected("message", str(error), "malformed")] * len(indices)
            outcomes.update(zip(indices, answered, strict=True))

        async with asyncio.TaskGroup() as group:
            if messages:
                group.create_task(send())
            for index in singles:
                group.create_task(run([index], partial(self._single, batch[index])))
            for msgid, indices in recalls.items():
                items = [batch[index] for index in indices]
                group.create_task(run(indices, partial(self._recall, msgid, items)))
        if batch and len(unreachable) == len(batch):
            raise Unreachable("WeCom cannot be reached")
        return [outcomes[index] for index in range(len(batch))]

    async def resolve(self, claimed: Sequence[Dispatch]) -> list[Outcome]:
        """A task can be found in WeCom's list, a transfer in its results; what may be done twice is done again."""
        outcomes: list[Outcome] = []
        seen: dict[str, set[str]] = {}
        for item in claimed:
            payload = item.envelope.payload
            try:
                if isinstance(payload, Native) and payload.kind in COMMANDS:
                    outcomes.append(await self.commands.resolve(item))
                elif isinstance(payload, Recall):
                    outcomes.append(Retry("message", "it may be cancelled again", 0.0, "not_done"))
                else:
                    outcomes.append(await self.mass.resolve(item, seen))
            except Refusal as refusal:
                outcomes.append(Unknown(f"WeCom could not be asked: {refusal}"))
            except Malformed as error:
                outcomes.append(Unknown(str(error)))
        return outcomes

    def copied(self, dispatch: Dispatch) -> str:
        """The archive reads what a member confirmed as that member's own message; whose it is, is known by the account."""
        payload, to, corp = dispatch.envelope.payload, dispatch.envelope.to, self.settings.corp
        if isinstance(payload, Native | Recall | Pull):
            return ""
        if to.scheme == "group":
            return order_key(corp, "", self.mass.target_of(dispatch))
        return (
            order_key(corp, dispatch.sender, self.mass.target_of(dispatch))
            if dispatch.sender
            else ""
        )

    async def _single(self, item: Dispatch) -> list[Outcome]:
        """A command or a doorbell. Raises Refusal, Malformed."""
        payload = item.envelope.payload
        if not isinstance(payload, Pull):
            return [await self.commands.run(item)]
        return [await answered(self.port, payload, self._answer)]

    async def _answer(self, pull: Pull) -> Outcome:
        answers_: Mapping[str, Callable[[Pull], Awaitable[None]]] = {
            EVENT_SOURCE: self.events.forwarded,
            GROUP_SOURCE: self.events.group,
            MASS_SOURCE: self.watch.poll,
            TRANSFER_SOURCE: self.transfers.poll,
            WELCOME_SOURCE: self.welcomes.greet,
        }
        for source, answer in answers_.items():
            if pull.source.startswith(source):
                await answer(pull)
                return Sent()
        if pull.source.startswith(FILE_SOURCE) and self.inbox is not None:
            return await self.fetching(pull, partial(self.inbox.fetch, pull, self.api))
        return Rejected("message", f"no such doorbell: {pull.source[:40]}", "wrong_payload")

    async def _recall(self, msgid: str, items: Sequence[Dispatch]) -> list[Outcome]:
        """Cancel a task, if nobody waits in it but these. Raises Refusal."""
        if not msgid:
            return [Rejected("message", "WeCom gave no id for it", "no_remote_id")] * len(items)
        try:
            waiting = await self.watch.lists.unsent(msgid)
            wanted = [_targets(item) for item in items]
            if waiting and waiting <= set().union(*wanted):
                await self.watch.cancel(msgid)
        except Refusal as refusal:
            if refusal.errcode == CANCELLED:
                return [Sent(detail="it was cancelled already")] * len(items)
            raise
        others = waiting - set().union(*wanted)
        made: list[Outcome] = []
        for targets in wanted:
            if not targets <= waiting:
                told = "nothing of it is unsent: the member has confirmed it"
                made.append(Rejected("message", told, "too_late"))
            elif others:
                told = f"{len(others)} others wait in the same to-do; cancel_groupmsg_send cancels all of it"
                made.append(Rejected("message", told, "sent_jointly"))
            else:
                made.append(Sent(detail="cancelled"))
        return made

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        kind, _ = need
        if kind == "picture":
            return await self.api.upload("media/uploadimg", {}, form)
        return await self.api.upload("media/upload", {"type": kind}, form)


def _targets(item: Dispatch) -> set[str]:
    payload = item.envelope.payload
    assert isinstance(payload, Recall)
    return {each.partition("#")[2] for each in payload.remote_ids}


__all__ = ["WeComContact"]
