"""How a batch becomes mass-message tasks: what says the same from the same member is one task, since every task is a click for that member."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from adapters.wecom.sending import joint_token
from msgcenter.adapter import Dispatch
from protocols.payload import Payload
from protocols.wecom.limits import BOUNDS

ChatType: TypeAlias = Literal["single", "group"]
MOST: Mapping[ChatType, int] = {
    "single": BOUNDS["mass.external_userid"].most,
    "group": BOUNDS["mass.chat_id_list"].most,
}


@dataclass(slots=True)
class Joint:
    """One add_msg_template. `indices`: the messages of the batch it carries, one for each of `targets` (external_userids or
    chat_ids). `sender`: the member who is asked to confirm, "" = the one who chatted last."""

    chat_type: ChatType
    sender: str
    payload: Payload
    indices: list[int] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)
    after: set[int] = field(default_factory=set)
    """Tasks of this batch that have one of these targets, and were asked for before."""

    def without(self, indices: set[int]) -> None:
        pairs = zip(self.indices, self.targets, strict=True)
        kept = [pair for pair in pairs if pair[0] not in indices]
        self.indices = [index for index, _ in kept]
        self.targets = [target for _, target in kept]

    def token(self, batch: Sequence[Dispatch]) -> str:
        return joint_token([batch[index].token for index in self.indices])


def tasks_of(
    batch: Sequence[Dispatch],
    indices: Sequence[int],
    targets: Mapping[int, str],
    senders: Mapping[int, str],
) -> list[Joint]:
    """The tasks for these messages, in the order of their first ones. Messages join with equal payload, category and sender;
    never two for one target, and never so that one overtakes an earlier one for the same target.
    """
    made: list[Joint] = []
    alike: dict[tuple[str, str, str, Payload], list[int]] = {}
    last: dict[str, int] = {}
    for index in indices:
        envelope, target, sender = batch[index].envelope, targets[index], senders[index]
        chat_type: ChatType = "group" if envelope.to.scheme == "group" else "single"
        key = (envelope.category, sender, chat_type, envelope.payload)
        before = last.get(target, -1)
        at = next(
            (
                each
                for each in alike.get(key, [])
                if each > before and len(made[each].indices) < MOST[chat_type]
            ),
            -1,
        )
        if at < 0:
            at = len(made)
            made.append(Joint(chat_type, sender, envelope.payload))
            alike.setdefault(key, []).append(at)
        task = made[at]
        task.indices.append(index)
        task.targets.append(target)
        if before >= 0:
            task.after.add(before)
        last[target] = at
    return made
