"""One app's API: every call with its token, errcodes turned into what they mean, and an API that refuses left alone for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp

from adapters.wecom.calls import MAX_ANSWER, Http, Refusal, answer_in
from adapters.wecom.settings import AppSettings, HttpSettings
from adapters.wecom.tokens import Tokens
from msgcenter.adapter import Port, Rejected, Retry, Unknown
from protocols.wecom.answers import Answer
from protocols.wecom.errcodes import Action, Do, outcome_of, row_of

SLOW_S = (30.0, 600.0)
"""How long an API that is not permitted is left alone: doubled from the first to the last with every refusal in a row."""
#: Set-up errors that hold for every call of the app and not only for the one API.
_EVERYWHERE = frozenset({40013, 40014, 40001, 41001, 42001, 50003, 60020, 60031, 301007})


@dataclass(slots=True)
class _Trouble:
    """What is known of one API (or "*", all of them) since it last worked."""

    until: float = 0.0
    refusals: int = 0
    strikes: int = 0
    retry: Retry | None = None
    is_down: bool = False


class Gate:
    """Which APIs are left alone, until when: a limit's whole window, or longer and longer after a refusal of set-up.

    `told(state, detail)` hears `down`, `limited` and, when calls succeed again, `up`. A call may name a `part` of the API (one
    kf account) and the errcodes that concern only this part: those leave the other parts alone, and `told` hears nothing.
    """

    def __init__(self, port: Port, told: Callable[[str, str], None]) -> None:
        self._port = port
        self._told = told
        self._troubles: dict[str, _Trouble] = {}

    def check(self, api: str, part: str = "") -> None:
        """Raises Refusal, nothing sent, while the API is left alone."""
        now = self._port.clock.monotonic()
        for name in _names(api, part):
            trouble = self._troubles.get(name)
            if trouble is not None and trouble.retry is not None and trouble.until > now:
                retry = trouble.retry
                left = Retry(retry.scope, retry.detail, trouble.until - now, retry.code)
                raise Refusal(left)

    def worked(self, api: str, part: str = "") -> None:
        """A call of the API succeeded."""
        for name in _names(api, part):
            trouble = self._troubles.pop(name, None)
            if trouble is not None and (trouble.is_down or trouble.strikes):
                self._tell(name, "up", "")

    def refused(
        self, api: str, answer: Answer, part: str = "", own: frozenset[int] = frozenset()
    ) -> Refusal:
        """What a refusal means, and how long the API is left alone for it. `own`: errcodes of the part alone."""
        errcode, row = answer.errcode, row_of(answer.errcode)
        left = _names(api, part if errcode in own else "")[-1]
        trouble = self._troubles.get(left)
        result = outcome_of(errcode, answer.errmsg, api, trouble.strikes if trouble else 0)
        outcome = result.otherwise if isinstance(result, Action) else result
        assert isinstance(outcome, Retry | Rejected | Unknown)
        if isinstance(result, Action) and result.do is Do.WAIT_WINDOW:
            assert isinstance(outcome, Retry)
            self._limit(left, outcome, float(result.seconds))
        elif row.cls in ("setup", "token"):
            assert isinstance(outcome, Retry)
            name = "*" if errcode in _EVERYWHERE else left
            outcome = self._slow(name, outcome)
        elif errcode == 45033:
            assert isinstance(outcome, Retry)
            self._pause(self._troubles.setdefault(left, _Trouble()), outcome, outcome.after)
        elif row.cls not in ("transient", "not_ready", "unknown"):
            self.worked(api, part)  # it was this message's own fault: the API is there for others
        if row.alert and row.cls != "setup":
            self._port.log.warning("wecom_alert", errcode=errcode, words=row.words, api=api)
        return Refusal(outcome, errcode=errcode, answer=answer)

    def _tell(self, name: str, state: str, detail: str) -> None:
        if " " not in name:
            self._told(state, detail)

    def _pause(self, trouble: _Trouble, retry: Retry, seconds: float) -> bool:
        """False: it was left alone already; what was under way together is refused together."""
        now = self._port.clock.monotonic()
        if trouble.until > now:
            return False
        trouble.until, trouble.retry = now + seconds, retry
        return True

    def _limit(self, name: str, retry: Retry, seconds: float) -> None:
        trouble = self._troubles.setdefault(name, _Trouble())
        if self._pause(trouble, retry, seconds):
            trouble.strikes += 1
            self._tell(name, "limited", f"{name}: {retry.detail}")

    def _slow(self, name: str, retry: Retry) -> Retry:
        trouble = self._troubles.setdefault(name, _Trouble())
        seconds = min(SLOW_S[0] * 2**trouble.refusals, SLOW_S[1])
        slowed = Retry(retry.scope, retry.detail, seconds, retry.code)
        if self._pause(trouble, slowed, seconds):
            trouble.refusals = min(trouble.refusals + 1, 10)
            trouble.is_down = True
            self._tell(name, "down", retry.detail)
        return slowed


def _names(api: str, part: str) -> tuple[str, ...]:
    """What a call may be refused as: any call of the app, one of this API, one of this part of it."""
    return ("*", api, f"{api} {part}") if part else ("*", api)


class WeComApi:
    """The API of one (corp, secret). `post` and `get` return an answer with errcode 0 or raise Refusal.

    A refused token is renewed once and the call made once more; bodies are octets, so that a second try is the same request.
    """

    def __init__(self, settings: AppSettings, port: Port) -> None:
        self._port = port
        self._agent = str(settings.agent_id)
        self.http = Http(settings)
        self.gate = Gate(port, self.tell)
        self.tokens = Tokens(port, self.http, settings.corp, settings.secret.reveal(), self.tell)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Calls can be made inside."""
        async with self.http.open():
            try:
                yield
            finally:
                await self.tokens.close()

    def tell(self, state: str, detail: str) -> None:
        """Say how the app is: as the account that has its agent id for address, else by the channel's own name."""
        named = [one.name for one in self._port.accounts() if one.address == self._agent]
        for name in named or [self._port.channel]:
            self._port.account_state(name, state, detail)

    async def post(
        self,
        api: str,
        body: bytes,
        *,
        sends: bool = True,
        part: str = "",
        own: frozenset[int] = frozenset(),
    ) -> Answer:
        """`sends`: see `Http.call`. `part` and `own`: see `Gate`."""
        return await self._call(api, {}, body, sends=sends, part=part, own=own)

    async def get(self, api: str, query: Mapping[str, str]) -> Answer:
        """A call that changes nothing."""
        return await self._call(api, query, None, sends=False)

    async def upload(
        self, api: str, query: Mapping[str, str], form: Callable[[], aiohttp.FormData]
    ) -> Answer:
        """A file; one that is uploaded twice does no harm, so a lost answer is worth another try."""
        return await self._call(api, query, None, form=form, sends=False)

    @asynccontextmanager
    async def download(
        self, media_id: str, first: int = 0, last: int = 0
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """`media/get`, octets `first` to `last` when `last` is given. An error is told by a JSON body, whatever the status."""
        headers = {"Range": f"bytes={first}-{last}"} if last else {}
        api, stale = "media/get", ""
        self.gate.check(api)
        for again in (False, True):
            stale = await self.tokens.get(stale)
            query = {"access_token": stale, "media_id": media_id}
            async with self.http.stream(api, query, headers=headers, seconds=600.0) as response:
                is_json = response.content_type in ("application/json", "text/plain")
                if response.status in (200, 206) and not (
                    is_json and "Content-Disposition" not in response.headers
                ):
                    self.gate.worked(api)
                    yield response
                    return
                octets = await response.content.read(MAX_ANSWER)
                answer = answer_in(octets, response.status, False)
            if again or not _stale(answer):
                raise self.gate.refused(api, answer)

    async def _call(
        self,
        api: str,
        query: Mapping[str, str],
        body: bytes | None,
        *,
        form: Callable[[], aiohttp.FormData] | None = None,
        sends: bool,
        part: str = "",
        own: frozenset[int] = frozenset(),
    ) -> Answer:
        self.gate.check(api, part)
        token = await self.tokens.get()
        answer = await self.http.call(
            api, {**query, "access_token": token}, body, form=form, sends=sends
        )
        if _stale(answer):
            token = await self.tokens.get(stale=token)
            answer = await self.http.call(
                api, {**query, "access_token": token}, body, form=form, sends=sends
            )
        if answer.errcode:
            raise self.gate.refused(api, answer, part, own)
        self.gate.worked(api, part)
        return answer


class RobotApi:
    """`webhook/*` of group robots: a key in the place of a token; every robot is refused for itself."""

    def __init__(self, settings: HttpSettings, port: Port) -> None:
        self._port = port
        self.http = Http(settings)
        self._gates: dict[str, Gate] = {}

    async def post(self, robot: str, key: str, body: bytes) -> Answer:
        """webhook/send. `robot`: its name, for what is told about it. Raises Refusal."""
        gate = self._gate(robot)
        gate.check("webhook/send")
        return self._judged(
            gate,
            "webhook/send",
            await self.http.call("webhook/send", {"key": key}, body, sends=True),
        )

    async def upload(
        self, robot: str, key: str, kind: str, form: Callable[[], aiohttp.FormData]
    ) -> Answer:
        """webhook/upload_media. Raises Refusal."""
        gate, api = self._gate(robot), "webhook/upload_media"
        gate.check(api)
        answer = await self.http.call(api, {"key": key, "type": kind}, form=form)
        return self._judged(gate, api, answer)

    def _gate(self, robot: str) -> Gate:
        if robot not in self._gates:
            self._gates[robot] = Gate(
                self._port, lambda state, detail: self._port.account_state(robot, state, detail)
            )
        return self._gates[robot]

    @staticmethod
    def _judged(gate: Gate, api: str, answer: Answer) -> Answer:
        if answer.errcode:
            raise gate.refused(api, answer)
        gate.worked(api)
        return answer


def _stale(answer: Answer) -> bool:
    return row_of(answer.errcode).cls == "token"
