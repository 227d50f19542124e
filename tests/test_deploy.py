"""docs/deploy: what its files name exists, no password stands in them, and nothing listens beyond loopback.

Compose file and manifests are validated against the schemas in `tests/deploy/schemas/`.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
from dataclasses import astuple
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from pipeline.capacity.limits import Machine
from pipeline.capacity.measured import measured
from pipeline.capacity.night import Load
from pipeline.capacity.plan import plan
from pipeline.cli import main
from pipeline.servers import code_location
from pipeline.servers.interfaces import ALONE, Ports
from pipeline.settings import Settings, load_settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "docs" / "deploy"
UNITS = sorted(file for file in DEPLOY.iterdir() if file.suffix in (".service", ".timer"))
HARDENED = {
    **{"UMask": "0077", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "ProtectHome": "yes"},
    **{"CapabilityBoundingSet": "", "User": "ple"},
}


SCHEMAS = ROOT / "tests" / "deploy" / "schemas"
KUBERNETES = DEPLOY / "kubernetes"
LAYERS = [file.parent for file in sorted(KUBERNETES.rglob("kustomization.yaml"))]
OWN = ("ple-nightly", "ple-nightly-ray")
"""Images that are built here."""


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


def check_command(words: list[str]) -> None:
    """A command of `ple` with options that it has, and a server that it knows."""
    assert words[0].rpartition("/")[2] == "ple", words
    verb = main.commands[words[1]]
    context = verb.make_context(words[1], words[2:], resilient_parsing=False)
    assert isinstance(context, click.Context)
    if (server := context.params.get("only")) is not None:
        assert server == "%i" or server in ALONE


def test_compose_is_of_its_schema(compose: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "compose.json").read_text())
    jsonschema.Draft7Validator(schema).validate(compose)
    broken = compose | {"services": compose["services"] | {"daemon": {"comand": ["ple"]}}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(schema).validate(broken)


def test_compose_names_what_exists_and_listens_on_loopback(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for name, service in services.items():
        assert set(service.get("secrets", [])) <= set(compose["secrets"]), name
        assert set(service.get("depends_on", {})) <= set(services), name
        for mount in service.get("volumes", []):
            source = mount.partition(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith(".") else source in compose["volumes"], mount
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])), name
        if "build" in service:
            context = (DEPLOY / service["build"]["context"]).resolve()
            assert context == ROOT
            assert (context / service["build"]["dockerfile"]).is_file()
            assert service["image"] in OWN
        if service["image"] == OWN[0]:
            check_command(service["command"])
            assert "sockets:/tmp" in service["volumes"]
        assert name == "postgres" or service["cap_drop"] == ["ALL"]
    servers = [service["command"][3] for service in services.values() if "--only" in service.get("command", [])]
    assert sorted(servers) == sorted(ALONE)
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert sorted(ports) == sorted(f"127.0.0.1:{port}:{port}" for port in astuple(Ports()))


def test_what_few_need_is_off_unless_asked_for(compose: dict[str, Any]) -> None:
    services = compose["services"]
    on = {name for name, service in services.items() if "profiles" not in service}
    assert on == {"postgres", "daemon", "dagster", "mlflow", "scores"}
    asked = {profile for service in services.values() for profile in service.get("profiles", [])}
    assert asked == {"night", "code-location", "minio", "ray"}


def test_no_password_stands_in_the_files(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        secret = {key for key in service.get("environment", {}) if "PASSWORD" in key and not key.endswith("_FILE")}
        assert secret == set(), name
    assert {key for secret in compose["secrets"].values() for key in secret} == {"environment"}
    for file in DEPLOY.rglob("*.*"):
        assert not re.search(r"://[^/\s:@]+:[^@\s]+@", file.read_text()), file


def settings_of(text: str, folder: Path) -> Settings:
    (folder / "settings.yaml").write_text(text)
    return load_settings(home=folder)


def test_the_settings_of_compose_are_valid(tmp_path: Path, compose: dict[str, Any]) -> None:
    settings = settings_of((DEPLOY / "settings.yaml").read_text(), tmp_path)
    made = databases((DEPLOY / "databases.sql").read_text())
    for uri, database in ((settings.dagster_storage, "dagster"), (settings.mlflow_uri, "mlflow")):
        assert uri is not None
        host = uri.partition("@")[2].partition(":")[0]
        assert host in compose["services"]
        assert uri.endswith(f"/{database}")
        assert database in made


def databases(sql: str) -> list[str]:
    return re.findall(r"^CREATE DATABASE (\w+) OWNER ple;", sql, re.MULTILINE)


def manifests(layer: Path) -> list[dict[str, Any]]:
    """What a kustomization applies, in its order."""
    listed = yaml.safe_load((layer / "kustomization.yaml").read_text())["resources"]
    return [each for name in listed for each in yaml.safe_load_all((layer / name).read_text())]


MANIFESTS = [
    pytest.param(each, id=f"{layer.name}-{each['kind']}-{each['metadata']['name']}")
    for layer in LAYERS
    for each in manifests(layer)
]
EVERY: list[dict[str, Any]] = [each for layer in LAYERS for each in manifests(layer)]


def of_kind(kind: str) -> dict[str, dict[str, Any]]:
    return {each["metadata"]["name"]: each for each in EVERY if each["kind"] == kind}


def pods() -> dict[str, dict[str, Any]]:
    """Name → the template of each pod."""
    found = {
        name: each["spec"]["template"] for kind in ("Deployment", "StatefulSet") for name, each in of_kind(kind).items()
    }
    jobs = {name: each["spec"]["jobTemplate"]["spec"]["template"] for name, each in of_kind("CronJob").items()}
    return found | jobs


PODS = [pytest.param(pod, id=name) for name, pod in pods().items()]


def selects(labels: dict[str, str]) -> bool:
    """Whether a pod bears the labels."""
    return any(labels.items() <= pod["metadata"]["labels"].items() for pod in pods().values())


def containers(pod: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pod["spec"]["containers"]
    return found


@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_is_of_its_schema(manifest: dict[str, Any]) -> None:
    schema = json.loads((SCHEMAS / "kubernetes-1.35.json").read_text())
    own = {"$ref": f"#/$defs/kind.{manifest['kind']}", "$defs": schema["$defs"]}
    jsonschema.Draft202012Validator(own).validate(manifest)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(own).validate(manifest | {"specs": {}})


def test_every_manifest_is_applied_and_by_one_kustomization() -> None:
    listed = [
        layer / name
        for layer in LAYERS
        for name in yaml.safe_load((layer / "kustomization.yaml").read_text())["resources"]
    ]
    files = {file for file in KUBERNETES.rglob("*.yaml") if file.name != "kustomization.yaml"}
    assert sorted(listed) == sorted(files)
    names = [(each["kind"], each["metadata"]["name"]) for each in EVERY]
    assert len(names) == len(set(names))


def test_selectors_find_their_pods() -> None:
    for name, each in {**of_kind("Deployment"), **of_kind("StatefulSet")}.items():
        wanted = each["spec"]["selector"]["matchLabels"].items()
        assert wanted <= each["spec"]["template"]["metadata"]["labels"].items(), name
    for name, each in of_kind("Service").items():
        assert each["spec"]["type"] == "ClusterIP"
        assert selects(each["spec"]["selector"]), name
        opened = [
            port["containerPort"] for pod in pods().values() for c in containers(pod) for port in c.get("ports", [])
        ]
        assert {port["port"] for port in each["spec"]["ports"]} <= set(opened), name
    for each in of_kind("NetworkPolicy").values():
        asked = [f["podSelector"] for rule in each["spec"].get("ingress", []) for f in rule["from"]]
        assert all(selects(one.get("matchLabels", {})) for one in (each["spec"]["podSelector"], *asked))
    assert not of_kind("Ingress"), "the pages answer as localhost only"


def test_nothing_but_the_own_pods_reaches_a_pod() -> None:
    rules = of_kind("NetworkPolicy")
    assert rules["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    opened = {name for name, each in rules.items() if each["spec"].get("ingress")}
    assert opened == {"postgres", "code-location", "minio", "ray"}, "the pages are reached by port-forward alone"


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_runs_without_rights_and_says_what_it_needs(pod: dict[str, Any]) -> None:
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["runAsUser"] > 0
    assert pod["spec"]["automountServiceAccountToken"] is False
    for container in containers(pod):
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        claimed = {
            claim["metadata"]["name"]
            for each in of_kind("StatefulSet").values()
            if each["spec"]["template"] is pod
            for claim in each["spec"]["volumeClaimTemplates"]
        }
        assert mounted == {volume["name"] for volume in pod["spec"]["volumes"]} | claimed


@pytest.mark.parametrize("pod", PODS)
def test_a_pod_names_what_exists(pod: dict[str, Any]) -> None:
    images = {container["image"] for container in containers(pod)}
    for image in images & set(OWN):
        [command] = [container["args"] for container in containers(pod) if container["image"] == image]
        if command[0] == "ple":
            check_command(command)
    assert all(":" in image for image in images - set(OWN)), "an image of others has a version"
    for volume in pod["spec"]["volumes"]:
        if "configMap" in volume:
            assert volume["configMap"]["name"] in of_kind("ConfigMap")
        if "persistentVolumeClaim" in volume:
            assert volume["persistentVolumeClaim"]["claimName"] in of_kind("PersistentVolumeClaim")
        if "secret" in volume:
            name = volume["secret"]["secretName"]
            assert any(
                f"create secret generic {name} " in (layer / "kustomization.yaml").read_text() for layer in LAYERS
            )
    for container in containers(pod):
        opened = {port["name"] for port in container.get("ports", [])}
        assert container.get("readinessProbe", {}).get("tcpSocket", {}).get("port", "") in opened | {""}


def test_the_pages_are_at_their_ports_and_the_code_where_the_settings_say(tmp_path: Path) -> None:
    ports = {
        name: pod["spec"]["containers"][0].get("ports", [{}])[0].get("containerPort") for name, pod in pods().items()
    }
    assert (ports["dagster"], ports["mlflow"], ports["scores"]) == astuple(Ports())
    settings = settings_of(of_kind("ConfigMap")["settings"]["data"]["settings.yaml"], tmp_path)
    assert settings.code_location == f"code-location:{code_location.PORT}"
    assert ports["code-location"] == code_location.PORT
    for uri in (settings.dagster_storage, settings.mlflow_uri):
        assert uri is not None
        assert uri.partition("@")[2].partition(":")[0] in of_kind("Service")
    made = of_kind("ConfigMap")["databases"]["data"]["databases.sql"]
    assert databases(made) == databases((DEPLOY / "databases.sql").read_text())


def test_no_secret_value_stands_in_a_manifest() -> None:
    assert not of_kind("Secret")
    for pod in pods().values():
        for container in containers(pod):
            for entry in container.get("env", []):
                secret = re.search("PASSWORD|KEY|SECRET|TOKEN|USER_FILE", entry["name"])
                assert not secret or entry["name"].endswith("_FILE"), entry


def test_one_thing_makes_the_nights() -> None:
    [night] = of_kind("CronJob").values()
    assert night["spec"]["suspend"] is False, "Dagster's schedules are off in a new home"
    assert night["spec"]["concurrencyPolicy"] == "Forbid"
    [container] = containers(pods()["nightly"])
    assert container["args"] == ["ple", "nightly"]


def test_what_a_night_asks_for_is_what_the_plan_of_a_million_says(tmp_path: Path) -> None:
    found = plan(Load(1e6, measured().usual_events), Machine(), Settings(home=tmp_path))
    [night] = containers(pods()["nightly"])
    gib = float(night["resources"]["limits"]["memory"].removesuffix("Gi"))
    assert found["memory_gib"] < gib < 2 * found["memory_gib"]
    assert float(night["resources"]["requests"]["cpu"]) == Machine().cores
    home = of_kind("PersistentVolumeClaim")["home"]["spec"]["resources"]["requests"]["storage"]
    assert found["kept_gb"] * 1e9 < float(home.removesuffix("Gi")) * 2**30 < 2e9 * found["kept_gb"]


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
def test_kustomize_builds_each_layer(layer: Path) -> None:
    done = subprocess.run(["kubectl", "kustomize", str(layer)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    built = list(yaml.safe_load_all(done.stdout))
    assert len(built) == len(manifests(layer))
    assert all(each["metadata"].get("namespace", "ple") == "ple" for each in built)


def test_the_image_copies_what_is_there() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert [path for path in copied if not (ROOT / path).exists()] == []
    context = (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
    assert [path for path in copied if f"!{path}" not in context] == []
    assert {"feature_assets", "ple_model", "pipeline", "data"} <= set(copied)
    script = DEPLOY / "with-password"
    assert script.stat().st_mode & 0o111
    subprocess.run(["sh", "-n", script], check=True)


def unit(file: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string(file.read_text())
    return parser


@pytest.mark.parametrize("file", [file for file in UNITS if file.suffix == ".service"], ids=lambda file: file.name)
def test_a_service_is_hardened_and_calls_a_command_that_exists(file: Path) -> None:
    service = unit(file)["Service"]
    assert {key: service[key] for key in HARDENED} == HARDENED
    check_command(service["ExecStart"].split())
    assert "MemoryDenyWriteExecute" not in service, "kernels are compiled while they run"
    assert "PrivateTmp" not in service, "the services look for each other's sockets"


def test_the_timer_starts_a_service_that_is_there() -> None:
    [timer] = [file for file in UNITS if file.suffix == ".timer"]
    assert timer.with_suffix(".service").is_file()
    assert unit(timer)["Timer"].getboolean("Persistent")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    for file in UNITS:  # the program and its folder are not installed here
        text = file.read_text().replace("/opt/ple/.venv/bin/ple", "/bin/true").replace("/opt/ple", "/")
        (tmp_path / file.name.replace("@", "@mlflow")).write_text(text)
    files = sorted(tmp_path.iterdir())
    done = subprocess.run(["systemd-analyze", "verify", *files], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
