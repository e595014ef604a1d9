"""What is deployed from: image, compose file, Kubernetes manifests, systemd units: each passes its field's own checker, and asks
msgcenter only for what it knows.

Long because each file that is deployed has its own checker.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import entry_points
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml
from pydantic import BaseModel

from msgcenter import healthcheck, packaging
from msgcenter.app import installed_adapters
from msgcenter.cli.config import EX_CONFIG
from msgcenter.cli.serve import app as serve
from msgcenter.cli.sim import parser_of
from msgcenter.clock import ManualClock
from msgcenter.config import Config, load
from msgcenter.config.process import ROLES, ProcessConfig
from tests.unit.operations.queries import faults

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "config/deploy"
BASE = DEPLOY / "kubernetes/base"
EXAMPLE = DEPLOY / "kubernetes/overlays/example"
UNITS = DEPLOY / "systemd"
BIN = Path(sys.executable).parent


def tool(name: str, *args: str, cwd: Path = ROOT) -> str:
    """Run a development tool of this environment, or of the machine; what it said. Fails when it complains."""
    path = BIN / name if (BIN / name).exists() else name
    done = subprocess.run([path, *args], capture_output=True, text=True, check=False, cwd=cwd)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def env_file(path: Path) -> dict[str, str]:
    lines = (line.partition("=") for line in path.read_text().splitlines())
    return {name: value for name, eq, value in lines if eq and not name.startswith("#")}


def read(folder: Path | None, env: Mapping[str, str]) -> Config:
    """The configuration as a process would read it. Raises ConfigErrors."""
    models = {kind: adapter.Settings for kind, adapter in installed_adapters().items()}
    return load(folder, settings_models=models, env=env, clock=ManualClock())


def unknown_settings(names: Iterable[str]) -> list[str]:
    """Those `MSGCENTER__…` that no key of msgcenter.yaml stands behind."""
    wrong = []
    for name in names:
        model: Any = ProcessConfig
        for part in name.removeprefix("MSGCENTER__").removesuffix("_FILE").lower().split("__"):
            known = model.model_fields if isinstance(model, type) else {}
            if part not in known:
                wrong.append(name)
                break
            model = known[part].annotation
            model = model if isinstance(model, type) and issubclass(model, BaseModel) else None
    return wrong


def serve_options() -> set[str]:
    """What `msgcenter serve` takes."""
    command = typer.main.get_command(serve)
    return {option for parameter in command.params for option in parameter.opts}


def test_every_setting_named_in_a_deployment_exists() -> None:
    files = [ROOT / "Dockerfile", ROOT / "compose.yaml", *DEPLOY.rglob("*")]
    files += [ROOT / "docs/deployment.md"]
    names = {
        name
        for path in files
        if path.is_file()
        for name in re.findall(r"\bMSGCENTER__[A-Z0-9_]*[A-Z0-9]", path.read_text())
    }
    assert len(names) >= 6
    assert unknown_settings(names) == []
    assert unknown_settings(["MSGCENTER__HEALTH__PROT"]) == ["MSGCENTER__HEALTH__PROT"]


# -- image --------------------------------------------------------------------------------------------------------------


def test_the_dockerfile_is_clean() -> None:
    tool("hadolint", "--failure-threshold", "info", "Dockerfile")


def final_stage() -> list[str]:
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return text.rpartition("\nFROM ")[2].splitlines()


def test_the_image_is_small_in_rights_and_asks_itself() -> None:
    stage = final_stage()
    assert [line for line in stage if line.startswith("USER ")] == ["USER 10001:10001"]
    guard = stage.index('RUN ["python", "-m", "msgcenter.packaging"]')
    assert stage.index("USER 10001:10001") < guard, "as the user it will run as"
    [check] = [line for line in stage if line.startswith("HEALTHCHECK ")]
    assert check.endswith('CMD ["python", "-m", "msgcenter.healthcheck"]')
    assert 'ENTRYPOINT ["msgcenter"]' in stage
    assert "VOLUME /var/lib/msgcenter" in stage
    env = dict(re.findall(r"(MSGCENTER__\w+)=(\S+)", "\n".join(stage)))
    assert healthcheck.url_of(env) == "http://127.0.0.1:9464/readyz"
    config = read(None, env)
    assert config.process.roles == ROLES
    assert (config.process.api.host, config.process.health.host) == ("0.0.0.0", "0.0.0.0")


def test_what_is_copied_is_not_ignored() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M)
    kept = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"
    }
    assert {name for line in copied for name in line.split()} == kept
    assert all((ROOT / name).exists() for name in kept)


def test_the_lock_that_the_image_installs_holds_what_it_takes_out_again() -> None:
    removed = re.search(r"uninstall --yes ([a-z -]+) \\", (ROOT / "Dockerfile").read_text())
    locked = set(re.findall(r"^([\w.-]+)==", (ROOT / "requirements.lock").read_text(), re.M))
    assert removed and set(removed[1].split()) <= locked


def test_the_packaging_guard_finds_what_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packaging.problems(tools=()) == []
    assert packaging.problems(tools=("pytest",)) == ["pytest is installed: leave it behind"]

    def torn() -> None:
        raise RuntimeError("come from different places")

    monkeypatch.setattr(packaging, "check_layout", torn)
    assert packaging.problems(tools=()) == ["come from different places"]


# -- compose ------------------------------------------------------------------------------------------------------------


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text())
    return loaded


SERVICES: dict[str, Any] = compose()["services"]
SIMULATORS = [name for name, one in SERVICES.items() if "sandbox" in one.get("profiles", ())]


def test_the_compose_file_follows_its_specification() -> None:
    tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_every_service_is_checked_and_bounded_and_waited_for() -> None:
    image = "\n".join(final_stage())
    for name, service in SERVICES.items():
        assert service["deploy"]["resources"]["limits"]["memory"], name
        assert service["restart"] == "unless-stopped", name
        ours = service["image"].startswith("msgcenter:")
        assert "healthcheck" in service or (ours and "HEALTHCHECK" in image), name
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how["condition"] in ("service_healthy", "service_started")
        for other in service.get("networks", ()):
            assert other in compose()["networks"]
    for role in ROLES:
        assert SERVICES[role]["command"] == ["serve", "--roles", role]
        assert set(SERVICES[role]["depends_on"]) == {"rabbitmq", "redis", "postgres"}
        assert all(
            how["condition"] == "service_healthy" for how in SERVICES[role]["depends_on"].values()
        )


def test_redis_is_started_as_msgcenter_demands_it() -> None:
    command = " ".join(SERVICES["redis"]["command"])
    for wanted in ("--appendonly yes", "--appendfsync always", "--maxmemory-policy noeviction"):
        assert wanted in command


def test_a_container_may_finish_what_it_has_in_hand() -> None:
    drain = read(DEPLOY / "compose/sandbox", env_file(DEPLOY / "compose/sandbox.env")).process.drain
    for role in ROLES:
        assert (
            drain + 5 <= float(SERVICES[role]["stop_grace_period"].removesuffix("s")) <= drain * 3
        )


def test_no_password_stands_in_the_compose_file() -> None:
    asked = set(re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text()))
    for name in ("sandbox.env", "production.env.example"):
        assert asked <= set(env_file(DEPLOY / "compose" / name)), name
    example = env_file(DEPLOY / "compose/production.env.example")
    assert [n for n, value in example.items() if n.endswith(("PASSWORD", "PEPPER")) and value] == []


def test_the_sandbox_fits_its_simulators() -> None:
    """Ports and secrets in the configuration are those that the simulators are started with; all options exist."""
    env = env_file(DEPLOY / "compose/sandbox.env")
    config = read(DEPLOY / "compose/sandbox", env)
    options: dict[str, dict[str, Any]] = {}
    for name in SIMULATORS:
        service = SERVICES[name]
        assert service["network_mode"] == "service:channel"
        kind, *args = service["command"][1:]
        args = [re.sub(r"\$\{(\w+):-\}", lambda found: env[found[1]], arg) for arg in args]
        options[kind] = simulator(kind, args)
        control = options[kind]["control_port"]
        assert f"127.0.0.1:{control}:{control}" in SERVICES["channel"]["ports"]
        assert service["healthcheck"]["test"][-1] == f"http://127.0.0.1:{control}/"
    settings: Any = config.settings
    sms, push, wecom = (settings[name] for name in ("sms-east", "grid", "wecom-staff"))
    assert (sms.port, sms.secret.reveal()) == (options["smsc"]["port"], options["smsc"]["secret"])
    assert push.base_url == f"http://127.0.0.1:{options['push']['port']}"
    assert push.secret.reveal() == options["push"]["secret"]
    assert wecom.base_url == f"http://127.0.0.1:{options['wecom']['port']}/cgi-bin/"
    assert wecom.callback_aes_key.reveal() == options["wecom"]["aes_key"]
    for kind, key in (("push", "receipts_url"), ("wecom", "callback")):
        host, channel = re.fullmatch(
            r"http://(\w+):8080/hooks/([\w-]+)/\w+", options[kind][key]
        ).groups()  # type: ignore[union-attr]
        assert host == "api"
        assert channel in config.channels
    callback = config.callers["crm"].callback
    assert callback is not None
    assert callback.url == f"http://127.0.0.1:{options['platform']['port']}/events"
    assert callback.secret.reveal() == options["platform"]["secret"]


def simulator(kind: str, args: list[str]) -> dict[str, Any]:
    """The options of `msgcenter sim KIND ARGS`, checked by the simulator's own model."""
    [point] = entry_points(group="msgcenter.simulators", name=kind)
    model = point.load().Options
    given = vars(parser_of("sim", model, "").parse_args(args))
    control = {name: given.pop(name) for name in ("journal", "control_host", "control_port")}
    return {**model.model_validate(given).model_dump(), **control}


