"""What exists on the broker for a set of queues, under which names and with which arguments.

    PREFIX          direct   live frames, by `topic.lane.partition` or `=queue name` (a target)
    PREFIX.delay.N  fanout   one a tier, bound to the queue of that name, which keeps frames N s
    PREFIX.due      direct   where a tier sends what is due; bound as PREFIX is
    PREFIX.lost     fanout   for frames that ran out of deliveries or whose queue is gone

All queues are quorum queues. A tier has one constant time to live, so no frame waits behind a
longer one, and one tier serves all lanes. `due` is an exchange of its own because it needs an
alternate exchange: frames that cannot be routed would in time block the whole tier. PREFIX must not
have one, or the broker would report a publish into nowhere as a success.

`lost` feeds the topic `invalid`, not `dead`: a dead letter carries the cause that a worker found,
and whoever reads `dead` decodes it; what comes here was read by nobody, or killed its readers a
thousand times, and `invalid` is where a body is taken as opaque bytes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from aiormq.abc import AbstractChannel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from msgcenter.bus import DELAYS, BusError, Queue
from msgcenter.bus.rabbit.link import call
from msgcenter.bus.topology import INVALID, RECORD

#: A net under a reader that dies each time; rolling restarts count too, so never a low one.
DELIVERY_LIMIT = 1000
#: `invalid` itself has nowhere to pass a frame on to, so its limit must never be reached.
NO_LIMIT = 2**31 - 1

_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<arg>[^']+)' for (?P<kind>queue|exchange) '(?P<name>[^']+)'"
    r".*?: received (?P<ours>.*?) but current is (?P<theirs>.*)",
    re.DOTALL,
)


class Names:
    """The broker's names for one prefix."""

    def __init__(self, prefix: str) -> None:
        self.live = prefix
        self.due = f"{prefix}.due"
        self.lost = f"{prefix}.lost"
        self.invalid = self.queue(Queue(INVALID))

    def queue(self, queue: Queue) -> str:
        return f"{self.live}.{queue.name}"

    def delay(self, seconds: int) -> str:
        return f"{self.live}.delay.{seconds}"


def target_key(name: str) -> str:
    """Routing key to one queue alone; no topic begins with `=`."""
    return f"={name}"


def single_active(queue: Queue) -> bool:
    """Whether order matters in it, so that the broker feeds one consumer at a time."""
    return queue.lane == "conv" or queue.topic == RECORD


def arguments(names: Names, queue: Queue) -> dict[str, Any]:
    """The queue's declare arguments."""
    out: dict[str, Any] = {"x-queue-type": "quorum", "x-overflow": "reject-publish"}
    if names.queue(queue) == names.invalid:
        out["x-delivery-limit"] = NO_LIMIT
        return out
    out["x-delivery-limit"] = DELIVERY_LIMIT
    out["x-dead-letter-exchange"] = names.lost
    out["x-dead-letter-strategy"] = "at-least-once"
    if single_active(queue):
        out["x-single-active-consumer"] = True
    return out


async def declare_base(channel: AbstractChannel, names: Names) -> None:
    """Exchanges, tiers and the queue of lost frames. Raises BusError."""
    invalid = Queue(INVALID)
    await _exchange(channel, names.live, "direct")
    await _exchange(channel, names.lost, "fanout")
    await _exchange(channel, names.due, "direct", {"alternate-exchange": names.lost})
    await declare_queue(channel, names, invalid)
    await call(channel.queue_bind(names.invalid, names.lost))
    for seconds in DELAYS:
        name = names.delay(seconds)
        await _exchange(channel, name, "fanout")
        tier = {
            "x-queue-type": "quorum",
            "x-overflow": "reject-publish",
            "x-message-ttl": seconds * 1000,
            "x-dead-letter-exchange": names.due,
            "x-dead-letter-strategy": "at-least-once",
        }
        await _queue(channel, name, tier)
        await call(channel.queue_bind(name, name))


async def declare_live(channel: AbstractChannel, names: Names) -> None:
    """The one exchange that a publisher cannot do without. Raises BusError."""
    await _exchange(channel, names.live, "direct")


async def declare_queue(channel: AbstractChannel, names: Names, queue: Queue) -> None:
    """One queue and its bindings. Raises BusError naming what differs from this release."""
    name = names.queue(queue)
    await _queue(channel, name, arguments(names, queue))
    for exchange in (names.live, names.due):
        for key in (queue.key, target_key(queue.name)):
            await call(channel.queue_bind(name, exchange, key))


async def _queue(channel: AbstractChannel, name: str, args: dict[str, Any]) -> None:
    try:
        await call(channel.queue_declare(name, durable=True, arguments=args))
    except ChannelPreconditionFailed as error:
        raise _differs(error, args) from error


async def _exchange(
    channel: AbstractChannel, name: str, kind: str, args: dict[str, Any] | None = None
) -> None:
    try:
        await call(channel.exchange_declare(name, exchange_type=kind, durable=True, arguments=args))
    except ChannelPreconditionFailed as error:
        raise _differs(error, args or {}) from error


def _differs(error: ChannelPreconditionFailed, args: dict[str, Any]) -> BusError:
    text = str(error)
    match = _INEQUIVALENT.search(text)
    if match is None:
        return BusError(f"the broker refused the topology: {text}")
    kind, name, arg = match["kind"], match["name"], match["arg"]
    wanted = args.get(arg, match["ours"])
    return BusError(
        f"{kind} {name} on the broker differs from this release: argument {arg} is "
        f"{match['theirs'].strip()}, expected {wanted!r}; empty it and delete it there "
        f"(rabbitmqctl delete_queue {name}), or choose another bus prefix, and start again"
    )


async def differing(
    open_channel: Callable[[], Awaitable[AbstractChannel]], prefix: str, queues: Sequence[Queue]
) -> tuple[list[str], list[str]]:
    """What the broker has of these queues, without making any: (names it does not have, in words what differs).

    The broker closes the channel of a question it refuses; `open_channel` gives the next. Raises BusError.
    """
    names = Names(prefix)
    missing, wrong = [], []
    channel = await open_channel()
    for queue in queues:
        name = names.queue(queue)
        try:
            await call(channel.queue_declare(name, passive=True))
            await declare_queue(channel, names, queue)
        except ChannelNotFoundEntity:
            missing.append(name)
            channel = await open_channel()
        except BusError as error:
            if not isinstance(error.__cause__, ChannelPreconditionFailed):
                raise
            wrong.append(str(error))
            channel = await open_channel()
    return missing, wrong


def known_keys(queues: Sequence[Queue]) -> set[str]:
    """Every routing key that reaches one of these queues."""
    return {q.key for q in queues} | {target_key(q.name) for q in queues}
