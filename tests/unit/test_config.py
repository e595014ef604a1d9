"""Configuration: every fault is told at once, with its place and a remedy; nothing secret is ever shown.

Long because the table of faults is most of it.
"""

# ruff: noqa: E501 - the table of faults holds whole lines as they are printed
from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel
from typer.testing import CliRunner

from msgcenter.cli import config as cli
from msgcenter.cli import configuring
from msgcenter.clock import ManualClock
from msgcenter.config import (
    FILES,
    Config,
    ConfigErrors,
    Duration,
    Secret,
    SecretUrl,
    Strict,
    json_schema,
    load,
)
from msgcenter.config.categories import SHIPPED
from msgcenter.config.source import parse, scalar
from msgcenter.config.values import format_duration, format_size, parse_duration, parse_size

ROOT = Path(__file__).parents[2]
TOP = "t0p-s3cret-value"


class Sms(Strict):
    host: str
    port: int = 7890
    secret: Secret
    active_test: Duration = 30.0
    backup: SecretUrl | None = None


class Bells(Strict):
    kf: str = ""


class Nothing(Strict):
    doorbells: Bells = Bells()


MODELS: dict[str, type[BaseModel]] = {"sms": Sms, "devnull": Nothing}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")


def read(folder: Path | None, env: dict[str, str] | None = None) -> Config:
    return load(folder, settings_models=MODELS, env=env or {}, clock=ManualClock(5000))


