"""Probes: every process says whether it lives, is ready and what it counts; the container's health check asks it."""

from __future__ import annotations

import asyncio
from pathlib import Path

import aiohttp
import pytest

from msgcenter import healthcheck
from msgcenter.api.views import CheckView, ReadyView
from msgcenter.clock import ManualClock
from msgcenter.config import load
from msgcenter.probes import Probes
from tests.unit.rig import metrics


class Readiness:
    """As the process is ready or not."""

    def __init__(self) -> None:
        self.checks: list[CheckView] = [CheckView(name="bus", ok=True)]

    async def view(self, verbose: bool) -> ReadyView:
        shown = [check for check in self.checks if verbose or not check.ok]
        return ReadyView(ready=all(check.ok for check in self.checks), checks=shown)


@pytest.fixture
async def probes():
    config = load(None, settings_models={}, env={}, clock=ManualClock())
    shown = metrics()
    it = Probes(
        "127.0.0.1",
        0,
        readiness=Readiness(),  # type: ignore[arg-type]
        metrics=shown,
        version="1.2.3",
        config=lambda: config,
    )
    await it.start()
    yield it
    await it.stop()


async def test_it_tells_life_readiness_metrics_and_version(probes: Probes) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{probes.port}") as http:
        async with http.get("/livez") as answer:
            assert (answer.status, await answer.json()) == (200, {"live": True})
        async with http.get("/readyz?verbose") as answer:
            assert answer.status == 200
            assert await answer.json() == {"ready": True, "checks": [{"name": "bus", "ok": True}]}
        async with http.get("/metrics") as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert "msgcenter_config_generation" in await answer.text()
        async with http.get("/version") as answer:
            assert (await answer.json())["version"] == "1.2.3"


async def test_the_health_check_follows_the_process(probes: Probes) -> None:
    url = healthcheck.url_of({"MSGCENTER__HEALTH__PORT": str(probes.port)})
    assert await asyncio.to_thread(healthcheck.check, url) == ""
    failing = CheckView(name="store", ok=False, detail="no answer within 1 s")
    probes._readiness.checks = [failing]  # type: ignore[attr-defined]
    assert "no answer within 1 s" in await asyncio.to_thread(healthcheck.check, url)
    await probes.stop()
    assert "does not answer" in await asyncio.to_thread(healthcheck.check, url)


def test_the_health_check_asks_the_port_of_this_process(tmp_path: Path) -> None:
    assert healthcheck.url_of({}) == "http://127.0.0.1:8080/readyz"
    assert healthcheck.url_of({"MSGCENTER__API__PORT": "81"}) == "http://127.0.0.1:81/readyz"
