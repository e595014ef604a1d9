"""Why conversations are not archived: asked of the archive channel, answered by licence and consent, remembered for whoever asked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from adapters.wecom.archive.unread import NO_CONSENT, NO_LICENCE, NOTHING
from msgcenter.adapter import Rejected, Retry, Sent, unread_key
from protocols.outcome import Outcome
from protocols.payload import Pull
from tests.unit.adapters.wecom.archive.parts import Archived, archived
from tests.unit.adapters.wecom.parts import one, to_staff

CORP = "wwsandbox"


def customer(number: int, corp: str = CORP) -> str:
    return f"wecom:{corp}/wm{number:04d}"


async def ask(a: Archived, pairs: Sequence[Sequence[str]] | str) -> Outcome:
    token = pairs if isinstance(pairs, str) else json.dumps(pairs)
    item = to_staff(1, Pull("unread:q1", token))
    a.adapter.render(item.envelope)
    return await one(a.adapter, item)


async def reason(a: Archived, account: str, person: str) -> str | None:
    found = await a.port.memo(unread_key(account, person))
    return None if found is None else found.decode()


@pytest.mark.parametrize(
    ("account", "person", "said"),
    [
        ("staff0001", customer(1), NOTHING),
        ("STAFF0001", customer(1), NOTHING),
        ("staff0009", customer(1), NO_LICENCE),
        ("staff0009", customer(2), NO_LICENCE),
        ("staff0001", customer(2), NO_CONSENT),
        ("Staff0001", customer(2), NO_CONSENT),
        ("staff0002", customer(2), NOTHING),
        ("staff0001", customer(3), NOTHING),  # Default_Agree
        ("staff0001", customer(2, "wwelse"), NOTHING),
        ("staff0001", "staff:staff0002", NOTHING),
        ("staff0001", "wecom:", NOTHING),
        ("staff0001", "", NOTHING),
        ("staff0001", "group:disagreed", NO_CONSENT),
        ("staff0001", "group:agreed", NOTHING),
        ("staff0009", "group:agreed", NO_LICENCE),
        ("staff0001", "group:nowhere", NOTHING),
    ],
)
async def test_the_reason_of_one_conversation(account: str, person: str, said: str) -> None:
    async with archived() as a:
        a.archive.archive_permit(userids=["staff0001", "staff0002"])
        for number, status in ((2, "Disagree"), (3, "Default_Agree")):
            a.archive.archive_consent(
                userid="staff0001", external_userid=f"wm{number:04d}", status=status
            )
        chats = a.corp.far.chats
        for name, others in (
            ("disagreed", ["wm0001", "wm0002"]),
            ("agreed", ["wm0001", "wm0003"]),
        ):
            made = chats.chat_create(owner="staff0001", customers=others)["chat_id"]
            person = person.replace(f"group:{name}", f"group:{made}")
        assert isinstance(await ask(a, [[account, person]]), Sent)
        assert await reason(a, account, person) == said


async def test_many_at_once_each_has_its_answer() -> None:
    async with archived() as a:
        a.archive.archive_permit(userids=["staff0001"])
        pairs = [("staff0001", customer(number)) for number in range(1, 100)]
        for number in range(1, 100, 3):
            a.archive.archive_consent(
                userid="staff0001", external_userid=f"wm{number:04d}", status="Disagree"
            )
        await ask(a, [*pairs, ("staff0002", customer(1))])
        said = [await reason(a, *pair) for pair in pairs]
        assert said == [NOTHING if n % 3 else NO_CONSENT for n in range(99)]
        assert await reason(a, "staff0002", customer(1)) == NO_LICENCE


@pytest.mark.parametrize("token", ["", "{", "7", '[["staff0001"]]', "[1]", "null"])
async def test_what_is_no_question_is_refused(token: str) -> None:
    async with archived() as a:
        outcome = await ask(a, token)
        assert isinstance(outcome, Rejected)
        assert outcome.code == "malformed"


@pytest.mark.parametrize(
    "fault",
    [
        {"endpoint": "msgaudit/get_permit_user_list", "kind": "errcode", "errcode": -1},
        {"endpoint": "msgaudit/check_single_agree", "kind": "errcode", "errcode": -1},
        {"endpoint": "msgaudit/check_single_agree", "kind": "http", "status": 502},
        {"endpoint": "msgaudit/check_room_agree", "kind": "errcode", "errcode": -1},
    ],
)
async def test_while_wecom_cannot_say_nothing_is_remembered(fault: dict[str, Any]) -> None:
    async with archived() as a:
        pairs = [["staff0001", customer(1)], ["staff0001", "group:wr1"]]
        a.corp.far.faults.fault(**fault, times=1)
        assert isinstance(await ask(a, pairs), Retry)
        assert await reason(a, "staff0001", customer(1)) is None
        assert isinstance(await ask(a, pairs), Sent)
        assert await reason(a, "staff0001", customer(1)) == NOTHING


async def test_without_a_session_it_is_asked_again() -> None:
    async with archived() as a:
        adapter = a.adapter
    assert isinstance(
        await one(adapter, to_staff(1, Pull("unread:q1", '[["staff0001", ""]]'))), Retry
    )