def faults(folder: Path | None, env: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        read(folder, env)
    return [str(problem) for problem in caught.value.problems]


def test_no_files_is_a_complete_embedded_configuration() -> None:
    config = read(None)
    assert (config.process.bus.kind, config.process.state.kind, config.process.store.kind) == (
        "sqlite",
        "sqlite",
        "sqlite",
    )
    assert config.process.roles == ("api", "submit", "channel", "inbound", "archive", "schedule")
    assert list(config.policy.categories) == list(SHIPPED)
    assert (config.generation, config.loaded_at) == (1, 5000)


def test_shipped_categories_follow_the_tier_rules() -> None:
    categories = read(None).policy.categories
    assert {n: c.tier for n, c in categories.items()} == {
        "code": "P0",
        "reply": "P1",
        "transactional": "P2",
        "opportunity": "P3",
        "care": "P4",
        "marketing": "P5",
        "migration": "P6",
    }
    assert [c.lane for c in categories.values()] == ["urgent"] * 2 + ["normal"] * 2 + ["bulk"] * 3
    assert [c.on_unknown for c in categories.values()] == ["never"] + ["once"] * 3 + ["never"] * 3
    assert [c.max_hold == 0 for c in categories.values()] == [True] * 3 + [False] * 4
    assert (categories["code"].expires_in, categories["code"].content) == (60.0, "masked")
    assert categories["transactional"].retry.max_age == 86400.0


SHARED = (
    "bus: {kind: rabbit, url: 'amqp://h'}\n"
    "state: {kind: redis, url: 'redis://h'}\n"
    "store: {kind: postgres, url: 'postgresql://h'}\n"
)
NO_PEPPER = (
    "msgcenter.yaml:1:1  api.pepper is missing, but rabbit, redis and postgres are there for several processes: each would make "
    "a pepper of its own and refuse the API keys, signed links and subscriptions of the others; add `api: {pepper: "
    "${env:KEY_PEPPER}}`, the same in every process; `openssl rand -hex 32` makes a good one"
)

# one bad file each: (file, text, the whole line that must come out)
BAD = [
    ("msgcenter", "bus:\n  kind: rabit\n", "msgcenter.yaml:2:3  bus.kind: must be one of sqlite, rabbit; did you mean `rabbit`?"),
    ("msgcenter", "data: x\nbuss: {}\n", "msgcenter.yaml:2:1  buss: unknown key; did you mean `bus`?"),
    ("msgcenter", "api: {host: h,\n      prot: 1}\n", "msgcenter.yaml:2:7  api.prot: unknown key; did you mean `port`?"),
    ("msgcenter", "api: {port: 99999}", "msgcenter.yaml:1:7  api.port: must be at most 65535; lower it to 65535 or less"),
    ("msgcenter", "api: {port: eighty}", "msgcenter.yaml:1:7  api.port: must be a whole number; write digits only"),
    ("msgcenter", "drain: 20 seconds", "msgcenter.yaml:1:1  drain: must be a duration; write it like 30s, 5m, 2h or 7d"),
    ("msgcenter", "api: {max_body: 4XB}", "msgcenter.yaml:1:7  api.max_body: must be a size; write it like 64KB, 1MB or a number of bytes"),
    ("msgcenter", "bus: {partitions: 65}", "msgcenter.yaml:1:7  bus.partitions: must be at most 64; lower it to 64 or less"),
    ("msgcenter", "bus: sqlite", "msgcenter.yaml:1:1  bus: must be a mapping; write `key: value` lines below it"),
    ("msgcenter", "bus:\n  kind: rabbit\n", "msgcenter.yaml:1:1  bus: kind rabbit needs a url; add `url: amqp://msgcenter:${env:RABBIT_PASSWORD}@host:5672/msgcenter`"),
    ("msgcenter", "bus: {kind: rabbit, url: 'redis://h'}", "msgcenter.yaml:1:1  bus: the url must begin with amqp or amqps; write `url: amqp://msgcenter:${env:RABBIT_PASSWORD}@host:5672/msgcenter`"),
    ("msgcenter", "bus: {kind: rabbit, url: 'amqp://u:hunter2@h'}", "msgcenter.yaml:1:21  bus.url: the password must not stand in the file; write scheme://user:${env:PASSWORD}@host:port/name"),
    ("msgcenter", "state: {kind: memory}\nbus: {kind: rabbit, url: 'amqp://h'}", "msgcenter.yaml:1:1  bus.kind rabbit with state.kind memory would forget claims and caps at a restart; set state.kind to redis (or sqlite for a single process)"),
    ("msgcenter", "roles: [api]", "msgcenter.yaml:1:1  roles submit, channel, inbound, archive, schedule are left to another process, but bus.kind sqlite, state.kind sqlite, store.kind sqlite cannot be shared; list all roles, or use rabbit, redis and postgres"),
    ("msgcenter", SHARED, NO_PEPPER),
    ("msgcenter", SHARED + "roles: [channel]\n", NO_PEPPER),
    ("msgcenter", SHARED + "api: {pepper: fifteen octets.}\n", "msgcenter.yaml:4:7  api.pepper: a secret must not stand in the file; put it in the environment or in a file of mode 600, and write ${env:NAME} or ${file:/path}"),
    ("msgcenter", "roles: [api, api, submit]", "msgcenter.yaml:1:1  roles: a role is listed twice; list each role once"),
    ("msgcenter", "state: {cluster: true}", "msgcenter.yaml:1:1  state: cluster needs kind redis; remove `cluster` or set `kind: redis`"),
    ("msgcenter", "data: '${env:HOME}'", "msgcenter.yaml:1:1  data: takes no ${…} reference: it is not a secret; write the value here, or set MSGCENTER__…"),
    ("msgcenter", "bus:\n\tkind: sqlite\n", "msgcenter.yaml:2:1  a tab stands in the indentation; indent with spaces"),
    ("msgcenter", "- a\n", "msgcenter.yaml:1:1  the file must be a mapping; write `key: value` lines"),
    ("msgcenter", "data: a\n---\ndata: b\n", "msgcenter.yaml:2:1  a second document begins here; keep one document: remove the `---`"),
    ("msgcenter", "log: {level: info, level: debug}", "msgcenter.yaml:1:20  log.level: written twice, first on line 1; keep one of the two"),
    ("msgcenter", "data: !!python/name:os.system x", "msgcenter.yaml:1:7  data: tags are not allowed; remove the part that starts with `!`"),
    ("msgcenter", "data: *nowhere", "msgcenter.yaml:1:7  data: an alias to nothing, or to what it is part of; define the anchor above it"),
    ("msgcenter", "<<: {data: x}", "msgcenter.yaml:1:1  <<: merge keys are not supported; write the keys out"),
    ("channels", "a:\n  kind: smss\n", "channels.yaml:2:3  a.kind: there is no channel kind `smss`; did you mean `sms`? (known channel kinds: devnull, sms)"),
    ("channels", "a:\n  kind: telex\n", "channels.yaml:2:3  a.kind: there is no channel kind `telex`; known channel kinds: devnull, sms"),
    ("channels", "a:\n", "channels.yaml:1:1  a: must be a mapping; write `key: value` lines below it"),
    ("channels", "A b: {kind: devnull}", "channels.yaml:1:1  A b: is not a usable name; use a-z, 0-9, - and _, beginning with a letter or digit, at most 64"),
    ("channels", "a:\n  kind: sms\n  settings:\n    hots: h\n    host: h\n    secret: ${env:S}\n", "channels.yaml:4:5  a.settings.hots: unknown key; did you mean `host`?"),
    ("channels", "a:\n  kind: sms\n  settings:\n    secret: ${env:S}\n", "channels.yaml:3:3  a.settings.host: is required; add `host: …`"),
    ("channels", "a: {kind: sms, settings: {host: h, secret: hunter2}}", "channels.yaml:1:36  a.settings.secret: a secret must not stand in the file; put it in the environment or in a file of mode 600, and write ${env:NAME} or ${file:/path}"),
    ("channels", "a: {kind: sms, settings: {host: h, secret: '${env:NOPE}'}}", "channels.yaml:1:36  a.settings.secret: the environment has no variable NOPE; set NOPE, or refer to a file: ${file:/path}"),
    ("channels", "a: {kind: sms, settings: {host: '${env:S}', secret: '${env:S}'}}", "channels.yaml:1:27  a.settings.host: takes no ${…} reference: it is not a secret; write the value here"),
    ("channels", "a: {kind: devnull, rate: 0}", "channels.yaml:1:20  a.rate: must be more than 0; raise it above 0"),
    ("channels", "a: {kind: devnull}\nb: {kind: devnull}\n", "channels.yaml:2:1  b: kind devnull has 2 enabled channels (a, b) and no route names the default; add `- {kind: devnull, channel: a}` at the end of routes.yaml"),
    ("channels", "a: {kind: devnull, settings: {doorbells: {kf: b}}}\n", "channels.yaml:1:43  a.settings.doorbells.kf: there is no channel `b`; known channels: a"),
    ("channels", "a: {kind: devnull, settings: {doorbells: {kf: b}}}\nb: {kind: devnull, enabled: false}\n", "channels.yaml:1:43  a.settings.doorbells.kf: channel `b` is not enabled; enable it, or remove this doorbell"),
    ("routes", "routes:\n- {kind: sms, channel: esat}\n", "routes.yaml:2:15  routes[0].channel: there is no channel `esat`; did you mean `east`?"),
    ("routes", "routes:\n- {kind: sms, channel: null-1}\n", "routes.yaml:2:15  routes[0].channel: channel `null-1` is of kind devnull, not sms; name a channel of kind sms"),
    ("routes", "routes:\n- {kind: devnull, channel: off}\n", "routes.yaml:2:19  routes[0].channel: channel `off` is not enabled; enable it, or route to another one"),
    ("routes", "routes:\n- {kind: sms, channel: east}\n- {kind: sms, channel: east, when: {categories: [code]}}\n", "routes.yaml:3:3  routes[1]: is never reached: routes[0] already takes every message of kind sms; move it up, or remove one of the two"),
    ("routes", "routes:\n- {kind: sms, channel: east, when: {categories: [coed]}}\n", "routes.yaml:2:50  routes[0].when.categories[0]: there is no category `coed`; did you mean `code`?"),
    ("routes", "routes:\n- {kind: sms, channel: east, when: {callers: [cmr]}}\n", "routes.yaml:2:47  routes[0].when.callers[0]: there is no caller `cmr`; did you mean `crm`?"),
    ("routes", "routes:\n- {kind: sms, channel: east, when: {}}\n", "routes.yaml:2:30  routes[0].when: has no condition; add `categories` or `callers`, or remove `when`"),
    ("policy", "categories:\n  code: {on_unknown: once}\n", "policy.yaml:2:3  categories.code: on_unknown: once is not allowed for tier P0; set `on_unknown: never`"),
    ("policy", "categories:\n  marketing: {on_unknown: once}\n", "policy.yaml:2:3  categories.marketing: on_unknown: once is not allowed for tier P5; set `on_unknown: never`"),
    ("policy", "categories:\n  reply: {max_hold: 5m}\n", "policy.yaml:2:3  categories.reply: tier P1 is never held; set `max_hold: 0s`"),
    ("policy", "categories:\n  care: {bypass: true}\n", "policy.yaml:2:3  categories.care: tier P4 must not bypass caps and do-not-disturb; set `bypass: false`"),
    ("policy", "categories:\n  code: {retry: {max_age: 2h}}\n", "policy.yaml:2:3  categories.code: retry.max_age is longer than expires_in; lower `retry.max_age`"),
    ("policy", "categories:\n  code: {channels: [sns]}\n", "policy.yaml:2:21  categories.code.channels[0]: there is no channel kind `sns`; did you mean `sms`?"),
    ("policy", "categories:\n  code: {teir: P0}\n", "policy.yaml:2:10  categories.code.teir: unknown key; did you mean `tier`?"),
    ("callers", "x: {scopes: [raed]}", "callers.yaml:1:14  x.scopes[0]: must be one of send, read, read:all, groups, customers, read:customers, inbox, review, subscribe, admin; did you mean `read`?"),
    ("callers", "x: {scopes: [send]}", "callers.yaml:1:1  x: has scope send but no categories; add `categories: [transactional]` (or ['*'] for all)"),
    ("callers", "x: {scopes: [send], categories: [makreting]}", "callers.yaml:1:34  x.categories[0]: there is no category `makreting`; did you mean `marketing`?"),
    ("callers", "x: {scopes: [send], categories: [code],\n  defaults: {category: care}}", "callers.yaml:2:14  x.defaults.category: the caller may not send `care`; add it to `categories`, or choose another default"),
    ("callers", "x: {scopes: [read], defaults: {account: a2}}", "callers.yaml:1:32  x.defaults.account: there is no account `a2`; known accounts: hotline"),
    ("callers", "x: {scopes: [read], callback: {url: 'ftp://h', secret: '${env:S}'}}", "callers.yaml:1:32  x.callback.url: must be an http or https URL; write it like https://host/path"),
    ("accounts", "a: {kind: sms, channel: east, number: 10086}", "accounts.yaml:1:31  a.number: must be text; put it in quotes"),
    ("accounts", "a: {kind: sms, channel: east, number: '10-86'}", "accounts.yaml:1:31  a.number: must be digits; write digits only, in quotes"),
    ("accounts", "a: {kind: sms, channel: wset, number: '10086'}", "accounts.yaml:1:16  a.channel: there is no channel `wset`; known channels: east, null-1, off"),
    ("accounts", "a: {kind: sms, channel: null-1, number: '10086'}", "accounts.yaml:1:16  a.channel: channel `null-1` is of kind devnull, not sms; name a channel of kind sms"),
    ("accounts", "a: {kind: sms, channel: east, number: '10086', caller: cmr}", "accounts.yaml:1:48  a.caller: there is no caller `cmr`; did you mean `crm`?"),
    ("accounts", "a: {kind: sms, channel: east, number: '10086'}\nb: {kind: sms, channel: east, number: '1008', extension: '6'}", "accounts.yaml:2:31  b.number: account `a` already has this number on channel `east`; give one of them another extension"),
    ("accounts", "a: {kind: sms, channel: east, address: wk1}\nb: {kind: sms, channel: east, address: wk1}", "accounts.yaml:2:31  b.address: account `a` already has this address on channel `east`; remove one of the two"),
    ("accounts", "a: {kind: sms, channel: east}", "accounts.yaml:1:1  a: needs either an address or a number; give `number` for an SMS access number, else `address`"),
    ("accounts", "a: {kind: sms, channel: east, address: wk1, number: '10086'}", "accounts.yaml:1:1  a: needs either an address or a number; give `number` for an SMS access number, else `address`"),
    ("accounts", "a: {kind: sms, channel: east, address: 'w k'}", "accounts.yaml:1:31  a.address: may not contain blanks, / or |; write it as the far end does"),
    ("accounts", "a: {kind: sms, channel: east, address: wk1, organisation: 广东//天河}", "accounts.yaml:1:45  a.organisation: must be a path of one to 5 names; write it like 广东/广州/天河/珠江新城/体育西厅"),
    ("accounts", "a: {kind: sms, channel: east, address: wk1, agent: onw}", "accounts.yaml:1:45  a.agent: must be one of own, partner, field, campus; did you mean `own`?"),
]  # fmt: skip

GOOD = {
    "channels": "east: {kind: sms, settings: {host: h, secret: '${env:S}'}}\n"
    "null-1: {kind: devnull}\noff: {kind: devnull, enabled: false}\n",
    "callers": "crm: {scopes: [send, read], categories: [code, care]}\n",
    "accounts": "hotline: {kind: sms, channel: east, number: '10086', extension: '01', caller: crm}\n",
}


@pytest.mark.parametrize(("file", "text", "line"), BAD, ids=[line[:60] for _, _, line in BAD])
def test_a_fault_is_told_with_place_and_remedy(
    folder: Path, file: str, text: str, line: str
) -> None:
    write(folder, **{**GOOD, **({"accounts": ""} if file in ("channels", "callers") else {})})
    if file == "callers":
        write(folder, accounts="hotline: {kind: sms, channel: east, number: '10086'}\n")
    if file == "accounts":
        write(folder, channels=GOOD["channels"])
    write(folder, **{file: text})
    found = faults(folder, {"S": TOP})
    assert line in found
    assert len(found) == 1, found
    assert "hunter2" not in "".join(found)
    assert TOP not in "".join(found)


def test_good_files_load_and_cross_references_resolve(folder: Path) -> None:
    write(folder, **GOOD, routes="routes:\n- {kind: sms, channel: east, when: {callers: [crm]}}\n")
    config = read(folder, {"S": TOP})
    assert isinstance(config.settings["east"], Sms)
    assert config.settings["east"].secret.reveal() == TOP
    assert config.channel_for("sms", "code", "crm") == "east"
    assert config.channel_for("devnull") == "null-1"
    assert config.channel_for("fax") is None
    assert config.accounts["hotline"].far_name == "1008601"
    assert config.callers["crm"].may_send("code")
    assert not config.callers["crm"].may_send("marketing")


def test_routes_take_the_first_that_fits(folder: Path) -> None:
    sms = "{kind: sms, settings: {host: h, secret: '${env:S}'}}"
    write(
        folder,
        channels=f"east: {sms}\nwest: {sms}\n",
        routes="routes:\n- {kind: sms, channel: west, when: {categories: [marketing]}}\n"
        "- {kind: sms, channel: east}\n",
    )
    config = read(folder, {"S": TOP})
    assert config.channel_for("sms", "marketing", "crm") == "west"
    assert config.channel_for("sms", "code", "crm") == "east"


def test_all_faults_of_all_files_come_at_once_and_in_order(folder: Path) -> None:
    write(
        folder,
        msgcenter="bus: {kind: rabit}\ndrain: soon\n",
        channels="a: {kind: devnull, rate: -1}\nb: {kind: nope}\n",
        routes="routes: [{kind: sms, channel: gone}]\n",
        callers="x: {scopes: []}\n",
        accounts="a: {kind: sms, channel: b}\n",
    )
    found = [line.partition("  ")[0] for line in faults(folder)]
    assert found == [
        "accounts.yaml:1:1",
        "callers.yaml:1:5",
        "channels.yaml:1:20",
        "channels.yaml:2:5",
        "msgcenter.yaml:1:7",
        "msgcenter.yaml:2:1",
        "routes.yaml:1:22",
    ]


def test_a_faulty_entry_is_not_also_called_missing(folder: Path) -> None:
    write(
        folder,
        channels="east: {kind: sms, settings: {}}\n",
        routes="routes: [{kind: sms, channel: east}]\n",
    )
    assert [line.partition("  ")[2] for line in faults(folder)] == [
        "east.settings.host: is required; add `host: …`",
        "east.settings.secret: is required; add `secret: …`",
    ]


def test_an_alias_bomb_and_a_deep_nest_are_refused_quickly(folder: Path) -> None:
    bomb = "a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n"
    for i in range(1, 12):
        bomb += f"a{i}: &a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]\n"
    write(folder, channels=bomb, routes="routes: " + "[" * 20_000)
    assert faults(folder) == [
        "channels.yaml:6:5  a5: stands for more than 500000 values; use fewer aliases",
        "routes.yaml:1:33  routes[0][0]: nested deeper than 24 levels; flatten it",
    ]


def test_an_anchor_may_be_used_and_faults_in_it_show_the_use(folder: Path) -> None:
    write(folder, channels="a: &x {kind: devnull}\nb: {kind: sms, settings: *x}\n")
    assert faults(folder)[0].startswith("channels.yaml:")
    write(folder, channels="a: {kind: sms, settings: &s {host: h, secret: '${env:S}'}}\n"
          "b: {kind: sms, enabled: false, settings: *s}\n")  # fmt: skip
    assert read(folder, {"S": TOP}).settings["b"] == read(folder, {"S": TOP}).settings["a"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("on", "on"), ("12:30", "12:30"), ("010", "010"), ("0", 0), ("-5", -5),
        ("1.5", 1.5), ("1e3", 1000.0), ("0.5", 0.5), ("~", None), ("", None), ("True", True),
        ("2026-01-01", "2026-01-01"), ("9" * 30, float("9" * 30)), ("0x10", "0x10"), (".inf", ".inf"),
    ],
)  # fmt: skip
def test_scalars_follow_yaml_1_2(text: str, value: object) -> None:
    assert scalar(text) == value
    assert type(scalar(text)) is type(value)


