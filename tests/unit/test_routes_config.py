"""Routes as ops write them: conditions, splits, what a city may change of them, their faults, and their own test files."""

# ruff: noqa: E501 - the tables hold whole lines as they are printed
from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from msgcenter.config.suite import run
from msgcenter.policy.when import Facts
from tests.unit.test_config import faults, read, write

SMS = "{{kind: sms{}, settings: {{host: h, secret: '${{env:S}}'}}}}\n"
CHANNELS = (
    "".join(f"{name}: {SMS.format('')}" for name in ("east", "west", "direct"))
    + f"off: {SMS.format(', enabled: false')}null-1: {{kind: devnull}}\n"
)
ROUTES = """
routes:
  - {name: gold, kind: sms, channel: direct, when: {levels: [gold]}}
  - name: trial
    kind: sms
    split: {west: 30, east: 70}
    when: {categories: [marketing], hours: [08:00-20:00]}
    overridable: [channel]
  - {name: cards, kind: sms, channel: west, when: {payloads: [card, link], organisations: [广东/*/天河]}}
  - {kind: sms, channel: east}
"""
CITY = "city: 广东/广州\nroutes:\n  {}\n"
ENV = {"S": "s"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path, channels=CHANNELS, routes=ROUTES)
    return tmp_path


def city(folder: Path, routes: str, name: str = "guangzhou") -> None:
    (folder / "cities").mkdir(exist_ok=True)
    (folder / "cities" / f"{name}.yaml").write_text(CITY.format(routes), encoding="utf-8")


GUANGZHOU = ("广东", "广州", "天河")


def test_a_city_has_its_own_way_where_the_province_allows(folder: Path) -> None:
    city(folder, "trial: {channel: direct}")
    routing = read(folder, ENV).rules.routing
    noon = 1_790_000_000_000 // 86_400_000 * 86_400_000 + 4 * 3_600_000
    facts = Facts(category="marketing", organisation=GUANGZHOU, person="cus_1", at=noon)
    own = routing.choose("sms", facts)
    assert own is not None
    assert (own.channel, own.rule) == ("direct", "trial in 广东/广州")
    assert ("organisation", "广东/广州/天河") in own.facts
    elsewhere = routing.choose(
        "sms", Facts(category="marketing", organisation=("广东", "深圳"), person="cus_1", at=noon)
    )
    assert elsewhere is not None
    assert elsewhere.rule == "trial"
    # the conditions stay the province's
    night = routing.choose(
        "sms",
        Facts(
            category="marketing", organisation=GUANGZHOU, person="cus_1", at=noon + 12 * 3_600_000
        ),
    )
    assert night is not None
    assert night.channel == "east"


def test_a_city_split_draws_the_same_persons_as_the_province(folder: Path) -> None:
    city(folder, "trial: {split: {west: 60, east: 40}}")
    province, own = read(folder, ENV).rules.routing.rules["sms"][2:0:-1]
    assert (province.draw, own.draw) == ("trial", "trial")
    assert own.shares == (("west", 60.0), ("east", 40.0))


BAD_CITIES = [
    ("gold: {channel: east}", "cities/guangzhou.yaml:3:3  routes.gold: a city may not change the channel of routes.gold; routes.yaml allows nothing of it: take it out here, or add `overridable: [channel]` there"),
    ("tiral: {channel: east}", "cities/guangzhou.yaml:3:3  routes.tiral: there is no route `tiral`; did you mean `trial`?"),
    ("trial: {channel: eats}", "cities/guangzhou.yaml:3:11  routes.trial.channel: there is no channel `eats`; did you mean `east`?"),
    ("trial: {channel: null-1}", "cities/guangzhou.yaml:3:11  routes.trial.channel: channel `null-1` is of kind devnull, not sms; name a channel of kind sms"),
    ("trial: {split: {off: 1, east: 1}}", "cities/guangzhou.yaml:3:19  routes.trial.split.off: channel `off` is not enabled; enable it, or route to another one"),
    ("trial: {}", "cities/guangzhou.yaml:3:3  routes.trial: needs exactly one of channel and split; write `channel: east`, or `split: {east: 30, west: 70}`"),
    ("trial: {channel: east, when: {levels: [a]}}", "cities/guangzhou.yaml:3:26  routes.trial.when: unknown key; known keys: channel, split"),
]  # fmt: skip


