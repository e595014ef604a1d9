"""The rules as ops write them: the category table cell by cell, faults with place and remedy, cities that change only what
they may, and the rules' own test files.

Long because the tables of cells and faults are most of it.
"""

# ruff: noqa: E501 - the tables hold whole lines as they are printed
from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from msgcenter.cli import config as cli
from msgcenter.config import Category, Config, ConfigErrors, fingerprint
from msgcenter.config.compiled import caps
from msgcenter.config.suite import run, suite_files
from msgcenter.policy.when import Facts
from tests.unit.test_config import GOOD, ROOT, faults, read, write

H, D = 3600.0, 86400.0

#: Written by hand from the design: P0-P1 are never held; P2 bypasses caps and do-not-disturb but is counted; P4-P6 are fully
#: ruled; a code is never sent again, P1-P3 once at most, P4-P6 never; nothing but a code is kept masked.
TABLE = """
              name     tier bypass counts quiet     dnd service on_quiet consent opt_out channels max_hold on_unknown retention content
code          验证码   P0   yes    no     -         no  yes     -        no      no      all      0        never      30        masked
reply         会话回复 P1   yes    no     -         no  yes     -        no      no      all      0        once       1095      full
transactional 业务办理 P2   yes    yes    -         no  yes     -        no      no      all      0        once       1095      full
opportunity   商机     P3   no     yes    night     yes no      hold     no      yes     all      4        once       365       full
care          服务关怀 P4   no     yes    night     yes yes     hold     no      yes     all      24       never      365       full
marketing     营销     P5   no     yes    marketing yes no      hold     yes     yes     all      72       never      365       full
migration     迁移     P6   no     yes    night     yes no      hold     no      yes     all      168      never      180       full
"""


def shown(category: Category) -> dict[str, str]:
    """A row as the table writes it: hours for max_hold, days for retention."""
    word = {True: "yes", False: "no"}
    return {
        "name": category.name_zh,
        "tier": category.tier,
        "bypass": word[category.bypass],
        "counts": word[category.counts],
        "quiet": ",".join(category.quiet) or "-",
        "dnd": word[category.dnd],
        "service": word[category.service],
        "on_quiet": category.on_quiet or "-",
        "consent": word[category.consent],
        "opt_out": word[category.opt_out],
        "channels": "all" if category.channels is None else ",".join(category.channels),
        "max_hold": f"{category.max_hold / H:g}",
        "on_unknown": category.on_unknown,
        "retention": f"{category.retention / D:g}",
        "content": category.content,
    }


def cells() -> list[tuple[str, str, str]]:
    head, *rows = TABLE.strip().splitlines()
    columns = head.split()
    return [
        (name, column, cell)
        for name, *values in map(str.split, rows)
        for column, cell in zip(columns, values, strict=True)
    ]


@pytest.mark.parametrize(("name", "column", "cell"), cells())
@pytest.mark.parametrize("where", ["built-in", "shipped file"])
def test_every_cell_of_the_category_table(name: str, column: str, cell: str, where: str) -> None:
    config = read(None if where == "built-in" else ROOT / "config")
    assert shown(config.category(name))[column] == cell


def test_the_table_is_whole() -> None:
    config = read(None)
    assert sorted(config.policy.categories) == sorted({name for name, _, _ in cells()})
    assert len(cells()) == 7 * 15


def test_the_hours_of_marketing_are_lawful() -> None:
    config = read(None)
    (window,) = config.policy.quiet["marketing"].windows
    assert str(window.hours) == "21:00-08:00"
    assert window.days == ()
    assert config.policy.quiet["marketing"].when is None


OWN = """categories:
  own:
    name_zh: 自有
    tier: {tier}
    bypass: {bypass}
    counts: true
    consent: false
    max_hold: {max_hold}
    retry: {{max_attempts: 3, max_age: 60s}}
    on_unknown: never
    retention: 30d
    content: full
    expires_in: 1h
"""


