"""Accounts: the sending identities of the configuration in force, indexed for the questions of the hot path."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgcenter.adapter import Account
from msgcenter.config import Config


class AccountBook:
    """Answers from an index that is made anew when the configuration changes; a thousand accounts cost no more than one."""

    def __init__(self, current: Callable[[], Config]) -> None:
        self._current = current
        self._config: Config | None = None
        self._names: dict[str, str] = {}
        self._exact: dict[tuple[str, str], str] = {}
        self._numbers: dict[str, dict[str, str]] = {}
        self._lengths: dict[str, list[int]] = {}
        self._of_channel: dict[str, list[Account]] = {}
        self._homes: dict[str, str] = {}

    def _index(self) -> Config:
        config = self._current()
        if config is self._config:
            return config
        self._names, self._exact = {}, {}
        self._numbers, self._of_channel = {}, {}
        for name, account in config.accounts.items():
            far_name, channel = account.far_name, account.channel
            self._names[name] = far_name
            self._exact[channel, far_name] = name
            if account.number is not None:
                self._numbers.setdefault(channel, {})[far_name] = name
            self._of_channel.setdefault(channel, []).append(
                Account(name, far_name, account.corp, account.path)
            )
        self._homes = {
            name: channel.accounts_of
            for name, channel in config.channels.items()
            if channel.accounts_of is not None
        }
        self._lengths = {
            channel: sorted({len(number) for number in numbers}, reverse=True)
            for channel, numbers in self._numbers.items()
        }
        self._config = config
        return config

    def sender(self, account: str) -> str:
        """Its name at the far end, "" when there is no such account."""
        self._index()
        return self._names.get(account, "")

    def owner_of(self, channel: str, far_name: str) -> tuple[str, str] | None:
        """(account, caller) of our side of an inbound message: the account of this very name, or the one whose number is the
        longest beginning of the number written to (the rest is an extension nobody has)."""
        config = self._index()
        channel = self._homes.get(channel, channel)
        name = self._exact.get((channel, far_name))
        if name is None:
            numbers = self._numbers.get(channel, {})
            for length in self._lengths.get(channel, ()):
                if length < len(far_name) and (name := numbers.get(far_name[:length])):
                    break
        if not name:
            return None
        return name, config.accounts[name].caller or ""

    def of_channel(self, channel: str) -> Sequence[Account]:
        """In the order of accounts.yaml."""
        self._index()
        return self._of_channel.get(self._homes.get(channel, channel), ())

    def home_of(self, channel: str) -> str:
        """The channel whose accounts this one reads (`accounts_of`): usually its own."""
        self._index()
        return self._homes.get(channel, channel)
