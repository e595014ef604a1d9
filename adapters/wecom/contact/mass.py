"""Messages to customers and customer groups, handed over as mass-message tasks: counted, made once, an outcome for every message."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.contact.allowance import Allowance
from adapters.wecom.contact.contents import Content, content_of, customer_of
from adapters.wecom.contact.joint import ChatType, Joint, tasks_of
from adapters.wecom.contact.settings import WeComContactSettings
from adapters.wecom.contact.watch import NO_TASK, Watch, remote_id
from adapters.wecom.contents import Need
from adapters.wecom.media import Uploads
from adapters.wecom.sending import slow
from msgcenter.adapter import Dispatch, Malformed, Port, Rejected, Retry, Sent, Unavailable, Unknown
from protocols.outcome import Outcome
from protocols.wecom import contact as requests
from protocols.wecom import contact_answers as answers

API = "externalcontact/add_msg_template"
#: Refusals that are about the member who is to send, not about the customers.
OF_SENDER = frozenset({40003, 41054, 46004, 50002, 60111, 84074})
_OWNER_S = 600.0
"""How long a group's owner is believed to be the same."""


class Mass:
    """`send` makes tasks of messages, `resolve` asks what became of them."""

    def __init__(
        self,
        api: WeComApi,
        port: Port,
        settings: WeComContactSettings,
        uploads: Uploads,
        watch: Watch,
    ) -> None:
        self.api = api
        self.port = port
        self.settings = settings
        self.uploads = uploads
        self.watch = watch
        self.allowance = Allowance(port, settings.allowance)

    def target_of(self, item: Dispatch) -> str:
        """The external_userid or chat_id. Raises Malformed."""
        if item.envelope.to.scheme == "group":
            return item.target or item.envelope.to.value
        return customer_of(item.envelope.to, self.settings.corp)

    async def owner_of(self, chat_id: str) -> str:
        """Raises Refusal."""
        with nothing_left("owner of a group"):
            known = await self.port.memo(f"owner:{chat_id}")
            if known:
                return known.decode()
            answer = await self.api.post(
                "externalcontact/groupchat/get", requests.group(chat_id, False), sends=False
            )
            owner = answers.Group.of(answer).owner
            await self.port.remember(f"owner:{chat_id}", owner.encode(), _OWNER_S)
            return owner

    async def send(self, batch: Sequence[Dispatch], indices: Sequence[int]) -> _Work:
        """The outcomes of these messages of the batch."""
        work = _Work(self, batch)
        await work.run(indices)
        return work

    async def resolve(self, item: Dispatch, seen: dict[str, set[str]]) -> Outcome:
        """What became of a message whose task may have been made. `seen`: whom tasks are for, kept while several messages
        are asked for. Raises Refusal, Malformed."""
        target = self.target_of(item)
        lost = await self.watch.of_message(item.token)
        msgid = lost.msgid
        if msgid == NO_TASK:
            return Retry("message", "WeCom refused the task", 0.0, "not_created")
        if not msgid:
            since, targets = lost.left or item.envelope.created_at, lost.targets or {target}
            msgid, seen[msgid] = await self.found(item, target, targets, since, lost.call)
        if not msgid:
            # A call that is still on its way may yet make it: what is not listed so soon is not certainly not there.
            return Unknown("WeCom lists no such task so far")
        if msgid not in seen:
            seen[msgid] = await self.watch.lists.everybody(msgid)
        if target not in seen[msgid]:
            return _left_out(item.envelope.to.scheme == "group")
        return Sent((remote_id(msgid, target),), "found in WeCom's list of tasks")

    async def found(
        self, item: Dispatch, target: str, targets: Collection[str], since_ms: int, call: str
    ) -> tuple[str, set[str]]:
        """The msgid of the task that carries this message and whom it is for, "" = there is none. Raises Refusal, Malformed."""
        envelope = item.envelope
        chat_type: ChatType = "group" if envelope.to.scheme == "group" else "single"
        sender = item.sender or (await self.owner_of(target) if chat_type == "group" else "")
        digest = content_of(envelope.payload).digest
        msgid, everybody = await self.watch.find(chat_type, sender, digest, targets, since_ms, call)
        if msgid and call:
            await self.watch.made(call, msgid)
        return msgid, everybody