@pytest.mark.parametrize(
    ("tier", "bypass", "max_hold", "row"),
    [
        ("P0", "true", "0s", {"quiet": "-", "dnd": "no", "service": "yes", "on_quiet": "-", "opt_out": "no"}),
        ("P2", "true", "0s", {"quiet": "-", "dnd": "no", "service": "yes", "on_quiet": "-", "opt_out": "no"}),
        ("P2", "false", "0s", {"quiet": "-", "dnd": "yes", "service": "yes", "on_quiet": "drop", "opt_out": "no"}),
        ("P3", "false", "1h", {"quiet": "night", "dnd": "yes", "service": "no", "on_quiet": "hold", "opt_out": "yes"}),
        ("P5", "false", "0s", {"quiet": "night", "dnd": "yes", "service": "no", "on_quiet": "drop", "opt_out": "yes"}),
    ],
)  # fmt: skip
def test_a_category_from_before_these_columns_stays_valid_on_the_safe_side(
    tmp_path: Path, tier: str, bypass: str, max_hold: str, row: dict[str, str]
) -> None:
    write(tmp_path, policy=OWN.format(tier=tier, bypass=bypass, max_hold=max_hold))
    found = shown(read(tmp_path).category("own"))
    assert {key: found[key] for key in row} == row


QUIET = "quiet:\n  lunch:\n    windows: [{{hours: 12:00-14:00}}]\n    {}\n"
CAPS = "caps:\n  one:\n    scope: person\n    windows: [{{rolling: 24h, limit: 3}}]\n    {}\n"

