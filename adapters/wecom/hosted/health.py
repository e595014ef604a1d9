"""How the hosted accounts are, by what the gateway tells, refuses and answers when asked now and then."""

from __future__ import annotations

from collections.abc import Mapping

from adapters.wecom.hosted.calls import Failed, Gateway
from adapters.wecom.hosted.roster import Roster
from msgcenter.adapter import Account, Port, Unavailable
from protocols.hosted import answers
from protocols.hosted.answers import Answer
from protocols.hosted.commands import AccountStatus

#: The gateway's words for an account, and Port.account_state's.
WORDS: Mapping[str, str] = {
    "online": "up",
    "offline": "down",
    "login_lost": "down",
    "limited": "limited",
    "banned": "banned",
}
#: Refusals that say how an account is.
REFUSALS: Mapping[str, str] = {
    "account_offline": "down",
    "account_login_lost": "down",
    "account_unknown": "down",
    "account_limited": "limited",
    "account_banned": "banned",
}
FIRST_PAUSE_S = 0.05
"""Between two questions in the first round: a thousand accounts are known in a minute."""
LONGEST_PAUSE_S = 5.0


class Health:
    """One per process; a thousand accounts are asked one after the other, each once in `status_every` by whichever process."""

    def __init__(self, port: Port, gateway: Gateway, roster: Roster, status_every: float) -> None:
        self._port = port
        self._roster = roster
        self._gateway = gateway
        self._every = status_every
        self._told_at: dict[str, int] = {}
        self._trouble: set[str] = set()
        self._soon: dict[str, None] = {}

    def told(self, status: answers.Account, at: int, account: str = "") -> None:
        """The gateway's own word, of the time `at`; an older one that comes late changes nothing."""
        address = account or status.account
        known = self._roster.at(address)
        if known is None or at < self._told_at.get(address, 0):
            return
        self._told_at[address] = at
        self._say(known, WORDS[status.state], _detail(status))

    def heard(self, address: str, answer: Answer) -> None:
        """What an answer to a command says of its account on the side."""
        if answer.state == "refused":
            self.refused(address, answer.code, answer.detail)
        elif address in self._trouble and answer.state in ("done", "queued"):
            # It works again, but whether without limits only the gateway can say.
            self._trouble.discard(address)
            self._soon[address] = None

    def refused(self, address: str, code: str, detail: str = "") -> None:
        word = REFUSALS.get(code)
        known = self._roster.at(address)
        if word is None or known is None:
            return
        self._trouble.add(address)
        told = answers.CODES[code].words
        self._say(known, word, f"{told}: {detail[:120]}" if detail else told)

    async def watch(self) -> None:
        """Ask on and on."""
        pause = FIRST_PAUSE_S
        while True:
            accounts = [account.address for account in self._roster.all()]
            for address in accounts:
                for urgent in list(self._soon):
                    self._soon.pop(urgent, None)
                    await self._ask(urgent)
                if await self._is_due(address):
                    await self._ask(address)
                await self._port.clock.sleep(pause)
            if not accounts:
                await self._port.clock.sleep(LONGEST_PAUSE_S)
            pause = min(self._every / max(1, len(accounts)), LONGEST_PAUSE_S)

    async def _is_due(self, address: str) -> bool:
        """Counted by all processes together."""
        try:
            return await self._port.allow([f"status:{address}"], [(1, self._every)]) == [0.0]
        except Unavailable as error:  # shared memory is away: a later round asks
            self._port.log.info("status_not_asked", error=type(error).__name__)
            return False

    async def _ask(self, address: str) -> None:
        asked_at = self._port.clock.now_ms()
        try:
            answer = await self._gateway.run(AccountStatus(address), self._gateway.new_id("status"))
        except Failed as failed:
            self._port.log.info("status_not_told", account=address, detail=str(failed))
            return
        if answer.account is not None and answer.account.state in WORDS:
            self.told(answer.account, asked_at, address)
        elif answer.state == "refused":
            self.refused(address, answer.code, answer.detail)

    def _say(self, account: Account, word: str, detail: str) -> None:
        if word in ("down", "banned"):
            self._trouble.add(account.address)
        elif word == "up":
            self._trouble.discard(account.address)
        self._port.account_state(account.name, word, detail)


def _detail(status: answers.Account) -> str:
    """For whoever has to mend it. An account that is well needs no words."""
    words = [] if status.state == "online" else [status.state, status.reason]
    if status.state == "limited":
        words += [f"may {'' if can else 'not '}{what}" for what, can in _abilities(status)]
    if status.paused_s:
        words.append(f"to rest {status.paused_s} s")
    return ", ".join(word for word in words if word)


def _abilities(status: answers.Account) -> tuple[tuple[str, bool], ...]:
    return (("send", status.can_send), ("manage groups", status.can_group))