@given(st.binary(max_size=200))
def test_any_bytes_parse_or_are_refused_with_a_place(data: bytes) -> None:
    problems: list[Any] = []
    node = parse(data, "x.yaml", problems)
    assert (node is None) <= bool(problems)
    assert all(p.mark.line >= 1 and p.remedy for p in problems)


def test_not_utf8_is_told_with_its_place(folder: Path) -> None:
    (folder / "routes.yaml").write_bytes("routes: []\n# 中文\n".encode("gb18030"))
    assert faults(folder) == ["routes.yaml:2:3  the text is not UTF-8; save the file as UTF-8"]


def test_a_misspelt_file_is_told(folder: Path) -> None:
    (folder / "channels.yml").write_text("a: {kind: devnull}")
    (folder / "holidays.yaml").write_text("")
    assert faults(folder) == [
        "channels.yml  is not read; rename it to channels.yaml, or move it away"
    ]


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    assert faults(tmp_path / "gone") == [
        f"{tmp_path / 'gone'}  there is no such folder; create it, or name another one"
    ]


class TestSecrets:
    def test_a_file_must_be_private(self, folder: Path) -> None:
        path = folder / "key"
        path.write_text(TOP + "\n")
        path.chmod(0o644)
        write(
            folder, channels=f"a: {{kind: sms, settings: {{host: h, secret: '${{file:{path}}}'}}}}"
        )
        assert faults(folder) == [
            f"channels.yaml:1:36  a.settings.secret: {path} can be read by other users (mode 0644); "
            f"chmod 600 {path} (Kubernetes: defaultMode: 0400)"
        ]
        path.chmod(0o600)
        config = read(folder)
        assert config.settings["a"].secret.reveal() == TOP  # type: ignore[attr-defined]
        assert config.watched == (path,)
        before = config.identity
        path.write_text("other")
        assert read(folder).identity != before
        assert read(folder).hash == config.hash

    def test_a_missing_file_is_watched_all_the_same(self, folder: Path) -> None:
        write(folder, channels="a: {kind: sms, settings: {host: h, secret: '${file:key}'}}")
        with pytest.raises(ConfigErrors, match=r"cannot read .*key: No such file") as caught:
            read(folder)
        assert caught.value.watched == (folder / "key",)

    def test_values_are_printed_nowhere(self, folder: Path) -> None:
        write(
            folder,
            msgcenter="bus: {kind: rabbit, url: 'amqp://mc:${env:S}@h/v'}\n"
            "state: {kind: redis, url: '${env:REDIS}'}\nstore: {kind: postgres, url: 'postgresql://h'}\n"
            "api: {pepper: '${env:PEPPER}'}\n",
            **GOOD,
        )
        config = read(folder, {"S": TOP, "REDIS": f"redis://:{TOP}@h", "PEPPER": TOP * 4})
        assert config.process.bus.url is not None
        assert config.process.bus.url.reveal() == f"amqp://mc:{TOP}@h/v"
        redacted, plain = config.effective(), config.effective(redact=False)
        printed = repr(config) + repr(redacted) + repr(plain) + config.process.model_dump_json()
        assert TOP not in printed
        assert redacted["msgcenter.yaml"]["bus"]["url"] == "amqp://mc:•••@h/v"
        assert redacted["msgcenter.yaml"]["state"]["url"] == "•••"
        assert redacted["channels.yaml"]["east"]["settings"]["secret"] == "•••"
        assert plain["msgcenter.yaml"]["bus"]["url"] == "amqp://mc:${env:S}@h/v"
        assert plain["channels.yaml"]["east"]["settings"]["secret"] == "${env:S}"

    def test_sample_logins_are_refused_beyond_this_machine(self, folder: Path) -> None:
        write(folder, msgcenter="bus: {kind: rabbit, url: '${env:URL}'}\n")
        assert (
            "guest/guest is a sample login" in faults(folder, {"URL": "amqp://guest:guest@mq/"})[0]
        )
        read(folder, {"URL": "amqp://guest:guest@127.0.0.1:5999/"})


