"""How a batch becomes calls of message/send: whom one call reaches, in which order, and the bytes that make a repeat recognisable."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

from msgcenter.adapter import Dispatch, Retry
from protocols.outcome import Outcome
from protocols.payload import Native, Payload
from protocols.wecom.limits import BOUNDS


@dataclass(slots=True)
class Call:
    """One message/send. `indices`: the messages of the batch it carries, one for each of `users`."""

    indices: list[int]
    users: list[str]
    payload: Payload
    token: str
    members: set[str] = field(default_factory=set)
    """`users` in lower case, kept while a call for several is being filled."""

    @property
    def is_joint(self) -> bool:
        return len(self.indices) > 1


def member_of(item: Dispatch) -> str:
    """The userid; WeCom takes upper and lower case for the same."""
    return item.envelope.to.value


def of_account(outcome: Outcome, item: Dispatch) -> Outcome:
    """An app is one sending identity: where it has a name in accounts.yaml, what holds it up holds up that account."""
    if isinstance(outcome, Retry) and outcome.scope == "channel" and item.envelope.account:
        return Retry("account", outcome.detail, outcome.after, outcome.code)
    return outcome


def slow() -> Retry:
    """Not begun in time: the far end is slow, which is no message's fault."""
    return Retry("channel", "WeCom is slow: not begun within slack_s", 1.0, "wecom_slow")


def chains(
    batch: Sequence[Dispatch], indices: Sequence[int], join_from_tier: int
) -> list[list[Call]]:
    """The calls for these messages; those of one chain go one after the other, chains at once.

    Messages of one conversation (order_key) form a chain. Without one, and from `join_from_tier` on, equal payloads of one
    category share calls, a member at most once in each: two equal messages to one member stay two messages.
    """
    made: list[list[Call]] = []
    ordered: dict[str, list[Call]] = {}
    joint: dict[tuple[str, str, Payload], list[Call]] = {}
    for index in indices:
        item = batch[index]
        envelope, user = item.envelope, member_of(item)
        if envelope.order_key:
            call = Call([index], [user], envelope.payload, item.token)
            if envelope.order_key not in ordered:
                made.append(ordered.setdefault(envelope.order_key, []))
            ordered[envelope.order_key].append(call)
        elif envelope.tier >= join_from_tier and not _answers(envelope.payload):
            calls = joint.setdefault((envelope.category, envelope.account, envelope.payload), [])
            room = next((call for call in calls if _has_room(call, user)), None)
            if room is None:
                room = Call([], [], envelope.payload, "")
                calls.append(room)
                made.append([room])
            room.indices.append(index)
            room.users.append(user)
            room.members.add(user.lower())
        else:
            made.append([Call([index], [user], envelope.payload, item.token)])
    for chain in made:
        for call in chain:
            if not call.token:
                call.token = joint_token([batch[index].token for index in call.indices])
    return made


def joint_token(tokens: Sequence[str]) -> str:
    """The token of a call for several messages; of a single one its own."""
    if len(tokens) == 1:
        return tokens[0]
    return hashlib.sha256("|".join(tokens).encode()).hexdigest()[:26]


def marked(body: bytes, token: str) -> bytes:
    """The request with the token in it, so that no two messages make the same request and a repeat makes exactly it again.

    WeCom compares the whole request JSON and reads only the members it knows.
    """
    return body[:-1] + b',"x_msgcenter_token":"' + token.encode() + b'"}'


def interval(token: str, least: int) -> int:
    """`duplicate_check_interval`: from `least` up to twice as much, by the token: should the mark not be compared, two
    messages of one text still differ in this."""
    return least + int.from_bytes(hashlib.sha256(token.encode()).digest()[:4], "big") % (least + 1)


def _has_room(call: Call, user: str) -> bool:
    return len(call.users) < BOUNDS["app.touser"].most and user.lower() not in call.members


def _answers(payload: Payload) -> bool:
    """Cards that can be answered are sent alone: their response code is good for one update."""
    return isinstance(payload, Native) and payload.kind == "template_card"
