"""Reading an account's log: rung by a doorbell, from a durable cursor that moves only once a page is durable here, never in haste.

A callback's token makes reading cheap for ten minutes and is kept for every read of that account; without one few reads are
allowed, so they are counted here first. WeCom may answer empty pages that have more: only `has_more` says when it is over.
"""

from __future__ import annotations

from dataclasses import dataclass

from adapters.wecom.api import WeComApi
from adapters.wecom.calls import Refusal, nothing_left
from adapters.wecom.kf.relay import LATE_FILE, Relay
from adapters.wecom.kf.said import said_in
from adapters.wecom.kf.settings import WeComKfSettings
from adapters.wecom.kf.windows import Windows
from msgcenter.adapter import Port, Rejected, Retry, Sent, Unknown
from protocols.fields import as_int, as_text
from protocols.outcome import Outcome
from protocols.payload import Pull
from protocols.wecom import kf
from protocols.wecom.answers import Answer
from protocols.wecom.errcodes import row_of
from protocols.wecom.limits import BOUNDS, WINDOWS_S

SOURCE = "kf:"
TOKEN_S = WINDOWS_S["kf.token"] - 20.0
SYNC = "kf/sync_msg"
#: These concern one kf account and leave the others alone.
OF_ACCOUNT = frozenset({48007, 95000, 95003, 95004, 95011, 95012, 95023})
PAGE = 200
"""Items asked for at once while calls are cheap: little is read again after a break. Without a token, as many as there may be."""
STUCK = 3
"""Pages in a row that are empty, have more and do not move on."""
LATER_S = 2.0
REFUSED_S = 600.0
"""Wait after a refusal that somebody has to see to: an account that is not there."""


@dataclass(slots=True)
class _Reading:
    """One account being read."""

    open_kfid: str
    token: str
    cursor: str
    from_the_start: bool
    bare: bool = False
    stuck: int = 0