@pytest.mark.parametrize(("routes", "line"), BAD_CITIES)
def test_a_city_is_refused_the_rest(folder: Path, routes: str, line: str) -> None:
    city(folder, routes)
    assert faults(folder, ENV) == [line]


BAD = [
    ("{kind: sms}", "routes.yaml:1:10  routes[0]: needs exactly one of channel and split; write `channel: east`, or `split: {east: 30, west: 70}`"),
    ("{kind: sms, channel: east, split: {west: 1}}", "routes.yaml:1:10  routes[0]: needs exactly one of channel and split; write `channel: east`, or `split: {east: 30, west: 70}`"),
    ("{name: a, kind: sms, split: {west: 0}}", "routes.yaml:1:31  routes[0].split: has no part above 0; write it like {east: 30, west: 70}"),
    ("{kind: sms, split: {west: 1, east: 2}}", "routes.yaml:1:10  routes[0]: a split needs a name or a draw; add `name: trial`: without it, a route put in above would draw all persons anew"),
    ("{kind: sms, channel: east, draw: a}", "routes.yaml:1:10  routes[0]: draw belongs to split; remove it, or write `split: {east: 30, west: 70}`"),
    ("{kind: sms, channel: east, overridable: [channel]}", "routes.yaml:1:10  routes[0]: is overridable but has no name; add `name: …`, which cities/ refers to"),
    ("{name: a, kind: sms, channel: east, when: {levels: [x]}}, {name: a, kind: sms, channel: east}", "routes.yaml:1:69  routes[1].name: routes[0] has this name too; choose another"),
    ("{kind: sms, channel: east, when: {payloads: [crad]}}", "routes.yaml:1:55  routes[0].when.payloads[0]: must be one of text, markdown, media, link, miniprogram, card, native, template; did you mean `card`?"),
]  # fmt: skip


@pytest.mark.parametrize(("routes", "line"), BAD)
def test_a_faulty_route_is_told_with_place_and_remedy(folder: Path, routes: str, line: str) -> None:
    write(folder, channels=CHANNELS, routes=f"routes: [{routes}]\n")
    assert line in faults(folder, ENV)


def test_a_channel_that_takes_nobody_need_not_run(folder: Path) -> None:
    write(folder, routes="routes:\n- {name: a, kind: sms, split: {off: 0, east: 1}}\n")
    (rule,) = read(folder, ENV).rules.routing.rules["sms"]
    assert rule.shares == (("east", 1.0),)


def test_the_effective_configuration_reads_back_as_it_is(folder: Path) -> None:
    city(folder, "trial: {split: {west: 60, east: 40}}")
    config = read(folder, ENV)
    shown = config.effective()["routes.yaml"]
    write(folder, routes=yaml.safe_dump(shown, allow_unicode=True))
    assert read(folder, ENV).routes == config.routes


SUITE = """
tests:
  - name: gold goes direct
    at: 2026-03-05T12:00:00+08:00
    send: {category: code, channel: sms}
    customer: {level: gold}
    expect: {outcome: send, via: direct, route: gold}
  - name: a card to 天河 of an account of the province
    at: 2026-03-05T12:00:00+08:00
    send: {category: code, channel: sms, payload: card, organisation: 广东}
    customer: {organisation: 广东/广州/天河}
    expect: {via: west}
  - name: the customer of another province counts for nothing where an account sends
    at: 2026-03-05T12:00:00+08:00
    send: {category: code, channel: sms, payload: card, organisation: 湖南}
    customer: {organisation: 广东/广州/天河}
    expect: {via: east}
  - name: wrong on purpose
    at: 2026-03-05T12:00:00+08:00
    send: {category: code, channel: sms}
    expect: {via: west, route: gold}
"""


def test_a_suite_tests_routes(folder: Path) -> None:
    (folder / "routes_test.yaml").write_text(SUITE, encoding="utf-8")
    results = run(read(folder, ENV), folder / "routes_test.yaml")
    assert [result.differences for result in results] == [
        *((), (), ()),
        ("via: expected west, got east", "route: expected gold, got routes[3]"),
    ]
