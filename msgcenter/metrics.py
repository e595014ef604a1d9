"""Every metric of the product, declared once: names begin with `msgcenter_`, units are base units,
labels are bounded.

A label is a channel, category, topic, lane, route, or a word of a closed set; never an id, a number
or free text.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

#: What `/metrics` answers with.
CONTENT_TYPE = CONTENT_TYPE_LATEST

# A second series per counter and histogram, for the moment it was made, which nothing here asks
# for.
disable_created_metrics()  # type: ignore[no-untyped-call]

_FAST = (0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
_SEND = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_COUNT = (1, 2, 5, 10, 20, 50, 100)


class Metrics:
    """One set of metrics in one registry; a process has one, a test as many as it likes."""

    def __init__(self, registry: CollectorRegistry, version: str = "0.0.0") -> None:
        self.registry = registry

        # What became of messages.
        self.messages_total = self._counter(
            "messages_total",
            "Messages that left a channel pipeline, by outcome.",
            ("channel", "category", "outcome"),
        )
        self.unknown_outcome_total = self._counter(
            "unknown_outcome_total",
            "Sends whose result is not known: they may or may not have reached the recipient.",
            ("channel",),
        )
        self.dead_total = self._counter(
            "dead_total", "Messages given up and moved to the dead letters.", ("topic", "reason")
        )
        self.invalid_frames_total = self._counter(
            "invalid_frames_total", "Frames or envelopes that could not be read.", ("topic",)
        )

        # How long things take.
        self.stage_duration_seconds = self._histogram(
            "stage_duration_seconds",
            "Time of one stage over one micro-batch.",
            ("pipeline", "stage"),
            _FAST,
        )
        self.send_duration_seconds = self._histogram(
            "send_duration_seconds",
            "Time from handing a slice to the adapter to its answer.",
            ("channel",),
            _SEND,
        )
        self.publish_duration_seconds = self._histogram(
            "publish_duration_seconds",
            "Time until the bus confirmed a publish as durable.",
            ("topic",),
            _FAST,
        )

        # What is waiting.
        self.queue_depth = self._gauge(
            "queue_depth", "Frames waiting or leased in a queue.", ("topic", "lane")
        )
        self.queue_oldest_seconds = self._gauge(
            "queue_oldest_seconds", "Age of the oldest frame in a queue.", ("topic", "lane")
        )
        self.held = self._gauge(
            "held", "Messages that wait for a time: quiet hours, send_at, plan timers."
        )
        self.held_oldest_seconds = self._gauge(
            "held_oldest_seconds", "How long the most overdue held message is past its time."
        )
        self.parked = self._gauge(
            "parked", "Messages that wait behind the failing head of their conversation."
        )
        self.dead_letters = self._gauge(
            "dead_letters", "Dead letters that nobody has dealt with yet."
        )

        # Links to far ends.
        self.link_up = self._gauge(
            "link_up", "Links of a channel that can carry messages; 0 is down.", ("channel",)
        )
        self.window_in_use = self._gauge(
            "window_in_use", "Unanswered requests on the links of a channel.", ("channel",)
        )

        # The API.
        self.api_requests_total = self._counter(
            "api_requests_total",
            "HTTP requests answered; route is the template, not the path.",
            ("route", "method", "status"),
        )
        self.api_request_duration_seconds = self._histogram(
            "api_request_duration_seconds", "Time to answer.", ("route", "method"), _SEND
        )
        self.bundle_messages = self._histogram(
            "bundle_messages", "Messages that shared one publish of the API.", (), _COUNT
        )

        # The archive.
        self.archive_lag_seconds = self._gauge(
            "archive_lag_seconds", "Age of the oldest record a sink has not written.", ("sink",)
        )
        self.archive_records_total = self._counter(
            "archive_records_total", "Records written by a sink.", ("sink",)
        )
        self.spill_journal_bytes = self._gauge(
            "spill_journal_bytes", "Size of the local journal a slow sink spills to.", ("sink",)
        )
        self.spool_bytes = self._gauge(
            "spool_bytes", "Inbound events kept locally until the bus takes them again."
        )

        self.spooled_total = self._counter(
            "spooled_total", "Inbound events that the spool had to take in."
        )

        # Calls of far ends.
        self.hooks_total = self._counter(
            "hooks_total",
            "Calls of far ends, by how they were answered: taken, refused, busy, late, failed.",
            ("channel", "result"),
        )
        self.hook_duration_seconds = self._histogram(
            "hook_duration_seconds", "Time to answer a call of a far end.", ("channel",), _SEND
        )

        # Configuration and build.
        self.config_reload_total = self._counter(
            "config_reload_total",
            "Attempts to take a changed configuration: swapped, refused, failed, hook_failed.",
            ("result",),
        )
        for result in ("swapped", "refused", "failed", "hook_failed"):
            self.config_reload_total.labels(result=result)  # present from the start: rate() works
        self.config_generation = self._gauge(
            "config_generation", "Number of the configuration in force; 1 at start."
        )
        self.config_last_reload_timestamp_seconds = self._gauge(
            "config_last_reload_timestamp_seconds",
            "When the configuration in force was taken, Unix time.",
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", ("version", "python")
        )
        self.build_info.labels(version=version, python=platform.python_version()).set(1)

    def render(self) -> bytes:
        """The Prometheus text format, for `/metrics`."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return Counter(f"msgcenter_{name}", help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return Gauge(f"msgcenter_{name}", help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        return Histogram(
            f"msgcenter_{name}", help_text, labels, buckets=buckets, registry=self.registry
        )
