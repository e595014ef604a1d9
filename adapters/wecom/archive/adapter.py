"""Kind `wecom-archive`: reads the conversation archive (会话内容存档), what members and customers said to each other; it sends nothing.

Read at every poll, at once after `Pull("archive")` (rung by `msgaudit_notify`, which is only a hint), by one process at a time.
`permitted` and `agreements` answer whose chats are archived at all, `Pull("unread:…")` why some were not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from adapters.wecom.api import WeComApi
from adapters.wecom.archive.consent import Consenting
from adapters.wecom.archive.media import Files
from adapters.wecom.archive.native import NativeSource
from adapters.wecom.archive.pull import Puller
from adapters.wecom.archive.relay import Relay
from adapters.wecom.archive.settings import WeComArchiveSettings
from adapters.wecom.archive.simulated import SimulatedSource
from adapters.wecom.archive.source import Keys, Means, Source, SourceError
from adapters.wecom.archive.unread import Unread, is_question
from adapters.wecom.inbox import Inbox, crypt_of
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
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Pull
from protocols.wecom.answers import Consent

SOURCE = "archive"
BACKOFF_S: Mapping[bool, tuple[float, float]] = {False: (1.0, 60.0), True: (30.0, 600.0)}
"""First and longest pause after a failure; True: one that somebody has to mend."""


class WeComArchive(Adapter):
    """What is read arrives as `Received`: a customer's words with the member as `account_number`, a member's own with `recipient`."""

    spec = Spec(
        kind="wecom-archive",
        title="WeCom conversation archive (企业微信会话内容存档)",
        payloads=frozenset({Pull}),
        receives=True,
        shared=True,
        limits={
            "history": "five days; what was not read by then is gone (alarm archive_gap)",
            "calls": "600 a minute",
            "keys": "every old private key is needed; without it reading stops for `patience` (alarm archive_held)",
            "consent": "only members with a licence, and customers who did not disagree",
            "mentions": "names in the text; WeCom does not say whose they are",
        },
    )
    Settings = WeComArchiveSettings
    settings: WeComArchiveSettings

    def __init__(self, settings: WeComArchiveSettings, port: Port) -> None:
        """Raises Malformed for an EncodingAESKey or a private key that is none."""
        super().__init__(settings, port)
        self.api = WeComApi(settings, port)
        keys = Keys(settings.keys)
        make = NativeSource if settings.library else SimulatedSource
        self.source: Source = make(settings, keys)
        self.files = Files(settings, port, self.source)
        self.relay = Relay(settings.corp, port, self.files)
        self.puller = Puller(settings, port, self.source, keys, self.relay, self.api.tell)
        self.consent = Consenting(self.api)
        self.unread = Unread(settings.corp, port, self.consent)
        self._bell = asyncio.Event()
        self._failures = 0
        crypt = crypt_of(settings)
        self.inbox = None if crypt is None else Inbox(port, crypt, settings, archive=port.channel)

    async def session(self, up: Callable[[bool], None]) -> None:
        """Raises NoLibrary when the library cannot be used."""
        clock = self.port.clock
        async with self.api.open(), self.source.open():
            up(True)
            while True:
                self._bell.clear()
                wait = await self._round()
                self.port.gauge("source_lag", self.puller.lag_s())
                wait *= self.port.random.uniform(0.9, 1.1)
                if self._failures:
                    await clock.sleep(wait)
                else:
                    await self._rest(wait)

    async def _round(self) -> float:
        """Read all there is; seconds until the next time."""
        try:
            await self.puller.pull()
        except SourceError as error:
            is_setup = error.means in (Means.SETUP, Means.GAP)
            self.port.log.warning("archive_not_read", detail=str(error), alarm=is_setup)
            if is_setup:
                self.api.tell("down", str(error))
        except Exception as error:  # what cannot be made durable now is read again
            is_setup = isinstance(error, Malformed)
            self.port.log.exception("archive_not_kept", alarm=is_setup)
        else:
            if self._failures and not self.puller.is_held:
                self.api.tell("up", "")
            self._failures = 0
            return self.settings.poll
        first, longest = BACKOFF_S[is_setup]
        self._failures = min(self._failures + 1, 10)
        return float(min(first * 2 ** (self._failures - 1), longest))

    async def _rest(self, seconds: float) -> None:
        """Until the doorbell rings, at most so long."""
        waits = (
            asyncio.ensure_future(self._bell.wait()),
            asyncio.ensure_future(self.port.clock.sleep(seconds)),
        )
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`callback`: the receiving address of the archive (会话存档 → 接收事件服务器), if the callback settings are given."""
        return {} if self.inbox is None else {"callback": self.inbox.handle}

    def render(self, envelope: Envelope) -> None:
        pull = envelope.payload
        if not isinstance(pull, Pull) or not (pull == Pull(SOURCE) or is_question(pull)):
            raise Malformed('wecom-archive only reads: it takes Pull("archive"), Pull("unread:…")')

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """A doorbell makes the session look at once; if its process ends before, the next poll sees the same. What the archive
        did not read is asked of WeCom."""
        return list(await asyncio.gather(*map(self._heed, batch)))

    async def _heed(self, item: Dispatch) -> Outcome:
        pull = item.envelope.payload
        if isinstance(pull, Pull) and is_question(pull):
            if not self.api.http.is_open:
                return Retry("channel", "wecom-archive: no session", 0.0, "unreachable")
            return await self.unread.answer(pull)
        if pull != Pull(SOURCE):
            return Rejected("message", "wecom-archive only reads", "wrong_payload")
        self._bell.set()
        return Sent()

    async def permitted(self, edition: str = "") -> tuple[str, ...]:
        """Userids of members whose chats are archived: with a licence of `office`, `service` or `enterprise`, "" = of any."""
        return await self.consent.permitted(edition)

    async def agreements(self, pairs: Sequence[tuple[str, str]]) -> list[Consent]:
        """Consent of each (userid, external_userid): `status` Agree, Disagree or Default_Agree. Raises Refusal."""
        return await self.consent.agreements(pairs)


__all__ = ["WeComArchive"]
