"""Templates: versions by time and place, the words of each channel kind, and a language in which every text ends, soon and short."""

# ruff: noqa: E501 - the tables hold whole lines as they are printed
from __future__ import annotations

import json
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from msgcenter.cli import templates as cli
from msgcenter.clock import ManualClock
from msgcenter.config import Config, fingerprint
from msgcenter.customers import Person
from msgcenter.facts import FactBook
from msgcenter.pipeline import Item
from msgcenter.policy.when import SHANGHAI
from msgcenter.stages.fill import Fill
from msgcenter.stages.render import Render
from msgcenter.templates.book import Version, say
from msgcenter.templates.engine import MAX_OUTPUT, Source, Unfit
from msgcenter.templates.variables import Variable, expected, read_variables
from protocols.outcome import Rejected
from protocols.payload import Link, Template, Text
from tests.unit.rig import T0, Scripted, message
from tests.unit.test_config import ROOT, faults, read, write

DAY = 86_400_000


def said(source: str, **values: Any) -> str:
    declared = {name: Variable(_TYPES.get(type(value), "text")) for name, value in values.items()}
    read_, wrong = read_variables(declared, values)
    assert wrong == []
    return Source.of(source).render(read_, SHANGHAI)


_TYPES: dict[type, Any] = {int: "integer", float: "number", bool: "boolean", list: "list"}


@pytest.mark.parametrize(
    ("source", "values", "text"),
    [
        ("{{ a | money }}元", {"a": 1234.5}, "1,234.50元"),
        ("{{ a | money(0) }}", {"a": 2.5}, "3"),
        ("{{ (a * 0.9) | money }}", {"a": 0.1}, "0.09"),
        ("{{ n * 2 + 1 }}", {"n": 3}, "7"),
        ("{{ tel | mask }}", {"tel": "13800138000"}, "*******8000"),
        ("{% for x in xs %}{{ loop.index }}.{{ x }}{% if not loop.last %};{% endif %}{% endfor %}", {"xs": ["甲", "乙"]}, "1.甲;2.乙"),
        ("{% for i in range(3) %}{{ i }}{% endfor %}", {}, "012"),
        ("{{ xs[0] }}{{ xs | length }}", {"xs": ["a", "b"]}, "a2"),
        ("{% if vip %}尊敬的{% endif %}客户", {"vip": True}, "尊敬的客户"),
        ("{{ nick | default('客户') }}", {}, "客户"),
        ("{# a note #}{{ '{{' }}", {}, "{{"),
        ("{{ name }}", {"name": "{{ 7 * 7 }}<b>"}, "{{ 7 * 7 }}<b>"),
    ],
)  # fmt: skip
def test_the_language(source: str, values: dict[str, Any], text: str) -> None:
    assert said(source, **values) == text


def test_times_are_read_on_the_recipients_clock() -> None:
    values, _ = read_variables({"at": Variable("datetime")}, {"at": "2026-03-05T23:30:00+08:00"})
    source = Source.of("{{ at | date('%m-%d %H:%M') }}")
    assert source.render(values, SHANGHAI) == "03-05 23:30"
    assert source.render(values, timezone(timedelta(hours=6))) == "03-05 21:30"


REFUSED = [
    ("{% set a = 1 %}", "`set` is not allowed in a template"),
    ("{% macro a() %}{% endmacro %}", "`macro` is not allowed in a template"),
    ("{% include 'x' %}", "`include` is not allowed in a template"),
    ("{% for a in range(9) %}{% for b in range(9) %}{% endfor %}{% endfor %}", "a loop may not stand inside another"),
    ("{% for a in xs recursive %}{{ loop(a) }}{% endfor %}", "a loop may not be recursive"),
    ("{{ ''.__class__ }}", "`.__class__` is not allowed; variables have no parts"),
    ("{{ loop.cycle('a') }}", "nothing but `range` can be called"),
    ("{{ lipsum() }}", "nothing but `range` can be called"),
    ("{{ 'a'.ljust(1000000000) }}", "nothing but `range` can be called"),
    ("{{ 2 ** 99 }}", "`**` is not allowed in a template"),
    ("{{ 'a' | center(1000000000) }}", "there is no filter `center`"),
    ("{{ '%999999999d' | format(1) }}", "there is no filter `format`"),
    ("{{ 'aa' | replace('a', 'aaaa') }}", "there is no filter `replace`"),
    ("{{ a is callable }}", "there is no test `callable`"),
    ("{{ 'abc'[::-1] }}", "a slice` is not allowed"),
    ("{% if %}", "Expected an expression"),
    ("{{ a", "unexpected end of template"),
    ("x" * 5001, "is longer than 5000 characters"),
    ("{{ " + "(" * 900 + "1" + ")" * 900 + " }}", "nested too deep"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "why"), REFUSED, ids=[why for _, why in REFUSED])
