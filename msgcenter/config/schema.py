"""JSON Schema 2020-12 of every configuration file, made from the models that read it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter

from msgcenter.config.categories import POLICY
from msgcenter.config.policy import CityConfig, HolidaysConfig, PolicyConfig, WordsConfig
from msgcenter.config.process import ProcessConfig
from msgcenter.config.rules import (
    AccountConfig,
    CallerConfig,
    ChannelConfig,
    RoutesConfig,
)
from msgcenter.config.snapshot import PROCESS_FILE
from msgcenter.config.suite import Suite
from msgcenter.config.templates import TemplateConfig
from msgcenter.config.values import Name

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema(
    settings_models: Mapping[str, type[BaseModel]] | None = None,
) -> dict[str, dict[str, Any]]:
    """File name without `.yaml` -> its schema.

    With `settings_models` (channel kind -> model) a channel's `settings` are described too;
    without, they are free, so that the schemas shipped in `config/schema/` do not depend on which
    adapters are installed.
    """
    out: dict[str, dict[str, Any]] = {
        PROCESS_FILE.removesuffix(".yaml"): ProcessConfig.model_json_schema(),
        "channels": _with_settings(
            TypeAdapter(dict[Name, ChannelConfig]).json_schema(), settings_models or {}
        ),
        "routes": RoutesConfig.model_json_schema(),
        "policy": _over_shipped(PolicyConfig.model_json_schema()),
        "words": WordsConfig.model_json_schema(),
        "holidays": HolidaysConfig.model_json_schema(),
        "city": CityConfig.model_json_schema(),
        "template": TemplateConfig.model_json_schema(),
        "policy_test": Suite.model_json_schema(),
        "callers": TypeAdapter(dict[Name, CallerConfig]).json_schema(),
        "accounts": TypeAdapter(dict[Name, AccountConfig]).json_schema(),
    }
    return {
        name: {"$schema": DIALECT, **schema, "title": f"{name}.yaml"}
        for name, schema in out.items()
    }


def _with_settings(schema: dict[str, Any], models: Mapping[str, type[BaseModel]]) -> dict[str, Any]:
    if not models:
        return schema
    channel = schema["$defs"]["ChannelConfig"]
    channel["properties"]["kind"]["enum"] = sorted(models)
    channel["allOf"] = []
    for kind, model in sorted(models.items()):
        settings = model.model_json_schema(ref_template=f"#/$defs/{kind}.{{model}}")
        for name, definition in settings.pop("$defs", {}).items():
            schema["$defs"][f"{kind}.{name}"] = definition
        schema["$defs"][f"{kind} settings"] = settings
        then: dict[str, Any] = {"properties": {"settings": {"$ref": f"#/$defs/{kind} settings"}}}
        if settings.get("required"):
            then["required"] = ["settings"]
        condition = {"properties": {"kind": {"const": kind}}, "required": ["kind"]}
        channel["allOf"].append({"if": condition, "then": then})
    return schema


def _over_shipped(schema: dict[str, Any]) -> dict[str, Any]:
    """A shipped entry may be given in part, a new one must be whole."""
    definitions = schema["$defs"]
    retry = copy.deepcopy(definitions["Retry"])
    retry.pop("required")
    definitions["RetryInPart"] = retry
    for key, entry in (
        ("categories", "Category"),
        ("quiet", "QuietSet"),
        ("opt_out", "OptOutWords"),
    ):
        partial = copy.deepcopy(definitions[entry])
        partial.pop("required", None)
        if entry == "Category":
            partial["properties"]["retry"] = {"$ref": "#/$defs/RetryInPart"}
        definitions[f"{entry}InPart"] = partial
        schema["properties"][key]["properties"] = {
            name: {"$ref": f"#/$defs/{entry}InPart"} for name in POLICY[key]
        }
    schema.pop("required", None)
    return schema
