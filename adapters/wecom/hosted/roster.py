"""The channel's accounts by address and by name, indexed anew when the configuration changes; one of a thousand costs no search."""

from __future__ import annotations

from collections.abc import Sequence

from msgcenter.adapter import Account, Port


class Roster:
    def __init__(self, port: Port) -> None:
        self._port = port
        self._known: Sequence[Account] = ()
        self._addresses: dict[str, Account] = {}
        self._names: dict[str, Account] = {}

    def all(self) -> Sequence[Account]:
        """In the order of accounts.yaml."""
        known = self._port.accounts()
        if known is not self._known:
            self._known = known
            self._addresses = {account.address: account for account in known}
            self._names = {account.name: account for account in known}
        return known

    def at(self, address: str) -> Account | None:
        """The account of this name at the gateway."""
        self.all()
        return self._addresses.get(address)

    def named(self, name: str) -> Account | None:
        """The account of this name in accounts.yaml."""
        self.all()
        return self._names.get(name)
