"""`msgcenter sms parts`: what a text costs, as a table and as JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from msgcenter.cli.sms import app


def rows(*arguments: str, code: int = 0) -> list[dict[str, Any]]:
    done = CliRunner().invoke(app, ["parts", *arguments, "--json"])
    assert done.exit_code == code, done.output
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_all_protocols_with_their_own_encodings() -> None:
    found = {row["protocol"]: row for row in rows("好" * 66, "--signature", "【移动】")}
    assert {name: row["encoding"] for name, row in found.items()} == {
        "cmpp2": "ucs2", "cmpp3": "ucs2", "smpp": "ucs2", "sgip": "ucs2", "smgp": "gbk",
    }  # fmt: skip
    assert {(row["parts"], row["units"], row["octets"]) for row in found.values()} == {(1, 1, 140)}
    assert found["cmpp3"]["facts"][0] == {"rule": "signature", "said": "added at the front"}


@pytest.mark.parametrize(
    ("text", "protocol", "encoding", "parts", "units"),
    [
        ("x" * 160, "smpp", "gsm7", 1, 1),
        ("x" * 160, "cmpp3", "ascii", 2, 2),
        ("好" * 500, "cmpp3", "ucs2", 8, 8),
    ],
)
def test_one_protocol(text: str, protocol: str, encoding: str, parts: int, units: int) -> None:
    (row,) = rows(text, "--protocol", protocol)
    assert (row["encoding"], row["parts"], row["units"]) == (encoding, parts, units)


def test_what_does_not_fit_says_why() -> None:
    (row,) = rows("好" * 71, "--protocol", "cmpp3", "--max-parts", "1", code=65)
    assert row["error"]["rule"] == "max_parts"


def test_the_table_and_wrong_words() -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["parts", "您好", "--protocol", "sgip"])
    assert done.exit_code == 0
    assert "sgip" in done.stdout
    assert runner.invoke(app, ["parts", "您好", "--protocol", "cmpp9"]).exit_code == 2
    assert runner.invoke(app, ["parts", "您好", "--signature", "移动"]).exit_code == 2


def test_a_text_from_stdin() -> None:
    done = CliRunner().invoke(
        app, ["parts", "-", "--protocol", "cmpp3", "--json"], input="您好\n再见\n"
    )
    assert done.exit_code == 0, done.output
    [row] = json.loads(done.stdout)
    assert (row["text"], row["characters"]) == ("您好\n再见", 5)
    done = CliRunner().invoke(app, ["parts", "-"], input=b"\xff\xfe")
    assert done.exit_code == 2
    assert "stdin is not UTF-8" in done.output
