"""1,000,000 recorded messages decided again in bounded memory; the rate is printed (`make test-fault`, option -s)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fault import replaying

PEOPLE = 50_000


@pytest.mark.fault
@pytest.mark.timeout(3600)
def test_a_million_messages_need_no_more_memory_than_their_people(tmp_path: Path) -> None:
    """Ten times the messages to the same people: the counters are the people's, so memory hardly grows."""
    ran = []
    for messages in (100_000, 1_000_000):
        ran.append(replaying.written(tmp_path, messages, PEOPLE))
        print(ran[-1])
    assert [one.messages for one in ran] == [100_000, 1_000_000]
    assert ran[1].changed > 0
    assert ran[1].peak_mib < 3 * ran[0].peak_mib
