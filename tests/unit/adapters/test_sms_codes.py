"""A province's own codes over the protocols' tables, and settings that say what is wrong."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from adapters.sms import SmsSettings
from adapters.sms.codes import read_codes
from msgcenter.adapter import Secret, TextFile
from msgcenter.config.values import SecretReader
from protocols.cmpp import results as cmpp
from protocols.outcome import Rejected, Retry
from protocols.sgip import results as sgip
from protocols.smgp import results as smgp
from protocols.smpp import results as smpp

ROWS = """
cmpp:
  results: {103: throttled, 110: recipient, 13: message}
  stats: {"MK:0012": unknown, DTBLACK: undelivered, RETRYING: ignore, OK: delivered}
  ported: {"NP:1300": telecom, "23": "!"}
sgip:
  results: {91: temporary}
"""
BASE: dict[str, Any] = {
    "host": "127.0.0.1", "account": "901234", "secret": Secret("s"), "src": "1069",
}  # fmt: skip


@pytest.mark.parametrize(
    ("code", "told", "state"),
    [
        ("MK:0012", "undelivered", "unknown"),
        ("DTBLACK", "undelivered", "undelivered"),
        ("RETRYING", "undelivered", None),
        ("OK", "undelivered", "delivered"),
        ("DELIVRD", "delivered", "delivered"),
        ("MK:0001", "undelivered", "undelivered"),
    ],
)
def test_stats_row_by_row(code: str, told: Any, state: str | None) -> None:
    assert read_codes(TextFile("gd.yaml", ROWS)).of("cmpp3").state(code, told) == state


@pytest.mark.parametrize(
    ("code", "carrier"),
    [("NP:1243", "unicom"), ("NP:1300", "telecom"), ("NP:9999", "!"), ("23", "!"), ("22", "")],
)
def test_which_codes_say_that_a_number_has_moved(code: str, carrier: str) -> None:
    assert read_codes(TextFile("gd.yaml", ROWS)).of("cmpp2").ported_to(code) == carrier


TABLES = {"cmpp": cmpp.CODES, "smpp": smpp.CODES, "sgip": sgip.CODES, "smgp": smgp.CODES}
#: Class -> what becomes of a message that is refused with a code of it.
CLASSED = {
    "throttled": Retry("channel", "flow control", 2.0, "throttled"),
    "temporary": Retry("message", "vendor code, temporary", 0.0, "vendor_temporary"),
    "recipient": Rejected("recipient", "vendor code, recipient refused", "vendor_recipient"),
    "message": Rejected("message", "vendor code, message refused", "vendor_refused"),
    "account": Rejected("account", "vendor code, account refused", "vendor_account"),
    "channel": Retry("channel", "vendor code, gateway in trouble", 0.0, "vendor_channel"),
}


@pytest.mark.parametrize("family", TABLES)
@pytest.mark.parametrize("name", CLASSED)
@pytest.mark.parametrize("own", [False, True], ids=["vendor's code", "protocol's code"])
def test_a_row_of_the_overlay_goes_before_the_protocols_table(
    family: str, name: str, own: bool
) -> None:
    codes = TABLES[family]
    code = next(iter(codes.rules)) if own else 199
    rows = read_codes(TextFile("gd.yaml", f"{family}: {{results: {{{code}: {name}}}}}"))
    results = getattr(rows, family).results
    found, wanted = codes.outcome_of(code, results, 2.0), CLASSED[name]
    assert replace(found, detail=found.detail.partition(": ")[2]) == wanted
    assert codes.is_flow_control(code, results) is (name == "throttled")
    bare = codes.outcome_of(code, after=2.0)
    if own:
        assert bare == codes.outcome_of(code, {}, 2.0)
        assert codes.rule_of(code) is codes.rules[code], "without the row the protocol's own"
    else:
        assert (type(bare), bare.code) == (Rejected, "vendor_refused"), "what no table has"


def test_the_shipped_file_of_a_province_can_be_read() -> None:
    file = Path(__file__).parents[3] / "config" / "codes" / "guangdong.yaml"
    assert read_codes(TextFile(file.name, file.read_text())).of("cmpp3").ported_to("NP:1243") == (
        "unicom"
    )


def test_no_file_is_no_rows() -> None:
    assert read_codes(None).of("smgp").results == {}
    assert read_codes(TextFile("empty.yaml", "")).of("smpp").results == {}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cmpp:\n  results: {103: slow}", "gd.yaml, cmpp → results → 103"),
        ("cmpp:\n  results: {abc: throttled}", "gd.yaml, cmpp → results → abc"),
        ("cmpp:\n  stats: {X: lost}", "gd.yaml, cmpp → stats → X"),
        ("cmpp:\n  ported: {X: vodafone}", "gd.yaml, cmpp → ported → X"),
        ("cmp: {}", "gd.yaml, cmp: "),
        ("cmpp: [", "gd.yaml, line 1 is not YAML"),
    ],
)
def test_a_wrong_row_is_named(text: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SmsSettings.model_validate(BASE | {"codes": TextFile("gd.yaml", text)})
    assert words in str(caught.value)


def test_the_file_lies_beside_the_configuration_and_is_watched(tmp_path: Path) -> None:
    (tmp_path / "codes").mkdir()
    file = tmp_path / "codes" / "guangdong.yaml"
    file.write_text(ROWS)
    reader = SecretReader(os.environ, tmp_path)
    settings = SmsSettings.model_validate(
        BASE | {"codes": "codes/guangdong.yaml"}, context={"secrets": reader}
    )
    assert settings.province.of("sgip").results == {91: "temporary"}
    assert file in reader.files
    assert json.loads(settings.model_dump_json(include={"codes"})) == {
        "codes": "codes/guangdong.yaml"
    }
    file.write_text("")
    again = SmsSettings.model_validate(
        BASE | {"codes": "codes/guangdong.yaml"}, context={"secrets": reader}
    )
    assert again != settings
    with pytest.raises(ValidationError, match="cannot read"):
        SmsSettings.model_validate(BASE | {"codes": "no.yaml"}, context={"secrets": reader})


TWO_SGIP: dict[str, Any] = {
    "protocol": "sgip",
    "listen": {"port": 8801},
    "sgip": {"node": 3_075_500_001, "corp_id": "00001"},
    "suppliers": {"a": {"weight": 1}, "b": {"weight": 1}},
}


def test_gateways_that_call_us_are_known_by_their_login() -> None:
    named = {"a": {"sgip": {"listen_account": "east"}}, "b": {}, "c": {"secret": Secret("other")}}
    SmsSettings.model_validate(BASE | TWO_SGIP | {"suppliers": named})
    SmsSettings.model_validate(BASE | TWO_SGIP | {"listen": None})  # nobody calls


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"host": ""}, "host missing"),
        ({"account": "9012345"}, "account is too long"),
        ({"protocol": "smpp", "secret": Secret("123456789")}, "secret is too long"),
        ({"protocol": "sgip"}, "sgip.node, sgip.corp_id missing"),
        ({"signature": "移动"}, "must be a name in brackets"),
        ({"signature": "【】"}, "must be a name in brackets"),
        ({"ranges": {"abc": "mobile"}}, "ranges.abc"),
        ({"suppliers": {"b": {"src": ""}}}, "supplier b: src missing"),
        ({"suppliers": {"b": {"wieght": 2}}}, "suppliers.b.wieght"),
        ({"suppliers": {"b": 1}}, "suppliers.b"),
        (TWO_SGIP, "suppliers a and b: their gateways log in with us alike"),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SmsSettings.model_validate(BASE | changes)
    assert words in str(caught.value)


def test_a_supplier_takes_from_the_channel_what_it_does_not_say() -> None:
    settings = SmsSettings.model_validate(
        BASE
        | {
            "window": 32,
            "weight": 9,
            "smpp": {"long": "sar", "dest_npi": 0},
            "suppliers": {
                "east": {"weight": 3},
                "west": {
                    "host": "10.0.0.9",
                    "protocol": "smpp",
                    "backup": True,
                    "smpp": {"dest_npi": 8},
                },
            },
        }
    )
    east, west = settings.endpoints["east"], settings.endpoints["west"]
    assert (east.at, east.window, east.weight) == (("127.0.0.1", 7890), 32, 3)
    assert (west.at, west.window, west.weight) == (("10.0.0.9", 2775), 32, 1.0)
    assert (west.smpp.long, west.smpp.dest_npi, west.src) == ("sar", 8, "1069")
    assert list(SmsSettings.model_validate(BASE).endpoints) == ["main"]
