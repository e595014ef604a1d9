"""The sandbox: its walk-through is true, also the second time; it says so when it is not, and what to do when it cannot start."""

from __future__ import annotations

import json
import re
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console

from msgcenter.clock import SystemClock, system_random
from msgcenter.sandbox import desk as desks
from msgcenter.sandbox import walk as walking
from msgcenter.sandbox.folder import TEMPLATES, Folder
from msgcenter.sandbox.story import Story
from tests.flow.sandboxed import COMMAND, ENVIRONMENT, ROOT, Sandbox, once
from tests.process import free_port


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory):
    """One that stays up, for all tests that only talk to it."""
    with Sandbox(tmp_path_factory.mktemp("stay")) as running:
        yield running


def test_the_walk_through_is_true_also_on_the_same_data_again(tmp_path: Path) -> None:
    data = tmp_path / "data"
    first = once(data)
    assert first.returncode == 0, first.stdout + first.stderr
    claims = re.findall(r"^ +([✓✗]) ", first.stdout, re.MULTILINE)
    assert len(claims) > 25
    assert set(claims) == {"✓"}
    assert f"{len(claims)} of {len(claims)} claims true" in first.stdout
    assert "\x1b" not in first.stdout  # plain when it is not a terminal
    for title, _ in walking.SCENES:
        assert title in first.stdout
    key = data / "sandbox.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text().strip() in first.stdout

    kept = key.read_text()
    policy = data / "config" / "policy.yaml"
    policy.write_text(policy.read_text() + "# mine\n")
    again = once(data)
    assert again.returncode == 0, again.stdout + again.stderr
    assert key.read_text() == kept
    assert policy.read_text().endswith("# mine\n")


def test_the_first_line_comes_at_once(tmp_path: Path) -> None:
    began = time.monotonic()
    argv = [*COMMAND, "sandbox", "--once", "--data", str(tmp_path / "data")]
    argv += ["--port", str(free_port()), "--sim-port", str(free_port())]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, env=ENVIRONMENT | {"PATH": "/usr/bin:/bin"}, text=True
    ) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        took = time.monotonic() - began
        running.send_signal(signal.SIGTERM)
        running.stdout.read()
        assert running.wait(30) != 0  # it was not walked to its end
    assert "sandbox" in line
    assert took < 10  # 0.3 s on an idle machine; the bound only catches a wait


def test_a_taken_port_is_told_with_a_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        for options, name in (({"port": taken}, "--port"), ({"sim_port": taken}, "--sim-port")):
            done = once(tmp_path / "data", **options)
            assert done.returncode == 69
            assert f"port {taken} is taken" in done.stderr
            assert f"choose another with {name}" in done.stderr


def test_a_data_folder_in_use_is_left_alone(sandbox: Sandbox) -> None:
    before = {p.name: p.read_bytes() for p in (sandbox.data / "config").iterdir()}
    done = once(sandbox.data)
    assert done.returncode == 69
    assert "another msgcenter uses this data folder" in done.stderr
    assert {p.name: p.read_bytes() for p in (sandbox.data / "config").iterdir()} == before


def test_a_faulty_configuration_is_told_with_file_and_line(tmp_path: Path) -> None:
    folder = Folder(tmp_path / "data")
    folder.prepare()
    folder.write({name: free_port() for name in folder.ports()})
    (folder.config / "policy.yaml").write_text("categories:\n  care: {max_holt: 2h}\n")
    done = once(folder.data)
    assert done.returncode == 78
    assert "config/policy.yaml:2:10" in done.stderr
    assert "did you mean `max_hold`?" in done.stderr


def test_every_line_it_suggests_works(sandbox: Sandbox) -> None:
    lines = [
        line.strip()
        for line in sandbox.told.split("\n")
        if line.startswith(("  curl ", "  MSGCENTER_KEY="))
    ]
    assert len(lines) == 7
    for line in lines:
        run = line.replace(".venv/bin/msgcenter", f"{sys.executable} -m msgcenter")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", run.replace("curl -s", "curl -s --fail-with-body")],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
            cwd=ROOT,
        )
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        assert done.stdout.strip(), line


