"""The sandbox's data folder: configuration written once and then the user's own, secrets, remembered ports, the API key."""

from __future__ import annotations

import base64
import json
import os
import secrets
import string
from importlib.resources import files
from pathlib import Path

TEMPLATES = ("msgcenter", "channels", "routes", "policy", "callers", "accounts")
#: Far end -> the file that names its port, and the text around it.
_PLACES = {
    "smsc": ("channels.yaml", "port: {port}"),
    "platform": ("callers.yaml", "http://127.0.0.1:{port}/"),
    "wecom": ("channels.yaml", "http://127.0.0.1:{port}/cgi-bin/"),
    "hosted": ("channels.yaml", "gateway: http://127.0.0.1:{port}"),
}


class Folder:
    """`<data>/config/*.yaml`, `<data>/*.secret`, `<data>/sandbox.key`, `<data>/sandbox.json` (the ports of the last run)."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self.config = data / "config"
        self.key = data / "sandbox.key"
        self.log = data / "sandbox.log"
        self._ports = data / "sandbox.json"

    def prepare(self) -> None:
        """Make the folder and its secrets; undo an edit that an interrupted walk-through left. Raises OSError."""
        self.config.mkdir(parents=True, exist_ok=True)
        self._secret("smsc.secret", secrets.token_hex(8))
        for name in ("callback", "hosted", "hosted-events"):
            value = "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()
            self._secret(f"{name}.secret", value)
        for name, length in (("wecom", 32), ("wecom-token", 24), ("wecom-aes", 43)):
            letters = (secrets.choice(string.ascii_letters + string.digits) for _ in range(length))
            self._secret(f"{name}.secret", "".join(letters))
        for kept in self.config.glob("*.kept"):
            kept.replace(kept.with_suffix(""))

    def secret(self, name: str) -> str:
        return (self.data / f"{name}.secret").read_text().strip()

    def ports(self) -> dict[str, int]:
        """Far end -> port of the last run, 0 for any."""
        try:
            known = json.loads(self._ports.read_text())
        except (FileNotFoundError, ValueError):
            known = {}
        return {name: int(known.get(name, 0)) for name in _PLACES}

    def write(self, ports: dict[str, int]) -> None:
        """Write the files that are not there; in those that are, only a port that has changed since the last run."""
        before = self.ports()
        for stem in TEMPLATES:
            path = self.config / f"{stem}.yaml"
            if not path.exists():
                text = files(__package__).joinpath("config", path.name).read_text("utf-8")
                for name, port in ports.items():
                    text = text.replace(f"@{name.upper()}_PORT@", str(port))
                path.write_text(text, "utf-8")
        for name, (file, around) in _PLACES.items():
            if before[name] and before[name] != ports[name]:
                path = self.config / file
                text = path.read_text("utf-8")
                old, new = (around.format(port=port) for port in (before[name], ports[name]))
                path.write_text(text.replace(old, new), "utf-8")
        self._ports.write_text(json.dumps(ports) + "\n")

    def read_key(self) -> str:
        try:
            return self.key.read_text().strip()
        except FileNotFoundError:
            return ""

    def write_key(self, key: str) -> None:
        self.key.unlink(missing_ok=True)
        _write_private(self.key, key)

    def _secret(self, name: str, value: str) -> None:
        path = self.data / name
        if not path.exists():
            _write_private(path, value)


def _write_private(path: Path, text: str) -> None:
    """A file that only its owner can read, from its first moment on."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        out.write(text + "\n")
