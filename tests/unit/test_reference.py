"""The pages of docs/ that are made from the program: they are the ones it makes now, and leave nothing out or unexplained."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pydantic import BaseModel, Field

from msgcenter.cli.reference import shipped_settings
from msgcenter.config import json_schema
from msgcenter.config import reference as configuration
from msgcenter.config.values import Duration, Secret, Size, Strict
from msgcenter.metrics import Metrics, page

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_of_keys_is_up_to_date() -> None:
    assert (DOCS / "configuration.md").read_text("utf-8") == configuration.page(
        shipped_settings()
    ), "run `msgcenter reference configuration --out docs/configuration.md`"


def test_the_page_of_metrics_is_up_to_date() -> None:
    assert (DOCS / "metrics.md").read_text("utf-8") == page(Metrics(CollectorRegistry())), (
        "run `msgcenter reference metrics --out docs/metrics.md`"
    )


def test_every_metric_of_the_registry_has_its_row() -> None:
    metrics = Metrics(CollectorRegistry())
    shown = {each.name.removesuffix("_total") for each in metrics.declared}
    assert shown == {family.name for family in metrics.registry.collect()}


def fields(schema: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """(key, what is said of it) of every object of a schema."""
    for each in (schema, *schema.get("$defs", {}).values()):
        for key, field in each.get("properties", {}).items():
            meant = schema.get("$defs", {}).get(field.get("$ref", "").rpartition("/")[2], {})
            yield key, field.get("description") or meant.get("description", "")


SCHEMAS = json_schema() | {
    f"settings of {kind}": model.model_json_schema() for kind, model in shipped_settings().items()
}


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_key_has_its_row_and_says_what_it_does(name: str) -> None:
    shown = (DOCS / "configuration.md").read_text("utf-8")
    shipped = {"code", "reply", "night", "ports", "chats"}  # entries of a map, not keys
    for key, said in fields(SCHEMAS[name]):
        assert f".{key}`" in shown or f"`{key}`" in shown, key
        if key not in shipped and not SCHEMAS[name]["title"].startswith("policy.yaml"):
            assert said and not said.startswith(("a duration:", "a size:")), key


def test_a_row_says_what_the_model_says() -> None:
    class Inner(Strict):
        """What is inside."""

        wait: Duration = 90.0
        """How long."""
        size: Size = Field(default=64 << 10, description="how large | how small")

    class Model(BaseModel):
        secret: Secret
        inner: Inner = Inner()
        named: dict[str, Inner] = {}
        share: float = Field(default=0.5, ge=0, le=1)

    text = configuration.page({"x": Model}).partition("kind `x`\n\n")[2]
    for row in (
        "| `secret` | secret | required | a reference to a secret: ${env:NAME} or ${file:/path} |",
        "| `inner` | object |  | What is inside. |",
        "| `inner.wait` | duration | `90s` | How long. |",
        "| `inner.size` | size | `64KB` | how large \\| how small |",
        "| `named` | map |  |  |",
        "| `named.<name>.*` |  |  | as `inner` |",
        "| `share` | number 0 to 1 | `0.5` |  |",
    ):
        assert row in text.splitlines()
