"""OpenAPI: the description at /openapi.json made from the route table, the models and the problem
table, and the pages that show it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import swagger_ui_bundle
from aiohttp import web
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from msgcenter.api.problems import MEDIA_TYPE, Problem, page
from msgcenter.api.texts import CODES
from msgcenter.api.views import (
    ProblemView,
)
from msgcenter.api.web import KEY_PATTERN, Call, Route

_PARAMETER = re.compile(r"\{(\w+)\}")
_REF = "#/components/schemas/{model}"
_ALWAYS = ("internal",)
_FILE = {"type": "string", "format": "binary"}
_KEYED = (
    *("key_missing", "key_invalid", "signature_invalid", "signature_replayed"),
    *("caller_disabled", "scope_missing", "store_unavailable"),
    *("caller_overloaded", "overloaded"),
)
_BODIED = (
    *("validation_failed", "json_invalid", "json_duplicate_key", "json_too_deep"),
    *("body_too_large", "body_slow", "content_type", "content_encoding"),
)
_WRITING = ("idempotency_busy", "idempotency_mismatch", "idempotency_key_invalid")
_UI_FILES = {
    "swagger-ui.css": "text/css",
    "swagger-ui-bundle.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
_PAGE = b"""<!doctype html><html lang="en"><meta charset="utf-8"><title>msgcenter API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css"><link rel="icon" href="/docs/favicon-32x32.png">
<div id="ui"></div><script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script></html>"""
_START = b"""SwaggerUIBundle({url: "/openapi.json", dom_id: "#ui", deepLinking: true,
  persistAuthorization: false, presets: [SwaggerUIBundle.presets.apis]});"""
_POLICY = "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


def describe(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of these routes."""
    used: set[type[BaseModel]] = {ProblemView}
    used |= {model for route in routes for model in route.answers.values() if model}
    bodies = {route.body for route in routes if route.body}
    ordered = sorted(used, key=lambda model: model.__name__)
    asked = sorted(bodies, key=lambda model: model.__name__)
    _, answers = models_json_schema([(m, "serialization") for m in ordered], ref_template=_REF)
    _, requests = models_json_schema([(m, "validation") for m in asked], ref_template=_REF)
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "msgcenter",
            "version": version,
            "summary": "One durable message layer: SMS, WeCom, push, platform inbox",
            "description": "202 means durable. Errors are RFC 9457 problem documents with a stable "
            "`type` and `code`; `errors` lists every wrong field. Texts in English or Chinese by "
            "Accept-Language.",
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "schemas": {**answers["$defs"], **requests["$defs"]},
            "securitySchemes": {
                "key": {"type": "http", "scheme": "bearer", "description": "mck_<env>_<keyid>_…"}
            },
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": (route.handler.__doc__ or route.summary).strip(),
        "tags": [route.tag],
        "responses": _responses(route),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(route.path)
    ]
    parameters += [
        {
            "name": param.name,
            "in": "query",
            "required": False,
            "description": param.description,
            "schema": dict(param.schema),
        }
        for param in route.params
    ]
    if route.writes:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": False,
                "description": "same key, same body: the first answer again (7 days)",
                "schema": {
                    "type": "string",
                    "minLength": 1,
                    "maxLength": 255,
                    "pattern": KEY_PATTERN,
                },
            }
        )
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = {"$ref": _REF.format(model=route.body.__name__)}
        operation["requestBody"] = {
            "required": not route.body_optional,
            "content": {"application/json": {"schema": schema}},
        }
    elif route.upload:
        part = {"type": "object", "properties": {"media": _FILE}, "required": ["media"]}
        operation["requestBody"] = {
            "required": True,
            "content": {
                kind: {"schema": part if kind.startswith("multipart/") else _FILE}
                for kind in route.upload
            },
        }
    if route.scope is None:
        operation["security"] = []
    else:
        operation["security"] = [{"key": []}]
        if route.scope:
            operation["description"] += f" Scope: `{route.scope}`."
    return operation


