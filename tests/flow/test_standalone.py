"""A newcomer's own set-up from the command line alone: two simulators, keys, a server, a message; each in its own process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.flow.sandboxed import COMMAND, ENVIRONMENT
from tests.process import Process, free_port

SECRET = "whsec_c2l4dGVlbiBvY3RldHMgb3IgbW9yZSBvZiBpdA=="
LONG = "您订购的畅享套餐将于下月一日生效。" * 20


class Command(Process):
    """`msgcenter …` in the background until its output holds `sign`."""

    def __init__(self, name: str, directory: Path, *arguments: str, sign: str, **env: str) -> None:
        self.name = name
        super().__init__(directory)
        self._arguments, self._sign, self._env = arguments, sign, env

    def start(self) -> Command:
        argv = [*COMMAND, *self._arguments]
        self._launch(argv, lambda: self._sign in self.log.read_text(), ENVIRONMENT | self._env)
        return self

    def stop(self) -> None:
        self._signal(signal.SIGTERM)
        assert self.process is not None
        assert self.process.returncode == 0, self.log_tail()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("protocol", ["cmpp2", "cmpp3"])
def test_the_command_line_alone_is_enough(tmp_path: Path, protocol: str) -> None:
    smsc_port, platform_port, api_port = free_port(), free_port(), free_port()
    config = tmp_path / "config"
    config.mkdir()
    (config / "channels.yaml").write_text(
        "sms:\n  kind: sms\n  settings:\n"
        f"    {{protocol: {protocol}, host: 127.0.0.1, port: {smsc_port}, account: '901234',"
        " src: '1069', secret: '${env:SMS_SECRET}'}\n"
        "platform:\n  kind: platform\n"
        "  settings: {egress: {allow: [127.0.0.0/8], https_only: false}}\n"
    )
    (config / "callers.yaml").write_text(
        "crm:\n  scopes: [send, read]\n  categories: ['*']\n  callback:"
        f" {{url: 'http://127.0.0.1:{platform_port}/in', secret: '${{env:HOOK_SECRET}}'}}\n"
    )
    secrets = {"SMS_SECRET": "s", "HOOK_SECRET": SECRET}
    folders = ["--config", str(config), "--data", str(tmp_path / "data")]

    def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*COMMAND, *arguments],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, **ENVIRONMENT, **secrets, **env},
        )

    made = run("keys", "create", "crm", "--quiet", *folders)
    assert made.returncode == 0, made.stderr
    access = {"MSGCENTER_KEY": made.stdout.strip(), "MSGCENTER_URL": f"http://127.0.0.1:{api_port}"}
    sms, platform = tmp_path / "sms.jsonl", tmp_path / "platform.jsonl"
    # fmt: off
    smsc = Command(
        "smsc", tmp_path, "sim", "smsc", "--protocol", protocol, "--port", str(smsc_port),
        "--account", "901234", "--secret", "s", "--journal", str(sms), sign="secret s",
    )
    inbox = Command(
        "platform", tmp_path, "sim", "platform", "--port", str(platform_port), "--secret", SECRET,
        "--journal", str(platform), sign="secret: whsec_",
    )
    server = Command(
        "serve", tmp_path, "serve", *folders, "--port", str(api_port), sign='"started"', **secrets,
    )
    # fmt: on
    with smsc, inbox, server:
        sent = run("send", "13800138000", LONG, "--category", "care", "--wait", "20s", **access)
        assert sent.returncode == 0, sent.stderr
        message, status = sent.stdout.split()
        assert status == "delivered"
        wrong = run("send", "138", "hi", "--category", "bogus", **access)
        assert wrong.returncode == 65
        assert "to (138)" in wrong.stderr
        assert "category (bogus)" in wrong.stderr
        server.stop()  # a drained process has handed on what it took
    (entry,) = lines(sms)
    assert {"recipient", "sender", "text", "parts", "id", "time"} <= entry.keys()
    assert (entry["recipient"], entry["text"], entry["parts"]) == ("13800138000", LONG, 6)
    told = [(e["event"]["data"]["message"], e["event"]["data"]["status"]) for e in lines(platform)]
    assert told[0] == (message, "sent")


@pytest.mark.parametrize(
    ("protocol", "title"),
    [("smpp", "SMPP 3.4"), ("sgip", "SGIP 1.2"), ("smgp", "SMGP 3.0")],
)
def test_an_smsc_of_every_protocol_stands_alone(tmp_path: Path, protocol: str, title: str) -> None:
    port = free_port()
    smsc = Command(
        protocol, tmp_path, "sim", "smsc", "--protocol", protocol, "--port", str(port),
        "--account", "sp1", "--secret", "s", sign="secret s",
    )  # fmt: skip
    smsc.start()
    try:
        assert f"{title} gateway on 127.0.0.1:{port}" in smsc.log.read_text()
        with socket.create_connection(("127.0.0.1", port), 5) as probe:
            probe.sendall(b"GET / HTTP/1.1\r\n\r\n")
            left = probe.recv(100)
            assert left == (
                b"" if protocol != "smpp" else bytes.fromhex("00000010800000000000000200000000")
            )
    finally:
        smsc.stop()
