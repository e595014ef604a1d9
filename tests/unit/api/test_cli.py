"""The command line against a running API, and keys without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from msgcenter.api.auth import load_pepper, read_key
from msgcenter.cli import main, status, tail
from msgcenter.cli.client import EX_DATAERR, EX_NOPERM, EX_UNAVAILABLE, Refused, Unavailable
from msgcenter.cli.status import age_of
from msgcenter.parts import lock_folder
from tests.unit.api.parts import FILES, Parts
from tests.unit.api.test_reading import dead, event

Said = tuple[int, str, str]


class Shell:
    """Runs commands in a thread, so that the server's loop goes on."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    async def __call__(self, *args: str) -> Said:
        return await asyncio.to_thread(self.now, *args)

    def now(self, *args: str) -> Said:
        self._capsys.readouterr()
        try:
            main(args)
        except SystemExit as left:
            code = left.code
        else:
            code = 0
        said = self._capsys.readouterr()
        return int(code or 0), said.out, said.err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in ("MSGCENTER_URL", "MSGCENTER_KEY", "MSGCENTER_CONFIG", "LANG", "LC_ALL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Shell(capsys)


async def use(parts: Parts, monkeypatch: pytest.MonkeyPatch, caller: str) -> None:
    monkeypatch.setenv("MSGCENTER_URL", str(parts.client.make_url("")))
    monkeypatch.setenv("MSGCENTER_KEY", await parts.key(caller))


async def test_send(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "crm")
    code, out, _ = await run("send", "13800138000", "你好", "--category", "care", "--key", "k")
    assert code == 0
    message_id = parts.bus.envelopes[0].id
    assert out == f"{message_id}  accepted\n"
    code, out, _ = await run(
        "send", "13800138000", "你好", "--category", "care", "--key", "k", "-q"
    )
    assert (code, out) == (0, f"{message_id}\n")
    code, out, err = await run("send", "12", "x", "--category", "spam")
    assert (code, out) == (EX_DATAERR, "")
    assert "to (12)" in err
    assert "category (spam)" in err
    monkeypatch.setenv("LANG", "zh_CN.UTF-8")
    assert "号码" in (await run("send", "12", "x"))[2]


async def test_status(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "ops")
    await parts.store.add_dead([dead(parts, 1)])
    code, out, _ = await run("status")
    assert code == 0
    for words in ("ready", "submit.normal.0", "2.5s", "sms-east", "elsewhere", "held 0", "dead 1"):
        assert words in out
    code, out, _ = await run("status", "--json")
    assert json.loads(out)["dead"] == 1
    await use(parts, monkeypatch, "crm")
    code, _, err = await run("status")
    assert code == EX_NOPERM
    assert "admin" in err


async def test_dead_letters(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "crm")
    await parts.store.add_dead([dead(parts, n) for n in range(4)])
    _, out, _ = await run("dead", "list", "-q")
    assert out.split() == ["dead3", "dead2", "dead1", "dead0"]
    assert "boom" in (await run("dead", "list"))[1]
    assert (await run("dead", "replay"))[0] == 2
    assert (await run("dead", "replay", "dead1", "dead2"))[1] == "2 replayed\n"
    assert (await run("dead", "replay", "dead1"))[0] == EX_DATAERR
    _, out, _ = await run("dead", "replay", "--code", "boom", "--json")
    assert sorted(json.loads(out)["replayed"]) == ["dead0", "dead3"]
    assert (await run("dead", "list", "-q"))[1] == ""


async def test_tail(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "crm")
    await parts.store.append_events(0, [event(1), event(2)])
    _, out, _ = await run("tail", "--from-beginning", "--no-follow")
    assert out.count("msgcenter.message.sent.v1") == 2
    _, out, _ = await run("tail", "--no-follow", "--json")
    assert out == ""


class Answers:
    """A server that answers with these, one call each; an exception is raised. After the last the user presses Ctrl-C."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[Any] = []

    def call(self, _: str, __: str, **more: Any) -> Any:
        self.asked.append(more.get("query"))
        if not self.answers:
            raise KeyboardInterrupt
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def page(cursor: str, *events: dict[str, Any]) -> dict[str, Any]:
    return {"cursor": cursor, "items": list(events)}


def told(number: int, **data: Any) -> dict[str, Any]:
    return {
        "time": "t",
        "type": f"msgcenter.message.{data['status']}.v1",
        "subject": f"m{number}",
        "data": data,
    }


def test_tail_outlives_the_server_and_shows_what_was_asked_for(
    run: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Answers(
        page("1"),
        page("2", told(1, status="sent", channel="sms"), told(2, status="sent", channel="kf")),
        Unavailable("no server"),
        Refused(503, {"title": "away"}),
        page("3", told(3, status="sent", channel="kf"), told(4, status="read", channel="kf")),
    )
    monkeypatch.setattr(tail, "connect", lambda *_: server)
    monkeypatch.setattr(tail, "RETRY_S", 0.0)
    code, out, err = run.now("tail", "--only", "type=message.sent", "--only", "channel=kf")
    assert code == 130
    assert [line.split()[2] for line in out.splitlines()] == ["m2", "m3"]
    assert err.count("waiting for it") == 1
    assert [query["cursor"] for query in server.asked] == ["", "1", "2", "2", "2", "3"]
    monkeypatch.setattr(
        tail, "connect", lambda *_: Answers(page("1"), Refused(403, {"title": "no"}))
    )
    assert run.now("tail")[0] == EX_NOPERM
    assert run.now("tail", "--only", "colour=red")[0] == 2


def test_tail_prints_only_what_fits(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [told(n, status=status, channel=channel) for n, (status, channel) in enumerate(
        [("sent", "sms"), ("sent", "kf"), ("read", "kf")]
    )]  # fmt: skip
    monkeypatch.setattr(tail, "connect", lambda *_: Answers(page("1", *events), page("1")))
    args = ("tail", "--from-beginning", "--no-follow", "--only", "type=message.sent")
    code, out, _ = run.now(*args, "--only", "channel=kf")
    assert code == 0
    assert [line.split()[2] for line in out.splitlines()] == ["m1"]


async def test_status_is_watched_over_a_restart(
    parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    await use(parts, monkeypatch, "ops")
    first = json.loads((await run("status", "--json"))[1])
    grown = json.loads(json.dumps(first))
    grown["queues"][0]["ready"] += 7
    server = Answers(first, Unavailable("no server"), grown)
    monkeypatch.setattr(status, "connect", lambda *_: server)
    code, out, _ = await run("status", "--watch", "0.5")
    assert code == 0
    assert len(server.asked) == 4
    assert "no server" in out
    assert "+7" in out
    monkeypatch.setattr(status, "connect", lambda *_: Answers(Refused(401, {"title": "no"})))
    assert (await run("status", "--watch", "0.5"))[0] == EX_NOPERM
    assert (await run("status", "--watch", "1", "--json"))[0] == 2


async def test_keys_over_http(parts: Parts, run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    await use(parts, monkeypatch, "ops")
    code, out, err = await run("keys", "create", "crm", "--name", "n", "--scope", "send")
    assert code == 0
    found = read_key(out.strip())
    assert found is not None
    assert found[0] in err
    assert found[0] in (await run("keys", "list", "crm"))[1]
    assert (await run("keys", "revoke", found[0]))[1] == f"{found[0]} revoked\n"
    code, _, err = await run("keys", "create", "nobody")
    assert code == EX_DATAERR
    assert "crm" in err


def test_keys_without_a_server(tmp_path: Path, run: Shell) -> None:
    folder, data = tmp_path / "config", tmp_path / "data"
    folder.mkdir()
    (folder / "callers.yaml").write_text(
        FILES["callers.yaml"].replace("  defaults: {account: hotline}\n", "")
    )
    where = ("--config", str(folder), "--data", str(data))
    code, out, err = run.now("keys", "create", "ops", "-q", *where)
    assert (code, err) == (0, "")
    found = read_key(out.strip())
    assert found is not None
    assert out.startswith("mck_live_")
    assert (data / "pepper").stat().st_mode & 0o777 == 0o600
    assert load_pepper(data) == load_pepper(data)
    _, out, _ = run.now("keys", "list", "--json", *where)
    [item] = json.loads(out)["items"]
    assert item["id"] == found[0]
    assert found[1] not in out
    assert run.now("keys", "create", "nobody", *where)[0] == EX_DATAERR
    assert run.now("keys", "revoke", found[0], *where)[0] == 0
    assert run.now("keys", "revoke", "nothing", *where)[0] == EX_DATAERR
    lock = lock_folder(data)
    code, _, err = run.now("keys", "list", *where)
    lock.close()
    assert code == EX_UNAVAILABLE
    assert "--url http://127.0.0.1:8080" in err


def test_no_server_no_key_no_command(run: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert run.now("status")[0] == EX_NOPERM
    monkeypatch.setenv("MSGCENTER_KEY", "x")
    code, _, err = run.now("status", "--url", "http://127.0.0.1:9")
    assert code == EX_UNAVAILABLE
    assert "--url" in err
    assert run.now("status", "--url", "ftp://x")[0] == EX_UNAVAILABLE
    assert run.now("nonsense")[0] == 2
    assert run.now()[0] == 2
    code, out, _ = run.now("--help")
    assert code == 0
    assert "keys" in out
    assert run.now("--version")[1].startswith("msgcenter ")
    assert [age_of(s) for s in (0.26, 90, 7200, 200_000)] == ["0.3s", "2m", "2h", "2d"]


def test_help_is_quick() -> None:
    """Nothing heavy is imported for it."""
    code = (
        "import sys; from msgcenter.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print([m for m in ('aiohttp', 'pydantic', 'sqlalchemy', 'typer') if m in sys.modules])"
    )
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=False
    )
    assert out.stdout.splitlines()[-1] == "[]"


SIM = '''
from pydantic import BaseModel, Field
from typing import Literal
class Options(BaseModel):
    port: int = Field(0, ge=0)
    protocol: Literal["a", "b"] = "a"
    report_delay: float = 0.5
    answers: dict[str, int] = {}
    loud: bool = False
class Sim:
    """A far end.

    More words."""
    Options = Options
    def __init__(self, options, journal): self.options, self.journal, self.port = options, journal, 4711
    async def start(self): self.journal.append({"options": self.options.model_dump()})
    async def stop(self): self.journal.append({"stopped": True})
    def banner(self): return ["port 4711"]
'''


def test_a_simulator_alone(tmp_path: Path) -> None:
    (tmp_path / "mysim.py").write_text(SIM)
    info = tmp_path / "mysim-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mysim\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[msgcenter.simulators]\nmine = mysim:Sim\n")
    env = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path.cwd()}"}
    base = [sys.executable, "-c", "from msgcenter.cli import main; main()", "sim"]

    def call(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*base, *args], env=env, capture_output=True, text=True, timeout=30, check=False
        )

    assert "mine" in call("--help").stdout
    assert call("other").returncode == 2
    out = call("mine", "--help").stdout
    assert "--report-delay" in out
    assert "A far end." in out
    bad = call("mine", "--port", "-5")
    assert (bad.returncode, "--port" in bad.stderr) == (2, True)
    journal = tmp_path / "journal"
    arguments = [
        "mine",
        "--report-delay",
        "2",
        "--answers",
        '{"x": 3}',
        "--loud",
        "--protocol",
        "b",
    ]
    process = subprocess.Popen(
        [*base, *arguments, "--journal", str(journal)], env=env, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline() == "port 4711\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    finally:
        process.kill()
        process.stdout.close()
    lines: list[dict[str, Any]] = [json.loads(line) for line in journal.read_text().splitlines()]
    assert lines[0]["options"] == {
        "port": 0,
        "protocol": "b",
        "report_delay": 2.0,
        "answers": {"x": 3},
        "loud": True,
    }
    assert lines[1] == {"stopped": True}
