"""The manifests are what kustomize makes of them, valid in several versions of Kubernetes, and say what the pages say."""

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from textwrap import dedent
from typing import Any

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml
from kubernetes_validate.utils import latest_version  # type: ignore[import-untyped]

from faultproxy.config.loader import parse
from faultproxy.rules.rule import BaseRule
from tests.servers import program

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
EXAMPLES = "example", "example-intercepted"
VERSIONS = "1.29", "1.31", "1.33", latest_version()
RESTRICTED = """
resources: [{example}]
components: [{folder}/restricted]
"""
SHOP = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop, labels: {faultproxy: enabled}}
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec:
      initContainers: [{name: migrate, image: shop}]
      containers: [{name: shop, image: shop}]
"""
_ALLOWED_BY_BASELINE = frozenset({"NET_BIND_SERVICE"})

Manifest = dict[str, Any]


def built(folder: Path) -> list[Manifest]:
    """What kubectl apply -k would send."""
    done = subprocess.run([program("kubectl"), "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return list(yaml.safe_load_all(done.stdout))


@pytest.fixture
def restricted(tmp_path: Path) -> list[Manifest]:
    """The example in a namespace whose Pod Security is restricted."""
    example, folder = (away(tmp_path) / path.relative_to("/") for path in (FOLDER / "example", FOLDER))
    (tmp_path / "kustomization.yaml").write_text(RESTRICTED.format(example=example, folder=folder))
    return built(tmp_path)


def away(folder: Path) -> Path:
    """The way from this folder to the root: kustomize takes no absolute path."""
    return Path(*[".."] * len(folder.parts[1:]))


def pod(manifests: list[Manifest], deployment: str = "client") -> Mapping[str, Any]:
    (found,) = (one for one in manifests if one["kind"] == "Deployment" and one["metadata"]["name"] == deployment)
    spec: Mapping[str, Any] = found["spec"]["template"]["spec"]
    return spec


def files(folder: Path) -> Iterator[tuple[Path, Any]]:
    """The files that a kustomization names, and itself."""
    text = (folder / "kustomization.yaml").read_text()
    kustomization = yaml.safe_load(text)
    yield folder / "kustomization.yaml", kustomization
    named = [*kustomization.get("resources", ()), *kustomization.get("components", ())]
    named += [patch["path"] for patch in kustomization.get("patches", ()) if "path" in patch]
    named += [name for one in kustomization.get("configMapGenerator", ()) for name in one["files"]]
    for name in named:
        yield folder / name, None


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in FOLDER.glob("*/kustomization.yaml")), ids=lambda path: path.name
)
def test_every_file_is_there(folder: Path) -> None:
    """Also where nobody can build them."""
    for path, _ in files(folder):
        assert path.exists(), path
        for manifest in yaml.safe_load_all(path.read_text()) if path.is_file() else ():
            assert manifest


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("example", EXAMPLES)
def test_they_are_valid(example: str, version: str) -> None:
    """No field is unknown, none of the wrong kind."""
    for manifest in built(FOLDER / example):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_restricted_ones_are_valid(restricted: list[Manifest], version: str) -> None:
    """Likewise."""
    for manifest in restricted:
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_typo_would_be_found() -> None:
    """The check is a check."""
    manifest = next(one for one in built(FOLDER / "example") if one["kind"] == "Deployment")
    manifest["spec"]["template"]["spec"]["initContainer"] = []
    with pytest.raises(kubernetes_validate.ValidationError, match="initContainer"):
        kubernetes_validate.validate(manifest, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_sidecar(example: str) -> None:
    """It begins before the application and ends after it, follows an edit of its rules, and no fault makes it unready."""
    manifests = built(FOLDER / example)
    its = pod(manifests)
    sidecar = its["initContainers"][-1]
    assert (sidecar["name"], sidecar["restartPolicy"]) == ("faultproxy", "Always")
    assert {"startupProbe", "livenessProbe"} <= sidecar.keys()
    assert "readinessProbe" not in sidecar
    (mount,) = sidecar["volumeMounts"]
    assert "subPath" not in mount
    (volume,) = its["volumes"]
    assert volume["configMap"]["name"] == "faultproxy"
    assert [one["metadata"]["name"] for one in manifests if one["kind"] == "ConfigMap"] == ["faultproxy"]
    assert "initContainers" not in pod(manifests, "redis")


def test_into_an_application_of_ones_own(tmp_path: Path) -> None:
    """What the page has one add to a kustomization, as it stands there, is enough: also the image is found."""
    page = (FOLDER.parent.parent / "docs" / "kubernetes.md").read_text()
    (added,) = re.findall(r"```text\n( *components:.*?)```", page, re.DOTALL)
    application = tmp_path / "application"
    application.mkdir()
    text = dedent(added).replace("../faultproxy", str(away(application) / FOLDER.parent.parent.relative_to("/")))
    (application / "kustomization.yaml").write_text(f"resources: [shop.yaml]\n{text}")
    (application / "shop.yaml").write_text(SHOP)
    (application / "faultproxy.yaml").write_text((FOLDER / "example" / "faultproxy.yaml").read_text())
    manifests = built(application)
    sidecar, migration = pod(manifests, "shop")["initContainers"]
    assert (sidecar["name"], sidecar["image"]) == ("faultproxy", "registry.example/faultproxy:latest")
    assert migration["name"] == "migrate"
    assert [one["metadata"]["name"] for one in manifests if one["kind"] == "ConfigMap"] == ["faultproxy"]


def test_interception_comes_first() -> None:
    """The sidecar looks at its start whether clients are led to it; and neither is root."""
    leads, sidecar = pod(built(FOLDER / "example-intercepted"))["initContainers"]
    assert leads["args"][0] == "intercept"
    assert "restartPolicy" not in leads
    assert leads["securityContext"]["capabilities"] == {"drop": ["ALL"], "add": ["NET_ADMIN"]}
    assert leads["securityContext"]["runAsNonRoot"] is True
    assert sidecar["securityContext"]["runAsUser"] == int(leads["args"][leads["args"].index("--user") + 1])


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_rules_are_valid(example: str) -> None:
    """As the sidecar would find them, without a warning of ours to give."""
    (rules,) = (one for one in built(FOLDER / example) if one["kind"] == "ConfigMap")
    config = parse(rules["data"]["faultproxy.yaml"].encode(), "faultproxy.yaml")
    for proxy in config.proxies.values():
        its: tuple[BaseRule, ...] = proxy.rules
        assert its


def test_least_privilege(restricted: list[Manifest]) -> None:
    """Every container gives up what it does not use; the restricted sidecar has nothing that Pod Security forbids."""
    manifests = [*restricted, *built(FOLDER / "example-intercepted")]
    for spec in (one["spec"]["template"]["spec"] for one in manifests if one["kind"] == "Deployment"):
        for container in (*spec["containers"], *spec.get("initContainers", ())):
            context = container["securityContext"]
            assert context["readOnlyRootFilesystem"] is True
            assert context["capabilities"]["drop"] == ["ALL"]
            assert context["seccompProfile"] == {"type": "RuntimeDefault"}
            assert container["resources"].keys() == {"requests", "limits"}
    for container in (*pod(restricted)["containers"], *pod(restricted)["initContainers"]):
        context = container["securityContext"]
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert set(context["capabilities"].get("add", ())) <= _ALLOWED_BY_BASELINE
