"""A million bad PDUs to every carrier codec: nothing but Malformed comes out."""

from __future__ import annotations

import pytest

from tests.unit.protocols.codecs import CODECS, Codec, fuzz

pytestmark = [pytest.mark.fault, pytest.mark.timeout(900)]


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_million_bad_pdus(codec: Codec, capsys: pytest.CaptureFixture[str]) -> None:
    seen = fuzz(codec, 1_000_000, seed=1)
    with capsys.disabled():
        print(f"\n{codec}: 1,000,000 inputs, {dict(seen)}")
    assert seen["read"] + seen["malformed"] == 1_000_000
    assert seen["read"] > 50_000 and seen["malformed"] > 50_000