def _responses(route: Route) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for status, model in route.answers.items():
        answer: dict[str, Any] = {"description": HTTPStatus(status).phrase}
        if model is not None:
            ref = {"$ref": _REF.format(model=model.__name__)}
            answer["content"] = {route.media: {"schema": ref}}
        elif route.media != "application/json":
            form = "object" if route.media.endswith("+json") else "string"
            answer["content"] = {route.media: {"schema": {"type": form}}}
        out[str(status)] = answer
    codes = [*route.problems, *_ALWAYS]
    if route.scope is not None:
        codes += _KEYED
    if route.params:
        codes.append("validation_failed")
    if route.body is not None:
        codes += _BODIED
    if route.writes:
        codes += [*_WRITING, "state_unavailable"]
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(CODES[code].status, []).append(code)
    for status, names in sorted(by_status.items()):
        listed = ", ".join(f"`{name}`" for name in names)
        answer = out.setdefault(str(status), {"description": ""})
        answer["description"] = f"{answer['description']} {listed}".strip()
        ref = {"$ref": _REF.format(model="ProblemView")}
        answer.setdefault("content", {})[MEDIA_TYPE] = {"schema": ref}
        if status in (409, 429, 503):
            answer["headers"] = {
                "Retry-After": {"description": "seconds", "schema": {"type": "integer"}}
            }
    return out


#: operationId of each operation: generated clients call their methods so.
NAMES = {
    "POST /v1/messages": "send_message",
    "POST /v1/messages:batch": "send_messages",
    "POST /v1/messages/{id}:cancel": "cancel_message",
    "POST /v1/messages/{id}:recall": "recall_message",
    "GET /v1/messages/{id}": "get_message",
    "GET /v1/messages": "list_messages",
    "POST /v1/messages:explain": "explain_message",
    "GET /v1/messages/{id}/links": "list_message_links",
    "POST /v1/signals": "send_signal",
    "POST /v1/opportunities": "take_opportunity",
    "POST /v1/media": "upload_media",
    "GET /v1/media/{id}": "download_media",
    "POST /v1/media/{id}:link": "link_media",
    "GET /m/{id}": "open_link",
    "GET /v1/events": "read_events",
    "GET /v1/events/stream": "stream_events",
    "POST /v1/subscriptions": "create_subscription",
    "GET /v1/subscriptions": "list_subscriptions",
    "GET /v1/subscriptions/{id}": "get_subscription",
    "PATCH /v1/subscriptions/{id}": "change_subscription",
    "DELETE /v1/subscriptions/{id}": "end_subscription",
    "POST /v1/subscriptions/{id}:pause": "pause_subscription",
    "POST /v1/subscriptions/{id}:resume": "resume_subscription",
    "POST /v1/subscriptions/{id}:replay": "replay_subscription",
    "POST /v1/subscriptions/{id}:rotate-secret": "rotate_subscription_secret",
    "GET /v1/inbox": "list_inbox",
    "GET /v1/inbox/stream": "stream_inbox",
    "POST /v1/inbox/{id}:read": "mark_inbox_item_read",
    "POST /v1/inbox:read": "mark_inbox_read",
    "GET /v1/channels": "list_channels",
    "GET /v1/accounts": "list_accounts",
    "GET /v1/accounts/{id}": "get_account",
    "POST /v1/accounts/{id}:revoke": "revoke_account",
    "POST /v1/accounts/{id}:restore": "restore_account",
    "GET /v1/callers/me": "get_caller",
    "GET /v1/reconciliation": "get_reconciliation",
    "POST /v1/groups": "create_group",
    "GET /v1/groups": "list_groups",
    "GET /v1/groups/{id}": "get_group",
    "PATCH /v1/groups/{id}": "change_group",
    "POST /v1/groups/{id}:dissolve": "dissolve_group",
    "POST /v1/groups/{id}:approve": "approve_dissolution",
    "POST /v1/groups/{id}:undo": "undo_dissolution",
    "GET /v1/groups/{id}/seal": "check_group_seal",
    "GET /v1/customers": "list_customers",
    "POST /v1/customers:batch": "put_customers",
    "PUT /v1/customers/{id}": "put_customer",
    "GET /v1/customers/{id}": "get_customer",
    "PUT /v1/customers/{id}/preferences": "put_preferences",
    "POST /v1/customers/{id}/consents": "add_consent",
    "GET /v1/customers/{id}/consents": "list_consents",
    "POST /v1/customers/{id}/blocks": "add_block",
    "DELETE /v1/customers/{id}/blocks/{block}": "remove_block",
    "GET /v1/customers/{id}/audit": "list_customer_audit",
    "POST /v1/customers/{id}:link": "link_customer",
    "POST /v1/customers/{id}:unlink": "unlink_customer",
    "POST /v1/customers/{id}:erase": "erase_customer",
    "GET /v1/customers/{id}/allowance": "get_allowance",
    "GET /v1/customers/{id}/preferences": "get_preferences",
    "POST /v1/customers/{id}/preference-link": "make_preference_link",
    "GET /v1/reviews": "list_reviews",
    "GET /v1/reviews/{id}": "get_review",
    "POST /v1/reviews/{id}:approve": "approve_review",
    "POST /v1/reviews/{id}:reject": "reject_review",
    "GET /v1/schemas": "list_schemas",
    "GET /v1/schemas/{type}": "get_schema",
    "GET /v1/config": "get_config",
    "GET /v1/config/versions": "list_config_versions",
    "GET /v1/config/versions/{id}": "get_config_version",
    "POST /v1/config:approve": "approve_config",
    "POST /v1/config:apply": "apply_config",
    "POST /v1/config:rollback": "roll_back_config",
    "POST /v1/pauses": "pause",
    "GET /v1/pauses": "list_pauses",
    "DELETE /v1/pauses": "resume",
    "GET /v1/dead-letters": "list_dead_letters",
    "POST /v1/dead-letters:replay": "replay_dead_letters",
    "GET /v1/dead-letters/{id}": "get_dead_letter",
    "POST /v1/dead-letters/{id}:replay": "replay_dead_letter",
    "POST /v1/keys": "create_key",
    "GET /v1/keys": "list_keys",
    "POST /v1/keys/{id}:revoke": "revoke_key",
    "GET /v1/status": "get_status",
    "GET /livez": "get_liveness",
    "GET /readyz": "get_readiness",
    "GET /healthz": "get_health",
    "GET /metrics": "get_metrics",
    "GET /version": "get_version",
    "GET /openapi.json": "get_openapi",
    "GET /docs": "get_docs",
}


