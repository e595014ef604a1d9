"""Limits: the documented figures once more, by hand, and octets told apart from characters."""

from __future__ import annotations

import pytest

from protocols.errors import Malformed
from protocols.wecom.limits import BOUNDS, RATES, WINDOWS_S, at_most, between, user_ids


@pytest.mark.parametrize(
    ("name", "count", "seconds", "excess"),
    [
        ("api.minute", 10_000, 60, "error"),
        ("api.hour", 150_000, 3600, "error"),
        ("ip.minute", 20_000, 60, "error"),
        ("ip.hour", 600_000, 3600, "error"),
        ("ip.provider.minute", 40_000, 60, "error"),
        ("ip.provider.hour", 1_200_000, 3600, "error"),
        ("app.member.minute", 30, 60, "silent"),
        ("app.member.hour", 1_000, 3600, "silent"),
        ("appchat.create.day", 1_000, 86400, "error"),
        ("appchat.update.hour", 1_000, 3600, "error"),
        ("appchat.minute", 20_000, 60, "error"),
        ("appchat.hour", 150_000, 3600, "error"),
        ("appchat.member.minute", 200, 60, "silent"),
        ("appchat.member.day", 10_000, 86400, "silent"),
        ("robot.minute", 20, 60, "error"),
        ("uploadimg.day", 1_000, 86400, "error"),
        ("uploadimg.month", 3_000, 30 * 86400, "error"),
        ("archive.minute", 600, 60, "error"),
        ("idconvert.hour", 100_000, 3600, "error"),
        ("idconvert.day", 480_000, 86400, "error"),
        ("idconvert.month", 7_500_000, 30 * 86400, "error"),
        ("remind.day", 3, 86400, "error"),
        ("transfer.groups.day", 300, 86400, "error"),
        ("kf.session", 5, 48 * 3600, "error"),
    ],
)
def test_rates(name: str, count: int, seconds: int, excess: str) -> None:
    rate = RATES[name]
    assert (rate.count, rate.seconds, rate.excess) == (count, seconds, excess)


@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        ("token", 7200),
        ("media", 259_200),
        ("recall", 86_400),
        ("card.response_code", 86_400),
        ("duplicate.default", 1800),
        ("duplicate.most", 14_400),
        ("kf.history", 259_200),
        ("kf.token", 600),
        ("kf.session", 172_800),
        ("kf.welcome", 20),
        ("welcome", 20),
        ("archive.history", 432_000),
        ("callback.answer", 5),
    ],
)
def test_windows(name: str, seconds: int) -> None:
    assert WINDOWS_S[name] == seconds


@pytest.mark.parametrize(
    ("name", "most"),
    [
        ("app.text.content", 2048),
        ("app.markdown.content", 2048),
        ("app.mpnews.content", 681_984),
        ("robot.markdown.content", 4096),
        ("kf.text.content", 2048),
        ("mass.text.content", 4000),
    ],
)
def test_text_bounds_count_octets(name: str, most: int) -> None:
    at_most(name, "a" * most)
    at_most(name, "您" * (most // 3))
    for text in ("a" * (most + 1), "您" * (most // 3 + 1)):
        with pytest.raises(Malformed, match=rf"{name}: \d+ octets, at most {most}"):
            at_most(name, text)


@pytest.mark.parametrize(
    ("name", "most"),
    [("appchat.name", 50), ("app.textcard.btntxt", 4), ("transfer.success_msg", 200)],
)
def test_name_bounds_count_characters(name: str, most: int) -> None:
    at_most(name, "您" * most)
    with pytest.raises(Malformed, match=f"{name}: {most + 1} characters, at most {most}"):
        at_most(name, "您" * (most + 1))


def test_lists_and_numbers() -> None:
    between("appchat.userlist", ["a", "b"])
    with pytest.raises(Malformed, match="1 items, at least 2"):
        between("appchat.userlist", ["a"])
    with pytest.raises(Malformed, match="2001 items, at most 2000"):
        between("appchat.userlist", ["a"] * 2001)
    between("kf.limit", 1000)
    with pytest.raises(Malformed):
        between("kf.limit", 0)


def test_user_ids() -> None:
    user_ids("app.touser", ["zhangsan", "A-b_c.d@e", "x" * 64])
    for bad in ("", "a|b", "a b", "张三", "x" * 65, "a\n"):
        with pytest.raises(Malformed):
            user_ids("app.touser", [bad])


def test_lone_surrogates_are_malformed() -> None:
    with pytest.raises(Malformed):
        at_most("app.text.content", "\ud800")


def test_every_bound_is_sound() -> None:
    assert all(
        0 <= bound.least <= bound.most and name == bound.name for name, bound in BOUNDS.items()
    )
