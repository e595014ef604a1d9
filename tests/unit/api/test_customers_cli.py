"""`msgcenter customers` as a process of its own, against a running API."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from msgcenter.cli.client import EX_DATAERR, EX_UNAVAILABLE
from msgcenter.cli.customers import BATCH
from msgcenter.customers import Person
from msgcenter.customers.sheet import Put, Refused
from msgcenter.customers.writes import By, CustomerWrites
from tests.process import free_port
from tests.unit.api.parts import Parts
from tests.unit.api.test_customers import FILES, OTHER, TEL

HEADER = "id,addresses,city,tags,consent_state,consent_category,consent_at,service_only\n"
ROWS = (
    "c-1,13800138000;wecom:ww1/app/wm1,广州,5G;vip,granted,marketing,2026-01-01T00:00:00+08:00,\n"
    ",13900139000,,,withdrawn,*,2026-01-01T00:00:00+08:00,是\n"
    'c-3,,"深圳,南山",a,,,,\n'
)


@pytest.fixture
async def parts(tmp_path: Path) -> AsyncIterator[Parts]:
    parts = Parts(tmp_path)
    await parts.start(FILES)
    yield parts
    await parts.close()


async def start(parts: Parts, *args: str) -> asyncio.subprocess.Process:
    env = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
    env |= {"MSGCENTER_URL": str(parts.client.make_url("")), "PYTHONPATH": str(Path.cwd())}
    env |= {"MSGCENTER_KEY": await parts.key(), "COLUMNS": "200", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "msgcenter", "customers", *args]
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(*command, env=env, stdout=pipe, stderr=pipe)


async def run(parts: Parts, *args: str) -> tuple[int, str, str]:
    process = await start(parts, *args)
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def test_import_show_export_and_back(parts: Parts, tmp_path: Path) -> None:
    file = tmp_path / "new.csv"
    file.write_text("\ufeff" + HEADER + ROWS)
    code, out, err = await run(parts, "import", str(file))
    assert (code, out.split(" rows")[0].rpartition(",")[0]) == (0, "3 saved, 0 refused"), err
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("new")] == ["new.csv"]
    code, out, _ = await run(parts, "show", "13900139000")
    assert code == 0
    for word in (OTHER, "withdrawn", "* *", "service messages only"):
        assert word in out
    code, out, _ = await run(parts, "show", TEL, "--json")
    assert json.loads(out)["id"] == "c-1"
    code, out, _ = await run(parts, "show", "c-3")
    assert "深圳,南山" in out
    code, _, err = await run(parts, "show", "c-9")
    assert (code, "c-9" in err) == (EX_DATAERR, True)
    exported = tmp_path / "all.ndjson"
    assert (await run(parts, "export", "--out", str(exported)))[0] == 0
    assert exported.stat().st_mode & 0o777 == 0o600
    before = (await parts.get("/v1/customers"))[1]
    code, out, err = await run(parts, "import", str(exported), "--json")
    assert (code, json.loads(out)["saved"]) == (0, 3), err
    assert (await parts.get("/v1/customers"))[1] == before
    code, out, _ = await run(parts, "export", "--format", "csv", "--tag", "vip")
    assert out.splitlines()[1].startswith("c-1,,广州,,,,")


async def test_refused_rows_are_told_by_line_field_value_and_remedy(
    parts: Parts, tmp_path: Path
) -> None:
    file = tmp_path / "mixed.csv"
    bad = 'c-4,12,,,,,,\nc-5,,,,,,,maybe\nc-6,"x\ny",,,,,,\nc-7,13800138000,,,,,,\nshort\n'
    file.write_text(HEADER + ROWS + bad)
    code, out, _ = await run(parts, "import", str(file), "--json")
    summary = json.loads(out)
    assert (code, summary["saved"], summary["refused"]) == (EX_DATAERR, 3, 5)
    rejects = Path(summary["rejects"])
    assert rejects.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in rejects.read_text().splitlines()]
    told = [(line["line"], line["field"], line["value"]) for line in lines]
    assert told == [
        (5, "addresses[0].address", "12"),
        (6, "service_only", "maybe"),
        (7, "addresses[0].address", "x\ny"),
        (9, "addresses[0].address", TEL),
        (10, "", "short"),
    ]
    assert all(line["remedy"] and line["detail"] for line in lines)
    assert lines[3]["row"]["id"] == "c-7"


UNREADABLE: list[tuple[str, bytes, Sequence[str], int, str]] = [
    ("a.csv", b"id,adresses\n", (), EX_DATAERR, "addresses"),
    ("a.csv", b"id,id\n", (), EX_DATAERR, "twice"),
    ("a.csv", b"city\n", (), EX_DATAERR, "neither"),
    ("a.csv", "id,city\nc,广".encode("gb18030"), (), EX_DATAERR, "--encoding gb18030"),
    ("a.csv", b'id,city\nc,"x"y\n', (), EX_DATAERR, "quotes"),
    ("a.csv", b"id\nc\n", ("--encoding", "klingon"), EX_DATAERR, "klingon"),
    ("a.xlsx", b"", (), 2, ".ndjson"),
]


@pytest.mark.parametrize(("name", "content", "more", "code", "said"), UNREADABLE)
async def test_what_cannot_be_read_is_said_at_once(
    parts: Parts,
    tmp_path: Path,
    name: str,
    content: bytes,
    more: Sequence[str],
    code: int,
    said: str,
) -> None:
    (tmp_path / name).write_bytes(content)
    left, _, err = await run(parts, "import", str(tmp_path / name), *more)
    assert (left, said in err, "Traceback" in err) == (code, True, False), err


async def test_a_killed_import_goes_on_where_it_stopped(
    parts: Parts, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = 4 * BATCH
    file = tmp_path / "many.ndjson"
    items: list[dict[str, Any]] = [
        {"id": f"c-{n}", "addresses": [{"address": f"138{n:08d}"}], "tags": ["t"]}
        for n in range(rows)
    ]
    items[3] = {"id": "c-3", "zone": "Mars"}
    items[-1] = {"id": "c-x", "zone": "Venus"}
    file.write_text("".join(json.dumps(item) + "\n" for item in items))
    taken: list[str] = []
    third, go_on = asyncio.Event(), asyncio.Event()
    put = CustomerWrites.put

    async def watched(self: CustomerWrites, given: Sequence[Put], by: By) -> list[Person | Refused]:
        if len(taken) >= 2 * BATCH - 1 and not go_on.is_set():
            third.set()
            await go_on.wait()
        taken.extend(one.id for one in given)
        return await put(self, given, by)

    monkeypatch.setattr(CustomerWrites, "put", watched)
    process = await start(parts, "import", str(file))
    await third.wait()
    process.kill()
    await process.communicate()
    go_on.set()
    file_of = tmp_path / "many.ndjson.progress"
    assert json.loads(file_of.read_text())["rows"] == 2 * BATCH
    code, out, err = await run(parts, "import", str(file), "--json")
    summary = json.loads(out)
    assert (code, summary["resumed_after"], summary["rows"]) == (EX_DATAERR, 2 * BATCH, rows), err
    assert (summary["saved"], summary["refused"]) == (rows - 2, 2)
    lines = Path(summary["rejects"]).read_text().splitlines()
    assert [json.loads(line)["line"] for line in lines] == [4, rows]
    assert not file_of.exists()
    page = (await parts.get("/v1/customers", params={"tag": "t", "limit": "1000"}))[1]
    assert len(page["items"]) == len(set(taken)) == rows - 2


async def test_a_file_that_was_changed_is_not_gone_on_with(parts: Parts, tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("id\nc-1\n")
    progress = tmp_path / "a.csv.progress"
    progress.write_text(json.dumps({"size": 1, "mtime_ns": 1, "rows": 1}))
    code, _, err = await run(parts, "import", str(file))
    assert (code, "--restart" in err) == (EX_DATAERR, True)
    assert (await run(parts, "import", str(file), "--restart"))[0] == 0
    progress.write_text("{")
    assert "--restart" in (await run(parts, "import", str(file)))[2]
    nowhere = ("--url", f"http://127.0.0.1:{free_port()}")
    code, _, err = await run(parts, "import", str(file), "--restart", *nowhere)
    assert (code, "goes on" in err) == (EX_UNAVAILABLE, True)
