"""What the gateway does with a command: reads it as the protocol's page describes it, does it once, answers repeats alike.

One file, for all commands share the table of what was done under which id.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from adapters.sim.hosted.events import Outbox
from adapters.sim.hosted.options import Faults, HostedOptions
from adapters.sim.hosted.world import PASSING, Account, Group, HostedWorld, Refusal, Said
from adapters.sim.jumps import JumpClock
from msgcenter.clock import Random, base32
from msgcenter.simulator import Journal

_TEXT = 4096
_NAME = 50
_MEDIA = ("image", "voice", "video", "file")
_NEEDS = {
    "text": ("text",),
    "link": ("title", "url"),
    "miniprogram": ("app_id", "page", "title"),
    "card": ("user_id",),
    **dict.fromkeys(_MEDIA, ("url",)),
}


class Commands:
    """`run` answers one command as an object. The journal gets `kind` hosted, hosted_group, recall or group."""

    def __init__(
        self,
        options: HostedOptions,
        faults: Faults,
        *,
        world: HostedWorld,
        outbox: Outbox,
        journal: Journal,
        clock: JumpClock,
        rng: Random,
    ) -> None:
        self._options = options
        self._faults = faults
        self._world = world
        self._outbox = outbox
        self._journal = journal
        self._clock = clock
        self._rng = rng
        self._answers: dict[str, tuple[int, str, dict[str, Any]]] = {}  # until ms, account, answer
        self._does: dict[str, Callable[[str, Account, dict[str, Any]], dict[str, Any]]] = {
            "message.send": self._send,
            "message.recall": self._recall,
            "group.create": self._create,
            "group.rename": self._rename,
            "group.members": self._members,
            "group.dissolve": self._dissolve,
        }

    def run(self, command_id: str, command: dict[str, Any]) -> tuple[dict[str, Any], bool]:
        """(answer, whether it was done just now). Raises ValueError for a command that cannot be read."""
        kept = self._kept(command_id)
        if kept is not None:
            return kept[2], False
        kind, name = text(command, "type"), text(command, "account")
        if command.get("version") != 1:
            raise ValueError("version: 1 expected")
        base: dict[str, Any] = {"command": command_id}
        try:
            if kind == "account.status":
                return base | {"state": "done", "account": self._status(name)}, False
            if kind == "command.query":
                return self._query(name, text(command, "command")), False
            does = self._does.get(kind)
            if does is None:
                raise ValueError(f"type: {kind} is not known")
            if self._rng.random() < self._faults.busy:
                raise Refusal("busy", retry_after_s=1)
            if self._faults.refuse_next:
                raise Refusal(self._faults.refuse_next.pop(0), "ordered")
            state = self._faults.answer if kind == "message.send" else "done"
            answer = base | {"state": state} | does(command_id, self._world.account(name), command)
        except Refusal as refusal:
            answer = {**base, "state": "refused", "code": refusal.code}
            if refusal.detail:
                answer["detail"] = refusal.detail
            if refusal.retry_after_s:
                answer["retry_after_s"] = refusal.retry_after_s
            if refusal.code in PASSING:
                return answer, False
        until = self._clock.now_ms() + self._options.remembered * 1000
        self._answers[command_id] = (until, name, answer)
        return answer, answer["state"] != "refused"

    def _kept(self, command_id: str) -> tuple[int, str, dict[str, Any]] | None:
        kept = self._answers.get(command_id)
        return kept if kept is not None and kept[0] > self._clock.now_ms() else None

    def _status(self, name: str) -> dict[str, Any]:
        account = self._world.accounts.get(name)
        if account is None:
            raise Refusal("account_unknown")
        wait = 60 if self._paced(account) else 0
        return account.report(wait)

    def _query(self, name: str, command_id: str) -> dict[str, Any]:
        kept = self._kept(command_id)
        if kept is None or kept[1] != name:
            return {"command": command_id, "state": "refused", "code": "command_unknown"}
        return kept[2]

    # --- messages ---

    def _send(self, command_id: str, account: Account, command: dict[str, Any]) -> dict[str, Any]:
        chat = chat_of(command.get("to"))
        content = content_of(command.get("content"))
        mention = texts(command, "mention")
        group: Group | None = None
        if chat[0] == "group":
            group = self._world.group(account, chat[1])
            if any(one != "@all" and one not in group.members for one in mention):
                raise Refusal("member_refused", "mention")
        elif mention:
            raise ValueError("mention: in groups only")
        else:
            self._world.contact(account, chat[1])
        if self._paced(account):
            raise Refusal("paced", retry_after_s=60)
        account.recent.append(self._clock.now_ms())
        message_id = self.say(account, chat, content, command_id, mention)
        return {"message_id": message_id}

    def say(
        self,
        account: Account,
        chat: tuple[str, str],
        content: dict[str, Any],
        command_id: str = "",
        mention: tuple[str, ...] = (),
        archive_id: str = "",
    ) -> str:
        """The account says something, on command or typed by a person; it is echoed. Returns the message id."""
        now = self._clock.now_ms()
        message_id = self.new_id("hm")
        lost = bool(command_id) and self._rng.random() < self._faults.lose_sends
        self._world.said[message_id] = Said(message_id, account.name, chat, now)
        self._journal.append(
            {
                "kind": "hosted" if chat[0] == "customer" else "hosted_group",
                "to": chat[1],
                "from": account.name,
                "msgtype": content["type"],
                "text": str(content.get("text") or content.get("title") or content.get("name", "")),
                "body": content,
                "message_id": message_id,
                "command": command_id,
                "mention": list(mention),
                "time": now,
                "dropped": "lost" if lost else "",
            }
        )
        facts = {"chat": {"kind": chat[0], "id": chat[1]}, "message_id": message_id}
        shown = facts | {"content": content, "archive_id": archive_id}
        if not lost:
            self._outbox.tell(
                account.name, "message.echo", may_be_lost=True, command=command_id, **shown
            )
            group = self._world.groups.get(chat[1])
            for other in self._world.hosted_in(group) if group else ():
                if other != account.name:
                    self._outbox.tell(
                        other, "message.received", may_be_lost=True, sender=account.name, **shown
                    )
        return message_id

    def receipt(self, answer: dict[str, Any], account: str) -> None:
        """What follows an answer `queued`."""
        facts = {"command": answer["command"], "message_id": answer["message_id"]}
        self._outbox.tell(account, "receipt", state="delivered", **facts)

    def _paced(self, account: Account) -> bool:
        since = self._clock.now_ms() - 60_000
        account.recent = [at for at in account.recent if at > since]
        return 0 < self._faults.per_minute <= len(account.recent)

    def _recall(self, command_id: str, account: Account, command: dict[str, Any]) -> dict[str, Any]:
        chat = chat_of(command.get("chat"))
        said = self._world.said.get(text(command, "message_id"))
        if said is None or said.account != account.name or said.chat != chat:
            raise Refusal("message_unknown")
        if self._clock.now_ms() - said.at > self._options.recall_window * 1000:
            raise Refusal("recall_too_late")
        if not said.recalled:
            said.recalled = True
            self._write("recall", chat[1], account.name, text="", message_id=said.message_id)
            self._outbox.tell(
                account.name,
                "message.recalled",
                chat={"kind": chat[0], "id": chat[1]},
                message_id=said.message_id,
                by=account.name,
            )
        return {"message_id": said.message_id}

    # --- groups ---

    def _create(self, command_id: str, account: Account, command: dict[str, Any]) -> dict[str, Any]:
        self._world.grouped(account)
        name, members = group_name(command), texts(command, "members")
        if not members:
            raise ValueError("members: nobody")
        self._world.joinable(members, account)
        everybody = list(dict.fromkeys((account.name, *members)))
        if len(everybody) > self._options.group_size:
            raise Refusal("group_full")
        group = Group(self.new_id("hg"), name, account.name, everybody)
        self._world.groups[group.group_id] = group
        self.changed(group, "created", account.name, command_id, everybody)
        return {"group_id": group.group_id}

    def _rename(self, command_id: str, account: Account, command: dict[str, Any]) -> dict[str, Any]:
        self._world.grouped(account)
        group = self._world.group(account, text(command, "group_id"))
        group.name = group_name(command)
        self.changed(group, "renamed", account.name, command_id)
        return {"group_id": group.group_id}

    def _members(
        self, command_id: str, account: Account, command: dict[str, Any]
    ) -> dict[str, Any]:
        self._world.grouped(account)
        add, remove = texts(command, "add"), texts(command, "remove")
        if not (add or remove) or set(add) & set(remove):
            raise ValueError("add, remove: nothing to change, or somebody in both")
        group = self._world.group(account, text(command, "group_id"), owner=bool(remove))
        self._world.joinable(add, account)
        if group.owner in remove:
            raise Refusal("not_owner", "the owner cannot be removed")
        joined = [one for one in add if one not in group.members]
        left = [one for one in remove if one in group.members]
        if len(group.members) + len(joined) > self._options.group_size:
            raise Refusal("group_full")
        watching = self._world.hosted_in(group)
        group.members = [one for one in group.members if one not in left] + joined
        if joined:
            self.changed(group, "members_added", account.name, command_id, joined)
        if left:
            self.changed(group, "members_removed", account.name, command_id, left, watching)
        return {"group_id": group.group_id}

    def _dissolve(
        self, command_id: str, account: Account, command: dict[str, Any]
    ) -> dict[str, Any]:
        known = self._world.groups.get(text(command, "group_id"))
        if known is not None and known.dissolved:
            return {"group_id": known.group_id}
        self._world.grouped(account)
        group = self._world.group(account, text(command, "group_id"), owner=True)
        group.dissolved = True
        self.changed(group, "dissolved", account.name, command_id)
        return {"group_id": group.group_id}

    def changed(
        self,
        group: Group,
        change: str,
        by: str,
        command_id: str = "",
        members: list[str] | None = None,
        watching: list[str] | None = None,
    ) -> None:
        """Tell every hosted account in the group."""
        self._write("group", group.group_id, by, text=change, name=group.name, members=members)
        for account in watching or self._world.hosted_in(group):
            self._outbox.tell(
                account,
                "group.changed",
                group_id=group.group_id,
                change=change,
                name=group.name,
                owner=group.owner,
                members=members or [],
                by=by,
                command=command_id,
            )

    def new_id(self, prefix: str) -> str:
        return f"{prefix}_{base32(self._rng.getrandbits(100), 20)}"

    def _write(self, kind: str, to: str, sender: str, **more: Any) -> None:
        entry = {"kind": kind, "to": to, "from": sender, "time": self._clock.now_ms()}
        self._journal.append(entry | {"dropped": ""} | more)


def text(tree: dict[str, Any], key: str) -> str:
    """A member that must be a short text. Raises ValueError."""
    value = tree.get(key)
    if not isinstance(value, str) or not 0 < len(value.encode()) <= 256:
        raise ValueError(f"{key}: a text of 1 to 256 octets expected")
    return value


def texts(tree: dict[str, Any], key: str) -> tuple[str, ...]:
    value = tree.get(key, [])
    if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
        raise ValueError(f"{key}: a list of texts expected")
    if len(value) > 500 or len(set(value)) < len(value):
        raise ValueError(f"{key}: more than 500, or the same twice")
    return tuple(value)


def chat_of(tree: Any) -> tuple[str, str]:
    """(customer or group, id). Raises ValueError."""
    if not isinstance(tree, dict) or tree.get("kind") not in ("customer", "group"):
        raise ValueError("chat: an object with kind customer or group expected")
    return tree["kind"], text(tree, "id")


def content_of(tree: Any) -> dict[str, Any]:
    """Raises ValueError."""
    if not isinstance(tree, dict) or tree.get("type") not in _NEEDS:
        raise ValueError("content: an object of a known type expected")
    for key in _NEEDS[tree["type"]]:
        value = tree.get(key)
        if not isinstance(value, str) or not 0 < len(value.encode()) <= _TEXT:
            raise ValueError(f"content.{key}: a text of 1 to {_TEXT} octets expected")
    if "url" in tree and not tree["url"].startswith(("https://", "http://")):
        raise ValueError("content.url: an http(s) address expected")
    return tree


def group_name(tree: dict[str, Any]) -> str:
    name = text(tree, "name")
    if len(name) > _NAME:
        raise ValueError(f"name: at most {_NAME} characters")
    return name
