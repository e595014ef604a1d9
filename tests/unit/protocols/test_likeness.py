"""likeness: equal for two readings of one message, different for different words."""

from __future__ import annotations

import pytest

from protocols.likeness import likeness
from protocols.payload import (
    Card,
    DeliveryReport,
    Happening,
    Link,
    Markdown,
    Media,
    MiniProgram,
    Native,
    Payload,
    Pull,
    Text,
)

ALIKE: list[tuple[Payload, Payload]] = [
    (Text("您好\r\n查话费 "), Text(" 您好\n查话费\n")),
    (Text("*重要*"), Markdown("*重要*")),
    (Media("image", "med_1", "a.jpg"), Media("image", "med_2")),
    (Link("账单", "https://m.example.com/bill"), Link("", "https://m.example.com/bill", "11 月")),
    (MiniProgram("wx1", "pages/index", "网上厅"), MiniProgram("", "", "网上厅 ")),
    (Native("location", "{}"), Native("weapp", '{"a":1}')),
    (Card("a", "b", "c"), Native("card", "{}")),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_alike(one: Payload, other: Payload) -> None:
    assert likeness(one) == likeness(other) != ""


def test_all_of_these_differ() -> None:
    these = [one for one, _ in ALIKE[:1]] + [Text("您好"), *(one for one, _ in ALIKE[2:6])]
    these += [Media("file", "med_1"), Link("账单", "https://m.example.com/other"), Text("")]
    assert len({likeness(one) for one in these}) == len(these)


@pytest.mark.parametrize(
    "payload", [DeliveryReport("1", "delivered"), Happening("x", "{}"), Pull("wk1")]
)
def test_what_is_no_message_has_none(payload: Payload) -> None:
    assert likeness(payload) == ""
