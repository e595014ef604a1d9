"""The alert rules: right for Prometheus, each tested where it fires and where not, on metrics that exist, with a runbook in two languages."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from msgcenter.api.app import ROUTES
from msgcenter.cli import COMMANDS
from tests.unit.operations.queries import faults

ROOT = Path(__file__).parents[3]
RULES = ROOT / "config/prometheus/msgcenter.rules.yaml"
CASES = ROOT / "config/prometheus/msgcenter.rules_test.yaml"
RUNBOOKS = {"en": ROOT / "docs/runbooks.md", "zh": ROOT / "docs/runbooks.zh.md"}


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


NAMES = [rule["alert"] for rule in rules()]


def run(promtool: str, *args: str) -> None:
    done = subprocess.run([promtool, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_takes_the_rules(promtool: str) -> None:
    run(promtool, "check", "rules", "--lint-fatal", str(RULES))


def test_each_alert_fires_where_it_must_and_not_elsewhere(promtool: str) -> None:
    run(promtool, "test", "rules", str(CASES))


def test_no_alert_is_without_its_two_cases() -> None:
    fires: set[str] = set()
    quiet: set[str] = set()
    for test in yaml.safe_load(CASES.read_text())["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    assert fires == quiet == set(NAMES)
    assert len(NAMES) == len(set(NAMES))


@pytest.mark.parametrize("rule", rules(), ids=NAMES)
def test_it_asks_for_what_there_is(rule: dict[str, Any]) -> None:
    assert faults(rule["expr"]) == []
    assert rule["labels"]["severity"] in ("critical", "warning")
    said = " ".join(rule["annotations"].values())
    for label in re.findall(r"\$labels\.(\w+)", said):
        assert faults(f"sum by ({label}) ({rule['expr']})") == []


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("msgcenter_link_ups == 0", "no metric msgcenter_link_ups"),
        ('msgcenter_link_up{chanel="a"} == 0', "has no label chanel"),
        ("sum by (sink) (msgcenter_link_up)", "nothing in it has a label sink"),
        ('msgcenter_messages_total{outcome="delivered"}', "outcome is never delivered"),
        ("rate(msgcenter_send_duration_seconds[5m])", "no metric"),
        ("max(msgcenter_held) / on (lane) group_left msgcenter_parked", "label lane"),
    ],
)
def test_a_wrong_query_would_be_found(expression: str, why: str) -> None:
    assert why in " ".join(faults(expression))


def sections(language: str) -> dict[str, str]:
    """Alert -> the text under its heading."""
    parts = re.split(r"^## (.+)$", RUNBOOKS[language].read_text(), flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def commands(section: str) -> list[str]:
    found = re.match(r"\n+```bash\n(.+?)\n```\n", section, re.DOTALL)
    assert found, f"begins with what to type, not with {section.strip()[:60]!r}"
    return found[1].splitlines()


@pytest.mark.parametrize("language", list(RUNBOOKS))
def test_every_alert_has_a_runbook_that_begins_with_what_to_type(language: str) -> None:
    found = sections(language)
    assert list(found) == NAMES, "one section each, in the order of the rules"
    for name, section in found.items():
        typed = commands(section)
        prose = section.split("```")[2].strip()
        assert len(prose) > 60, name
        for line in typed:
            for command in re.findall(r"\bmsgcenter ((?:[a-z]+ ?)+)", line.partition("#")[0]):
                assert command.split()[0] in COMMANDS, line
            for path in re.findall(r"\$MSGCENTER_URL(/[a-z0-9/-]+)", line):
                assert path in {route.path for route in ROUTES}, line


def test_both_languages_type_the_same() -> None:
    en, zh = sections("en"), sections("zh")
    assert {name: commands(text) for name, text in en.items()} == {
        name: commands(text) for name, text in zh.items()
    }


def test_the_links_of_the_alerts_lead_to_their_sections() -> None:
    for rule in rules():
        path, _, anchor = rule["annotations"]["runbook_url"].partition("#")
        assert ROOT / path == RUNBOOKS["en"]
        assert anchor == rule["alert"].lower()


def test_what_the_deployment_guide_says_of_alerts_fits_them() -> None:
    text = (ROOT / "docs/deployment.md").read_text()
    blocks = [yaml.safe_load(found) for found in re.findall(r"```yaml\n(.+?)```", text, re.DOTALL)]
    [alertmanager] = [block for block in blocks if "inhibit_rules" in block]
    receivers = {receiver["name"] for receiver in alertmanager["receivers"]}
    assert {
        alertmanager["route"]["receiver"],
        alertmanager["route"]["routes"][0]["receiver"],
    } <= receivers
    for rule in alertmanager["inhibit_rules"]:
        for matcher in rule["source_matchers"] + rule["target_matchers"]:
            pattern = matcher.partition("=")[2].strip('~"')
            hit = [name for name in NAMES if re.fullmatch(pattern, name)]
            assert len(hit) == 1 + pattern.count("|"), (pattern, hit)
    named = set(re.findall(r"`(Msgcenter[A-Za-z]+)`", text))
    assert named <= set(NAMES)
