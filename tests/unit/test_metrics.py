"""Metrics: one declaration each, well named, with help, bounded labels, readable by Prometheus."""

from __future__ import annotations

import re
import subprocess

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

from msgcenter.metrics import CONTENT_TYPE, Metrics

LABELS = {
    "action", "caller", "category", "channel", "kind", "lane", "method", "outcome", "part", "pipeline", "python",
    "reason", "receipts", "result", "route", "rule", "scope", "sink", "stage", "state", "status", "topic", "version",
}  # fmt: skip


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(CollectorRegistry(), version="1.2.3")


def declared(metrics: Metrics) -> dict[str, MetricWrapperBase]:
    return {k: m for k, m in vars(metrics).items() if isinstance(m, MetricWrapperBase)}


def touch(metrics: Metrics) -> None:
    """One series of everything, so that everything is rendered."""
    for metric in declared(metrics).values():
        names = metric._labelnames
        series = metric.labels(*("x" for _ in names)) if names else metric
        for verb in ("observe", "inc", "set"):
            if hasattr(series, verb):
                getattr(series, verb)(1)
                break


def test_every_metric_is_well_formed(metrics: Metrics) -> None:
    touch(metrics)
    families = list(text_string_to_metric_families(metrics.render().decode()))
    attributes = declared(metrics)
    assert len(families) == len(attributes) >= 25
    for family in families:
        assert re.fullmatch(r"msgcenter_[a-z]+(_[a-z]+)*", family.name)
        assert family.documentation.endswith(".") or family.name.endswith(("info", "seconds"))
        assert len(family.documentation) > 10
        assert not family.name.endswith(("_ms", "_count", "_sum", "_minutes"))
        assert not any(s.name.endswith("_created") for s in family.samples)
        for sample in family.samples:
            assert set(sample.labels) - {"le"} <= LABELS
            assert (family.type == "counter") == sample.name.endswith("_total")
    for attribute, metric in attributes.items():
        assert metric._name in (
            f"msgcenter_{attribute}",
            f"msgcenter_{attribute}".removesuffix("_total"),
        )


def test_label_sets(metrics: Metrics) -> None:
    labels = {name: m._labelnames for name, m in declared(metrics).items()}
    assert labels["messages_total"] == ("channel", "category", "outcome")
    assert labels["stage_duration_seconds"] == ("pipeline", "stage")
    assert labels["queue_depth"] == labels["queue_oldest_seconds"] == ("topic", "lane")
    assert labels["unknown_outcome_total"] == ("channel",)
    assert labels["api_requests_total"] == ("route", "method", "status")
    assert labels["config_reload_total"] == ("result",)


def test_values_come_out(metrics: Metrics) -> None:
    metrics.messages_total.labels(channel="east", category="code", outcome="sent").inc(3)
    metrics.bundle_messages.observe(40)
    text = metrics.render().decode()
    assert 'msgcenter_messages_total{category="code",channel="east",outcome="sent"} 3.0' in text
    assert 'msgcenter_bundle_messages_bucket{le="50.0"} 1.0' in text
    assert 'msgcenter_config_reload_total{result="refused"} 0.0' in text
    assert re.search(r'msgcenter_build_info\{python="3[.\d]+",version="1.2.3"\} 1.0', text)
    assert CONTENT_TYPE.startswith("text/plain")


def test_two_registries_do_not_meet(metrics: Metrics) -> None:
    other = Metrics(CollectorRegistry())
    other.held.set(5)
    assert metrics.registry.get_sample_value("msgcenter_held") == 0


def test_promtool_has_no_complaint(metrics: Metrics, promtool: str) -> None:
    touch(metrics)
    done = subprocess.run(
        [promtool, "check", "metrics"], input=metrics.render(), capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout + done.stderr == b""
