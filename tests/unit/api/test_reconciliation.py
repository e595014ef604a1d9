"""`/v1/reconciliation` and `msgcenter reconcile`: a day that adds up, one that does not, and who may ask."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import date, datetime
from pathlib import Path

import pytest

from msgcenter.reconcile import ZONE, bounds
from tests.contract.test_store_coverage import Day
from tests.unit.api.parts import FILES, Parts
from tests.unit.api.test_cli import Shell, run, use

__all__ = ["run"]

CHANNELS = FILES["channels.yaml"] + "archive: {kind: push, accounts_of: sms-east}\n"
ROUTES = FILES["routes.yaml"] + "- {kind: push, channel: grid}\n"


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start({"channels.yaml": CHANNELS, "routes.yaml": ROUTES})
    yield parts
    await parts.close()


def today(parts: Parts) -> date:
    return datetime.fromtimestamp(parts.clock.now_ms() / 1000, ZONE).date()


async def test_a_day(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "ops")
    day = Day(parts.store)
    at = bounds(today(parts))[0]
    await day.told("sms-east", "archive", account="hotline", at=at)
    await day.told("archive", account="hotline", at=at)
    name = today(parts).isoformat()
    code, out, _ = await run("reconcile", "--day", name)
    assert (code, out) == (0, f"{name}: 1 of 1 accounts add up\n")
    await day.told("archive", account="hotline", at=at, kept=False)
    code, out, _ = await run("reconcile", "--day", name)
    assert code == 1
    _, line, *rest = out.splitlines()
    assert line.split()[:7] == ["hotline", "3", "1", "1", "0", "2", "0"]
    assert "DOES NOT ADD UP" in line
    assert rest[0].split()[0] == "wecom:ww1/wm1"
    assert rest[0].rstrip().endswith("not relayed: archive-3")
    assert rest[1] == f"{name}: 0 of 1 accounts add up"
    code, out, _ = await run("reconcile", "--day", name, "--json")
    item = json.loads(out)["items"][0]
    assert (code, item["missing"], item["filled"], item["relayed"]) == (1, 1, 1, {"in": 2})


async def test_yesterday_is_the_default(parts: Parts) -> None:
    status, body, _ = await parts.get("/v1/reconciliation", caller="ops")
    assert status == 200
    assert date.fromisoformat(body["day"]) < today(parts)
    assert body["items"] == []


async def test_a_day_that_is_none_and_a_key_that_may_not(parts: Parts) -> None:
    status, body, _ = await parts.get("/v1/reconciliation?day=21.11.2026", caller="ops")
    assert (status, body["errors"][0]["field"]) == (422, "day")
    assert (await parts.get("/v1/reconciliation", caller="crm"))[0] == 403
