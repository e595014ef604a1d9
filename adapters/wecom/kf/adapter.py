"""Kind `wecom-kf`: customer-service accounts (微信客服) on WeChat, both ways: what customers and servicers say, and what callers answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial

from adapters.wecom.fetching import Fetching
from adapters.wecom.inbox import SOURCE as FILE
from adapters.wecom.inbox import Inbox, crypt_of
from adapters.wecom.kf.batch import KfBatch
from adapters.wecom.kf.calls import KfCalls, parties
from adapters.wecom.kf.contents import (
    EVENT_MESSAGE,
    NATIVE,
    STATE,
    TRANSFER,
    checked,
    on_event,
    transfer,
)
from adapters.wecom.kf.pull import SOURCE, Pulls
from adapters.wecom.kf.relay import LATE_FILE
from adapters.wecom.kf.settings import WeComKfSettings
from adapters.wecom.kf.windows import Windows
from msgcenter.adapter import (
    Adapter,
    Dispatch,
    Malformed,
    Port,
    Rejected,
    Request,
    Response,
    Spec,
    Unavailable,
    Unreachable,
)
from protocols.envelope import Envelope
from protocols.outcome import Outcome
from protocols.payload import Link, Media, MiniProgram, Native, Pull, Text
from protocols.wecom import kf

STARTS = [(2, 60.0)]
"""Reads of an account because a process started: a few at once are as good as one."""


class WeComKf(Adapter):
    """Reaches `kf:<open_kfid>/<external_userid>`. WeCom tells only of what did not arrive."""

    spec = Spec(
        kind="wecom-kf",
        title="WeCom customer service (微信客服)",
        payloads=frozenset({Text, Media, Link, MiniProgram, Native, Pull}),
        schemes=frozenset({"kf"}),
        max_batch=200,
        in_flight=4,
        receives=True,
        receipts=frozenset({"undelivered"}),
        receipt_wait_s=600.0,
        idempotent=True,
        limits={
            "window": "5 messages after each message of the customer, within 48 h of it; what is over is refused here before "
            "the call (kf_window_closed, kf_window_used)",
            "welcome": "within 20 s of the customer's entering; a late one is refused (welcome_late)",
            "session": "only while no servicer has the session or waits for it; else wecom_95018",
            "text": "2,048 octets",
            "pictures": "links and mini programs need one of the media store",
            "receipts": "only of what did not arrive: undelivered, kf_fail_<type>",
            "history": "WeCom keeps what customers write for 3 days",
            "recall": "none",
        },
    )
    Settings = WeComKfSettings
    settings: WeComKfSettings

    def __init__(self, settings: WeComKfSettings, port: Port) -> None:
        """Raises Malformed for an EncodingAESKey that is none."""
        super().__init__(settings, port)
        self.calls = KfCalls(settings, port)
        self.fetching = Fetching()
        self.windows = Windows(port)
        self.pulls = Pulls(port, self.calls.api, settings, self.windows)
        crypt, bell = crypt_of(settings), settings.doorbells.kf or port.channel
        # Its own callbacks ring its own doorbell.
        self.inbox = None if crypt is None else Inbox(port, crypt, settings, kf=bell)

    async def session(self, up: Callable[[bool], None]) -> None:
        """Besides sending: every account is read at the start and, whatever was rung, now and then."""
        async with self.calls.api.open(), self.fetching.open():
            up(True)
            await self._ring("start", STARTS)
            while True:
                wait = self.settings.poll * self.port.random.uniform(0.9, 1.1)
                await self.port.clock.sleep(wait)
                await self._ring("poll", [(1, self.settings.poll * 0.8)])

    async def _ring(self, why: str, limits: Sequence[tuple[int, float]]) -> None:
        """Ring for every account, of all processes only one."""
        for account in self.port.accounts():
            try:
                waits = await self.port.allow([f"{why}:{account.address}"], limits)
                if waits[0] <= 0:
                    await self.port.ring(Pull(f"{SOURCE}{account.address}"))
            except Unavailable as error:  # the next turn is soon, and sending goes on
                self.port.log.warning("poll_failed", account=account.name, error=repr(error)[:200])

    def webhooks(self) -> Mapping[str, Callable[[Request], Awaitable[Response]]]:
        """`callback`: the app's receiving address, if the callback settings are given."""
        return {} if self.inbox is None else {"callback": self.inbox.handle}

    def render(self, envelope: Envelope) -> None:
        payload = envelope.payload
        if isinstance(payload, Pull):
            return
        open_kfid, customer = parties(envelope.to)
        match payload:
            case Native(kind=kind, body=body) if kind == EVENT_MESSAGE:
                on_event(body)
            case Native(kind=kind, body=body) if kind == TRANSFER:
                transfer(open_kfid, customer, body)
            case Native(kind=kind) if kind == STATE:
                return
            case Native(kind=kind) if kind not in NATIVE:
                raise Malformed(f"native {kind[:40]!r}: one of {', '.join(sorted(NATIVE))}")
            case _:
                kf.send(open_kfid, customer, checked(payload))

    async def deliver(self, batch: Sequence[Dispatch]) -> list[Outcome]:
        """Raises Unreachable when not one octet of the batch left."""
        if not self.calls.api.http.is_open:
            raise Unreachable("wecom-kf: no session")
        work = KfBatch(self.calls, self.windows, self._answer, batch)
        await work.run()
        return work.outcomes()

    async def _answer(self, pull: Pull) -> Outcome:
        """A doorbell: of an account, or of one file. Raises what reading the log raises."""
        if pull.source.startswith(LATE_FILE):
            return await self.fetching(pull, partial(self.pulls.run, pull))
        if not pull.source.startswith(FILE):
            return await self.pulls.run(pull)
        if self.inbox is None:
            return Rejected("message", "no callbacks are set up", "wrong_payload")
        return await self.fetching(pull, partial(self.inbox.fetch, pull, self.calls.api))


__all__ = ["WeComKf"]