def test_what_could_run_or_grow_without_end_is_not_in_the_language(source: str, why: str) -> None:
    with pytest.raises(Unfit, match=r".") as caught:
        Source.of(source)
    assert why in str(caught.value)


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("{% for i in range(101) %}{% endfor %}", "range of 101: at most 100"),
        ("{{ 'a' * 1000000000 }}", "`*` works on numbers only"),
        ("{{ '%1000000000d' % 1 }}", "`%` works on numbers only"),
        ("{{ [0] * 1000000000 }}", "`*` works on numbers only"),
        ("{% for i in range(100) %}" + "x" * 300 + "{% endfor %}", f"comes out longer than {MAX_OUTPUT} characters"),
        ("{{ gone }}", "'gone' is undefined"),
        ("{{ 1 / 0 }}", "DivisionByZero"),
        ("{{ 'a' + 1 }}", "TypeError"),
        ("{{ 'x' | money }}", "`money` works on a number"),
        ("{{ 'x' | date }}", "`date` works on a date or datetime"),
    ],
)  # fmt: skip
def test_what_goes_wrong_while_it_is_said_is_told(source: str, why: str) -> None:
    with pytest.raises(Unfit) as caught:
        Source.of(source).render({}, SHANGHAI)
    assert why.lower() in str(caught.value).lower().replace("zerodivisionerror", "divisionbyzero")


def test_a_form_of_a_date_cannot_ask_for_a_width() -> None:
    values, _ = read_variables({"d": Variable("date")}, {"d": "2026-03-05"})
    with pytest.raises(Unfit, match="does not know the form"):
        Source.of("{{ d | date('%999999999d') }}").render(values, SHANGHAI)


@pytest.mark.parametrize(
    ("variable", "good", "bad"),
    [
        (Variable("text", max_length=2), ["ab", "", "你好"], ["abc", 1, "a\x00", None]),
        (Variable("text", values=("a", "b")), ["a"], ["c"]),
        (Variable("integer"), [0, -5], [1.0, True, "1", 10**15]),
        (Variable("number"), [1, 2.5, "12.50"], ["1e5", "x", True, float("inf"), "1" * 16]),
        (Variable("boolean"), [True, False], [1, "true"]),
        (Variable("date"), ["2026-03-05"], ["2026-3-5", "2026-02-30", 20260305]),
        (Variable("datetime"), ["2026-03-05T08:00:00+08:00"], ["2026-03-05T08:00:00", "now"]),
        (Variable("url"), ["https://10086.cn/x"], ["javascript:alert(1)", "10086.cn"]),
        (Variable("list", max_length=2), [[], ["a", "bb"]], ["a", [1], ["abc"], ["a"] * 101]),
    ],
    ids=lambda one: one.type if isinstance(one, Variable) else "",
)
def test_a_variable_takes_only_its_type(
    variable: Variable, good: list[Any], bad: list[Any]
) -> None:
    for value in good:
        assert read_variables({"v": variable}, {"v": value})[1] == [], value
    for value in bad:
        (wrong,) = read_variables({"v": variable}, {"v": value})[1]
        assert wrong.name == "v"
        assert wrong.what == ("missing" if value is None else "wrong")
        assert wrong.what == "missing" or wrong.expected == expected(variable)


BILL = """
name_zh: 账单
versions:
  1:
    valid_until: {v1_until}
    content: {{default: {{text: 一}}}}
  2:
    valid_from: {v2_from}
    variables: {{amount: {{type: number}}, name: {{required: false}}}}
    content:
      default: {{text: "二 {{{{ amount | money }}}}{{% if name is defined %}} {{{{ name }}}}{{% endif %}}"}}
      push: {{type: link, title: "{{{{ amount }}}}", url: "https://h/{{{{ amount }}}}"}}
  3:
    valid_from: {v2_from}
    organisations: [广东/广州]
    variables: {{amount: {{type: number}}}}
    content: {{default: {{text: "广州 {{{{ amount }}}}"}}}}
"""
CHANNELS = "grid: {kind: devnull}\n"


def moment(ms: int) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(ms / 1000, UTC).isoformat()


def bill(folder: Path, v1_until: int = T0 + DAY, v2_from: int = T0 + DAY) -> Config:
    (folder / "templates").mkdir(exist_ok=True)
    text = BILL.format(v1_until=moment(v1_until), v2_from=moment(v2_from))
    write(folder, channels=CHANNELS)
    (folder / "templates" / "bill.yaml").write_text(
        text.replace("push:", "devnull:"), encoding="utf-8"
    )
    return read(folder)


def name(version: Version | Unfit) -> str:
    return version.name if isinstance(version, Version) else str(version)


