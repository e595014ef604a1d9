"""`msgcenter sms numbers`: 100,000 numbers checked and deduplicated, every wrong line told with its reason."""

from __future__ import annotations

import csv
import json
from pathlib import Path

from typer.testing import CliRunner

from msgcenter.cli.sms import app

LINES = [
    "手机号,姓名",
    "13800138000,甲",
    "+86 138-0013-8000,同一个人",
    "",
    "10647123456789,十四位",
    "1064712345678,水表",
    "19212345678",
    "12345678901",
    "staff:zhangsan",
    "abc",
    "+85251234567",
]


def test_a_list_is_checked_line_by_line(tmp_path: Path) -> None:
    source, good, wrong = tmp_path / "in.csv", tmp_path / "good.txt", tmp_path / "wrong.csv"
    source.write_bytes("\n".join(LINES).encode("gb18030"))
    arguments = ["numbers", str(source), "--encoding", "gb18030", "--out", str(good)]
    ran = CliRunner().invoke(app, [*arguments, "--wrong", str(wrong), "--json"])
    assert ran.exit_code == 65
    told = json.loads(ran.stdout)
    assert told["networks"] == {"mobile": 2, "broadnet": 1, "other": 1}
    assert told["repeats"] == [{"line": 3, "number": "+8613800138000", "first": 2}]
    assert [(one["line"], one["number"]) for one in told["wrong"]] == [
        (5, "10647123456789"), (8, "12345678901"), (9, "staff:zhangsan"), (10, "abc"),
    ]  # fmt: skip
    assert all(one["why"] for one in told["wrong"])
    assert good.read_text().split() == [
        "+8613800138000", "+861064712345678", "+8619212345678", "+85251234567",
    ]  # fmt: skip
    with wrong.open(encoding="utf-8", newline="") as sheet:
        assert [row[0] for row in csv.reader(sheet)] == ["line", "5", "8", "9", "10"]
    assert CliRunner().invoke(app, ["numbers", str(source)]).exit_code == 2, "not UTF-8: said so"


def test_100000_numbers(tmp_path: Path) -> None:
    lines = [f"1{3 + n % 2 * 6}8{n:08d}" for n in range(99_000)]
    lines += lines[:900] + ["16812345678"] * 100
    ran = CliRunner().invoke(app, ["numbers", "-", "--json"], input="\n".join(lines))
    told = json.loads(ran.stdout)
    assert (told["good"], len(told["repeats"]), len(told["wrong"])) == (99_000, 900, 100)


def test_what_is_shown_to_people() -> None:
    ran = CliRunner().invoke(app, ["numbers", "-"], input="13800138000\n13300138000\n138\n")
    assert ran.exit_code == 65
    assert "2 good (mobile 1, telecom 1), 0 stand twice, 1 wrong" in ran.stdout
    ran = CliRunner().invoke(app, ["numbers", "-"], input="13800138000\n")
    assert ran.exit_code == 0
