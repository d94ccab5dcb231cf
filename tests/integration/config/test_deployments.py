"""config/compose.yaml, config/kubernetes, Dockerfile: they give what guardian takes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from guardian.config import load_config
from guardian.config.models import Config

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "config/compose.yaml").read_text())
KUBERNETES: list[dict[str, Any]] = [
    document
    for path in sorted((ROOT / "config/kubernetes").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]


def named(kind: str) -> dict[str, Any]:
    (found,) = [one for one in KUBERNETES if one["kind"] == kind]
    return found


def loaded(text: str, tmp_path: Path) -> Config:
    """The embedded configuration, its secrets in files of ours."""
    secrets = tmp_path / "secrets"
    secrets.mkdir()
    for path in re.findall(r"_file: (\S*/([a-z0-9-]+))\b", text):
        (secrets / path[1]).write_text("https://secret.example/long-enough\n")
    config = tmp_path / "guardian.yaml"
    config.write_text(re.sub(r"_file: \S*/([a-z0-9-]+)\b", rf"_file: {secrets}/\1", text))
    return load_config(config, {})


def secret_paths(text: str) -> set[str]:
    return set(re.findall(r"_file: (\S*/[a-z0-9-]+)\b", text))


def test_the_composed_configuration_loads(tmp_path: Path) -> None:
    text = COMPOSE["configs"]["guardian"]["content"]
    config = loaded(text, tmp_path)
    assert config.service.listen == "0.0.0.0:8765"
    assert config.servers["main"].backup.schedule == "every 6h"
    service = COMPOSE["services"]["guardian"]
    given = {one if isinstance(one, str) else one["source"] for one in service["secrets"]}
    assert secret_paths(text) == {f"/run/secrets/{name}" for name in given}
    assert given <= set(COMPOSE["secrets"])
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]


def test_the_passphrase_is_guardians_own() -> None:
    user = re.search(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert user is not None
    (passphrase,) = [
        one
        for one in COMPOSE["services"]["guardian"]["secrets"]
        if isinstance(one, dict) and one["source"] == "passphrase"
    ]
    assert passphrase["uid"] == user[1]
    assert passphrase["mode"] == 0o400
    assert named("Deployment")["spec"]["template"]["spec"]["securityContext"]["runAsUser"] == int(
        user[1]
    )


def test_the_kubernetes_configuration_loads(tmp_path: Path) -> None:
    text = named("ConfigMap")["data"]["guardian.yaml"]
    config = loaded(text, tmp_path)
    assert config.service.listen == "0.0.0.0:8765"
    assert set(config.escalation.ladder) == {"P0", "P1", "P2", "P3"}
    assert config.servers["main"].verify.scratch_dir == Path("/scratch")


def test_what_kubernetes_mounts_is_what_guardian_reads() -> None:
    pod = named("Deployment")["spec"]["template"]["spec"]
    text = named("ConfigMap")["data"]["guardian.yaml"]
    (container,) = pod["containers"]
    mounts = {one["mountPath"]: one["name"] for one in container["volumeMounts"]}
    assert set(mounts.values()) == {one["name"] for one in pod["volumes"]}
    for path in secret_paths(text) - {"/var/run/guardian/passphrase"}:
        folder, name = path.rsplit("/", 1)
        assert mounts[folder] == "secrets"
        assert name in named("Secret")["stringData"]
    (init,) = pod["initContainers"]
    assert init["command"][-1] == "/var/run/guardian/passphrase"
    assert mounts["/scratch"] == "scratch"
    for one in (container, init):
        assert one["securityContext"]["readOnlyRootFilesystem"]
        assert one["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.mark.parametrize("kind", ["Service", "ServiceMonitor"])
def test_addresses_lead_to_the_daemon(kind: str) -> None:
    labels = named("Deployment")["spec"]["template"]["metadata"]["labels"]
    spec = named(kind)["spec"]
    selector = spec["selector"].get("matchLabels", spec["selector"])
    assert selector.items() <= labels.items()
    if kind == "ServiceMonitor":
        (endpoint,) = spec["endpoints"]
        assert endpoint["port"] in {one["name"] for one in named("Service")["spec"]["ports"]}
        assert endpoint["authorization"]["credentials"]["key"] in named("Secret")["stringData"]


def test_the_image_holds_what_the_package_needs() -> None:
    """What .dockerignore lets through is what the build copies."""
    copied = re.findall(
        r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE
    )
    wanted = {name.removeprefix("./") for line in copied for name in line.split()}
    let_through = {
        line[1:]
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    assert wanted == let_through