def test_the_version_is_the_valid_one_nearest_to_the_organisation(tmp_path: Path) -> None:
    book = bill(tmp_path).book
    gz, sz = ("广东", "广州", "天河"), ("广东", "深圳")
    assert name(book.chosen("bill", 0, T0, gz)) == "bill@1"
    assert name(book.chosen("bill", 0, T0 + DAY - 1, ())) == "bill@1"
    assert name(book.chosen("bill", 0, T0 + DAY, ())) == "bill@2"
    assert name(book.chosen("bill", 0, T0 + DAY, sz)) == "bill@2"
    assert name(book.chosen("bill", 0, T0 + DAY, gz)) == "bill@3"
    assert name(book.chosen("bill", 2, T0 + DAY, gz)) == "bill@2"
    assert name(book.chosen("bill", 2, T0, gz)) == "template bill@2 is not valid now"
    assert name(book.chosen("bill", 3, T0 + DAY, sz)) == "template bill is not for 广东/深圳"
    assert name(book.chosen("bill", 9, T0, gz)) == "there is no template bill@9"
    assert name(book.chosen("bile", 0, T0, gz)) == "there is no template bile"
    may = [version.name for version in book.possible("bill", 0, T0 + DAY, ("广东",))]
    assert may == ["bill@2", "bill@3"]
    assert [v.name for v in book.possible("bill", 0, T0 + DAY, ("湖南",))] == ["bill@2"]


def test_each_channel_kind_has_its_own_words(tmp_path: Path) -> None:
    book = bill(tmp_path).book
    version = book.chosen("bill", 2, T0 + DAY, ())
    assert isinstance(version, Version)
    assert say(version, "sms", {"amount": "8.5", "name": "李"}) == Text("二 8.50 李")
    assert say(version, "devnull", {"amount": "8.5"}) == Link("8.5", "https://h/8.5")
    refused = say(version, "sms", {"amount": "x", "more": 1})
    assert str(refused) == (
        'template bill@2: variable amount must be a number, or one in quotes like "12.50"'
    )
    assert book.payloads("bill", (1, 2), "devnull") == {Link, Text}
    assert book.payloads("bill", (2,), "sms") == {Text}


class People:
    async def many(self, asked: Any, at: int) -> dict[str, Person]:
        return {key: Person("c", "c", organisation="广东/广州") for key in asked}


async def test_the_version_of_the_moment_of_sending_is_sent_and_written_down(
    tmp_path: Path,
) -> None:
    config = bill(tmp_path)
    clock = ManualClock(T0)
    fill = Fill(lambda: config.book, FactBook(lambda: config, People(), clock).for_templates, clock)
    envelope = message(payload=Template("bill", 0, '{"amount":"3"}'), channels=("devnull",))
    first, plain = Item(envelope), Item(message())
    await fill([first, plain])
    assert (first.payload, first.decisions[0].rule) == (Text("一"), "bill@1")
    assert (plain.said, plain.payload) == (None, message().payload)
    await clock.advance(DAY / 1000)
    second = Item(envelope)
    await fill([second])
    assert second.payload == Text("广州 3")
    assert second.spoken.payload == Text("广州 3")
    assert second.envelope.payload == envelope.payload  # a later pass is free to choose again
    (decision,) = second.decisions
    assert (decision.rule, decision.verdict) == ("bill@3", "filled")
    assert decision.facts == (("organisation", "广东/广州"),)
    await Render(Scripted())([second])
    assert second.outcome is None
    third = Item(message(payload=Template("bill", 1), channels=("devnull",)))
    await fill([third])
    assert third.outcome == Rejected("message", "template bill@1 is not valid now", "template")
    assert third.decisions[0].verdict == "rejected"


async def test_an_adapter_is_handed_the_words_never_the_template(tmp_path: Path) -> None:
    from msgcenter.stages.deliver import dispatch_of

    item = Item(message(payload=Template("bill")), said=Text("一"))
    dispatch = dispatch_of(item, lambda _: "")
    assert dispatch.envelope.payload == Text("一")
    item.renew(item.envelope)
    assert item.payload == Template("bill")
    await Render(Scripted())([item])  # without words it goes nowhere
    assert item.outcome == Rejected("account", "fake does not carry Template", "payload_kind")