BAD = [
    ("categories:\n  code: {quiet: [night]}", "policy.yaml:2:3  categories.code: tier P0 knows no quiet time; set `quiet: []` and `dnd: false`"),
    ("categories:\n  reply: {dnd: true}", "policy.yaml:2:3  categories.reply: tier P1 knows no quiet time; set `quiet: []` and `dnd: false`"),
    ("categories:\n  care: {dnd: false}", "policy.yaml:2:3  categories.care: tier P4 must respect do-not-disturb and opt-outs; set `dnd: true` and `opt_out: true`"),
    ("categories:\n  marketing: {opt_out: false}", "policy.yaml:2:3  categories.marketing: tier P5 must respect do-not-disturb and opt-outs; set `dnd: true` and `opt_out: true`"),
    ("categories:\n  care: {quiet: [nihgt]}", "policy.yaml:2:18  categories.care.quiet[0]: there is no window set `nihgt`; did you mean `night`?"),
    ("categories:\n  care: {quiet: [night, night]}", "policy.yaml:2:10  categories.care.quiet: a window set is listed twice; list each once"),
    ("categories:\n  care: {on_quiet: hodl}", "policy.yaml:2:10  categories.care.on_quiet: must be one of hold, drop, downgrade; did you mean `hold`?"),
    ("categories:\n  care: {on_quiet: downgrade}", "policy.yaml:2:3  categories.care: on_quiet: downgrade needs a kind; add `downgrade_to: KIND`, like platform"),
    ("categories:\n  care: {max_hold: 0s}", "policy.yaml:2:3  categories.care: on_quiet: hold needs a max_hold; give one, or set `on_quiet: drop`"),
    ("categories:\n  care: {downgrade_to: smss}", "policy.yaml:2:10  categories.care.downgrade_to: there is no channel kind `smss`; did you mean `sms`?"),
    ("categories:\n  marketing: {consent_channels: [sns]}", "policy.yaml:2:34  categories.marketing.consent_channels[0]: there is no channel kind `sns`; did you mean `sms`?"),
    ("categories:\n  care: {consent_channels: [sms]}", "policy.yaml:2:3  categories.care: names consent_channels but needs no consent; set `consent: true`, or remove `consent_channels`"),
    ("zone: Asia/Shangai", "policy.yaml:1:1  zone: is not a time zone; write it like Asia/Shanghai or Asia/Urumqi"),
    ("quite: {}", "policy.yaml:1:1  quite: unknown key; did you mean `quiet`?"),
    ("quiet:\n  night:\n    windwos: []", "policy.yaml:3:5  quiet.night.windwos: unknown key; did you mean `windows`?"),
    ("quiet:\n  x: {windows: [{hours: 9-12}]}", "policy.yaml:2:18  quiet.x.windows[0].hours: must be hours; write them like 21:00-08:00, in quotes or not"),
    ("quiet:\n  x: {windows: [{hours: 09:00-24:30}]}", "policy.yaml:2:18  quiet.x.windows[0].hours: goes beyond 24:00; begin before 24:00 and end by 24:00"),
    ("quiet:\n  x: {windows: [{hours: 09:00-09:00}]}", "policy.yaml:2:18  quiet.x.windows[0].hours: begins and ends at the same time; write 00:00-24:00 for the whole day"),
    ("quiet:\n  x: {windows: [{hours: 9:00-10:00, days: [satt]}]}", "policy.yaml:2:44  quiet.x.windows[0].days[0]: must be one of mon, tue, wed, thu, fri, sat, sun, workday, offday, holiday; did you mean `sat`?"),
    (QUIET.format("when: {hours: [9:00-10:00]}"), "policy.yaml:4:5  quiet.lunch.when: asks for hours; say it in `windows`"),
    (QUIET.format("when: {chanels: [sms]}"), "policy.yaml:4:12  quiet.lunch.when.chanels: unknown key; did you mean `channels`?"),
    (QUIET.format("when: {channels: [smss]}"), "policy.yaml:4:23  quiet.lunch.when.channels[0]: there is no channel kind `smss`; did you mean `sms`?"),
    (QUIET.format("when: {organisations: ['厅店体育']}\n    overridable: [limit]"), "policy.yaml:5:19  quiet.lunch.overridable[0]: must be one of windows; choose one of them"),
    (QUIET.format("when: {organisations: [广东//天河]}"), "policy.yaml:4:28  quiet.lunch.when.organisations[0]: must be a part of the organisation; write a path like 广东/广州 or 广东/*/天河, or a level like 网格:体育西网格"),
    (QUIET.format("when: {organisations: ['省份:广东']}"), "policy.yaml:4:28  quiet.lunch.when.organisations[0]: must be a part of the organisation; write a path like 广东/广州 or 广东/*/天河, or a level like 网格:体育西网格"),
    (QUIET.format("when: {share: 30%}"), "policy.yaml:4:5  quiet.lunch.when: share and draw belong together; give both: `share: 30%` and `draw: spring`, the name of the draw"),
    (QUIET.format("when: {share: 30, draw: x}"), "policy.yaml:4:12  quiet.lunch.when.share: must be a share; write it like 30%, or 30%-100% for the others"),
    (QUIET.format("when: {share: 50%-30%, draw: x}"), "policy.yaml:4:12  quiet.lunch.when.share: must grow from 0% to 100% at most; write it like 30%, or 30%-100%"),
    (CAPS.format("when: {categories: [cdoe]}"), "policy.yaml:5:25  caps.one.when.categories[0]: there is no category `cdoe`; did you mean `code`?"),
    (CAPS.format("when: {callers: [cmr]}"), "policy.yaml:5:22  caps.one.when.callers[0]: there is no caller `cmr`; did you mean `crm`?"),
    (CAPS.format("on_cap: hold"), "policy.yaml:2:3  caps.one: on_cap: hold and max_wait belong together; write `max_wait: 2h`"),
    (CAPS.format("max_wait: 2h"), "policy.yaml:2:3  caps.one: on_cap: hold and max_wait belong together; write `max_wait: 2h`"),
    (CAPS.format("on_cap: downgrade"), "policy.yaml:2:3  caps.one: on_cap: downgrade and to belong together; write `to: platform`"),
    (CAPS.format("on_cap: downgrade\n    to: smss"), "policy.yaml:6:5  caps.one.to: there is no channel kind `smss`; did you mean `sms`?"),
    (CAPS.format("level: 地市"), "policy.yaml:2:3  caps.one: scope organisation and level belong together; write `scope: organisation` with `level: 地市`"),
    (CAPS.format("source: platfrom"), "policy.yaml:5:5  caps.one.source: must be one of rule, platform; did you mean `platform`?"),
    ("caps:\n  one: {scope: persn, windows: [{gap: 1m}]}", "policy.yaml:2:9  caps.one.scope: must be one of person, person_channel, person_category, group, account, caller, organisation; did you mean `person`?"),
    ("caps:\n  one: {scope: person, windows: []}", "policy.yaml:2:24  caps.one.windows: needs at least 1 item(s); add 1 or more"),
    ("caps:\n  one: {scope: person, windows: [{limit: 3}]}", "policy.yaml:2:34  caps.one.windows[0]: needs exactly one of rolling, calendar and gap; write {rolling: 24h, limit: 3}, {calendar: week, limit: 5} or {gap: 30m}"),
    ("caps:\n  one: {scope: person, windows: [{gap: 5m, limit: 3}]}", "policy.yaml:2:34  caps.one.windows[0]: rolling and calendar need a limit, gap takes none; write {rolling: 24h, limit: 3} or {gap: 30m}"),
    ("caps:\n  one: {scope: person, windows: [{rolling: 0s, limit: 3}]}", "policy.yaml:2:34  caps.one.windows[0]: must be longer than 0; write it like 24h or 30m"),
    ("content:\n  x: {action: block}", "policy.yaml:2:3  content.x: looks for nothing; add `words`, `lists`, `personal` or `links`"),
    ("content:\n  x: {action: block, lists: [spma]}", "policy.yaml:2:30  content.x.lists[0]: there is no word list `spma`; did you mean `spam`?"),
    ("content:\n  x: {action: block, links: ['http://10086.cn']}", "policy.yaml:2:30  content.x.links[0]: must be a host; write it like 10086.cn, in small letters; hosts below it are meant too"),
    ("content:\n  x: {action: mask, personal: [idcard]}", "policy.yaml:2:32  content.x.personal[0]: must be one of id_card, bank_card, phone, email; did you mean `id_card`?"),
    ("opt_out:\n  x: {numbers: ['10-6']}", "policy.yaml:2:17  opt_out.x.numbers[0]: must be an access number; write it like \"10086\", or \"106*\" for all of 106…"),
    ("opt_out:\n  x: {numbers: ['106*']}", "policy.yaml:2:3  opt_out.x: number 106*: opt_out.ports already has the words; keep one of the two"),
    ("opt_out:\n  x: {out: [TD], back: [ｔｄ]}", "policy.yaml:2:3  opt_out.x: a word means both out and back; keep it in one: case and width do not matter"),
    ("opt_out:\n  x: {out: ['…']}", "policy.yaml:2:13  opt_out.x.out[0]: is empty when compared; write a word like TD or 退订"),
    ("groups: {dissolve: {aproval: true}}", "policy.yaml:1:21  groups.dissolve.aproval: unknown key; did you mean `approval`?"),
    ("groups: {dissolve: {notice: '{when}解散'}}", "policy.yaml:1:21  groups.dissolve.notice: knows only {at} and {name}; write it like 本群将于 {at} 解散"),
    ("groups: {dissolve: {notice: '{at'}}", "policy.yaml:1:21  groups.dissolve.notice: knows only {at} and {name}; write it like 本群将于 {at} 解散"),
    ("groups: {dissolve: {undo_for: 31d}}", "policy.yaml:1:21  groups.dissolve.undo_for: is longer than 30d; write it like 10m or 24h"),
    ("approvals:\n  x: {files: [policy.yaml], roles: []}", "policy.yaml:2:29  approvals.x.roles: needs at least 1 item(s); add 1 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), BAD, ids=[line[:70] for _, line in BAD])
def test_a_fault_is_told_with_place_and_remedy(tmp_path: Path, text: str, line: str) -> None:
    write(tmp_path, **GOOD, words="lists: {spam: [发票]}\n", policy=text)
    assert faults(tmp_path, {"S": "x"}) == [line]


@pytest.mark.parametrize(
    ("file", "text", "line"),
    [
        ("holidays", "days:\n  2027-13-01: holiday", "holidays.yaml:2:3  days.2027-13-01: must be a day; write it like 2027-02-06"),
        ("holidays", "days:\n  2027-01-01: holyday", "holidays.yaml:2:3  days.2027-01-01: must be one of workday, offday, holiday; did you mean `holiday`?"),
        ("words", "list: {}", "words.yaml:1:1  list: unknown key; did you mean `lists`?"),
        ("routes", "routes: [{kind: devnull, channel: a, when: {channels: [x]}}]", "routes.yaml:1:38  routes[0].when: a route cannot ask for `channels`; it is for one: that is its `kind`"),
    ],
)  # fmt: skip
def test_faults_of_the_files_beside_it(tmp_path: Path, file: str, text: str, line: str) -> None:
    write(tmp_path, channels="a: {kind: devnull}\n", **{file: text})
    assert faults(tmp_path) == [line]


PROVINCE = """
quiet:
  night: {overridable: [windows]}
caps:
  free: {scope: person, windows: [{rolling: 24h, limit: 3}], overridable: [windows, limit]}
  number: {scope: person, windows: [{rolling: 24h, limit: 3}, {gap: 30m}], overridable: [limit]}
  fixed: {scope: person, windows: [{rolling: 24h, limit: 3}]}
"""


def province(folder: Path, **cities: str) -> Path:
    write(folder, policy=PROVINCE)
    (folder / "cities").mkdir()
    for name, text in cities.items():
        (folder / "cities" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


class TestCities:
    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("caps: {fixed: {windows: [{rolling: 24h, limit: 9}]}}", "cities/gz.yaml:2:8  caps.fixed: a city may not change the limit of caps.fixed; policy.yaml allows nothing of it: take it out here, or add `overridable: [limit]` there"),
            ("caps: {number: {windows: [{rolling: 48h, limit: 3}, {gap: 30m}]}}", "cities/gz.yaml:2:8  caps.number: a city may not change the windows of caps.number; policy.yaml allows only its limit: take it out here, or add `overridable: [windows]` there"),
            ("caps: {number: {windows: [{rolling: 24h, limit: 3}]}}", "cities/gz.yaml:2:8  caps.number: a city may not change the windows of caps.number; policy.yaml allows only its limit: take it out here, or add `overridable: [windows]` there"),
            ("caps: {frea: {windows: [{rolling: 24h, limit: 3}]}}", "cities/gz.yaml:2:8  caps.frea: there is no cap `frea`; did you mean `free`?"),
            ("caps: {free: {scope: group, windows: [{gap: 1m}]}}", "cities/gz.yaml:2:15  caps.free.scope: unknown key; known keys: windows"),
            ("quiet: {marketing: {windows: []}}", "cities/gz.yaml:2:9  quiet.marketing: a city may not change the windows of quiet.marketing; policy.yaml allows nothing of it: take it out here, or add `overridable: [windows]` there"),
            ("quiet: {nigth: {windows: []}}", "cities/gz.yaml:2:9  quiet.nigth: there is no window set `nigth`; did you mean `night`?"),
            ("categories: {}", "cities/gz.yaml:2:1  categories: unknown key; known keys: city, zone, caps, quiet, routes"),
        ],
    )  # fmt: skip
    def test_what_the_province_keeps_is_refused(self, tmp_path: Path, text: str, line: str) -> None:
        province(tmp_path, gz=f"city: 广东/广州\n{text}\n")
        assert faults(tmp_path) == [line]

    def test_a_gap_has_no_limit_that_could_differ(self, tmp_path: Path) -> None:
        text = (
            "city: 广东/广州\ncaps: {number: {windows: [{rolling: 24h, limit: 1}, {gap: 31m}]}}\n"
        )
        assert "may not change the windows" in faults(province(tmp_path, gz=text))[0]

    def test_one_file_for_a_city(self, tmp_path: Path) -> None:
        province(tmp_path, a="city: 广东/广州\n", b="city: 广东/广州\n")
        assert faults(tmp_path) == [
            "cities/b.yaml:1:1  city: cities/a.yaml is of 广东/广州 too; keep one of the two"
        ]

    def test_a_file_that_is_not_read_is_told(self, tmp_path: Path) -> None:
        (province(tmp_path) / "cities" / "gz.yml").write_text("city: 广东/广州\n")
        assert faults(tmp_path) == [
            "cities/gz.yml  is not read; rename it to gz.yaml, or move it away"
        ]

    @pytest.mark.parametrize("city", ["广东", "广东/广州/天河", "广东/*", "/广州"])
    def test_a_city_is_one(self, tmp_path: Path, city: str) -> None:
        assert (
            "must be a province and a city of it"
            in faults(province(tmp_path, a=f"city: {city}"))[0]
        )

    def test_its_own_version_holds_there_and_the_provinces_elsewhere(self, tmp_path: Path) -> None:
        config = read(
            province(
                tmp_path,
                gz="city: 广东/广州\nzone: Asia/Urumqi\n"
                "quiet: {night: {windows: [{hours: 20:00-09:00}]}}\n"
                "caps:\n  number: {windows: [{rolling: 24h, limit: 1}, {gap: 30m}]}\n"
                "  free: {windows: [{calendar: week, limit: 2}]}\n",
                sz="city: 广东/深圳\ncaps: {number: {windows: [{rolling: 24h, limit: 2}, {gap: 30m}]}}\n",
            )
        )
        overlays = tuple(config.cities.values())

        def limit(name: str, *organisation: str) -> list[object]:
            facts = Facts(organisation=organisation)
            return [
                cap.windows[0].limit
                for cap_name, when, cap in caps(config.policy, overlays)
                if cap_name == name and when.match(facts).holds
            ]

        # exactly one version holds anywhere
        assert limit("number", "广东", "广州", "天河") == [1]
        assert limit("number", "广东", "深圳") == [2]
        assert limit("number", "广东", "佛山") == [3]
        assert limit("number") == [3]
        assert limit("free", "广东", "广州") == [2]
        night = config.rules.quiet.sets["night"]
        here = [
            s.windows for s in night if s.when.match(Facts(organisation=("广东", "广州"))).holds
        ]
        assert [str(window.hours) for (window,) in here] == ["20:00-09:00"]
        assert config.rules.quiet.city_zones == {("广东", "广州"): "Asia/Urumqi"}

    def test_its_file_is_part_of_what_is_watched_and_hashed(self, tmp_path: Path) -> None:
        province(tmp_path, gz="city: 广东/广州\n")
        first, mark = read(tmp_path), fingerprint(tmp_path)
        (tmp_path / "cities" / "gz.yaml").write_text("city: 广东/广州\nzone: Asia/Urumqi\n")
        second = read(tmp_path)
        assert second.hash != first.hash
        assert second.rules_hash != first.rules_hash
        assert fingerprint(tmp_path) != mark
        mark = fingerprint(tmp_path)
        (tmp_path / "cities" / "sz.yaml").write_text("city: 广东/深圳\n")
        assert fingerprint(tmp_path) != mark
        assert [file.name for file in read(tmp_path).files][-2:] == [
            "cities/gz.yaml",
            "cities/sz.yaml",
        ]
        assert read(tmp_path).effective()["cities/gz.yaml"]["zone"] == "Asia/Urumqi"


def test_what_is_shown_can_be_read_again(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    province(tmp_path / "a")
    write(
        tmp_path / "a",
        policy=PROVINCE + "content: {x: {action: mask, lists: [spam], links: [], when: "
        "{share: 12.5%-50%, draw: d, hours: [22:00-6:30], organisations: ['网格:x']}}}\n",
        words="lists: {spam: [发票]}",
        holidays="days: {2031-01-01: holiday}",
    )
    first = read(tmp_path / "a")
    (tmp_path / "b").mkdir()
    for name, content in first.effective(redact=False).items():
        (tmp_path / "b" / name).write_text(json.dumps(content, ensure_ascii=False))
    second = read(tmp_path / "b")
    assert (second.policy, second.words, second.holidays) == (
        first.policy,
        first.words,
        first.holidays,
    )


def test_rules_are_compiled_from_the_files(tmp_path: Path) -> None:
    write(
        tmp_path,
        policy="content: {x: {action: block, words: [甲], lists: [spam]}}\n"
        "consent: {m: {proof: true, valid_for: 10d}}\n"
        "approvals: {a: {files: [policy.yaml], roles: [legal]}}\nspread: 10m\n",
        words="lists: {spam: [发票, 甲]}",
        holidays="days: {2031-01-01: workday}",
    )
    rules = read(tmp_path).rules
    assert rules.content.rules[0].words == ("甲", "发票")
    assert (rules.consent[0].proof, rules.consent[0].valid_for) == (True, 10 * D)
    assert rules.approvals[0].roles == ("legal",)
    assert rules.quiet.spread_s == 600.0
    assert len(rules.quiet.days.overlay) == 1
    assert "td" in rules.opt_out[0].out
    assert rules.conduct("marketing").sets == ("marketing",)
    # a category that was taken out while its messages wait is bound by everything
    assert set(rules.conduct("gone").sets) == {"marketing", "night"}
    assert rules.needs_of("gone").consent


class TestSuites:
    def run(self, *args: str) -> tuple[int, str]:
        done = CliRunner().invoke(cli.app, args)
        return done.exit_code, done.output

    def suite(self, folder: Path, text: str, name: str = "policy") -> Config:
        (folder / f"{name}_test.yaml").write_text(text, encoding="utf-8")
        return read(folder)

    def test_the_shipped_rules_pass_their_own_tests(self) -> None:
        config = read(ROOT / "config")
        files = suite_files(ROOT / "config")
        results = [result for file in files for result in run(config, file)]
        assert len(results) >= 12
        assert [r for r in results if r.differences] == []

    def test_a_difference_is_told_with_its_place(self, tmp_path: Path) -> None:
        text = (
            "tests:\n"
            "- name: closed\n"
            "  at: 2026-03-05T22:30:00+08:00\n"
            "  send: {category: care, channel: sms}\n"
            "  expect: {outcome: send, until: 2026-03-06T08:00:00+08:00, caps: [a]}\n"
            "- name: word\n"
            "  receive: {number: '1069', text: TD}\n"
            "  expect: {outcome: pass}\n"
        )
        config = self.suite(tmp_path, text)
        first, second = run(config, tmp_path / "policy_test.yaml")
        assert (str(first.mark), first.name) == ("policy_test.yaml:2:3", "closed")
        outcome, until, caps_told = first.differences
        assert outcome == "outcome: expected send, got wait"
        assert until.startswith("until: expected 2026-03-06T08:00:00+0800, got 2026-03-06T08:0")
        assert caps_told == "caps: expected a, got none"
        assert second.differences == ("outcome: expected pass, got out",)
        code, output = self.run("test", str(tmp_path))
        assert code == 1
        assert "policy_test.yaml:2:3  closed: outcome: expected send, got wait;" in output
        assert "0 passed, 2 failed, 1 files" in output
        code, output = self.run("test", str(tmp_path), "--json")
        assert (code, json.loads(output)["ok"]) == (1, False)

    @pytest.mark.parametrize(
        ("text", "line"),
        [
            ("tests: [{name: a, expect: {outcome: send}}]", "policy_test.yaml:1:9  tests[0]: needs either send or receive; remove one, or add the other"),
            ("tests:\n- {name: a, at: 2026-03-05 12:00, send: {category: care, channel: sms}, expect: {outcome: send}}", "policy_test.yaml:2:13  tests[0].at: must be a moment; write it like 2026-03-05T22:30:00+08:00"),
            ("tests:\n- {name: a, send: {category: care, channel: sms}, expect: {outcome: send}}", "policy_test.yaml:2:3  tests[0]: has no time; add `at: 2026-03-05T22:30:00+08:00`"),
            ("tests:\n- {name: a, receive: {number: '1', text: x}, expect: {outcome: send, rul: x}}", "policy_test.yaml:2:70  tests[0].expect.rul: unknown key; did you mean `rule`?"),
        ],
    )  # fmt: skip
    def test_a_faulty_test_file_is_told(self, tmp_path: Path, text: str, line: str) -> None:
        config = self.suite(tmp_path, text)
        with pytest.raises(ConfigErrors) as caught:
            run(config, tmp_path / "policy_test.yaml")
        assert line in str(caught.value)
        code, output = self.run("test", str(tmp_path))
        assert code == 78
        assert "policy_test.yaml" in output

    def test_no_file_is_no_failure(self, tmp_path: Path) -> None:
        assert self.run("test", str(tmp_path)) == (0, "0 passed, 0 failed, 0 files\n")

    def test_rules_of_every_kind_can_be_tested(self, tmp_path: Path) -> None:
        write(
            tmp_path,
            policy="categories: {care: {on_quiet: downgrade, downgrade_to: devnull}}\n"
            "content:\n  card: {action: mask, personal: [bank_card]}\n"
            "  bad: {action: block, words: [发票]}\n  link: {action: hold, links: [10086.cn]}\n"
            "consent: {m: {when: {channels: [sms]}, wordings: [v2], valid_for: 30d}}\n"
            "caps:\n  gold: {scope: person, when: {levels: [gold]}, windows: [{rolling: 7d, limit: 1}]}\n"
            "  field: {scope: person, when: {agents: [field], organisations: ['网格:x']}, windows: [{gap: 1h}]}\n",
        )
        text = """
tests:
- {name: down, at: 2026-03-05T23:00:00+08:00, send: {category: care, channel: sms},
   expect: {outcome: downgrade, to: devnull, rule: night}}
- {name: mask, at: 2026-03-05T12:00:00+08:00, send: {category: care, channel: sms, text: 卡4111111111111111},
   expect: {outcome: send, text: 卡****************}}
- {name: block, at: 2026-03-05T12:00:00+08:00, send: {category: code, channel: sms, text: 发 票},
   expect: {outcome: refuse, code: content_blocked, rule: bad}}
- {name: review, at: 2026-03-05T12:00:00+08:00, send: {category: care, channel: sms, text: evil.com},
   expect: {outcome: review, code: content_review, rule: link}}
- {name: old wording, at: 2026-03-05T12:00:00+08:00, send: {category: marketing, channel: sms},
   customer: {consents: [{at: 2026-03-01T12:00:00+08:00, wording: v1}]}, expect: {outcome: refuse, code: consent_not_valid}}
- {name: too old, at: 2026-03-05T12:00:00+08:00, send: {category: marketing, channel: sms},
   customer: {consents: [{at: 2026-02-01T12:00:00+08:00, wording: v2}]}, expect: {outcome: refuse, code: consent_expired}}
- {name: gold, at: 2026-03-05T12:00:00+08:00, send: {category: care, channel: sms}, customer: {level: gold},
   expect: {outcome: send, caps: [gold]}}
- {name: field, at: 2026-03-05T12:00:00+08:00,
   send: {category: care, channel: sms, agent: field, organisation: 广东/广州/天河/x/y}, expect: {outcome: send, caps: [field]}}
- {name: muted, at: 2026-03-05T12:00:00+08:00, send: {category: opportunity, channel: sms},
   customer: {mutes: [{until: 2026-03-05T13:00:00+08:00}]},
   expect: {outcome: wait, rule: customer.mute, from: 2026-03-05T13:00:00+08:00, before: 2026-03-05T13:03:01+08:00}}
- {name: service only, at: 2026-03-05T12:00:00+08:00, send: {category: marketing, channel: sms},
   customer: {service_only: true, consents: [{at: 2026-03-01T12:00:00+08:00, wording: v2}]},
   expect: {outcome: refuse, code: service_only, rule: customer.service_only}}
- {name: expires, at: 2026-03-05T23:00:00+08:00, send: {category: migration, channel: sms, expires_in: 1h},
   expect: {outcome: refuse, code: expires_in_quiet}}
"""
        config = self.suite(tmp_path, text)
        assert [
            (r.name, r.differences)
            for r in run(config, tmp_path / "policy_test.yaml")
            if r.differences
        ] == []
