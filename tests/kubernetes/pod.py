"""A pod's life, acted out in containers: what the kubelet would do with the manifests, in the same order.

One container holds the network namespace, as a pod's sandbox does; the others join it, with the users, capabilities,
arguments and probes that stand in the manifests. The ConfigMap is a folder whose ``..data`` is a symlink that an edit
swaps (AtomicWriter in pkg/volume/util of Kubernetes). At the end the application is ended first, then the sidecar.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import yaml

FOLDER = Path(__file__).parent.parent.parent / "deploy" / "kubernetes"
NAME = f"faultproxy-pod-{getpid()}"
IMAGE = "faultproxy:pod"
PATIENCE_S = 60.0
KILL_AFTER_S = 2  # as short as the kubelet gives a sidecar
Manifest = Mapping[str, Any]


def run(*command: str, check: bool = True) -> str:
    """What a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if check and done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def say(text: str) -> None:
    print(f"pod: {text}", flush=True)


def until(what: str, is_so: Any) -> float:
    """Wait; how long it took."""
    began = monotonic()
    while not is_so():
        if monotonic() > began + PATIENCE_S:
            sys.exit(f"pod: in vain: {what}")
        sleep(0.05)
    return monotonic() - began


class ConfigMap:
    """A mounted ConfigMap: its files are symlinks into ..data, which is one itself, and is swapped."""

    def __init__(self, folder: Path, data: Mapping[str, str]) -> None:
        self.folder = folder
        self._version = 0
        folder.chmod(0o755)
        self.write(data)
        for name in data:
            (folder / name).symlink_to(f"..data/{name}")

    def write(self, data: Mapping[str, str]) -> None:
        self._version += 1
        new = self.folder / f"..{self._version}"
        new.mkdir()
        for name, text in data.items():
            (new / name).write_text(text)
        swap = self.folder / "..data_tmp"
        swap.symlink_to(new.name)
        swap.rename(self.folder / "..data")


def arguments(container: Manifest, data: Mapping[str, str]) -> list[str]:
    """What the manifest says of a container, in the engine's words."""
    context = container["securityContext"]
    words = [f"--user={context['runAsUser']}", "--read-only"]
    words += [f"--cap-drop={name}" for name in context["capabilities"]["drop"]]
    words += [f"--cap-add={name}" for name in context["capabilities"].get("add", ())]
    if not context["allowPrivilegeEscalation"]:
        words.append("--security-opt=no-new-privileges")
    for variable in container.get("env", ()):
        reference = variable.get("valueFrom", {}).get("configMapKeyRef", {})
        words.append(f"--env={variable['name']}={variable.get('value', data.get(reference.get('key', ''), ''))}")
    return words


def start(
    role: str, image: str, container: Manifest, data: Mapping[str, str], *options: str, wait: bool = False
) -> str:
    """Start a container in the pod; with ``wait``, to its end."""
    name = f"{NAME}-{role}"
    values = {f"$({one['name']})": data.get("ports", "") for one in container.get("env", ()) if "valueFrom" in one}
    command = [values.get(word, word) for word in (*container.get("command", ()), *container.get("args", ()))]
    mode = ["--rm"] if wait else ["--detach"]
    run(
        "docker",
        "run",
        *mode,
        "--name",
        name,
        f"--network=container:{NAME}",
        *options,
        *arguments(container, data),
        image,
        *command,
    )
    return name


def log_of(name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("docker", "logs", name).splitlines() if line.startswith("{")]


def succeeds(name: str, command: Sequence[str]) -> bool:
    """A probe, as the kubelet runs it."""
    return subprocess.run(["docker", "exec", name, *command], capture_output=True, check=False).returncode == 0