class TestEnvironment:
    def test_overrides_any_key_of_the_process_file(self, folder: Path) -> None:
        write(folder, msgcenter="api: {port: 1, host: h}\n")
        secret = folder / "url"
        secret.write_text(f"amqp://u:{TOP}@h/v\n")
        secret.chmod(0o600)
        env = {
            "MSGCENTER__API__PORT": "9",
            "MSGCENTER__BUS__KIND": "rabbit",
            "MSGCENTER__BUS__URL_FILE": str(secret),
            "MSGCENTER__LOG__LEVEL": "debug",
            "MSGCENTER__DATA": "/var/lib/x",
            "MSGCENTER_CONFIG": "ignored here",
        }
        process = read(folder, env).process
        assert (process.api.port, process.api.host, process.log.level) == (9, "h", "debug")
        assert process.data == Path("/var/lib/x")
        assert process.bus.url is not None
        assert process.bus.url.reveal() == f"amqp://u:{TOP}@h/v"

    @pytest.mark.parametrize("text", ["[api, submit]", "api,submit"])
    def test_lists(self, text: str) -> None:
        env = {
            "MSGCENTER__ROLES": text,
            "MSGCENTER__BUS__KIND": "rabbit", "MSGCENTER__BUS__URL": "amqp://h",
            "MSGCENTER__STATE__KIND": "redis", "MSGCENTER__STATE__URL": "redis://h",
            "MSGCENTER__STORE__KIND": "postgres", "MSGCENTER__STORE__URL": "postgresql://h",
            "MSGCENTER__API__PEPPER": "the same everywhere",
        }  # fmt: skip
        assert read(None, env).process.roles == ("api", "submit")

    def test_faults_name_the_variable(self) -> None:
        assert faults(
            None, {"MSGCENTER__BSU__KIND": "x", "MSGCENTER__BUS__PARTITIONS": "many"}
        ) == [
            "environment variable MSGCENTER__BSU__KIND  bsu: unknown key; did you mean `bus`?",
            "environment variable MSGCENTER__BUS__PARTITIONS  bus.partitions: must be a whole number; "
            "write digits only",
        ]


