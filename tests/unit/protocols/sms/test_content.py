"""What a channel puts into a text, case by case, and why."""

from __future__ import annotations

import pytest

from protocols.sms.coding import CODINGS
from protocols.sms.content import Place, Rules, Unfit, can_refuse, fit, sign, with_opt_out

SIGN = "【移动】"


@pytest.mark.parametrize(
    ("text", "place", "signed", "said"),
    [
        ("您好", "front", "【移动】您好", "added at the front"),
        ("您好", "end", "您好【移动】", "added at the end"),
        ("【移动】您好", "front", "【移动】您好", "there already"),
        ("您好【移动】", "end", "您好【移动】", "there already"),
        ("您好【移动】", "front", "【移动】您好", "once at the front"),
        ("【移动】【移动】您好", "front", "【移动】您好", "once at the front, 1 more dropped"),
        ("【移动】您好 【移动】", "end", "您好【移动】", "once at the end, 1 more dropped"),
        (
            "请关注【移动】公众号",
            "front",
            "【移动】请关注移动公众号",
            "once at the front, 1 within the text written without brackets",
        ),
        ("【重要】您好", "front", "【移动】【重要】您好", "added at the front"),
        ("  您好\n", "front", "【移动】  您好\n", "added at the front"),
        ("【移动】", "front", "【移动】", "there already"),
    ],
)
def test_a_signature_stands_exactly_once(text: str, place: Place, signed: str, said: str) -> None:
    assert sign(text, SIGN, place) == (signed, said)
    assert signed.count(SIGN) == 1
    assert sign(signed, SIGN, place) == (signed, "there already"), "and stays so"


def test_no_signature_leaves_the_text_alone() -> None:
    assert sign("【移动】您好【移动】", "") == ("【移动】您好【移动】", "")


@pytest.mark.parametrize(
    ("text", "opt_out", "signature", "done", "said"),
    [
        ("大促", "拒收请回复R", "", "大促拒收请回复R", "appended"),
        ("大促", "", "", "大促", ""),
        ("大促，回T退订", "拒收请回复R", "", "大促，回T退订", "there already"),
        ("大促，回t退订。", "拒收请回复R", "", "大促，回t退订。", "there already"),
        ("大促 拒收请回复R", "，拒收请回复R", "", "大促 拒收请回复R", "there already"),
        ("回T退订的说明", "，回T退订", "", "回T退订的说明，回T退订", "appended"),
        ("大促【移动】", "，回T退订", SIGN, "大促，回T退订【移动】", "appended"),
        ("大促，回T退订【移动】", "，回T退订", SIGN, "大促，回T退订【移动】", "there already"),
        ("【移动】大促", "，回T退订", SIGN, "【移动】大促，回T退订", "appended"),
    ],
)
def test_marketing_says_how_to_refuse(
    text: str, opt_out: str, signature: str, done: str, said: str
) -> None:
    assert with_opt_out(text, opt_out, signature) == (done, said)


@pytest.mark.parametrize(
    ("text", "yes"),
    [("回T退订", True), ("拒收请回复R。", True), ("退订回TD", True), ("退订", False), ("", False)],
)
def test_ways_to_refuse_are_known(text: str, yes: bool) -> None:
    assert can_refuse(text) is yes


@pytest.mark.parametrize(
    ("characters", "protocol", "marketing", "parts", "units"),
    [
        (66, "cmpp3", False, 1, 1),  # with four of the signature: 70
        (67, "cmpp3", False, 2, 2),
        (61, "cmpp3", True, 1, 1),  # and five of the opt-out words
        (62, "cmpp3", True, 2, 2),
        (130, "cmpp3", False, 2, 2),  # 134 = 2 x 67
        (131, "cmpp3", False, 3, 3),
        (66, "smgp", False, 1, 1),
    ],
)
def test_signature_and_opt_out_count_in_the_length(
    characters: int, protocol: str, marketing: bool, parts: int, units: int
) -> None:
    rules = Rules(SIGN, "front", "，回T退订")
    found = fit("好" * characters, rules, CODINGS[protocol], marketing=marketing)
    assert (found.parts, found.units) == (parts, units)
    assert found.text.startswith(SIGN)
    names = ["signature", "opt_out", "encoding"] if marketing else ["signature", "encoding"]
    assert [fact.rule for fact in found.facts] == names
    assert found.facts[-1].said.endswith(f"parts {parts}, units {units}")


@pytest.mark.parametrize(
    ("text", "most", "rule"),
    [("", 255, "empty"), ("好" * 71, 1, "max_parts"), ("好" * 67 * 256, 255, "max_parts")],
)
def test_what_does_not_fit_is_refused_by_name(text: str, most: int, rule: str) -> None:
    with pytest.raises(Unfit) as caught:
        fit(text, Rules(max_parts=most), CODINGS["cmpp3"])
    assert caught.value.rule == rule


def test_characters_that_no_coding_has_are_refused() -> None:
    with pytest.raises(Unfit) as caught:
        fit("好", Rules(), CODINGS["smpp"][:1])
    assert caught.value.rule == "encoding"
