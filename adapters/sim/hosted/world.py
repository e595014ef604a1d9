"""Hosted accounts, whom they know, their groups, and what was said."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


class Refusal(Exception):
    """The command is refused with this reason code; nothing has happened."""

    def __init__(self, code: str, detail: str = "", retry_after_s: int = 0) -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s


#: Refused for now: the same command may succeed later, so its answer is not kept.
PASSING = frozenset(("busy", "paced", "account_offline", "account_login_lost", "media_unreachable"))
STATES = ("online", "offline", "login_lost", "limited", "banned")


@dataclass(slots=True)
class Account:
    """`deleted`: customers who deleted it; `recent`: times (ms) of its sends in the last minute."""

    name: str
    state: str = "online"
    reason: str = ""
    since: int = 0
    deleted: set[str] = field(default_factory=set)
    recent: list[int] = field(default_factory=list)

    def report(self, paused_s: int = 0) -> dict[str, Any]:
        """As the protocol shows it."""
        return {
            "account": self.name,
            "state": self.state,
            "reason": self.reason,
            "since": self.since,
            "can_send": self.state in ("online", "limited"),
            "can_group": self.state == "online",
            "paused_s": paused_s,
        }


@dataclass(slots=True)
class Group:
    """`members` holds accounts and customers, the owner among them."""

    group_id: str
    name: str
    owner: str
    members: list[str]
    dissolved: bool = False


@dataclass(slots=True)
class Said:
    """A message that one of the accounts sent."""

    message_id: str
    account: str
    chat: tuple[str, str]
    at: int
    recalled: bool = False


class HostedWorld:
    """Lookups raise Refusal with the protocol's codes."""

    def __init__(self, accounts: Iterable[str], customers: Iterable[str], now_ms: int) -> None:
        self.accounts = {name: Account(name, since=now_ms) for name in accounts}
        self.customers = set(customers)
        self.groups: dict[str, Group] = {}
        self.said: dict[str, Said] = {}

    def account(self, name: str) -> Account:
        """One that is logged in and not banned."""
        account = self.accounts.get(name)
        if account is None:
            raise Refusal("account_unknown")
        if account.state in ("offline", "login_lost", "banned"):
            raise Refusal(f"account_{account.state}", account.reason)
        return account

    def contact(self, account: Account, customer: str) -> None:
        if customer not in self.customers:
            raise Refusal("customer_unknown")
        if customer in account.deleted:
            raise Refusal("not_a_contact")

    def group(self, account: Account, group_id: str, *, owner: bool = False) -> Group:
        group = self.groups.get(group_id)
        if group is None:
            raise Refusal("group_unknown")
        if group.dissolved:
            raise Refusal("group_gone")
        if account.name not in group.members:
            raise Refusal("not_in_group")
        if owner and group.owner != account.name:
            raise Refusal("not_owner")
        return group

    def grouped(self, account: Account) -> None:
        if account.state == "limited":
            raise Refusal("account_limited", account.reason)

    def joinable(self, members: Iterable[str], account: Account) -> None:
        for member in members:
            known = member in self.customers and member not in account.deleted
            if not known and member not in self.accounts:
                raise Refusal("member_refused", member)

    def hosted_in(self, group: Group) -> list[str]:
        """The hosted accounts that see what happens in a group."""
        return [member for member in group.members if member in self.accounts]
