"""The Grafana dashboard: loadable, every query right for Prometheus and about something that is measured, nothing on top of each other."""

from __future__ import annotations

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.operations.queries import faults, offered

ROOT = Path(__file__).parents[3]
GRAFANA = ROOT / "config/grafana"
BOARD: dict[str, Any] = json.loads((GRAFANA / "msgcenter.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES = [target["expr"] for panel in PANELS for target in panel["targets"]]
#: What Grafana fills in before it asks.
VARIABLES = {"$__rate_interval": "5m", "$channel": ".*"}


def filled(query: str) -> str:
    for name, value in VARIABLES.items():
        query = query.replace(name, value)
    assert "$" not in query, query
    return query


@pytest.mark.parametrize("query", sorted(set(QUERIES)))
def test_a_query_asks_for_what_there_is(query: str) -> None:
    assert faults(filled(query)) == []


def test_prometheus_takes_every_query(tmp_path: Path, promtool: str) -> None:
    """As recording rules: promtool knows the whole language, which the test's own parser may not."""
    rules = [{"record": f"query{n}", "expr": filled(query)} for n, query in enumerate(QUERIES)]
    path = tmp_path / "queries.yaml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    done = subprocess.run(
        [promtool, "check", "rules", "--lint=none", str(path)], capture_output=True, check=False
    )
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()


def test_what_a_legend_names_is_in_its_query() -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert re.search(rf"\b{label}\b", target["expr"]) or label == "instance", target


def test_it_shows_the_five_areas_and_the_processes() -> None:
    rows = [panel["title"] for panel in BOARD["panels"] if panel["type"] == "row"]
    assert rows == [
        "At a glance", "Message flow", "Lanes", "Channels", "Policy", "Archive", "Processes",
    ]  # fmt: skip


def test_every_metric_that_can_be_watched_is_shown_or_known_not_to_be() -> None:
    """A new metric is put on the dashboard, or here with a reason."""
    elsewhere = {
        "channel_info",  # joined in alerts
        "config_generation", "config_last_reload_timestamp_seconds", "config_last_reload_ok",  # alert
        "groups",  # a figure of the business
        "config_reload_lag_seconds", "holidays_unknown_years",  # asked when an edit or a year is in doubt
        "hook_duration_seconds", "invalid_frames_total", "spooled_total",  # alerts and runbooks
    }  # fmt: skip
    shown = " ".join(QUERIES)
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name in offered()}
    ours = {name.removeprefix("msgcenter_") for name in names if name.startswith("msgcenter_")}
    missing = {
        name for name in ours if not re.search(rf"msgcenter_{name}(?![a-z]|_[a-z]*total)", shown)
    }
    assert missing == elsewhere


def test_panels_stand_side_by_side() -> None:
    assert len({panel["id"] for panel in BOARD["panels"]}) == len(BOARD["panels"])
    for panel in BOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
    for one, other in combinations((panel["gridPos"] for panel in BOARD["panels"]), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_grafana_finds_it_and_prometheus() -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]
    provider = yaml.safe_load((GRAFANA / "provisioning/dashboards/msgcenter.yaml").read_text())
    [folder] = [one["options"]["path"] for one in provider["providers"]]
    mounted = [volume.split(":")[1] for volume in compose["grafana"]["volumes"]]
    assert f"{folder}/msgcenter.json" in mounted
    source = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yaml").read_text())
    assert source["datasources"][0]["url"] == "http://prometheus:9090"
    assert {v["name"] for v in BOARD["templating"]["list"]} == {"datasource", "channel"}
