"""What a hosted-account gateway answers to a command, and what that means: one table from reason code to outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

from protocols.errors import Malformed
from protocols.fields import as_text, flag, load, number, text
from protocols.jsontext import parse, write
from protocols.outcome import Outcome, Rejected, Retry, Scope, Sent, Unknown

MAX_BYTES = 64 * 1024
#: done: it has happened. queued: the gateway keeps it durably and a `receipt` follows. refused: nothing has happened.
#: unknown: it may have happened.
State: TypeAlias = Literal["done", "queued", "refused", "unknown"]
_STATES: tuple[State, ...] = get_args(State)
#: Of accounts: what a person may have to mend is `login_lost` (scan again) and `banned`; `limited`: some abilities taken away.
AccountState: TypeAlias = Literal["online", "offline", "login_lost", "limited", "banned"]
ACCOUNT_STATES: frozenset[str] = frozenset({"online", "offline", "login_lost", "limited", "banned"})


@dataclass(frozen=True, slots=True)
class Rule:
    scope: Scope
    retry: bool
    words: str
    alert: bool = False
    after: float = 0.0


#: Reason codes of refusals and failed receipts. A code that is not listed is permanent for that message.
CODES: Mapping[str, Rule] = {
    "busy": Rule("channel", True, "gateway busy", after=1.0),
    "paced": Rule("account", True, "the account sends too fast"),
    "account_offline": Rule("account", True, "account offline", after=30.0),
    "account_limited": Rule(
        "account", False, "WeCom took this ability from the account", alert=True
    ),
    "account_login_lost": Rule(
        "account", True, "account must log in again", alert=True, after=600.0
    ),
    "account_banned": Rule("account", False, "account banned", alert=True),
    "account_unknown": Rule("account", False, "the gateway does not host this account", alert=True),
    "customer_unknown": Rule("recipient", False, "no such customer of this account"),
    "not_a_contact": Rule("recipient", False, "the customer deleted or blocked the account"),
    "group_unknown": Rule("recipient", False, "no such group"),
    "group_gone": Rule("recipient", False, "the group is dissolved"),
    "not_in_group": Rule("recipient", False, "the account is not in the group"),
    "not_owner": Rule("recipient", False, "only the owner may do this"),
    "group_full": Rule("recipient", False, "the group is full"),
    "member_refused": Rule("recipient", False, "a member could not be added"),
    "recall_too_late": Rule("message", False, "too late to recall"),
    "message_unknown": Rule("message", False, "no such message"),
    "content_refused": Rule("message", False, "content refused by WeCom", alert=True),
    "media_unreachable": Rule("message", True, "the media address could not be fetched"),
    "unsupported": Rule("message", False, "the gateway cannot do this"),
    "invalid": Rule("message", False, "the gateway could not read the command"),
    "command_unknown": Rule("message", False, "the gateway has not seen this command"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """`since`: epoch milliseconds of the last change; `paused_s`: how long the account should rest, 0 = not at all."""

    account: str = text("account")
    state: str = text("state")
    reason: str = text("reason")
    since: int = number("since")
    can_send: bool = flag("can_send")
    can_group: bool = flag("can_group")
    paused_s: int = number("paused_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """`code`, `detail`: of a refusal; `message_id`, `group_id`: the gateway's ids; `account`: of account.status only."""

    command: str = text("command")
    state: State = "unknown"
    code: str = text("code")
    detail: str = text("detail")
    message_id: str = text("message_id")
    group_id: str = text("group_id")
    retry_after_s: int = number("retry_after_s")
    account: Account | None = None


def read_answer(body: bytes) -> Answer:
    """A 2xx answer. Raises Malformed when it is none: after that the outcome is unknown."""
    tree = parse(body, MAX_BYTES)
    word = as_text(tree.get("state"))
    state = next((each for each in _STATES if each == word), None)
    if state is None:
        raise Malformed("state: done, queued, refused or unknown")
    inner = tree.get("account")
    account = load(Account, inner) if isinstance(inner, Mapping) else None
    return load(Answer, tree, state=state, account=account)


def write_answer(answer: Answer) -> bytes:
    """What a gateway answers, empty fields left out."""
    fields: dict[str, Any] = {
        "command": answer.command,
        "state": answer.state,
        "code": answer.code,
        "detail": answer.detail,
        "message_id": answer.message_id,
        "group_id": answer.group_id,
        "retry_after_s": answer.retry_after_s,
    }
    kept = {name: value for name, value in fields.items() if value not in ("", 0)}
    if answer.account is not None:
        kept["account"] = write_account(answer.account)
    return write(kept)


def write_account(account: Account) -> dict[str, Any]:
    """An account's state as an object; Malformed for a state that is none."""
    if account.state not in ACCOUNT_STATES:
        raise Malformed(f"state: one of {', '.join(sorted(ACCOUNT_STATES))}")
    return {
        "account": account.account,
        "state": account.state,
        "reason": account.reason,
        "since": account.since,
        "can_send": account.can_send,
        "can_group": account.can_group,
        "paused_s": account.paused_s,
    }


def outcome_of(answer: Answer) -> Outcome:
    """What an answer means for the message that was to be sent."""
    ids = tuple(each for each in (answer.message_id or answer.group_id,) if each)
    match answer.state:
        case "done" | "queued":
            return Sent(ids, answer.state)
        case "unknown":
            return Unknown(f"hosted gateway: {answer.detail[:120] or 'it may have happened'}", ids)
        case "refused":
            return refusal(answer.code, answer.detail, float(max(answer.retry_after_s, 0)))


def refusal(code: str, detail: str = "", after: float = 0.0) -> Retry | Rejected:
    """A refusal, or a failed receipt, as an outcome. Reason codes are bounded: what is not listed is `hosted_refused`."""
    rule = CODES.get(code)
    if rule is None:
        return Rejected("message", f"hosted gateway: {code[:40]} {detail[:120]}", "hosted_refused")
    told = f"hosted gateway: {rule.words}" + (f" ({detail[:120]})" if detail else "")
    if rule.retry:
        return Retry(rule.scope, told, min(max(after, rule.after), 3600.0), f"hosted_{code}")
    return Rejected(rule.scope, told, f"hosted_{code}")


def outcome_of_status(status: int) -> Outcome:
    """What an HTTP answer other than 2xx means. The id makes a repeat harmless, so only a server's fault stays unknown."""
    told = f"hosted gateway answered HTTP {status}"
    if status in (400, 413, 422):
        return Rejected("message", told, "hosted_invalid")
    if status >= 500 and status != 503:
        return Unknown(told)
    return Retry("channel", told, 0.0, "hosted_http")
