"""Hot reload: swapped whole or not at all, once it rests, hooks in order, nothing missed, nothing
repeated."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import CapturingLogger

from msgcenter.clock import ManualClock
from msgcenter.config import Config, Strict, load
from msgcenter.config.values import Secret
from msgcenter.live import Live, live_config
from msgcenter.metrics import Metrics


class Sms(Strict):
    secret: Secret | None = None


MODELS = {"sms": Sms, "devnull": Sms}
GOOD = "a: {kind: devnull}\n"


async def step(clock: ManualClock) -> None:
    """One poll: advance, then wait until the loop, whose work runs in threads, sleeps again."""
    async with asyncio.timeout(10):
        while not clock._sleepers:
            await asyncio.sleep(0.001)
        await clock.advance(1.0)
        while not clock._sleepers:
            await asyncio.sleep(0.001)


class Rig:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clock = ManualClock()
        self.metrics = Metrics(CollectorRegistry())
        self.log = CapturingLogger()
        self.write("channels.yaml", GOOD)
        self.live: Live[Config] = live_config(
            load(folder, settings_models=MODELS, env={}, clock=self.clock),
            settings_models=MODELS,
            env={},
            clock=self.clock,
            metrics=self.metrics,
            log=self.log,
        )

    def write(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)

    async def polls(self, n: int) -> None:
        """Let `run` look `n` times and come to rest."""
        for _ in range(n):
            await step(self.clock)

    def count(self, result: str) -> float:
        value = self.metrics.registry.get_sample_value(
            "msgcenter_config_reload_total", {"result": result}
        )
        assert value is not None
        return value

    @property
    def names(self) -> list[str]:
        return list(self.live.current.channels)

    def logged(self, text: str) -> list[dict[str, object]]:
        return [call.kwargs for call in self.log.calls if call.args[0] == text]


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    rig = Rig(tmp_path)
    task = asyncio.create_task(rig.live.run())
    await asyncio.sleep(0)
    yield rig
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_edit_is_taken_whole_once_it_rests(rig: Rig) -> None:
    before = rig.live.current
    rig.write("channels.yaml", GOOD + "b: {kind: sms}\n")
    await rig.polls(1)
    assert rig.live.current is before  # seen, not yet at rest
    await rig.polls(1)
    assert rig.names == ["a", "b"]
    assert rig.live.current.generation == 2
    assert list(before.channels) == ["a"]  # who holds the old keeps it whole
    assert rig.metrics.registry.get_sample_value("msgcenter_config_generation") == 2
    assert rig.count("swapped") == 1
    lag = rig.metrics.registry.get_sample_value("msgcenter_config_reload_lag_seconds")
    assert lag == 2.0, "from the last look that did not show it"
    await rig.polls(3)
    assert (rig.live.current.generation, rig.count("swapped")) == (2, 1)


async def test_a_file_that_keeps_changing_waits(rig: Rig) -> None:
    for i in range(4):
        rig.write("channels.yaml", GOOD + f"b{i}: {{kind: s")  # half-written
        await rig.polls(1)
    rig.write("channels.yaml", GOOD + "b: {kind: sms}\n")
    await rig.polls(2)
    assert rig.names == ["a", "b"]
    assert rig.count("refused") == 0


async def test_a_bad_edit_changes_nothing_and_is_told_once(rig: Rig) -> None:
    before = rig.live.current
    rig.write("channels.yaml", "a: {kind: devnul}\n")
    rig.write("routes.yaml", "routes:\n- {kind: devnull, channel: z}\n")
    await rig.polls(6)
    assert rig.live.current is before
    assert rig.count("refused") == 1
    assert [(e["at"], e["remedy"]) for e in rig.logged("config refused")] == [
        ("channels.yaml:1:5", "did you mean `devnull`? (known channel kinds: devnull, sms)"),
        ("routes.yaml:2:19", "known channels: a"),
    ]
    assert rig.live.last.result == "refused"
    rig.write("channels.yaml", GOOD)
    (rig.folder / "routes.yaml").unlink()
    await rig.polls(3)
    assert rig.live.current is before  # back to what is in force: nothing to swap
    assert rig.live.last.result == "unchanged"


async def test_a_kubernetes_symlink_swap_is_seen(tmp_path: Path) -> None:
    for name, text in (("v1", GOOD), ("v2", GOOD + "b: {kind: sms}\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "channels.yaml").write_text(text)
        os.utime(tmp_path / name / "channels.yaml", (1, 1))
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "..data").symlink_to(tmp_path / "v1")
    (folder / "channels.yaml").symlink_to("..data/channels.yaml")
    config = load(folder, settings_models=MODELS, env={}, clock=ManualClock())
    clock = ManualClock()
    live = live_config(
        config,
        settings_models=MODELS,
        env={},
        clock=clock,
        metrics=Metrics(CollectorRegistry()),
        log=CapturingLogger(),
    )
    task = asyncio.create_task(live.run())
    (folder / "..tmp").symlink_to(tmp_path / "v2")
    (folder / "..tmp").replace(folder / "..data")
    for _ in range(3):
        await step(clock)
    assert list(live.current.channels) == ["a", "b"]
    task.cancel()


async def test_sighup_takes_an_edit_at_once(rig: Rig) -> None:
    loop = asyncio.get_running_loop()
    rig.live.on_sighup(loop)
    try:
        rig.write("channels.yaml", "c: {kind: sms}\n")
        os.kill(os.getpid(), signal.SIGHUP)
        for _ in range(500):
            if rig.names == ["c"]:
                break
            await asyncio.sleep(0.01)
        assert rig.names == ["c"]
    finally:
        loop.remove_signal_handler(signal.SIGHUP)


async def test_hooks_run_before_and_after_the_swap(rig: Rig) -> None:
    seen: list[object] = []

    async def prepare(new: Config) -> None:
        seen.append(("prepare", list(new.channels), rig.names))

    async def deaf(old: Config, new: Config) -> None:
        raise OSError("no")

    async def changed(old: Config, new: Config) -> None:
        seen.append(("changed", list(old.channels), list(new.channels), rig.names))

    rig.live.prepare(prepare)
    rig.live.changed(deaf)
    rig.live.changed(changed)
    rig.write("channels.yaml", "c: {kind: sms}\n")
    assert (await rig.live.reload()).result == "swapped"
    assert seen == [("prepare", ["c"], ["a"]), ("changed", ["a"], ["c"], ["c"])]
    assert rig.count("hook_failed") == 1


async def test_a_failing_prepare_keeps_the_old_and_is_tried_again(rig: Rig) -> None:
    tries = []

    async def prepare(new: Config) -> None:
        tries.append(rig.clock.monotonic())
        if len(tries) < 3:
            raise ConnectionError("broker is down")

    rig.live.prepare(prepare)
    before = rig.live.current
    rig.write("channels.yaml", "c: {kind: sms}\n")
    await rig.polls(2)
    assert rig.live.current is before
    assert rig.live.last.detail.endswith("ConnectionError: broker is down")
    await rig.polls(4)
    assert rig.names == ["c"]
    assert (len(tries), rig.count("failed"), rig.count("swapped")) == (3, 2, 1)


async def test_a_rotated_secret_file_is_a_change(rig: Rig) -> None:
    key = rig.folder / "key"
    key.write_text("one")
    key.chmod(0o644)
    rig.write("channels.yaml", "a: {kind: sms, settings: {secret: '${file:key}'}}\n")
    await rig.polls(2)
    assert rig.live.last.result == "refused"
    key.chmod(0o600)  # the repair is noticed although no YAML changed
    await rig.polls(2)
    assert rig.live.current.generation == 2
    key.write_text("two")
    await rig.polls(2)
    assert rig.live.current.generation == 3
    settings = rig.live.current.settings["a"]
    assert isinstance(settings, Sms)
    assert settings.secret == Secret("two")


async def test_what_needs_a_restart_stays_as_it_runs(rig: Rig) -> None:
    rig.write("msgcenter.yaml", "api: {port: 9}\n")
    result = await rig.live.reload()
    assert result.result == "swapped"
    assert rig.live.current.process.api.port == 8080
    assert rig.live.current.restart_needed == ("api.port",)
    assert rig.logged("config needs a restart") == [{"keys": ["api.port"]}]
    await rig.polls(2)
    assert rig.count("swapped") == 1


async def test_a_broken_settings_model_refuses_and_does_not_end_the_watch(rig: Rig) -> None:
    class Broken(Strict):
        def model_post_init(self, context: object) -> None:
            raise KeyError("secret-in-the-text")

    MODELS["broken"] = Broken  # type: ignore[assignment]
    try:
        rig.write("channels.yaml", "a: {kind: broken}\n")
        await rig.polls(2)
        assert rig.live.last.problems[0].message == "reading it raised KeyError"
        rig.write("channels.yaml", "b: {kind: sms}\n")
        await rig.polls(2)
        assert rig.names == ["b"]
    finally:
        del MODELS["broken"]


async def test_processes_on_other_rules_and_refused_edits_can_be_seen(rig: Rig) -> None:
    def value(name: str) -> float | None:
        return rig.metrics.registry.get_sample_value(f"msgcenter_config_{name}")

    before = value("rules_hash")
    assert before == int(rig.live.current.rules_hash[:12], 16)
    assert value("last_reload_ok") == 1
    rig.write("channels.yaml", "b: {kind: nonsense}\n")
    assert (await rig.live.reload()).result == "refused"
    assert (value("last_reload_ok"), value("rules_hash")) == (0, before)
    rig.write("channels.yaml", GOOD + "b: {kind: sms}\n")
    assert (await rig.live.reload()).result == "swapped"
    assert value("last_reload_ok") == 1
    assert value("rules_hash") not in (None, before)
    rig.write("channels.yaml", GOOD)
    assert (await rig.live.reload()).result == "swapped"
    assert value("rules_hash") == before, "the same files give the same number again"