class _Work:
    """One batch on its way."""

    def __init__(self, mass: Mass, batch: Sequence[Dispatch]) -> None:
        self.mass = mass
        self._batch = batch
        self.api, self.port, self.settings = mass.api, mass.port, mass.settings
        self._slots = asyncio.Semaphore(mass.settings.at_once)
        self.outcomes: dict[int, Outcome] = {}
        self.unreachable: set[int] = set()

    async def run(self, indices: Sequence[int]) -> None:
        targets: dict[int, str] = {}
        senders: dict[int, str] = {}
        await asyncio.gather(*[self._prepare(index, targets, senders) for index in indices])
        ready = [index for index in indices if index in senders]
        tasks = tasks_of(self._batch, ready, targets, senders)
        began = self.port.clock.monotonic()
        jobs: list[asyncio.Task[None]] = []
        async with asyncio.TaskGroup() as group:
            for task in tasks:
                before = [jobs[each] for each in sorted(task.after)]
                jobs.append(group.create_task(self._job(task, before, began)))

    async def _prepare(self, index: int, targets: dict[int, str], senders: dict[int, str]) -> None:
        item = self._batch[index]
        try:
            target = self.mass.target_of(item)
            sender = item.sender
            async with self._slots:
                if not sender and item.envelope.to.scheme == "group":
                    sender = await self.mass.owner_of(target)
                if item.envelope.possibly_duplicate:
                    # Sent again because nobody knew: by now a task that was made stands in the list.
                    since = item.envelope.created_at
                    msgid, _ = await self.mass.found(item, target, {target}, since, "")
                    if msgid:
                        told = "the earlier try had been taken"
                        self.outcomes[index] = Sent((remote_id(msgid, target),), told)
                        return
        except Refusal as refusal:
            self._refused([index], refusal)
        except Malformed as error:
            self.outcomes[index] = Rejected("message", str(error), "malformed")
        else:
            targets[index], senders[index] = target, sender

    async def _job(
        self,
        task: Joint,
        before: Sequence[asyncio.Task[None]],
        began: float,
    ) -> None:
        if before:
            await asyncio.wait(before)
            self._wait_for_earlier(task)
        if not task.indices:
            return
        async with self._slots:
            if self.port.clock.monotonic() - began > self.settings.slack_s:
                for index in task.indices:
                    self.outcomes[index] = slow()
                return
            try:
                await self._make(task)
            except Refusal as refusal:
                self._refused(task.indices, refusal, bool(task.sender))
            except Malformed as error:
                for index in task.indices:
                    self.outcomes[index] = Rejected("message", str(error), "malformed")

    def _wait_for_earlier(self, task: Joint) -> None:
        """Of one conversation, what follows a message that was not taken waits with it."""
        troubled: dict[str, tuple[int, float]] = {}
        for index, outcome in sorted(self.outcomes.items()):
            if isinstance(outcome, Retry | Unknown) and self._key(index):
                after = outcome.after if isinstance(outcome, Retry) else 0.0
                troubled.setdefault(self._key(index), (index, after))
        held: set[int] = set()
        for index in task.indices:
            first, after = troubled.get(self._key(index), (index, 0.0))
            if first < index:
                told = "an earlier message of this conversation was not taken"
                self.outcomes[index] = Retry("recipient", told, after, "waits")
                held.add(index)
        task.without(held)

    def _key(self, index: int) -> str:
        return self._batch[index].envelope.order_key

    # -- one task -------------------------------------------------------------------------------------------------------------

    async def _make(self, task: Joint) -> None:
        """Raises Refusal, Malformed for what is true of all its messages."""
        mass = self.mass
        content = content_of(task.payload)
        files = await mass.uploads.media_ids(content.needs)
        _body(task, content, files)
        self.api.gate.check(API)  # before anything is counted
        with nothing_left("allowance of mass messages"):
            period, over = await mass.allowance.take(task.targets)
        pairs = list(zip(task.indices, task.targets, strict=True))
        for index, target in pairs:
            if target in over:
                self.outcomes[index] = mass.allowance.refusal()
        task.without({index for index, target in pairs if target in over})
        if not task.indices:
            return
        call = task.token(self._batch)
        ticket = mass.watch.ticket(call, task.chat_type, task.sender, content.digest)
        to = {
            target: self._batch[index].envelope.to
            for index, target in zip(task.indices, task.targets, strict=True)
        }
        tokens = [self._batch[index].token for index in task.indices]
        try:
            with nothing_left("watch of a mass message"):
                await mass.watch.begin(ticket, to, tokens)
            answer = await self._call(task, content, files)
        except Refusal as refusal:
            if not isinstance(refusal.outcome, Unknown):
                await self._noted(mass.watch.refused(call))
                await mass.allowance.give_back(period, task.targets)
            raise
        await self._taken(task, call, period, answers.MassTask.of(answer))

    async def _call(self, task: Joint, content: Content, files: Mapping[Need, str]) -> Any:
        try:
            return await self.api.post(API, _body(task, content, files))
        except Refusal as refusal:
            forgettable = [need for need in content.needs if need[0] != "picture"]
            if refusal.errcode != 40007 or not forgettable:
                raise
        uploads = self.mass.uploads
        await uploads.forget(forgettable)
        files = await uploads.media_ids(content.needs)
        return await self.api.post(API, _body(task, content, files))

    async def _taken(self, task: Joint, call: str, period: str, made: answers.MassTask) -> None:
        if not made.msgid:
            for index in task.indices:
                self.outcomes[index] = Unknown("WeCom took the task but named no msgid")
            return
        failed = set(made.failed)
        told = f"a task for {task.sender or 'the member who chatted last'}, who has to confirm it"
        for index, target in zip(task.indices, task.targets, strict=True):
            if target in failed:
                self.outcomes[index] = _left_out(task.chat_type == "group")
            else:
                self.outcomes[index] = Sent((remote_id(made.msgid, target),), told)
        await self._noted(self.mass.watch.made(call, made.msgid))
        await self.mass.allowance.give_back(period, [t for t in task.targets if t in failed])

    async def _noted(self, noting: Any) -> None:
        """The outcome stands: what cannot be noted is looked for in WeCom's list."""
        try:
            await noting
        except Unavailable as error:
            self.port.log.warning("mass_task_not_noted", error=type(error).__name__)

    def _refused(self, indices: Sequence[int], refusal: Refusal, of_sender: bool = False) -> None:
        outcome: Outcome = refusal.outcome
        if of_sender and refusal.errcode in OF_SENDER and isinstance(outcome, Rejected):
            outcome = Rejected("account", outcome.detail, outcome.code)
        for index in indices:
            self.outcomes[index] = outcome
            if refusal.unreachable:
                self.unreachable.add(index)


def _left_out(is_group: bool) -> Rejected:
    """Of fail_list."""
    if is_group:
        told = "WeCom leaves this group out: it is not one of this owner's"
    else:
        told = "WeCom leaves this customer out: not a contact of the member who is to send"
    return Rejected("recipient", told, "wecom_not_a_contact")


def _body(task: Joint, content: Content, files: Mapping[Need, str]) -> bytes:
    bodies = content.bodies(files)
    if task.chat_type == "group":
        return requests.mass_to_groups(task.sender, content.text, bodies, chat_ids=task.targets)
    return requests.mass_to_customers(task.targets, content.text, bodies, sender=task.sender)


__all__ = ["API", "Mass"]
