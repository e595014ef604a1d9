"""A Prometheus of a test's own, from Debian's binary: scrapes what it is told, evaluates the rules it is given, every second."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

import yaml

from tests.process import Process, answer, find_binary, free_port


class Prometheus(Process):
    """`targets`: job -> addresses. `rules`: the text of a rule file. Alerts are read with `alerts()`."""

    name = "prometheus"
    ready_seconds = 30.0

    def __init__(
        self, directory: Path, targets: Mapping[str, Sequence[str]], rules: str, every: str = "1s"
    ) -> None:
        super().__init__(directory)
        self.port = free_port()
        self._targets, self._rules, self._every = targets, rules, every

    def start(self) -> Self:
        place = self.directory.resolve()
        (place / "rules.yaml").write_text(self._rules)
        config = {
            "global": {
                "scrape_interval": self._every,
                "scrape_timeout": self._every,
                "evaluation_interval": self._every,
            },
            "rule_files": [str(place / "rules.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": list(addresses)}]}
                for job, addresses in self._targets.items()
            ],
        }
        (place / "prometheus.yaml").write_text(yaml.safe_dump(config))
        argv = [find_binary("prometheus"), f"--config.file={place / 'prometheus.yaml'}"]
        argv += [
            f"--storage.tsdb.path={place / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
        ]
        question = b"GET /-/ready HTTP/1.0\r\n\r\n"
        self._launch(argv, lambda: b" 200 " in answer(self.port, question)[:20])
        return self

    def get(self, path: str) -> Any:
        """The `data` of an answer of its HTTP API. Raises OSError."""
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=10) as reply:
            return json.load(reply)["data"]

    def alerts(self, name: str = "") -> list[dict[str, Any]]:
        """What is pending or firing now, of one alert or all."""
        found = self.get("alerts")["alerts"]
        return [one for one in found if name in ("", one["labels"]["alertname"])]