class Pulls:
    """`run(pull)` answers a doorbell `kf:<open_kfid>`. One at a time for each account, as doorbells of one source are."""

    def __init__(
        self,
        port: Port,
        api: WeComApi,
        settings: WeComKfSettings,
        windows: Windows,
    ) -> None:
        self._port = port
        self._api = api
        self._settings = settings
        self._windows = windows
        self._relay = Relay(port, api, settings, windows)
        self._behind: dict[str, int] = {}
        self._down: set[str] = set()

    async def run(self, pull: Pull) -> Outcome:
        """Sent = read up, or the rest rings again; Retry = it will be rung again. Raises what Port.emit raises."""
        if pull.source.startswith(LATE_FILE):
            return await self._relay.late_file(pull)
        open_kfid = pull.source.removeprefix(SOURCE)
        if not open_kfid:  # an old form of the callback does not say which
            for account in self._port.accounts():
                await self._port.ring(Pull(f"{SOURCE}{account.address}", pull.token))
            return Sent()
        self._behind.setdefault(open_kfid, self._port.clock.now_ms())
        try:
            with nothing_left("cursor of a kf account"):
                reading = await self._reading(open_kfid, pull.token)
            outcome = await self._read(reading)
        except Refusal as refusal:
            self._told(open_kfid, refusal)
            outcome = _again(refusal)
        self._gauge()
        return outcome

    async def _reading(self, open_kfid: str, token: str) -> _Reading:
        key = f"ring:{open_kfid}"
        if token:
            await self._port.remember(key, token.encode(), TOKEN_S)
        else:
            token = (await self._port.memo(key) or b"").decode()
        cursor = await self._port.checkpoint(f"{SOURCE}{open_kfid}")
        return _Reading(open_kfid, token, cursor, not cursor)

    async def _read(self, reading: _Reading) -> Outcome:
        clock, open_kfid = self._port.clock, reading.open_kfid
        until = clock.monotonic() + self._settings.pull
        while True:
            answer = await self._page(reading)
            said = list(said_in(answer.fields, open_kfid))
            if not await self._relay.page(said):
                told = "a customer's file cannot be fetched yet"
                return Retry("message", told, LATER_S, "wecom_download")
            cursor = as_text(answer.fields.get("next_cursor"))
            moved = cursor not in ("", reading.cursor)
            if moved:
                reading.cursor = cursor
                await self._port.save_checkpoint(f"{SOURCE}{open_kfid}", reading.cursor)
            if not as_int(answer.fields.get("has_more")):
                with nothing_left("windows of a kf account"):
                    await self._windows.read_up(open_kfid, reading.from_the_start)
                self._behind.pop(open_kfid, None)
                self._up(open_kfid)
                return Sent()
            if said and said[-1].at:
                self._behind[open_kfid] = said[-1].at
            self._gauge()
            reading.stuck = 0 if moved or said else reading.stuck + 1
            if reading.stuck >= STUCK:
                told = "WeCom: more is said to be there, but nothing comes"
                return Retry("message", told, LATER_S, "wecom_no_progress")
            if clock.monotonic() >= until:
                await self._port.ring(Pull(f"{SOURCE}{open_kfid}", reading.token))
                return Sent(detail="read on by the next doorbell")

    async def _page(self, reading: _Reading) -> Answer:
        """One call of sync_msg; a token or a cursor that WeCom does not know any more is done without."""
        for _ in range(3):
            try:
                return await self._sync(reading)
            except Refusal as refusal:
                if refusal.errcode == 95007 and reading.token:
                    reading.token = ""
                    await self._port.remember(f"ring:{reading.open_kfid}", b"", 0.0)
                elif row_of(refusal.errcode).cls == "content" and reading.cursor:
                    # From the oldest that WeCom keeps: what was told before is recognised, and nothing is passed over.
                    self._port.log.error(
                        "kf_cursor_refused", account=reading.open_kfid, detail=str(refusal)
                    )
                    reading.cursor, reading.from_the_start = "", True
                else:
                    raise
        raise Refusal(Retry("message", "WeCom: no page to be had", LATER_S, "wecom_no_progress"))

    async def _sync(self, reading: _Reading) -> Answer:
        open_kfid, part, own = reading.open_kfid, reading.open_kfid, OF_ACCOUNT
        size = PAGE
        if not reading.token:
            part, own = f"bare:{open_kfid}", OF_ACCOUNT | {45009}
            size = BOUNDS["kf.limit"].most
            wait = await self._bare(open_kfid)
            if wait > 0:
                told = "as many reads without a callback's token as are wise"
                raise Refusal(Retry("message", told, wait, "kf_bare_limit"))
        body = kf.sync(open_kfid, reading.cursor, reading.token, size)
        return await self._api.post(SYNC, body, sends=False, part=part, own=own)

    async def _bare(self, open_kfid: str) -> float:
        limits = [(self._settings.bare_per_minute, 60.0)]
        with nothing_left("limit of reads"):
            return (await self._port.allow([f"bare:{open_kfid}"], limits))[0]

    # -- what is told of an account ------------------------------------------------------------------------------------

    def _gauge(self) -> None:
        """How far the account that is furthest behind is behind."""
        now = self._port.clock.now_ms()
        behind = max((now - since for since in self._behind.values()), default=0)
        self._port.gauge("source_lag", max(behind, 0) / 1000)

    def _told(self, open_kfid: str, refusal: Refusal) -> None:
        if refusal.errcode in OF_ACCOUNT:
            self._down.add(open_kfid)
            self._port.account_state(self._name(open_kfid), "down", str(refusal))

    def _up(self, open_kfid: str) -> None:
        if open_kfid in self._down:
            self._down.discard(open_kfid)
            self._port.account_state(self._name(open_kfid), "up")

    def _name(self, open_kfid: str) -> str:
        known = [one.name for one in self._port.accounts() if one.address == open_kfid]
        return known[0] if known else open_kfid


def _again(refusal: Refusal) -> Retry:
    """A doorbell is rung until it was answered: given up, it would leave unread what it announced."""
    match refusal.outcome:
        case Retry() as outcome:
            return outcome
        case Unknown(detail=detail):
            return Retry("message", detail, LATER_S, "wecom_read")
        case Rejected(detail=detail, code=code):
            return Retry("message", detail, REFUSED_S, code)
