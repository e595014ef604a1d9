"""Kind `wecom-hosted`: staff accounts that a gateway keeps logged in (托管) write to customers and manage groups, at once and by command.

Everything about one message has the command's id, `Dispatch.token`, as its far-end id: it is known before the answer is, so that
a receipt (or the echo that the account's own client shows) finds a message whose answer was lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from adapters.wecom.doorbells import answered
from adapters.wecom.fetching import Fetching
from adapters.wecom.hosted.batch import Batch, Slots
from adapters.wecom.hosted.calls import Failed, Gateway
from adapters.wecom.hosted.contents import chat_of, check, commands_of, files_of
from adapters.wecom.hosted.files import PATH, Files
from adapters.wecom.hosted.health import Health
from adapters.wecom.hosted.inbox import Inbox, conversation
from adapters.wecom.hosted.roster import Roster
from adapters.wecom.hosted.settings import WeComHostedSettings
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
from protocols.hosted import answers, commands
from protocols.hosted.answers import Answer
from protocols.outcome import Outcome
from protocols.payload import (
    CreateGroup,
    DissolveGroup,
    Link,
    Media,
    MiniProgram,
    Native,
    Pull,
    Recall,
    Text,
    UpdateGroup,
)

UNSEEN = "command_unknown"
_ASKED = 16
"""Questions at once about unknown outcomes."""


class WeComHosted(Adapter):
    """Reaches `wecom:<corp>/<external_userid>`, and `group:<id>` by `Dispatch.target`; `Dispatch.sender` is the account."""

    spec = Spec(
        kind="wecom-hosted",
        title="WeCom hosted accounts (企业微信托管账号)",
        payloads=frozenset(
            {
                *(Text, Media, Link, MiniProgram, Native, Recall, Pull),
                *(CreateGroup, UpdateGroup, DissolveGroup),
            }
        ),
        schemes=frozenset({"wecom", "group"}),
        max_batch=50,
        in_flight=8,
        receives=True,
        receipts=frozenset({"delivered", "undelivered", "read"}),
        idempotent=True,
        resolves=True,
        recall=True,
        needs_account=True,
        groups=frozenset({"create", "update", "dissolve"}),
        shared=True,
        copied_within_s=3 * 86_400.0,  # so long the archive keeps what it was not asked for in time
        limits={
            "official API": "offers none of this: no call sends 1:1 from a staff account to a customer at once, reads those chats "
            "(but for the archive), or makes, changes, writes to or dissolves a customer group",
            "risk": "keeping accounts logged in from outside breaks WeCom's rules on 外挂: functions are taken away step by "
            "step, up to a permanent ban of the account or the corp; contract and privacy are at stake. Off unless configured",
            "pace": "messages_per_minute and groups_per_hour of each account; what is over waits here (reason account_paced)",
            "delivered": "the account's own client shows it; whether the customer read it WeCom does not tell",
            "recall": "about 2 min, in 1:1 and in groups",
            "groups": "1 to 500 members at a time, named staff:<userid>, wecom:<corp>/<external_userid> or as the gateway "
            "does; the account that makes a group owns it and cannot hand it over",
            "text": "4,096 octets",
            "files": "sent as links that the gateway fetches: public_url is needed",
            "native": "business_card {user_id}; mention {text, mention}, in groups",
        },
    )
    Settings = WeComHostedSettings
    settings: WeComHostedSettings

    def __init__(self, settings: WeComHostedSettings, port: Port) -> None:
        """Raises Malformed for a secret that is no whsec_ secret."""
        super().__init__(settings, port)
        self.gateway = Gateway(settings, port)
        self.files = Files(settings, port)
        self.roster = Roster(port)
        self.health = Health(port, self.gateway, self.roster, settings.status_every)
        self.inbox = Inbox(settings, port, self.roster, self.files, self.health)
        self.fetching = Fetching()
        self._slots = Slots(settings.at_once)

    async def session(self, up: Callable[[bool], None]) -> None:
        async with self.gateway.open(), self.fetching.open():
            up(True)
            await self.health.watch()

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`events`: where the gateway tells what happens; `file`: where it fetches our files."""
        return {"events": self.inbox.handle, PATH: self.files.give}

    def render(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if isinstance(payload, Pull):
            return
        if isinstance(payload, Recall):
            chat_of(self.settings, envelope.to)
            return
        if files_of(payload) and self.settings.public_url is None:
            raise Malformed("files: this channel has no public_url for the gateway to fetch them")
        account = self.roster.named(envelope.account)
        check(self.settings, envelope, account.address if account else "")

    def copied(self, dispatch: Dispatch) -> str:
        """The archive reads what the accounts say; so does the gateway, should it not tell our commands from a person's words."""
        chat = chat_of(self.settings, dispatch.envelope.to, dispatch.target)
        return conversation(self.settings.corp, dispatch.sender, chat)

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        if not self.gateway.is_open:
            raise Unreachable("wecom-hosted: no session")
        work = Batch(batch, self._one, settings=self.settings, port=self.port, slots=self._slots)
        await work.run()
        return work.outcomes()

    async def resolve(self, claimed: Sequence[Dispatch]) -> list[Outcome]:
        """Asked by command.query, so that nothing is done by asking."""
        slots = asyncio.Semaphore(_ASKED)

        async def ask(item: Dispatch) -> Outcome:
            async with slots:
                try:
                    answer = await self._asked(item.sender, item.token)
                except Failed as failed:
                    return Unknown(
                        f"the hosted gateway could not be asked: {failed}", (item.token,)
                    )
                if answer.code == UNSEEN:
                    return Retry("message", "the gateway has not seen it", 0.0, "not_seen")
                return _outcome(item, answer)

        return list(await asyncio.gather(*map(ask, claimed)))

    # -- one item: raise Failed, Malformed --------------------------------------------------------------------------------

    async def _one(self, item: Dispatch) -> Outcome:
        payload = item.envelope.payload
        if isinstance(payload, Pull):
            return await answered(self.port, payload, self._answer)
        if not item.sender:
            return Rejected("account", "no hosted account is named to send it", "account_missing")
        if isinstance(payload, Recall):
            return await self._recall(item, payload)
        files = await self.files.served(files_of(payload))
        outcome: Outcome = Sent((item.target,) if item.target else (), "nothing to change")
        for place, (suffix, command) in enumerate(commands_of(self.settings, item, files)):
            outcome = await self._run(item, command, suffix)
            if isinstance(outcome, Sent):
                continue
            if place:  # the members are changed, so this is neither refused nor to be begun anew
                return Unknown(f"the first half is done, the second not: {outcome}"[:300])
            return outcome
        return outcome

    async def _answer(self, pull: Pull) -> Outcome:
        return await self.fetching(pull, partial(self.inbox.fetch, pull, self.gateway))

    async def _run(self, item: Dispatch, command: commands.Command, suffix: str) -> Outcome:
        answer = await self.gateway.run(command, item.token + suffix)
        self.health.heard(item.sender, answer)
        return _outcome(item, answer)

    async def _asked(self, account: str, token: str) -> Answer:
        query = commands.Query(account, token)
        return await self.gateway.run(query, self.gateway.new_id("query"))

    async def _recall(self, item: Dispatch, recall: Recall) -> Outcome:
        """`remote_ids` are the ids of our commands; what the message is called at the far end the gateway tells."""
        chat = chat_of(self.settings, item.envelope.to, item.target)
        outcome: Outcome = Rejected("message", "it was never handed over", "no_remote_id")
        for place, command_id in enumerate(recall.remote_ids):
            sent = await self._asked(item.sender, command_id)
            if sent.state in ("done", "queued") and not sent.message_id:
                return Retry("message", "the gateway has not sent it yet", 2.0, "hosted_not_sent")
            if sent.state not in ("done", "queued"):
                return answers.outcome_of(sent)
            command = commands.Recall(item.sender, chat, sent.message_id)
            outcome = await self._run(item, command, f"-{place}" if place else "")
            if not isinstance(outcome, Sent):
                return outcome
        return outcome


def _outcome(item: Dispatch, answer: Answer) -> Outcome:
    """What an answer means for this item. A group's id is the gateway's, every other id the command's."""
    if isinstance(item.envelope.payload, CreateGroup):
        outcome = answers.outcome_of(answer)
        if isinstance(outcome, Sent) and not answer.group_id:
            return Unknown("hosted gateway: taken, but it does not say which group it is")
        return outcome
    outcome = answers.outcome_of(answer)
    match outcome:
        case Sent(detail=detail):
            return Sent((item.token,), detail)
        case Unknown(detail=detail):
            return Unknown(detail, (item.token,))
        case _:
            return outcome