@contextmanager
def sandbox() -> Iterator[None]:
    """The pod's network namespace, and Redis, which is found by its name."""
    try:
        run("docker", "network", "create", NAME)
        run(
            "docker",
            "run",
            "--detach",
            "--name",
            f"{NAME}-redis",
            f"--network={NAME}",
            "--network-alias=redis",
            "redis:7-alpine",
        )
        run(
            "docker",
            "run",
            "--detach",
            "--name",
            NAME,
            f"--network={NAME}",
            "--entrypoint=sleep",
            "python:3.13-slim",
            "3600",
        )
        yield
    finally:
        names = run("docker", "ps", "--all", "--quiet", "--filter", f"name={NAME}", check=False).split()
        if names:
            run("docker", "rm", "--force", *names, check=False)
        run("docker", "network", "rm", NAME, check=False)


def play(example: str, expected: int, exits: str) -> None:
    """One pod, from its start to its end, with a rule of which so many faults are expected; 1 is injected."""
    manifests = list(yaml.safe_load_all(run("kubectl", "kustomize", str(FOLDER / example))))
    (data,) = (one["data"] for one in manifests if one["kind"] == "ConfigMap")
    (pod,) = (
        one["spec"]["template"]["spec"]
        for one in manifests
        if one["kind"] == "Deployment" and one["metadata"]["name"] == "client"
    )
    *first, sidecar = pod["initContainers"]
    (application,) = pod["containers"]
    with tempfile.TemporaryDirectory() as folder, sandbox():
        rules = ConfigMap(Path(folder), data)
        for container in first:
            start(container["name"], IMAGE, container, data, wait=True)
            say(f"{container['name']} has ended well")
        mount = f"--volume={folder}:/etc/faultproxy:ro"
        sidecar["args"] = [*sidecar["args"], "--expect"]
        proxy = start("faultproxy", IMAGE, sidecar, data, mount)
        took = until("/ready", lambda: succeeds(proxy, sidecar["startupProbe"]["exec"]["command"]))
        say(f"ready after {took:.1f} s; live: {succeeds(proxy, sidecar['livenessProbe']['exec']['command'])}")
        unavailable = [line for line in log_of(proxy) if line["event"] == "fault.unavailable"]
        say(f"degraded: {unavailable or 'nothing'}")
        client = start("client", "python:3.13-slim", application, data)
        until("ten requests", lambda: run("docker", "logs", client).count("\n") >= 10)
        for line in run("docker", "logs", client).splitlines()[:10]:
            say(f"  the client: {line}")

        config = yaml.safe_load(data["faultproxy.yaml"])
        for settings in config["proxies"].values():
            settings["rules"] = [{"name": "edited", "when": {"first": 1}, "reset": {}, "expect": {"min": expected}}]
        rules.write({**data, "faultproxy.yaml": yaml.safe_dump(config)})
        took = until("the edit", lambda: any(line["event"] == "config.loaded" for line in log_of(proxy)))
        say(f"an edit of the ConfigMap is in force after {took:.1f} s")
        until("its fault", lambda: any(line.get("rule") == "edited" for line in log_of(proxy)))
        until("more requests", lambda: run("docker", "logs", client).count("\n") >= 20)

        run("docker", "stop", "--time=10", client)
        code = run("docker", "inspect", "--format={{.State.ExitCode}}", client).strip()
        say(f"the application has ended, exit code {code}")
        began = monotonic()
        run("docker", "stop", f"--time={KILL_AFTER_S}", proxy)
        took = monotonic() - began
        code = run("docker", "inspect", "--format={{.State.ExitCode}}", proxy).strip()
        last = log_of(proxy)[-1]
        say(f"the sidecar has ended after {took:.1f} s, exit code {code}; its last line: {json.dumps(last)[:200]}")
        assert code == exits, run("docker", "logs", proxy)
        assert last["event"] == "proxy.stopped"
        assert took < KILL_AFTER_S


def main() -> None:
    with suppress(BrokenPipeError):
        run("docker", "build", "--quiet", "--tag", IMAGE, ".")
        for example, expected, exits in (("example", 1, "0"), ("example-intercepted", 2, "3")):
            say(f"---- {example}")
            play(example, expected, exits)


if __name__ == "__main__":
    main()