# -- Kubernetes ---------------------------------------------------------------------------------------------------------


def manifests() -> list[dict[str, Any]]:
    listed = yaml.safe_load((BASE / "kustomization.yaml").read_text())["resources"]
    assert set(listed) == {p.name for p in BASE.glob("*.yaml")} - {"kustomization.yaml"}
    return [one for name in listed for one in yaml.safe_load_all((BASE / name).read_text())]


MANIFESTS = manifests()
WORKLOADS = {
    one["metadata"]["labels"]["msgcenter/role"]: one
    for one in MANIFESTS
    if one["kind"] in ("Deployment", "StatefulSet")
}


def validated(*paths: Path) -> None:
    said = tool("kubernetes-validate", "--strict", "-k", "1.31", *map(str, paths))
    lacking = {re.search(r"kind (\w+)", line)[1] for line in said.splitlines() if "WARN" in line}  # type: ignore[index]
    assert lacking <= {"ScaledObject"}, "no schema, so not checked"


def test_the_manifests_fit_kubernetes() -> None:
    paths = [path for path in BASE.glob("*.yaml") if path.name != "kustomization.yaml"]
    validated(*sorted(paths))


def test_the_example_overlay_builds(tmp_path: Path, kubectl: str) -> None:
    built = tmp_path / "built.yaml"
    built.write_text(tool(kubectl, "kustomize", str(EXAMPLE)))
    validated(built)
    objects = list(yaml.safe_load_all(built.read_text()))
    assert len(objects) == len(MANIFESTS) + 1, "and the configuration"
    assert {one["metadata"].get("namespace") for one in objects} == {"msgcenter"}
    [config] = [one for one in objects if one["kind"] == "ConfigMap"]
    folder = tmp_path / "config"
    folder.mkdir()
    for name, text in config["data"].items():
        (folder / name).write_text(text)
    names = re.findall(r"\$\{env:(\w+)\}", "".join(config["data"].values()))
    loaded = read(folder, {name: f"0123456789abcdef{name}" for name in names})
    assert loaded.process.bus.kind == "rabbit"
    for one in objects:
        if one["kind"] in ("Deployment", "StatefulSet"):
            [container] = one["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "registry.internal/msgcenter:0.1.0"


@pytest.mark.parametrize("role", ROLES)
def test_a_role_runs_safely_in_the_cluster(role: str) -> None:
    workload = WORKLOADS[role]
    pod = workload["spec"]["template"]["spec"]
    [container] = pod["containers"]
    assert container["args"] == ["serve", "--roles", role]
    assert set(container["args"][1::2]) <= serve_options()
    assert workload["spec"]["replicas"] >= 2
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports["health"] == 9464
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        asked = container[probe]["httpGet"]
        assert asked["port"] == "health"
        assert asked["path"] == ("/readyz" if probe == "readinessProbe" else "/livez")
    paused = container.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    drain = yaml.safe_load((EXAMPLE / "config/msgcenter.yaml").read_text())["drain"]
    margin = pod["terminationGracePeriodSeconds"] - paused - float(drain.removesuffix("s"))
    assert 5 <= margin <= 20
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    claims = {c["metadata"]["name"] for c in workload["spec"].get("volumeClaimTemplates", ())}
    assert mounts == {volume["name"] for volume in pod["volumes"]} | claims
    [budget] = [
        one
        for one in MANIFESTS
        if one["kind"] == "PodDisruptionBudget"
        and one["spec"]["selector"]["matchLabels"] == workload["spec"]["selector"]["matchLabels"]
    ]
    assert budget["spec"]["maxUnavailable"] == 1


def test_scaling_asks_for_what_is_measured() -> None:
    scaled = [one for one in MANIFESTS if one["kind"] == "ScaledObject"]
    assert {one["metadata"]["name"] for one in scaled} >= {"msgcenter-submit", "msgcenter-channel"}
    asked = ""
    for one in scaled:
        spec = one["spec"]
        role = spec["scaleTargetRef"]["name"].removeprefix("msgcenter-")
        assert spec["scaleTargetRef"]["kind"] == WORKLOADS[role]["kind"]
        assert 2 <= spec["minReplicaCount"] < spec["maxReplicaCount"]
        assert set(spec) <= {
            "scaleTargetRef", "minReplicaCount", "maxReplicaCount", "pollingInterval",
            "cooldownPeriod", "fallback", "advanced", "triggers",
        }  # fmt: skip
        for trigger in spec["triggers"]:
            metadata = trigger["metadata"]
            assert trigger["type"] == "prometheus"
            assert set(metadata) == {"serverAddress", "query", "threshold"}
            assert all(isinstance(value, str) for value in metadata.values())
            assert faults(metadata["query"]) == []
            asked += metadata["query"]
    assert "msgcenter_queue_depth" in asked
    assert "msgcenter_queue_oldest_seconds" in asked


def test_selectors_find_what_they_are_for(tmp_path: Path, kubectl: str) -> None:
    """As built: what a selector of ours asks for is on the pods; a selector of others is left as it is."""
    objects = list(yaml.safe_load_all(tool(kubectl, "kustomize", str(EXAMPLE))))
    pods = [
        one["spec"]["template"]["metadata"]["labels"]
        for one in objects
        if one["kind"] in ("Deployment", "StatefulSet")
    ]
    assert len(pods) == len(ROLES)
    for one in objects:
        kind, spec = one["kind"], one.get("spec", {})
        wanted = {
            "Deployment": lambda spec: spec["selector"]["matchLabels"],
            "StatefulSet": lambda spec: spec["selector"]["matchLabels"],
            "PodDisruptionBudget": lambda spec: spec["selector"]["matchLabels"],
            "Service": lambda spec: spec["selector"],
            "NetworkPolicy": lambda spec: spec["podSelector"]["matchLabels"],
        }.get(kind, lambda _: None)(spec)
        if wanted is None:
            continue
        found = sum(wanted.items() <= labels.items() for labels in pods)
        everybody = kind == "NetworkPolicy" and one["metadata"]["name"] == "msgcenter"
        assert found == (len(ROLES) if everybody else 1), one["metadata"]
    [policy] = [
        one
        for one in objects
        if one["kind"] == "NetworkPolicy" and one["metadata"]["name"] == "msgcenter"
    ]
    [names] = [rule["to"][0] for rule in policy["spec"]["egress"] if "to" in rule]
    assert names["podSelector"]["matchLabels"] == {"k8s-app": "kube-dns"}


def test_policies_name_ports_and_roles_that_exist() -> None:
    named = {
        port["name"]
        for workload in WORKLOADS.values()
        for port in workload["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    for one in MANIFESTS:
        if one["kind"] != "NetworkPolicy":
            continue
        role = one["spec"]["podSelector"].get("matchLabels", {}).get("msgcenter/role")
        assert role is None or role in WORKLOADS
        for rule in one["spec"].get("ingress", ()):
            assert {port["port"] for port in rule.get("ports", ())} <= named


# -- systemd ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units with a program that is there, and one instance for each role."""
    text = (UNITS / "msgcenter@.service").read_text()
    program = "/opt/msgcenter/bin/msgcenter"
    assert program in text
    (tmp_path / "msgcenter@.service").write_text(text.replace(program, "/bin/true"))
    shutil.copy(UNITS / "msgcenter.target", tmp_path)
    for role in ROLES:
        (tmp_path / f"msgcenter@{role}.service").symlink_to("msgcenter@.service")
    return tmp_path


def test_systemd_takes_the_units(units: Path, systemd_analyze: str) -> None:
    paths = [str(units / f"msgcenter@{role}.service") for role in ROLES]
    said = subprocess.run(
        [
            systemd_analyze,
            "verify",
            "--recursive-errors=yes",
            *paths,
            str(units / "msgcenter.target"),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")


def test_a_process_is_locked_in(units: Path, systemd_analyze: str) -> None:
    """At most 2.0 of 10 by systemd's own measure of exposure."""
    tool(
        systemd_analyze,
        "security",
        "--offline=true",
        "--threshold=20",
        str(units / "msgcenter@api.service"),
    )


def test_the_unit_starts_msgcenter_as_it_wants_to_be() -> None:
    settings = dict(
        line.split("=", 1)
        for line in (UNITS / "msgcenter@.service").read_text().splitlines()
        if "=" in line and line[0] not in "#["
    )
    program, command, *args = settings["ExecStart"].split()
    assert (program, command) == ("/opt/msgcenter/bin/msgcenter", "serve")
    assert {name for name, _ in pairwise(args) if name.startswith("--")} <= serve_options()
    assert float(settings["TimeoutStopSec"]) > ProcessConfig().drain + 5
    assert settings["RestartPreventExitStatus"] == str(EX_CONFIG)
    assert settings["User"] == "msgcenter"
    assert "u msgcenter " in (UNITS / "msgcenter.sysusers").read_text()


# -- all YAML -----------------------------------------------------------------------------------------------------------


def test_yaml_is_tidy() -> None:
    rules = (
        "{extends: default, rules: {line-length: {max: 175}, document-start: disable, comments: {min-spaces-from-content: 1},"
        " braces: {max-spaces-inside: 1}, indentation: {indent-sequences: consistent}}}"
    )
    files = [
        ROOT / "compose.yaml",
        *DEPLOY.rglob("*.yaml"),
        *(ROOT / "config/grafana").rglob("*.yaml"),
        *(ROOT / "config/prometheus").glob("*.yaml"),
    ]
    tool("yamllint", "--strict", "-d", rules, *map(str, files))


def test_prometheus_takes_the_scrape_configuration(promtool: str) -> None:
    tool(promtool, "check", "config", "--syntax-only", "config/prometheus/prometheus.yaml")
    jobs = yaml.safe_load((ROOT / "config/prometheus/prometheus.yaml").read_text())[
        "scrape_configs"
    ]
    [found] = [job for job in jobs if job["job_name"] == "msgcenter"]
    [names] = found["dns_sd_configs"]
    assert (tuple(names["names"]), names["port"]) == (ROLES, 9464)