ONE = "versions:\n  1:\n    variables: {{{}}}\n    content: {{{}}}\n"
BAD = [
    (ONE.format("", "default: {text: '{{ a }}'}"), "templates/t.yaml:4:15  versions.1.content.default: uses `a`, which is not declared; add `a: {type: text}` under variables, or correct the name"),
    (ONE.format("a: {}", "default: {text: '{{ a | centre }}'}"), "templates/t.yaml:4:25  versions.1.content.default.text: line 1: there is no filter `centre`; known filters: abs, capitalize, date, default, first, int, join, last, length, lower, mask, money, round, title, trim, truncate, upper; correct the template"),
    (ONE.format("a: {required: false}", "default: {text: '{{ a }}'}"), "templates/t.yaml:4:15  versions.1.content.default: cannot be rendered with the required variables alone: 'a' is undefined; correct the template"),
    (ONE.format("a: {}", "default: {text: '{{ a | money }}'}"), "templates/t.yaml:4:15  versions.1.content.default: cannot be rendered with all variables: `money` works on a number, with at most 6 places; correct the template"),
    (ONE.format("", "default: {type: link, title: a, url: 'ftp://x'}"), "templates/t.yaml:4:15  versions.1.content.default: cannot be rendered with all variables: url does not come out as an http or https address; correct the template"),
    (ONE.format("", "default: {type: link, title: a}"), "templates/t.yaml:4:15  versions.1.content.default: a link needs url; add `url: …`"),
    (ONE.format("", "default: {text: a, url: b}"), "templates/t.yaml:4:15  versions.1.content.default: a text has no url; remove it, or choose another `type`"),
    (ONE.format("", "smss: {text: a}"), "templates/t.yaml:4:15  versions.1.content.smss: there is no channel kind `smss`; did you mean `sms`?"),
    (ONE.format("a: {type: integer, default: x}", "default: {text: a}"), "templates/t.yaml:3:17  versions.1.variables.a: default does not fit; it must be a whole number"),
    (ONE.format("loop: {}", "default: {text: a}"), "templates/t.yaml:2:3  versions.1: a variable may not be called `loop`; choose another name"),
    ("versions: {1: {valid_from: 2026-01-02T00:00:00Z, valid_until: 2026-01-01T00:00:00Z, content: {default: {text: a}}}}", "templates/t.yaml:1:12  versions.1: ends before it begins; set valid_until behind valid_from"),
    ("versions: {1: {valid_from: 2026-01-02, content: {default: {text: a}}}}", "templates/t.yaml:1:16  versions.1.valid_from: must be a moment; write it like 2026-03-05T22:30:00+08:00"),
    ("versions: {}", "templates/t.yaml:1:1  versions: needs at least 1 item(s); add 1 or more"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line"), BAD, ids=[line[20:90] for _, line in BAD])
def test_config_check_tries_every_template_out(tmp_path: Path, text: str, line: str) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "t.yaml").write_text(text, encoding="utf-8")
    assert faults(tmp_path) == [line]


def test_a_file_with_a_wrong_name_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "Bill Due.yaml").write_text("versions: {}")
    (tmp_path / "templates" / "other.yml").write_text("versions: {}")
    assert faults(tmp_path) == [
        "templates/Bill Due.yaml  its name cannot be a template's; rename it: small letters, digits and -, like bill-due.yaml",
        "templates/other.yml  is not read; rename it to other.yaml, or move it away",
    ]


def test_an_edited_template_is_another_configuration(tmp_path: Path) -> None:
    before, look = bill(tmp_path), fingerprint(tmp_path)
    after = bill(tmp_path, v1_until=T0 + 2 * DAY)
    assert (before.hash, before.rules_hash, look) != (after.hash, after.rules_hash, look)
    assert fingerprint(tmp_path) != look
    assert [file.name for file in after.files][-1] == "templates/bill.yaml"
    assert after.effective()["templates/bill.yaml"]["versions"]["1"]["content"] == {
        "default": {"type": "text", "text": "一"}
    }


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli.app, list(args))
    return result.exit_code, result.output


def test_the_command_lists_shows_and_renders() -> None:
    folder = str(ROOT / "config")
    code, out = run("list", folder, "--json")
    assert code == 0
    (row,) = json.loads(out)["templates"]
    assert (row["template"], row["valid"], row["channels"]) == (
        "bill-due@1",
        True,
        ["default", "sms"],
    )
    code, out = run("show", "bill-due", folder)
    assert code == 0
    assert "amount  required  a number" in out
    code, out = run("render", "bill-due", folder, "--channel", "sms", "--var", "amount=1288.5")
    assert (code, out) == (0, "bill-due@1 by sms as text\ntext: 账单1,288.50元，03月31日前缴纳。\n")
    code, out = run("render", "bill-due", folder, "--json", "--variables", '{"services": []}')
    assert code == 0
    assert json.loads(out)["content"]["type"] == "text"
    code, out = run("render", "bill-due@1", folder, "--var", "amount=many")
    assert code == 65
    assert "variable amount must be a number" in out
    assert run("render", "bill-due@7", folder)[0] == 2
    assert run("show", "bile-due", folder)[0] == 2
