"""Signed words: what was made here is read again, what was not is not, whoever made it and for whatever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from msgcenter.signed import Signed

ONE = Signed(b"pepper-pepper-pepper", "short links")
OTHER_USE = Signed(b"pepper-pepper-pepper", "preference pages")
OTHER_PEPPER = Signed(b"another-pepper-pepper", "short links")


@given(st.integers(0, 2**64 - 1))
def test_a_short_word_is_short_and_ours(bits: int) -> None:
    name, word = ONE.short(bits)
    assert (len(word), word.isalnum()) == (15, True)
    assert ONE.id_of(word) == name
    assert ONE.word_of(name) == word
    assert OTHER_USE.id_of(word) == OTHER_PEPPER.id_of(word) == ""


@given(st.integers(0, 2**64 - 1), st.integers(0, 14), st.sampled_from("0aZ字"))
def test_a_short_word_that_was_changed_is_not(bits: int, place: int, letter: str) -> None:
    _, word = ONE.short(bits)
    changed = word[:place] + letter + word[place + 1 :]
    assert changed == word or ONE.id_of(changed) == ""


@given(st.text(max_size=60), st.integers(0, 2**40))
def test_a_long_word_gives_its_text_and_end(text: str, until: int) -> None:
    try:
        word = ONE.long(text, until)
    except UnicodeEncodeError:
        return  # a lone surrogate is nobody's id
    assert ONE.read(word) == (text, until)
    assert OTHER_USE.read(word) is None
    assert ONE.read(word + "A") is None
    head, _, mark = word.partition(".")
    assert ONE.read(f"{head}A.{mark}") is None


@given(st.text(max_size=80))
def test_anything_else_is_nothing(text: str) -> None:
    assert ONE.id_of(text) == ""
    assert ONE.read(text) is None
