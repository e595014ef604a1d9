"""The access token of one app: fetched once for all processes, renewed early, and never asked for in haste."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

from adapters.wecom.calls import Http, Refusal, nothing_left
from msgcenter.adapter import Port, Retry
from protocols.wecom.answers import Token
from protocols.wecom.errcodes import Action, Do, outcome_of, row_of

EARLY_S = 600.0
"""A token with less than this left is renewed in the background while it is still good."""
AGAIN_S = 30.0
"""Least pause between two early renewals; WeCom may answer the same token until shortly before its end."""
WAIT_S = 20.0
"""How long another process may take to fetch it."""
SLOW_S = (60.0, 600.0)
"""Pause after a wrong secret, doubled from the first to the last: WeCom blocks an address that insists."""
BUSY_S = 2.0
INSIST_S = 10.0


@dataclass(frozen=True, slots=True)
class _Held:
    value: str
    ends_ms: int
    renew_ms: int


class Tokens:
    """`get()` is the token to call with; `get(stale)` after WeCom refused `stale`: fetches a new one unless somebody did.

    Shared through the Port's memory under a name made of corp and secret, so that a changed secret never meets the old
    token. `told(state, detail)`: hears `down` when the credentials are refused, and `up` when they work again.
    """

    def __init__(
        self, port: Port, http: Http, corp: str, secret: str, told: Callable[[str, str], None]
    ) -> None:
        self._port = port
        self._http = http
        self._corp = corp
        self._secret = secret
        self._told = told
        print_ = hashlib.sha256(f"{corp}\x1f{secret}".encode()).hexdigest()[:20]
        self._token_key = f"token:{print_}"
        self._pause_key = f"token-pause:{print_}"
        self._turn = f"token:{print_}"
        self._held: _Held | None = None
        self._insisted: tuple[str, int] = ("", 0)
        self._fetching: asyncio.Task[None] | None = None
        self._pause: tuple[int, Retry] = (0, Retry("channel", ""))
        self._failures = 0
        self.fetched = 0
        """Calls of gettoken by this process."""

    async def get(self, stale: str = "") -> str:
        """Raises Refusal when there is none to be had now."""
        held = self._good(stale)
        if held is None:
            with nothing_left("access token"):
                await asyncio.shield(self._fetch(stale))
            held = self._held
            if held is None:
                raise Refusal(Retry("channel", "WeCom: no token yet", BUSY_S, "wecom_token"))
        elif self._port.clock.now_ms() >= held.renew_ms and not self._is_fetching():
            # In the background: whoever asks now has a good one.
            self._fetch(held.value).add_done_callback(self._renewed)
        return held.value

    async def close(self) -> None:
        """End what is under way."""
        task, self._fetching = self._fetching, None
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def _good(self, stale: str) -> _Held | None:
        held, now = self._held, self._port.clock.now_ms()
        if held is None or now >= held.ends_ms:
            return None
        if held.value == stale:
            # WeCom may insist on a token that it refused: it is asked once, not by everybody who was refused.
            value, until = self._insisted
            return held if value == stale and now < until else None
        return held

    def _fetch(self, stale: str) -> asyncio.Task[None]:
        """The one fetch under way in this process, begun if there is none."""
        if self._fetching is None or self._fetching.done():
            self._fetching = asyncio.create_task(self._renew(stale))
        return self._fetching

    def _is_fetching(self) -> bool:
        return self._fetching is not None and not self._fetching.done()

    def _renewed(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        held = self._held
        if error is not None and held is not None:
            later = self._port.clock.now_ms() + round(AGAIN_S * 1000)
            self._held = _Held(held.value, held.ends_ms, later)
            self._port.log.warning("token_not_renewed", detail=error)

    async def _renew(self, stale: str) -> None:
        async with self._port.turn(self._turn, wait_s=WAIT_S) as mine:
            await self._adopt(stale)
            if self._good(stale) is not None:
                return
            if not mine:
                told = "WeCom: another process is fetching a token"
                raise Refusal(Retry("channel", told, BUSY_S, "wecom_token"))
            await self._paused()
            await self._ask()
            if self._held is not None and self._held.value == stale:
                until = self._port.clock.now_ms() + round(INSIST_S * 1000)
                self._insisted = stale, until

    async def _adopt(self, stale: str) -> None:
        """Take over what another process fetched."""
        found = await self._port.memo(self._token_key)
        if found:
            fields = json.loads(found)
            if fields["value"] != stale:
                self._hold(str(fields["value"]), int(fields["ends_ms"]))

    def _hold(self, value: str, ends_ms: int) -> None:
        now = self._port.clock.now_ms()
        early = ends_ms - round(EARLY_S * 1000)
        if early <= now:  # a short one, or the same one again
            early = now + max(round(AGAIN_S * 1000), (ends_ms - now) // 2)
        self._held = _Held(value, ends_ms, early)

    async def _paused(self) -> None:
        """Raises Refusal while WeCom must be left alone, whichever process learned it."""
        now = self._port.clock.now_ms()
        until, retry = self._pause
        if until <= now:
            found = await self._port.memo(self._pause_key)
            if not found:
                return
            fields = json.loads(found)
            until = int(fields["until"])
            retry = Retry("channel", str(fields["detail"]), 0.0, str(fields["code"]))
            self._pause = until, retry
        if until > now:
            left = Retry("channel", retry.detail, (until - now) / 1000, retry.code)
            raise Refusal(left)

    async def _ask(self) -> None:
        self.fetched += 1
        query = {"corpid": self._corp, "corpsecret": self._secret}
        try:
            answer = await self._http.call("gettoken", query)
        except Refusal:
            self._port.count("token_refreshes", "failed")
            raise
        self._port.count("token_refreshes", "refused" if answer.errcode else "ok")
        if answer.errcode:
            raise await self._refused(answer.errcode, answer.errmsg)
        token = Token.of(answer)
        if not token.access_token or token.expires_in <= 0:
            raise Refusal(Retry("channel", "gettoken answered no token", AGAIN_S, "wecom_token"))
        self._hold(
            token.access_token, self._port.clock.now_ms() + max(token.expires_in - 10, 1) * 1000
        )
        assert self._held is not None
        kept = json.dumps({"value": self._held.value, "ends_ms": self._held.ends_ms}).encode()
        await self._port.remember(self._token_key, kept, float(token.expires_in))
        if self._failures:
            self._failures = 0
            self._told("up", "")

    async def _refused(self, errcode: int, errmsg: str) -> Refusal:
        row = row_of(errcode)
        told = f"gettoken: WeCom {errcode}: {row.words} ({errmsg[:80]})"
        result = outcome_of(errcode, errmsg, "gettoken")
        if isinstance(result, Action) and result.do is Do.WAIT_WINDOW:
            seconds = float(result.seconds)
            self._told("limited", told)
        elif row.cls in ("token", "setup"):
            seconds = min(SLOW_S[0] * 2**self._failures, SLOW_S[1])
            self._told("down", told)
        else:
            seconds = BUSY_S
        self._failures = min(self._failures + 1, 10)
        retry = Retry("channel", told, seconds, row.code)
        until = self._port.clock.now_ms() + round(seconds * 1000)
        self._pause = until, retry
        kept = {"until": until, "detail": told, "code": row.code}
        await self._port.remember(self._pause_key, json.dumps(kept).encode(), seconds)
        return Refusal(retry, errcode=errcode)
