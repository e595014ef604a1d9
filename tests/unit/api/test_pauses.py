"""The stop button over HTTP and on the command line: who may press it, what a slip of the pen is told, and what it says."""

from __future__ import annotations

import asyncio
import json

import pytest

from msgcenter.cli import main
from msgcenter.state import Admit
from protocols.envelope import Key
from tests.unit.api.parts import Parts

SPRING = {"scope": "campaign", "value": "spring", "lasts": "2h", "why": "wrong price"}


async def verdict(parts: Parts, gate: str, attempt: int) -> str:
    key = Key("msg_1", 0, attempt, "channel")
    return (await parts.state.admit([Admit(key, (gate,), "w", 5.0)]))[0].verdict


async def test_pause_list_resume(parts: Parts) -> None:
    status, view, _ = await parts.post("/v1/pauses", SPRING, caller="ops")
    assert (status, view["value"], view["why"], view["held"]) == (201, "spring", "wrong price", 0)
    assert await verdict(parts, "campaign:spring", 1) == "held"
    _, many, _ = await parts.get("/v1/pauses", caller="ops")
    assert [(one["scope"], one["until"]) for one in many["items"]] == [("campaign", view["until"])]
    where = "/v1/pauses?scope=campaign&value=spring"
    status, done, _ = await parts.call("DELETE", where, caller="ops")
    assert (status, done["ended"], done["released"]) == (200, True, 0)
    assert await verdict(parts, "campaign:spring", 2) == "go"
    _, done, _ = await parts.call("DELETE", where, caller="ops")
    assert done["ended"] is False
    audit = (await parts.store.list_audit(target="campaign:spring")).items
    assert [row.what for row in audit] == ["resume", "pause"]
    assert audit[0].who.startswith("ops/")


@pytest.mark.parametrize(
    ("body", "field", "says"),
    [
        ({"scope": "campain", "value": "x"}, "scope", "campaign"),
        ({"scope": "caller", "value": "crn"}, "value", "crm"),
        ({"scope": "category", "value": "care "}, "value", "care"),
        ({"scope": "channel", "value": "sms-eats"}, "value", "sms-east"),
        ({"scope": "campaign", "value": "x", "lasts": "soon"}, "lasts", "30d"),
        ({"scope": "campaign"}, "value", "value"),
    ],
)
async def test_a_slip_of_the_pen_stops_nothing_and_is_told(
    parts: Parts, body: dict[str, str], field: str, says: str
) -> None:
    status, problem, _ = await parts.post("/v1/pauses", body, caller="ops")
    assert status == 422
    [fault] = problem["errors"]
    assert fault["field"] == field
    assert says in fault["remedy"] + fault["detail"]
    assert (await parts.get("/v1/pauses", caller="ops"))[1]["items"] == []


async def test_only_admins_press_it(parts: Parts) -> None:
    for method, path in (
        ("POST", "/v1/pauses"),
        ("GET", "/v1/pauses"),
        ("DELETE", "/v1/pauses?scope=campaign&value=x"),
    ):
        body = SPRING if method == "POST" else None
        status, problem, _ = await parts.call(method, path, body, caller="crm")
        assert (status, problem["code"]) == (403, "scope_missing")


async def test_the_command_line(
    parts: Parts, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MSGCENTER_URL", str(parts.client.make_url("/")))
    monkeypatch.setenv("MSGCENTER_KEY", await parts.key("ops"))

    async def run(*args: str) -> tuple[int, str, str]:
        def work() -> int:
            try:
                main(args)
            except SystemExit as end:
                return int(end.code or 0)
            return 0

        code = await asyncio.to_thread(work)
        out, err = capsys.readouterr()
        return code, out, err

    code, out, err = await run("pause", "campaign=spring", "--for", "2h", "--why", "wrong price")
    assert (code, "nothing more of it leaves" in out) == (0, True)
    assert "msgcenter resume campaign=spring" in err
    code, out, _ = await run("pause", "--list")
    assert code == 0
    assert all(word in out for word in ("campaign=spring", "wrong price", "held"))
    code, out, _ = await run("pause", "--list", "--json")
    assert json.loads(out)["items"][0]["value"] == "spring"
    code, out, _ = await run("resume", "campaign=spring", "--spread", "10m")
    assert (code, out.strip()) == (0, "0 messages leave over 600 s")
    assert (await run("pause", "--list"))[1].strip() == "nothing is paused"
    for args, says in (
        (("pause", "spring"), "campaign=NAME"),
        (("pause",), "campaign=spring"),
        (("pause", "campaign=x", "--for", "soon"), "10m"),
        (("pause", "caller=nobody"), "crm"),
    ):
        code, _, err = await run(*args)
        assert code == 65, args
        assert says in err
