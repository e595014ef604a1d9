"""A rule file on its way into force, by the command line against a running product: compare, wait, approve, break the glass, roll back."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path

import pytest

from msgcenter.api.auth import make_key
from msgcenter.cli import main
from msgcenter.clock import SystemClock
from msgcenter.serve import Process
from msgcenter.store import ApiKey
from msgcenter.store.store import Store

RULES = """
caps:
  daily: {{scope: person, windows: [{{rolling: 1d, limit: {limit}}}], on_cap: drop}}
approvals:
  rules: {{files: [policy.yaml], roles: [business, legal]}}
"""
CALLERS = """
ops: {scopes: [admin, read], roles: [business]}
law: {scopes: [read], roles: [legal]}
"""


class Console:
    """`msgcenter …` as somebody types it."""

    def __init__(
        self, patch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], port: int
    ) -> None:
        self._patch = patch
        self._capsys = capsys
        self.keys: dict[str, str] = {}
        patch.setenv("MSGCENTER_URL", f"http://127.0.0.1:{port}")
        patch.setenv("COLUMNS", "200")

    async def __call__(self, who: str, *args: str) -> tuple[int, str]:
        self._patch.setenv("MSGCENTER_KEY", self.keys[who])

        def work() -> int:
            try:
                main(["config", *args])
            except SystemExit as end:
                return int(end.code or 0)
            return 0

        self._capsys.readouterr()
        code = await asyncio.to_thread(work)
        told = self._capsys.readouterr()
        return code, told.out + told.err


async def made(folder: Path) -> dict[str, str]:
    """A configuration with a Store in which everybody has a key."""
    config, data = folder / "config", folder / "data"
    config.mkdir()
    data.mkdir()
    pepper = folder / "pepper"
    pepper.write_text(secrets.token_hex(16))
    pepper.chmod(0o600)
    (config / "msgcenter.yaml").write_text(
        f'data: {data}\napi: {{port: 0, pepper: "${{file:{pepper}}}"}}\n'
    )
    (config / "callers.yaml").write_text(CALLERS)
    (config / "policy.yaml").write_text(RULES.format(limit=3))
    store = Store(f"sqlite:///{data / 'store.db'}", SystemClock())
    await store.open()
    await store.migrate()
    keys = {}
    for who in ("ops", "law"):
        keyid, key, digest = make_key("test", pepper.read_bytes())
        scopes = ("admin", "read") if who == "ops" else ("read",)
        await store.add_key(ApiKey(keyid, who, "test", digest, scopes))
        keys[who] = key
    await store.close()
    return keys


async def test_a_rule_file_comes_into_force_with_its_approvals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = await made(tmp_path)
    folder, rules = str(tmp_path / "config"), tmp_path / "config" / "policy.yaml"
    process = Process(tmp_path / "config", env={})
    await process.start()
    try:
        assert process.live is not None
        live = process.live
        config = Console(monkeypatch, capsys, process.port)
        config.keys = keys

        def limit() -> int | None:
            return live.current.policy.caps["daily"].windows[0].limit

        code, out = await config("ops", "diff", folder)
        assert code == 0, out
        rules.write_text(RULES.format(limit=4))
        code, out = await config("ops", "diff", folder)
        assert (code, limit()) == (1, 3)
        assert "cap `daily` changed: windows[1].limit 3 -> 4" in out
        assert "0 held messages would be decided anew" in out
        code, out = await config("ops", "apply")
        assert (code, limit()) == (1, 3)
        assert "policy.yaml needs the approval of business" in out
        code, out = await config("law", "approve", "--role", "business")
        assert code == 65
        assert "legal" in out, "a key speaks for the roles of its caller only"
        assert (await config("ops", "approve", "--role", "business"))[0] == 1
        code, out = await config("ops", "status", "--live")
        assert "waits: policy.yaml needs the approval of legal" in out
        code, out = await config("law", "approve", "--role", "legal")
        assert (code, limit()) == (0, 4)
        assert "in force: version 2" in out

        rules.write_text(RULES.format(limit=1))
        code, out = await config("ops", "apply", "--break-glass")
        assert (code, limit()) == (65, 4)
        assert "reason" in out
        assert "lasts" in out
        glass = ("--break-glass", "--reason", "storm", "--for", "4h")
        code, out = await config("ops", "apply", *glass)
        assert (code, limit()) == (0, 1)
        assert "break-glass by ops/" in out
        assert "to be approved by" in out
        code, out = await config("ops", "rollback", "1", "--reason", "wrong")
        assert (code, limit()) == (0, 3)
        assert "rolled back to version 1 by ops/" in out
        code, out = await config("ops", "history")  # among the lines that the server logs here
        assert [
            line.split()[2] for line in out.splitlines() if line[:1].isdigit() and " [" not in line
        ] == [
            "rollback",
            "break_glass",
            "approved",
            "edit",
        ]
        code, out = await config("ops", "diff", folder, "--against", "2")
        assert "limit 4 -> 1" in out
        assert (await config("ops", "rollback", "77"))[0] == 65
        assert (await config("ops", "rollback", str(2**70)))[0] == 65
        assert (await config("law", "history"))[0] == 77
    finally:
        await process.stop()
