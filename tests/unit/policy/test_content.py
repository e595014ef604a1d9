"""Content: words are found however they are disguised, personal data by its check digits, links by the host they lead to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from msgcenter.policy.content import (
    Content,
    ContentRule,
    Hit,
    bank_card,
    host_of,
    id_card,
    phone,
)
from msgcenter.policy.when import Facts, Matcher

ANY = Facts(category="care", channel="sms")
WORDS = ContentRule("words", "block", words=("发票", "Free Money", "赌博网站", "博网"))
PERSONAL = ContentRule(
    "personal", "mask", personal=frozenset({"id_card", "bank_card", "phone", "email"})
)
LINKS = ContentRule("links", "hold", links=frozenset({"10086.cn"}))


def found(text: str, *rules: ContentRule) -> list[tuple[str, str]]:
    """(what, the part of the text) of every hit."""
    hits = Content(rules or (WORDS,)).check(text, ANY).hits
    return [(hit.what, text[hit.start : hit.end]) for hit in hits]


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("代开发票", [("发票", "发票")]),
        ("代开发 票！", [("发票", "发 票")]),
        ("发\u200b·票", [("发票", "发\u200b·票")]),
        ("发*票和发票", [("发票", "发*票"), ("发票", "发票")]),
        ("ＦＲＥＥ ｍｏｎｅｙ", [("Free Money", "ＦＲＥＥ ｍｏｎｅｙ")]),
        ("f r e e m o n e y now", [("Free Money", "f r e e m o n e y")]),
        ("⑴ freemoney", [("Free Money", "freemoney")]),
        ("carefree moneys", []),
        ("carefree money", []),
        ("free moneyx", []),
        ("我要freemoney吗", [("Free Money", "freemoney")]),
        ("赌博网站", [("赌博网站", "赌博网站"), ("博网", "博网")]),
        ("发。票", []),
        ("尊敬的客户，您好", []),
        ("", []),
    ],
)
def test_words(text: str, hits: list[tuple[str, str]]) -> None:
    assert found(text) == hits


@given(
    st.text(alphabet="发票 \u200b·fFree Ｍmoney赌博网站x", max_size=40),
)
def test_a_span_always_reads_as_its_word(text: str) -> None:
    for what, part in found(text):
        kept = [c for c in part if c not in " \u200b·*"]
        assert len(kept) == len(what.replace(" ", ""))


def test_no_word_is_missed_when_characters_grow_or_vanish() -> None:
    # ﬃ is three letters, ㍿ four characters, ² a digit: places still point into the text as given
    assert found("ﬃ㍿²发\u3000票") == [("发票", "发\u3000票")]
    assert found("a㈱b", ContentRule("w", "mask", words=("(株)",))) == [("(株)", "㈱")]


#: Worked out by hand: 17 digits times the weights 7 9 10 5 8 4 2 1 6 3 7 9 10 5 8 4 2, summed, modulo 11.
#: 11010519491231002: 7+9+0+5+0+20+2+9+24+27+7+18+30+5+0+0+4 = 167 = 15*11+2, and 2 stands for X.
@pytest.mark.parametrize(
    ("digits", "good"),
    [
        ("11010519491231002X", True),
        ("110105194912310021", False),
        ("11010519491331002X", False),  # month 13
        ("11010519491231002", False),
    ],
)
def test_identity_numbers(digits: str, good: bool) -> None:
    assert id_card(digits) is good


#: 4111111111111111: from the right every second digit doubled: 8+7*2 + 8*1 = 30.
@pytest.mark.parametrize(
    ("digits", "good"),
    [("4111111111111111", True), ("4111111111111112", False), ("411111111111111", False)],
)
def test_bank_cards(digits: str, good: bool) -> None:
    assert bank_card(digits) is good


def test_mobile_numbers() -> None:
    assert [phone(n) for n in ("13800138000", "8613800138000", "008613800138000")] == [True] * 3
    assert [phone(n) for n in ("12800138000", "1380013800", "95013800138000")] == [False] * 3


@pytest.mark.parametrize(
    ("text", "hits"),
    [
        ("证件11010519491231002X。", [("id_card", "11010519491231002X")]),
        ("卡号 4111 1111 1111 1111，", [("bank_card", "4111 1111 1111 1111")]),
        ("卡号4111-1111-1111-1111", [("bank_card", "4111-1111-1111-1111")]),
        ("１３８００１３８０００", [("phone", "１３８００１３８０００")]),
        ("电话+8613800138000", [("phone", "8613800138000")]),
        ("写给a.b@example.com。", [("email", "a.b@example.com")]),
        ("订单号20260305123456789", []),
        ("验证码 123456，10086", []),
    ],
)
def test_personal_data(text: str, hits: list[tuple[str, str]]) -> None:
    assert found(text, PERSONAL) == hits


def test_one_sort_may_be_let_pass() -> None:
    cards = ContentRule("cards", "block", personal=frozenset({"bank_card"}))
    assert found("13800138000", cards) == []


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("见 https://gd.10086.cn/x?a=1 。", []),
        ("见10086.cn。", []),
        ("http://10086.cn.evil.com/", ["10086.cn.evil.com"]),
        ("http://x10086.cn/", ["x10086.cn"]),
        ("http://10086.cn@evil.com/", ["evil.com"]),
        ("http://evil.com\\@10086.cn/", ["evil.com"]),
        ("HTTP://EVIL.COM", ["evil.com"]),
        ("ｗｗｗ．ｅｖｉｌ．ｃｏｍ", ["www.evil.com"]),
        ("去evil.top/abc领奖", ["evil.top"]),
        ("去evil.top领奖", ["evil.top"]),
        ("evil。com", ["evil.com"]),
        ("见10086.cn。Reply", []),
        ("evil.com。Reply now", ["evil.com"]),
        ("weixin://dl/business/?t=1", ["dl"]),
        ("http:///path", [""]),
        ("版本3.5，文件a.txt，共1.2.3节", []),
        ("a@example.com", []),
    ],
)
def test_links(text: str, hosts: list[str]) -> None:
    assert [what for what, _ in found(text, LINKS)] == hosts


def test_no_links_at_all() -> None:
    assert found("10086.cn", ContentRule("links", "block", links=frozenset())) != []


def test_host_of_odd_links() -> None:
    assert host_of("http://[::1/") == ""
    assert host_of("www.10086.cn.") == "www.10086.cn"


def test_the_strictest_action_wins_and_masks_are_laid_all_the_same() -> None:
    text = "发票 13800138000 evil.com"
    checked = Content((WORDS, PERSONAL, LINKS)).check(text, ANY)
    assert checked.verdict == "block"
    assert checked.text == "发票 *********** evil.com"
    assert Content((PERSONAL, LINKS)).check(text, ANY).verdict == "hold"
    assert Content((PERSONAL,)).check(text, ANY).verdict == "mask"
    assert Content((PERSONAL,)).check("您好", ANY).verdict == "pass"
    assert checked.hits[0] == Hit("words", "block", 0, 2, "发票")


def test_a_rule_binds_where_its_when_holds() -> None:
    rule = ContentRule("w", "block", Matcher(categories=frozenset({"marketing"})), ("发票",))
    content = Content((rule,))
    assert content.check("发票", ANY).verdict == "pass"
    assert content.check("发票", Facts(category="marketing")).verdict == "block"


def test_overlapping_masks_cover_both() -> None:
    rules = ContentRule("w", "mask", words=("甲乙", "乙丙"))
    assert Content((rules,)).check("甲乙丙丁", ANY).text == "***丁"


def test_ten_thousand_words_are_compiled_and_used() -> None:
    words = tuple(f"词{n}语" for n in range(10_000))
    content = Content((ContentRule("many", "block", words=words),))
    assert content.check("这是词9999语", ANY).hits[0].what == "词9999语"
    assert content.check("这是一条普通的通知" * 40, ANY).verdict == "pass"


@pytest.mark.parametrize(
    "part", ["1 ", "1-", "a.", "a-", "a", "a@", "@a.", "www.", "://", "发 ", "。"]
)
def test_no_text_takes_for_ever(part: str) -> None:
    """Patterns that backtrack without bound would hang here, until the limit of every test."""
    Content((WORDS, PERSONAL, LINKS)).check(part * 20_000, ANY)


@given(st.text(max_size=200))
def test_any_text_is_checked_and_keeps_its_length(text: str) -> None:
    checked = Content((WORDS, PERSONAL, LINKS)).check(text, ANY)
    assert len(checked.text) == len(text)
    assert all(0 <= hit.start < hit.end <= len(text) for hit in checked.hits)
