"""Opt-out words: the whole text, on the numbers they are configured for, and never a question about it."""

from __future__ import annotations

import pytest

from msgcenter.policy.opt_out import OptOutRule, plain, read, rule_for

PORTS = OptOutRule(
    "ports",
    ("106*",),
    out=frozenset({"r", "t", "td", "n", "q", "qx", "0000", "stop", "退订", "取消", "拒收"}),
    back=frozenset({"start", "恢复接收"}),
    answer_out="已退订",
    answer_back="已恢复",
)
HALL = OptOutRule("hall", ("10086",))
LOUD = OptOutRule(
    "loud", ("10690*",), out=frozenset({"td", "退订"}), back=frozenset({"恢复"}), inside=True
)
RULES = (PORTS, HALL)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "TD",
            "td",
            "Td",
            " TD ",
            "ＴＤ",
            "ｔｄ。",
            "T D",
            "TD!",
            "“TD”",
            "T\u200bD",
            "\ufeffTD\r\n",
        ),
        *(
            "R",
            "T",
            "N",
            "Q",
            "QX",
            "0000",
            "００００",
            "STOP",
            "stop.",
            "退订",
            "退 订",
            "【退订】",
        ),
        *("取消", "拒收！", "退订\u3000"),
    ],
)
def test_a_word_however_it_is_typed(text: str) -> None:
    command = read(RULES, "10690000101", text)
    assert command is not None
    assert (command.action, command.rule, command.answer) == ("out", "ports", "已退订")


@pytest.mark.parametrize(
    "text",
    [
        *("怎么退订？", "退订什么意思", "我要TD", "TDX", "TD退订", "T1", "不退订", "000", "00000"),
        *("", " ", "。", "Y", "👍", "nope", "取消订单", "TD" + "。" * 300),
    ],
)
def test_a_sentence_is_a_message(text: str) -> None:
    assert read(RULES, "10690000101", text) is None


def test_a_word_to_come_back() -> None:
    command = read(RULES, "1069", "恢复 接收")
    assert command is not None
    assert (command.action, command.word, command.answer) == ("back", "恢复接收", "已恢复")


def test_business_numbers_pass_everything_on() -> None:
    for text in ("TD", "0000", "退订", "QX"):
        assert read(RULES, "10086", text) is None
        assert read(RULES, "95588", text) is None  # no rule at all
    assert read((*RULES, OptOutRule("rest", out=frozenset({"td"}))), "95588", "TD") is not None


def test_the_nearest_rule_is_the_one() -> None:
    rest, exact = OptOutRule("rest"), OptOutRule("exact", ("1069001",))
    rules = (rest, PORTS, LOUD, exact)
    assert [
        rule.name if (rule := rule_for(rules, number)) else None
        for number in ("1069001", "10690011", "1065", "1000")
    ] == ["exact", "loud", "ports", "rest"]


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("我要退订这个", "out"),
        ("请 退\u200b订", "out"),
        ("please TD now", "out"),
        ("TDX", None),
        ("std", None),
        ("恢复吧", "back"),
        ("不要恢复，退订", "out"),
        ("退订" + "很" * 300, None),
    ],
)
def test_inside_a_text_only_where_that_is_configured(text: str, action: str | None) -> None:
    command = read((PORTS, LOUD), "106901", text)
    assert (command.action if command else None) == action


def test_plain_is_what_words_are_stored_as() -> None:
    for word in ("td", "退订", "0000"):
        assert plain(word) == word
    assert plain("…") == ""


CHATS = OptOutRule(
    "chats", kinds=frozenset({"wecom-kf"}), out=frozenset({"免打扰", "td"}), scope="all"
)
OTHERS = OptOutRule("others", out=frozenset({"stop"}))


@pytest.mark.parametrize(
    ("number", "kind", "rule"),
    [
        ("wk1", "wecom-kf", "chats"),
        ("wk1", "wecom-app", "others"),
        ("10690000101", "sms", "ports"),
        ("10690000101", "wecom-kf", "ports"),  # a number says more than a kind
        ("10086", "sms", "hall"),
        ("955", "sms", "others"),
    ],
)
def test_a_kind_is_nearer_than_all_others_and_a_number_nearer_than_a_kind(
    number: str, kind: str, rule: str
) -> None:
    found = rule_for((OTHERS, CHATS, *RULES), number, kind)
    assert found is not None
    assert found.name == rule


def test_a_rule_of_numbers_and_kinds_needs_both() -> None:
    both = OptOutRule("both", ("955*",), frozenset({"sms"}), out=frozenset({"td"}))
    assert read((both,), "95588", "TD", "sms") is not None
    assert read((both,), "95588", "TD", "wecom-kf") is None
