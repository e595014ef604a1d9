"""The matrix of channel kinds: the page in docs/ is the one that the installed Specs make."""

from __future__ import annotations

from pathlib import Path

from msgcenter.adapter import Spec
from msgcenter.matrix import COLUMNS, installed, page, resend, rows
from protocols.payload import Media, Text

PAGE = Path(__file__).parents[2] / "docs" / "channels.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text("utf-8") == page(list(installed(own=True).values())), (
        "run `msgcenter adapter matrix --out docs/channels.md`"
    )


def test_a_row_says_what_the_spec_says() -> None:
    spec = Spec(
        "x",
        "X",
        payloads=frozenset({Text, Media}),
        schemes=frozenset({"tel"}),
        receipts=frozenset({"read"}),
        recall=True,
        idempotent=True,
    )
    [row] = rows([spec])
    named = dict(zip(COLUMNS, row, strict=True))
    assert (named["sends"], named["media"], named["read"]) == ("text, media", "yes", "yes")
    assert (named["withdraw"], named["receives"], named["resend"]) == ("yes", "", "same id")
    assert resend(Spec("y", "Y", resend=False)) == "never"
    assert resend(Spec("y", "Y", resolves=True)) == "asked"
    assert resend(Spec("y", "Y")) == "by category"
