"""Kind `wecom-group`: internal groups (appchat) of an app: made under our own id, changed, written to, closed as far as WeCom lets us.

WeCom has no call that dissolves a group. Closing takes everybody out but the owner and one more, puts a prefix before the
name, and the core lets nothing more into it; the two who are left can dissolve it in their client.

One file, for making, changing, closing and resolving all end in the same look at the chat.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable, Sequence

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.contents import Need, body_of, checked, needs
from adapters.wecom.media import FormMaker, Uploads
from adapters.wecom.sending import of_account, slow
from adapters.wecom.settings import WeComGroupSettings
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Retry,
    Sent,
    Spec,
    Unknown,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import (
    Card,
    CreateGroup,
    DissolveGroup,
    Link,
    Markdown,
    Media,
    Native,
    Text,
    UpdateGroup,
)
from protocols.wecom import answers
from protocols.wecom import app as requests
from protocols.wecom.bodies import APPCHAT_TYPES
from protocols.wecom.limits import BOUNDS, RATES, user_ids

UNKNOWN_CHAT = frozenset({86001, 86003, 40050})
TAKEN = 86215
_CHAT_ID = re.compile(r"[0-9A-Za-z]{1,32}")
_LIMITS = (RATES["appchat.member.minute"], RATES["appchat.member.day"])


def chat_id_of(group: str) -> str:
    """Our own chatid for a group of ours: follows from its id alone, so that a repeat meets the first one."""
    plain = group.replace("_", "")
    if _CHAT_ID.fullmatch(plain):
        return plain
    return hashlib.sha256(group.encode()).hexdigest()[:32]


def user_of(member: str) -> str:
    """The userid of a member or owner, given as `staff:<userid>` or bare."""
    return member.removeprefix("staff:")


class WeComGroup(Adapter):
    """Reaches `group:<id>`; `Dispatch.target` is the chatid, else it follows from the id."""

    spec = Spec(
        kind="wecom-group",
        title="WeCom internal group (企业微信应用群聊)",
        payloads=frozenset(
            {
                *(Text, Markdown, Media, Link, Card, Native),
                *(CreateGroup, UpdateGroup, DissolveGroup),
            }
        ),
        schemes=frozenset({"group"}),
        max_batch=50,
        in_flight=4,
        resolves=True,
        groups=frozenset({"create", "update", "dissolve"}),
        limits={
            "dissolve": "WeCom cannot: all members but two are taken out, the name says that it is closed, nothing more is "
            "sent; one of the two can dissolve it in the client",
            "members": "2 to 2,000, of the corp only; no customers",
            "visible": "members see a new group only once something was written into it",
            "visible range": "the app's must be the root department (else WeCom answers 48002)",
            "recall": "not possible: WeCom gives messages in groups no id",
            "create": "1,000 a day for the corp; changes 1,000 an hour",
            "messages": "20,000 recipients a minute for the corp; 200 a minute and 10,000 a day for one member, the excess "
            "would be dropped without a word and waits here (reason wecom_member_limit)",
        },
    )
    Settings = WeComGroupSettings
    settings: WeComGroupSettings

    def __init__(self, settings: WeComGroupSettings, port: Port) -> None:
        super().__init__(settings, port)
        self.api = WeComApi(settings, port)
        self.uploads = Uploads(port, self._upload)
        late = settings.slack_s + settings.total_s
        self._limits = [(rate.count, rate.seconds + late) for rate in _LIMITS]
        self._slots = asyncio.Semaphore(settings.at_once)

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.api.open():
            up(True)
            await self.port.clock.sleep(float("inf"))

    def render(self, envelope: Envelope) -> None:
        if envelope.to.scheme != "group":
            raise Malformed("wecom-group reaches group: addresses")
        match envelope.payload:
            case CreateGroup() as create:
                _creation(create)
            case UpdateGroup() as update:
                _change("checked", update, update.owner or "checked")
            case DissolveGroup():
                pass
            case payload:
                body = checked(payload)
                if body.msgtype not in APPCHAT_TYPES:
                    raise Malformed(f"a WeCom group takes no {body.msgtype}")
                requests.appchat_send("checked", body)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """What is for one group goes in order, groups at once. Raises Unreachable when nothing at all left."""
        if not self.api.http.is_open:
            raise Unreachable("wecom-group: no session")
        outcomes: list[Outcome] = [
            Retry("recipient", "an earlier one for this group was not taken", 0.0, "waits")
        ] * len(batch)
        chains: dict[str, list[int]] = {}
        for index, item in enumerate(batch):
            chains.setdefault(_chat_of(item), []).append(index)
        unreachable = 0
        latest = self.port.clock.monotonic() + self.settings.slack_s

        async def run(chain: Sequence[int]) -> None:
            nonlocal unreachable
            for index in chain:
                item = batch[index]
                async with self._slots:
                    if self.port.clock.monotonic() > latest:
                        outcomes[index] = of_account(slow(), item)
                        continue
                    try:
                        outcome = await self._one(item)
                    except Refusal as refusal:
                        outcome = refusal.outcome
                        unreachable += refusal.unreachable and index == chain[0]
                    except Malformed as error:
                        outcome = Rejected("message", str(error), "malformed")
                outcomes[index] = of_account(outcome, item)
                if isinstance(outcome, Retry | Unknown):
                    return

        async with asyncio.TaskGroup() as group:
            for chain in chains.values():
                group.create_task(run(chain))
        if unreachable == len(chains):  # the first of every chain met no connection
            raise Unreachable("WeCom cannot be reached")
        return outcomes

    async def resolve(self, claimed: Sequence[Dispatch]) -> list[Outcome]:
        """A group can be looked at, so an unknown command can be settled; a message in a group cannot be asked for."""
        outcomes: list[Outcome] = []
        for item in claimed:
            try:
                outcomes.append(await self._resolved(item))
            except Refusal as refusal:
                outcomes.append(Unknown(f"WeCom could not be asked: {refusal}"))
        return outcomes

    async def _resolved(self, item: Dispatch) -> Outcome:
        chat_id = _chat_of(item)
        match item.envelope.payload:
            case CreateGroup():
                if await self._look(chat_id) is None:
                    return Retry("message", "WeCom knows no such group", 0.0, "not_created")
                return Sent((chat_id,), "it is there")
            case DissolveGroup():
                chat = await self._look(chat_id)
                if chat is None or self._is_closed(chat):
                    return Sent((chat_id,), "it is closed")
                return Retry("message", "it is not closed", 0.0, "not_closed")
            case UpdateGroup():
                return Retry("message", "a change may be made again", 0.0, "not_changed")
            case _:
                return Unknown("WeCom cannot be asked for messages in groups")

    async def _one(self, item: Dispatch) -> Outcome:
        chat_id = _chat_of(item)
        match item.envelope.payload:
            case CreateGroup() as create:
                return await self._create(chat_id, create)
            case UpdateGroup() as update:
                return await self._update(chat_id, update)
            case DissolveGroup():
                return await self._close(chat_id)
            case _:
                return await self._send(chat_id, item)

    # -- commands -------------------------------------------------------------------------------------------------------

    async def _create(self, chat_id: str, create: CreateGroup) -> Outcome:
        try:
            answer = await self.api.post("appchat/create", _creation(create))
        except Refusal as refusal:
            if refusal.errcode != TAKEN:
                raise
            # The id is made from ours, so it is this group; unless another app of the corp has it (86008).
            chat = await self._look(chat_id)
            if chat is None:
                raise
            return Sent((chat_id,), "it was there already")
        return Sent((answers.Chat.of(answer).chat_id or chat_id,))

    async def _update(self, chat_id: str, update: UpdateGroup) -> Outcome:
        owner = user_of(update.owner)
        if not (update.name or owner or update.add or update.remove):
            return Sent((chat_id,), "nothing to change")
        if update.remove and not owner:
            chat = await self._chat(chat_id)
            gone = {user_of(member).lower() for member in update.remove}
            if chat.owner.lower() in gone:
                left = [user for user in chat.users if user.lower() not in gone]
                owner = next(iter([*left, *map(user_of, update.add)]), "")
        await self._change(chat_id, _change(chat_id, update, owner))
        return Sent((chat_id,))

    async def _close(self, chat_id: str) -> Outcome:
        chat = await self._look(chat_id)
        if chat is None:
            return Sent((chat_id,), "it was gone already")
        if self._is_closed(chat):
            return Sent((chat_id,), "it was closed already")
        owner = chat.owner or chat.users[0]
        second = next((user for user in chat.users if user.lower() != owner.lower()), "")
        kept = {owner.lower(), second.lower()}
        name = f"{self.settings.closed_prefix}{chat.name}"[: BOUNDS["appchat.name"].most]
        body = requests.appchat_update(
            chat_id, name=name, remove=[user for user in chat.users if user.lower() not in kept]
        )
        await self._change(chat_id, body)
        return Sent((chat_id,), "closed: two members are left, WeCom has no call that ends a group")

    async def _change(self, chat_id: str, body: bytes) -> None:
        # Before the call, so that what was done is not called unknown because our own memory is away.
        with nothing_left("members"):
            await self.port.remember(_members_key(chat_id), b"", 0.0)
        await self.api.post("appchat/update", body)

    def _is_closed(self, chat: answers.Chat) -> bool:
        return chat.name.startswith(self.settings.closed_prefix) and len(chat.users) <= 2

    async def _look(self, chat_id: str) -> answers.Chat | None:
        """The group as WeCom has it; None = it knows none of this id. Raises Refusal."""
        try:
            return await self._chat(chat_id)
        except Refusal as refusal:
            if refusal.errcode in UNKNOWN_CHAT:
                return None
            raise

    async def _chat(self, chat_id: str) -> answers.Chat:
        return answers.Chat.of(await self.api.get("appchat/get", {"chatid": chat_id}))

    # -- messages -------------------------------------------------------------------------------------------------------

    async def _send(self, chat_id: str, item: Dispatch) -> Outcome:
        payload = item.envelope.payload
        wanted = needs(payload)
        files = await self.uploads.media_ids(wanted)
        began = self.port.clock.monotonic()
        with nothing_left("limits of members"):
            members = [f"member:{user.lower()}" for user in await self._members(chat_id)]
            wait = max(await self.port.allow(members, self._limits), default=0.0)
        if wait > 0:
            told = "a member has as many group messages as WeCom delivers; it would drop this one"
            return Retry("recipient", told, wait, "wecom_member_limit")
        if self.port.clock.monotonic() - began > self.settings.slack_s:
            return slow()
        try:
            await self._post(chat_id, item, files)
        except Refusal as refusal:
            if refusal.errcode != 40007 or not wanted:
                raise
            await self.uploads.forget(wanted)
            await self._post(chat_id, item, await self.uploads.media_ids(wanted))
        return Sent()

    async def _post(self, chat_id: str, item: Dispatch, files: dict[Need, str]) -> None:
        body = requests.appchat_send(chat_id, body_of(item.envelope.payload, files))
        await self.api.post("appchat/send", body)

    async def _members(self, chat_id: str) -> Sequence[str]:
        known = await self.port.memo(_members_key(chat_id))
        if known:
            users: list[str] = json.loads(known)
            return users
        users = list((await self._chat(chat_id)).users)
        kept = json.dumps(users).encode()
        await self.port.remember(_members_key(chat_id), kept, self.settings.members_s)
        return users

    async def _upload(self, need: Need, form: FormMaker) -> answers.Answer:
        kind, _ = need
        if kind == "picture":
            return await self.api.upload("media/uploadimg", {}, form)
        return await self.api.upload("media/upload", {"type": kind}, form)


def _chat_of(item: Dispatch) -> str:
    payload = item.envelope.payload
    if isinstance(payload, CreateGroup):
        return chat_id_of(payload.group)
    return item.target or chat_id_of(item.envelope.to.value)


def _creation(create: CreateGroup) -> bytes:
    owner = user_of(create.owner)
    users = list(dict.fromkeys([*map(user_of, create.members), *([owner] if owner else [])]))
    return requests.appchat_create(
        users, name=create.name, owner=owner, chat_id=chat_id_of(create.group)
    )


def _change(chat_id: str, update: UpdateGroup, owner: str) -> bytes:
    for each in (*update.add, *update.remove):
        user_ids("appchat.update.list", [user_of(each)])
    return requests.appchat_update(
        chat_id,
        name=update.name,
        owner=user_of(owner),
        add=[user_of(member) for member in update.add],
        remove=[user_of(member) for member in update.remove],
    )


def _members_key(chat_id: str) -> str:
    return f"members:{chat_id}"


__all__ = ["WeComGroup", "chat_id_of", "user_of"]
