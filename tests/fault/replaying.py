"""The simulation run: so many recorded messages decided again by other rules, in a process of its own, so that its memory can be measured."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import psutil

from msgcenter.archive.file_sink import frame
from msgcenter.clock import base32

T0 = 1_790_000_000_000
CITIES = ("广州", "深圳", "佛山", "东莞", "珠海")
POLICY = """
quiet:
  night: {windows: [{hours: "21:00-08:00"}]}
caps:
  daily: {scope: person, when: {categories: [care, marketing]}, windows: [{rolling: 1d, limit: LIMIT}], on_cap: drop}
  weekly: {scope: person, windows: [{rolling: 7d, limit: 20}], on_cap: drop}
categories:
  care: {quiet: [night], on_quiet: hold, max_hold: 1d}
"""


@dataclass
class Ran:
    """What a run came to."""

    messages: int
    changed: int
    seconds: float
    cpu_s: float
    peak_mib: float

    def __str__(self) -> str:
        return (
            f"{self.messages:,} messages, {self.changed:,} changed, in {self.seconds:.0f} s:"
            f" {self.messages / self.cpu_s:,.0f} per CPU second, peak {self.peak_mib:.0f} MiB"
        )


def lines(messages: int, people: int, days: float) -> Iterator[dict[str, Any]]:
    """Records as the archive holds them: four categories, customers of five cities, spread evenly over the days."""
    rng = Random(11)
    step = days * 86_400_000 / messages
    for number in range(messages):
        at = T0 + int(number * step)
        person = rng.randrange(people)
        category, tier = rng.choice((("care", 4), ("care", 4), ("transactional", 2), ("code", 0)))
        tel = f"tel:+861380{person:07d}"
        name = f"msg_{base32(at, 10)}{base32(person % 64, 2)}{base32(number, 14)}"
        who = {
            "id": f"c{person}",
            "key": f"c{person}",
            "organisation": f"广东/{CITIES[person % 5]}",
        }
        yield {
            "seq": number + 1,
            "id": f"rec_{number}",
            "message": name,
            "at": at + 3,
            "pipeline": "submit",
            "step": 0,
            "attempt": 0,
            "kind": "routed",
            "code": "routed",
            "decisions": [],
            "until": 0,
            "receipt": False,
            "envelope": {
                "caller": "crm",
                "category": category,
                "tier": tier,
                "campaign": "",
                "created_at": at,
                "content": {"type": "text", "text": f"您好，您的第{number}笔业务已受理"},
            },
            "facts": {
                "at": at,
                "to": tel,
                "person": f"c{person}",
                "channels": ["sms"],
                "expires": at + 3 * 86_400_000,
                "who": who,
            },
        }


def write(folder: Path, messages: int, people: int, days: float = 2.0) -> None:
    """Archive files of so many messages, and a rules folder beside them."""
    (folder / "archive").mkdir(parents=True)
    (folder / "rules").mkdir()
    (folder / "rules" / "policy.yaml").write_text(POLICY.replace("LIMIT", "2"))
    with (folder / "archive" / "records-20261121-000001.jsonl").open("wb") as file:
        for line in lines(messages, people, days):
            file.write(frame(line))


def written(folder: Path, messages: int, people: int) -> Ran:
    """Write so many into a folder of their own, and run over them."""
    write(folder / str(messages), messages, people)
    return run(folder / str(messages))


def run(folder: Path) -> Ran:
    """`msgcenter config simulate` over what `write` wrote. Raises AssertionError if it does not end well."""
    args = [sys.executable, "-m", "msgcenter", "config", "simulate", "--json"]
    args += ["--rules", str(folder / "rules"), "--traffic", str(folder / "archive")]
    began = time.monotonic()
    process = subprocess.Popen(args, stdout=subprocess.PIPE, env={**os.environ})
    peak, cpu = [0.0], [0.0]

    def watch() -> None:
        seen = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak[0] = max(peak[0], seen.memory_info().rss / (1 << 20))
                cpu[0] = sum(seen.cpu_times()[:2])
            except psutil.NoSuchProcess:
                return
            time.sleep(0.1)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    watcher.join()
    assert process.returncode == 0
    told = json.loads(out)
    took = time.monotonic() - began
    return Ran(told["messages"], told["changed"], took, cpu[0], peak[0])
