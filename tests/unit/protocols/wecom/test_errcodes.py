"""Every errcode of the reference, section 2.1, against a table written here by hand: class, scope, and what is to be done."""

from __future__ import annotations

import pytest

from protocols.outcome import Rejected, Retry, Sent, Unknown
from protocols.wecom import errcodes
from protocols.wecom.errcodes import Action, Do, outcome_of, outcome_of_status, row_of

# One line for each class of the document: codes in its order, then (kind, scope, alert).
TABLE = [
    ("transient", "-1 6000", "retry", "message", False),
    ("not_ready", "41063 41079 41096", "retry", "message", False),
    ("not_ready", "45033", "retry", "channel", False),
    ("token", "40014 42001 40001 42009 41001", "refresh", "channel", False),
    ("rate", "45009 81017", "wait", "channel", False),
    (
        "setup",
        "40013 40091 40056 43004 43009 43012 45031 48001 48002 48004 48005 48006 48007 50001 50003 60011 60020 60021 "
        "60031 301002 301007 301042 301052 301053 610016 701008 95003 95011 95012 95017 95023 41002 41004",
        "retry",
        "channel",
        True,
    ),
    (
        "recipient",
        "40003 40050 40096 46004 60111 50002 60003 81012 81013 82001 84061 84074 84084 86001 86003 86008 86215 86216 "
        "86217 93000 93004 93006 93008 95000 95004 95014 95031 86004 86005 86006 86007 86101 86201 86202 86203 86204 "
        "86205 86206 86207 41048 41054 301061",
        "rejected",
        "recipient",
        False,
    ),
    (
        "content",
        "40004 40005 40006 40008 40009 40011 40033 40035 40058 40063 40123 40206 41006 41009 41011 41016 41033 41035 "
        "41064 41065 44001 44004 45001 45002 45007 45008 45034 82002 82003 82004 95008 95009 95022 95030 "
        "42014 42015 42016 42017 42018 42019 42020 42021 42022 42023 42024 42025 42026 42027 42028 42029 42030 42031 "
        "42032 42033 42034 42035 42036 42037 42038 42039 42040 42041 42042 42043 42044 42045 42046 42047 42048 42049 "
        "42050 42051 41046 41047 41088 95005 95006 95026 95027 301048 301058 301059 301060 610014 830002",
        "rejected",
        "message",
        False,
    ),
    ("media", "40007", "reupload", "message", False),
    (
        "window",
        "41049 41050 41051 41052 41053 41093 41094 42052 60140 95001 95002 95013 95016 95018 95019 95007",
        "rejected",
        "recipient",
        False,
    ),
    (
        "transfer",
        "40097 40098 40099 40100 40128 40129 40130 40131 90500 90501",
        "rejected",
        "recipient",
        False,
    ),
    ("abuse", "40143", "rejected", "account", True),
    ("abuse", "40201 40204", "rejected", "message", True),
]
ROWS = [
    (int(code), cls, kind, scope, alert)
    for cls, codes, kind, scope, alert in TABLE
    for code in codes.split()
]


@pytest.mark.parametrize(("errcode", "cls", "kind", "scope", "alert"), ROWS)
def test_row(errcode: int, cls: str, kind: str, scope: str, alert: bool) -> None:
    row = row_of(errcode)
    assert (row.errcode, row.cls, row.alert) == (errcode, cls, alert)
    found = outcome_of(errcode, "some text", "message/send")
    match kind:
        case "retry":
            assert isinstance(found, Retry)
            assert (found.scope, found.code) == (scope, f"wecom_{errcode}")
            assert f"WeCom {errcode}" in found.detail
        case "rejected":
            assert isinstance(found, Rejected)
            assert (found.scope, found.code) == (scope, f"wecom_{errcode}")
        case "refresh":
            assert isinstance(found, Action)
            assert found.do is Do.REFRESH_TOKEN
            assert isinstance(found.otherwise, Retry)
            assert found.otherwise.scope == scope
        case "wait":
            assert isinstance(found, Action)
            assert found.do is Do.WAIT_WINDOW
            assert found.seconds == 60
            assert isinstance(found.otherwise, Retry)
            assert found.otherwise.scope == scope
        case _:
            assert isinstance(found, Action)
            assert found.do is Do.REUPLOAD_MEDIA
            assert isinstance(found.otherwise, Rejected)
            assert found.otherwise.scope == scope


def test_the_table_has_exactly_these_rows() -> None:
    codes = [errcode for errcode, *_ in ROWS]
    assert len(set(codes)) == len(codes)
    assert set(errcodes.ROWS) == {0, *codes}
    assert all(row.words and number == row.errcode for number, row in errcodes.ROWS.items())


def test_success() -> None:
    assert outcome_of(0, "ok", "message/send") == Sent()


@pytest.mark.parametrize("errcode", [1, 99999, -2, 123456789])
def test_a_code_that_is_not_listed_is_tried_again_and_reported(errcode: int) -> None:
    found = outcome_of(errcode, "new text")
    assert isinstance(found, Retry)
    assert (found.scope, found.code) == ("message", "wecom_unlisted")
    assert str(errcode) in found.detail
    assert row_of(errcode).alert


@pytest.mark.parametrize(
    ("api", "seconds"),
    [
        ("message/send", (60, 3600, 86_400, 86_400)),
        ("appchat/create", (60, 3600, 86_400, 86_400)),
        ("appchat/send", (60, 3600, 3600)),
        ("webhook/send", (60, 60)),
        ("gettoken", (3600, 3600)),
        ("media/uploadimg", (60, 3600, 86_400, 2_592_000)),
        ("kf/send_msg", (60, 3600, 3600)),
        ("externalcontact/add_msg_template", (60, 3600, 3600)),
        ("", (60, 3600, 3600)),
    ],
)
def test_whole_windows_are_waited_the_longer_ones_when_it_did_not_help(
    api: str, seconds: tuple[int, ...]
) -> None:
    for strikes, wanted in enumerate(seconds):
        found = outcome_of(45009, "", api, strikes)
        assert isinstance(found, Action)
        assert found.seconds == wanted
        assert isinstance(found.otherwise, Retry)
        assert found.otherwise.after == wanted


def test_the_text_is_quoted_short_and_never_read() -> None:
    told = outcome_of(40003, "x" * 5000)
    assert isinstance(told, Rejected)
    assert len(told.detail) < 200
    assert outcome_of(0, "access_token expired") == Sent()


def test_http_answers_without_an_errcode() -> None:
    assert isinstance(outcome_of_status(502, sends=True), Unknown)
    assert isinstance(outcome_of_status(200, sends=True), Unknown)
    assert isinstance(outcome_of_status(502, sends=False), Retry)
    assert isinstance(outcome_of_status(404, sends=True), Retry)
    assert isinstance(outcome_of_status(302, sends=True), Retry)
