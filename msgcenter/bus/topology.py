"""Topology: which queues there are for a set of channels, partitions and sinks; and which queue an envelope belongs in."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

from msgcenter.bus import Lane, Queue
from protocols.envelope import Envelope

SUBMIT = "submit"
INBOUND = "inbound"
RECORD = "record"
DEAD = "dead"
INVALID = "invalid"


def out_topic(channel: str) -> str:
    return f"out.{channel}"


def lane_of(envelope: Envelope) -> Lane:
    """`conv` when order matters, else by tier: P0-P1 urgent, P2-P3 normal, P4-P6 bulk."""
    if envelope.order_key:
        return "conv"
    if envelope.tier <= 1:
        return "urgent"
    return "normal" if envelope.tier <= 3 else "bulk"


def partition_of(key: str, partitions: int) -> int:
    """Stable over releases and processes: `crc32 % partitions`."""
    return zlib.crc32(key.encode()) % partitions


def place(topic: str, envelope: Envelope, partitions: int) -> Queue:
    """The queue of `topic` an envelope belongs in."""
    lane = lane_of(envelope)
    return Queue(topic, lane, partition_of(envelope.order_key, partitions) if lane == "conv" else 0)


def record_queue(order: str, partitions: int) -> Queue:
    """Records have one lane, partitioned by what must stay in order (conversation, else message id)."""
    return Queue(RECORD, "normal", partition_of(order, partitions))


def lanes_of(topic: str, partitions: int) -> list[Queue]:
    """Every queue of a laned topic."""
    queues = [Queue(topic, "conv", partition) for partition in range(partitions)]
    return [*queues, Queue(topic, "urgent"), Queue(topic, "normal"), Queue(topic, "bulk")]


def topology(channels: Iterable[str], sinks: Sequence[str], partitions: int) -> list[Queue]:
    """Every queue of the system: submit, inbound and each channel with lanes; record once per sink; dead and invalid."""
    queues = lanes_of(SUBMIT, partitions) + lanes_of(INBOUND, partitions)
    for channel in sorted(channels):
        queues += lanes_of(out_topic(channel), partitions)
    for sink in sinks:
        queues += [Queue(RECORD, "normal", partition, sink) for partition in range(partitions)]
    return [*queues, Queue(DEAD), Queue(INVALID)]