def _operation_id(route: Route) -> str:
    if name := NAMES.get(f"{route.method} {route.path}"):
        return name
    words = _PARAMETER.sub(r"\1", route.path.replace("{id}", "one"))
    name = "".join(c if c.isalnum() else "_" for c in words).strip("_")
    return f"{route.method.lower()}_{name}"


# -- pages --------------------------------------------------------------------------------------


async def document(call: Call) -> web.Response:
    """This API as OpenAPI 3.1."""
    return web.Response(body=call.api.openapi, content_type="application/json")


async def docs(call: Call) -> web.Response:
    """The description as a page, served from here alone."""
    headers = {"Content-Security-Policy": _POLICY}
    return web.Response(body=_PAGE, content_type="text/html", charset="utf-8", headers=headers)


async def docs_file(call: Call) -> web.StreamResponse:
    """The parts of that page."""
    name = call.request.match_info["file"]
    headers = {"Cache-Control": "public, max-age=86400"}
    if name == "start.js":
        return web.Response(body=_START, content_type="text/javascript", headers=headers)
    if name not in _UI_FILES:
        raise Problem("route_not_found", path=call.request.path)
    return web.FileResponse(swagger_ui_bundle.swagger_ui_path / name, headers=headers)


async def problem_page(call: Call) -> web.Response:
    """What a problem's `type` leads to."""
    code = call.request.match_info["code"]
    text = page(code, call.language)
    if text is None:
        raise Problem("not_found", what="problem", id=code[:40])
    return web.Response(text=text, content_type="text/html")


ROUTES = (
    Route("GET", "/openapi.json", document, "This description", "docs", {200: None}),
    Route(
        "GET", "/docs", docs, "This description as a page", "docs", {200: None}, media="text/html"
    ),
)
#: Served, but no part of the API: they are not described.
PAGES = (
    Route("GET", "/docs/{file}", docs_file, "A part of the page", "docs", {200: None}),
    Route("GET", "/problems/{code}", problem_page, "A problem explained", "docs", {200: None}),
)


def rendered(routes: Sequence[Route], version: str) -> bytes:
    return json.dumps(describe(routes, version), ensure_ascii=False).encode()