def test_hashes_tell_what_changed(folder: Path) -> None:
    first = read(folder)
    write(folder, msgcenter="drain: 30s\n")
    second = read(folder)
    assert second.hash != first.hash
    assert second.rules_hash == first.rules_hash
    write(folder, callers="x: {scopes: [read]}\n")
    assert read(folder).rules_hash != first.rules_hash
    follower = second.follow(first)
    assert follower.generation == 2
    assert follower.restart_needed == ("drain",)
    assert follower.process.drain == 20.0


@given(st.integers(0, 10**9))
def test_durations_and_sizes_survive_printing(n: int) -> None:
    assert parse_duration(format_duration(float(n))) == float(n)
    assert parse_size(format_size(n)) == n


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("1h30m", 5400.0), ("250ms", 0.25), ("7d", 604800.0), (5, 5.0)],
)
def test_durations(text: object, seconds: float) -> None:
    assert parse_duration(text) == seconds


class TestShipped:
    ENV = dict.fromkeys(
        (
            *("SMS_EAST_SECRET", "CRM_CALLBACK_SECRET", "WECOM_ROBOT_DUTY"),
            *("WECOM_STAFF_SECRET", "WECOM_STAFF_TOKEN", "WECOM_STAFF_AES_KEY"),
            *("HOSTED_SECRET", "HOSTED_EVENT_SECRET"),
        ),
        "x",
    )

    def test_the_folder_is_good_and_policy_equals_the_built_in_table(self) -> None:
        config = read(ROOT / "config")
        assert config.policy == read(None).policy
        assert all(file.present for file in config.files)
        assert config.process == read(None).process

    def test_its_commented_examples_are_good_too(self, tmp_path: Path) -> None:
        for name in FILES:
            text = (ROOT / "config" / name).read_text(encoding="utf-8")
            if name != "routes.yaml":  # its example needs a channel that is not shipped
                text = re.sub(r"(?m)^(\s*)#(?=(  )*[a-z-])", r"\1", text)
            (tmp_path / name).write_text(text, encoding="utf-8")
        models = cli.installed_settings()  # the adapters as they are, not this file's stand-ins
        config = load(tmp_path, settings_models=models, env=self.ENV, clock=ManualClock(5000))
        wecom = [
            *("wecom-staff", "wecom-groups", "wecom-customers", "wecom-service"),
            *("wecom-robots", "wecom-hosted"),
        ]
        assert list(config.channels) == ["devnull", "sms-east", *wecom]
        assert config.callers["crm"].callback is not None

    def test_schemas_equal_the_models(self) -> None:
        for name, schema in json_schema().items():
            path = ROOT / "config" / "schema" / f"{name}.json"
            assert path.read_text(encoding="utf-8") == cli.schema_text(schema), (
                f"run `msgcenter config schema --plain --out config/schema` ({name})"
            )
            if name == "city":  # of cities/NAME.yaml, of which none is shipped
                continue
            if name == "template":
                (shipped,) = (ROOT / "config" / "templates").glob("*.yaml")
                first = shipped.read_text(encoding="utf-8").splitlines()[0]
                assert first == "# yaml-language-server: $schema=../schema/template.json"
                continue
            first = (ROOT / "config" / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0]
            assert first == f"# yaml-language-server: $schema=schema/{name}.json"

    def test_schemas_describe_the_settings_of_installed_adapters(self) -> None:
        channel = json_schema(MODELS)["channels"]["$defs"]["ChannelConfig"]
        assert channel["properties"]["kind"]["enum"] == ["devnull", "sms"]
        assert channel["allOf"][1]["then"]["required"] == ["settings"]