def test_the_journals_answer_plainly(sandbox: Sandbox) -> None:
    base = f"http://127.0.0.1:{sandbox.sim_port}"

    def get(path: str) -> object:
        with urllib.request.urlopen(base + path, timeout=10) as response:
            return json.load(response)

    names = [far_end["name"] for far_end in get("/")["far_ends"]]
    assert names == ["sms", "platform", "wecom", "hosted"]
    whole = get("/journal/sms")
    assert len(whole) > 5
    assert {"recipient", "sender", "text", "parts", "id", "time"} <= whole[0].keys()
    assert get("/journal/sms?limit=2") == whole[-2:]
    assert get("/journal/smsc") == whole
    assert get(f"/journal/sms?recipient={whole[0]['recipient']}") == whole[:1]
    for path, status, words in (
        ("/journal/pigeon", 404, "sms, platform"),
        ("/journal/sms?limit=all", 400, "limit"),
    ):
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(path)
        assert refused.value.code == status
        assert words in json.load(refused.value)["detail"]


async def test_a_claim_that_is_not_so_fails_the_walk(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same scenes against the same product, but with a key that nobody knows."""
    monkeypatch.setattr(desks, "PATIENCE_S", 0.2)
    console = Console(file=(tmp_path / "out").open("w"), highlight=False)
    story = Story(console)
    good = await walking.walk(
        url=f"http://127.0.0.1:{sandbox.port}",
        sim_url=f"http://127.0.0.1:{sandbox.sim_port}",
        key="mck_sandbox_nobody",
        config=sandbox.data / "config",
        story=story,
        clock=SystemClock(),
        rng=system_random(),
    )
    assert not good
    assert {claim.chapter for claim in story.claims if not claim.true} == {
        title for title, _ in walking.SCENES
    }


def test_ports_that_moved_are_written_and_edits_kept(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    ports = {"smsc": 7001, "platform": 7002, "wecom": 7005, "hosted": 7006}
    folder.write(ports)
    assert {p.stem for p in folder.config.iterdir()} == set(TEMPLATES)
    channels = folder.config / "channels.yaml"
    channels.write_text(channels.read_text() + "# mine\n")
    ports |= {"smsc": 7003, "platform": 7004, "wecom": 7007}
    folder.write(ports)
    text = channels.read_text()
    assert "port: 7003\n" in text
    assert text.count("http://127.0.0.1:7007/cgi-bin/") == 2
    assert "7005" not in text
    assert "gateway: http://127.0.0.1:7006\n" in text
    assert channels.read_text().endswith("# mine\n")
    assert "http://127.0.0.1:7004/events" in (folder.config / "callers.yaml").read_text()
    assert folder.ports() == ports


def test_an_interrupted_walk_through_leaves_no_bad_edit(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    folder.prepare()
    folder.write({"smsc": 7001, "platform": 7002, "wecom": 7003, "hosted": 7004})
    policy = folder.config / "policy.yaml"
    good = policy.read_text()
    (folder.config / "policy.yaml.kept").write_text(good)
    policy.write_text("bad: edit\n")
    folder.prepare()
    assert policy.read_text() == good
    assert not (folder.config / "policy.yaml.kept").exists()


def test_the_status_screen_names_a_refused_edit_and_forgets_a_healed_one(sandbox: Sandbox) -> None:
    def screen() -> str:
        done = subprocess.run(
            [*COMMAND, "status", "--url", f"http://127.0.0.1:{sandbox.port}"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env={
                "PATH": "/usr/bin:/bin",
                **ENVIRONMENT,
                "MSGCENTER_KEY": (sandbox.data / "sandbox.key").read_text().strip(),
            },
        )
        return done.stdout

    def until(right: bool) -> str:
        deadline = time.monotonic() + 15
        while True:
            seen = screen()
            if ("was refused" in seen) is right or time.monotonic() > deadline:
                return seen

    routes = sandbox.data / "config" / "routes.yaml"
    good = routes.read_text()
    routes.write_text("routes: [{kind: sms, chanel: sms-sandbox}]\n")
    try:
        seen = until(True)
    finally:
        routes.write_text(good)
    assert "the last edit of the configuration was refused" in seen
    assert "routes.yaml:1:" in seen
    assert "did you mean `channel`?" in seen
    assert "was refused" not in until(False)
    assert re.search(r"sms-sandbox +sms +up +2", seen)
