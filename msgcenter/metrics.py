"""Every metric of the product, declared once: names begin with `msgcenter_`, units are base units,
labels are bounded.

A label is a channel, category, topic, lane, route, or a word of a closed set; never an id, a number
or free text.
"""

from __future__ import annotations

import platform
from collections.abc import Sequence
from typing import NamedTuple

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


class Declared(NamedTuple):
    """What a metric is, without its values; `name` as Prometheus shows it."""

    name: str
    type: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    """One set of metrics in one registry; a process has one, a test as many as it likes."""

    def __init__(  # noqa: PLR0915 - a table: one line a metric
        self, registry: CollectorRegistry, version: str = "0.0.0"
    ) -> None:
        self.registry = registry
        self.declared: list[Declared] = []

        # What became of messages.
        self.accepted_total = self._counter(
            "accepted_total", "Messages that were promised to a caller (202).", ("category",)
        )
        self.submitted_total = self._counter(
            "submitted_total",
            "Accepted messages that left the submit pipeline for the first time; "
            "what was accepted and is not counted here is still queued, or lost.",
            ("category",),
        )
        self.messages_total = self._counter(
            "messages_total",
            "Messages that left a pipeline, by outcome; channel is the kind until one is chosen.",
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

        # Plans.
        self.opt_outs_total = self._counter(
            "opt_outs_total",
            "Opt-out and re-subscribe words, and wishes on the preference page.",
            ("channel", "action"),
        )
        self.flood_total = self._counter(
            "flood_total",
            "Inbound messages that were slowed, muted or blocked; a slowed one once for each wait.",
            ("channel", "action"),
        )
        self.link_clicks_total = self._counter(
            "link_clicks_total", "Short links that were opened and led somewhere."
        )
        self.plans_total = self._counter(
            "plans_total", "Plans that were closed, by how they ended.", ("result",)
        )
        self.plan_overlap_total = self._counter(
            "plan_overlap_total",
            "Plans in which a step succeeded late, after the next one had started instead of it.",
        )

        # Rules.
        self.policy_decisions_total = self._counter(
            "policy_decisions_total",
            "What the rules decided about messages: send, wait, downgrade, review, refuse, drop, hold, merge, merged.",
            ("rule", "action"),
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

        # What this process stands on.
        self.part_up = self._gauge(
            "part_up",
            "Whether bus, state and store answer this process; 0 for the bus also while it takes "
            "nothing more (an alarm of the broker, a full disk).",
            ("part",),
        )

        # Links to far ends.
        self.channel_info = self._gauge(
            "channel_info",
            "Always 1; one for each enabled channel: its kind, and whether its far end reports "
            "deliveries.",
            ("channel", "kind", "receipts"),
        )
        self.link_up = self._gauge(
            "link_up", "Links of a channel that can carry messages; 0 is down.", ("channel",)
        )
        self.window_in_use = self._gauge(
            "window_in_use", "Unanswered requests on the links of a channel.", ("channel",)
        )

        # What is fetched from far ends.
        self.source_lag_seconds = self._gauge(
            "source_lag_seconds",
            "How far the reading of a far end's log is behind the newest item known to be there.",
            ("channel",),
        )
        self.token_refreshes_total = self._counter(
            "token_refreshes_total",
            "Fetches of a far end's access token: ok, refused, failed.",
            ("channel", "result"),
        )

        # Accounts and groups. Every process shows what the Store knows: take the maximum, not the sum.
        self.accounts = self._gauge(
            "accounts",
            "Accounts of a channel by state: up, down, limited, banned, revoked, unknown.",
            ("channel", "state"),
        )
        self.accounts_silent = self._gauge(
            "accounts_silent",
            "Accounts of a channel that should be up, and neither received nor sent anything for "
            "longer than its silent_after.",
            ("channel",),
        )
        self.groups = self._gauge("groups", "Groups of a channel by state.", ("channel", "state"))

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

        self.tidied_total = self._counter(
            "tidied_total",
            "Rows of the Store deleted after their retention: events, messages, sightings, seals, reviews, links.",
            ("kind",),
        )
        self.events_missed_total = self._counter(
            "events_missed_total",
            "Events that a subscription stood too long behind for: deleted before they were handed over.",
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

        # Pauses.
        self.pauses = self._gauge("pauses", "Pauses in force, by what they stop.", ("scope",))
        self.paused_messages = self._gauge(
            "paused_messages", "Messages that wait for the end of a pause.", ("scope",)
        )

        # Configuration and build.
        self.config_reload_total = self._counter(
            "config_reload_total",
            "Attempts to take a changed configuration: swapped, refused, failed, hook_failed, waiting.",
            ("result",),
        )
        for result in ("swapped", "refused", "failed", "hook_failed", "waiting"):
            self.config_reload_total.labels(result=result)  # present from the start: rate() works
        self.config_generation = self._gauge(
            "config_generation", "Number of the configuration in force; 1 at start."
        )
        self.config_rules_hash = self._gauge(
            "config_rules_hash",
            "First 48 bits of the hash of the hot files in force: equal in all processes that follow "
            "the same rules.",
        )
        self.config_last_reload_ok = self._gauge(
            "config_last_reload_ok",
            "1 while what lies in the folder is in force (a restart apart), 0 while it was refused.",
        )
        self.config_last_reload_timestamp_seconds = self._gauge(
            "config_last_reload_timestamp_seconds",
            "When the configuration in force was taken, Unix time.",
        )
        self.config_reload_lag_seconds = self._gauge(
            "config_reload_lag_seconds",
            "How long the last change of the folder took to be in force, from the last look that did not show it.",
        )
        self.holidays_unknown_years = self._gauge(
            "holidays_unknown_years",
            "Years, of today and the weeks ahead, whose public holidays are not known: their plain weekdays count.",
        )
        self.config_waiting_approval = self._gauge(
            "config_waiting_approval",
            "Approvals that a changed configuration still lacks; what was in force before stays.",
        )
        self.config_break_glass = self._gauge(
            "config_break_glass", "1 while a configuration is in force that nobody has approved."
        )
        self.build_info = self._gauge(
            "build_info", "Always 1; the labels say what runs.", ("version", "python")
        )
        self.build_info.labels(version=version, python=platform.python_version()).set(1)

    def render(self) -> bytes:
        """The Prometheus text format, for `/metrics`."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        full = self._declare(name, "counter", help_text, labels)
        return Counter(full, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        full = self._declare(name, "gauge", help_text, labels)
        return Gauge(full, help_text, labels, registry=self.registry)

    def _histogram(
        self, name: str, help_text: str, labels: Sequence[str], buckets: Sequence[float]
    ) -> Histogram:
        full = self._declare(name, "histogram", help_text, labels)
        return Histogram(full, help_text, labels, buckets=buckets, registry=self.registry)

    def _declare(self, name: str, kind: str, help_text: str, labels: Sequence[str]) -> str:
        full = f"msgcenter_{name}"
        self.declared.append(Declared(full, kind, tuple(labels), help_text))
        return full


_PAGE = """# Metrics: every one

Made from the program: `msgcenter reference metrics --out docs/metrics.md`. What they mean together, and what to do when one is wrong:
[the guide for on-call engineers](sre-guide.md). A histogram has `_bucket`, `_sum` and `_count`. With several processes take the maximum of a
gauge that tells of something shared (queues, held, parked, dead letters, accounts, groups), and the sum of counters. Labels are bounded:
never an id, a number or a text. Beside these `/metrics` has the process's own (`process_*`).

| metric | type | labels | meaning |
| --- | --- | --- | --- |
"""


def page(metrics: Metrics) -> str:
    """All that is declared, in Markdown."""
    rows = (
        f"| `{each.name}` | {each.type} | {', '.join(f'`{label}`' for label in each.labels)} | {each.help} |"
        for each in metrics.declared
    )
    return _PAGE + "\n".join(rows) + "\n"