class TestCommands:
    @pytest.fixture(autouse=True)
    def _installed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cli, "installed_settings", lambda: MODELS)
        monkeypatch.setenv("S", TOP)

    def run(self, *args: str) -> Any:
        return CliRunner().invoke(configuring.app, list(args))

    def test_check(self, folder: Path) -> None:
        write(folder, **GOOD)
        good = self.run("check", str(folder))
        assert (good.exit_code, good.output.startswith("good")) == (0, True)
        write(folder, routes="rotues: []\n")
        bad = self.run("check", str(folder))
        assert bad.exit_code == 78
        assert bad.output == "routes.yaml:1:1  rotues: unknown key; did you mean `routes`?\n"
        out = json.loads(self.run("check", str(folder), "--json").output)
        assert out["ok"] is False
        assert out["problems"] == [
            {
                "file": "routes.yaml",
                "line": 1,
                "column": 1,
                "path": "rotues",
                "message": "unknown key",
                "remedy": "did you mean `routes`?",
            }
        ]

    def test_show_never_prints_a_value(self, folder: Path) -> None:
        write(folder, **GOOD)
        redacted = self.run("show", str(folder), "--redact").output
        assert "•••" in redacted
        assert "${env:S}" in self.run("show", str(folder)).output
        assert TOP not in redacted + self.run("show", str(folder), "--json").output

    def test_status_and_schema(self, folder: Path) -> None:
        write(folder, **GOOD)
        out = json.loads(self.run("status", str(folder), "--json").output)
        assert out["hash"] == read(folder, {"S": TOP}).hash
        assert [f["entries"] for f in out["files"]] == [None, 3, 0, 7, 1, 1, 0, 0]
        assert "absent, defaults" in self.run("status", str(folder)).output
        assert json.loads(self.run("schema", "routes.yaml").output)["title"] == "routes.yaml"
        assert self.run("schema", "nope").exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_told(folder: Path) -> None:
    write(folder, routes="")
    (folder / "routes.yaml").chmod(0)
    assert faults(folder) == [
        "routes.yaml  cannot be read: Permission denied; correct its owner and mode"
    ]
