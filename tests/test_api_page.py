"""What docs/api.md shows is what happens: its commands are run, and answer as shown."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import faultproxy
from tests.peers import Server, echo, nobody
from tests.servers import program

PAGE = Path(__file__).parent.parent / "docs" / "api.md"
PORTS = ("8474", "16379", "6379", "18080")


@pytest.fixture
def ports() -> dict[str, str]:
    """What stands for the ports of the page."""
    with Server(echo) as server, nobody() as api, nobody() as redis, nobody() as web:
        free = (api, redis, server.address, web)
    return {old: address.rpartition(":")[2] for old, address in zip(PORTS, free, strict=True)}


def test_the_commands_answer_as_shown(tmp_path: Path, ports: dict[str, str]) -> None:
    """From top to bottom, with the page's file."""
    program("curl")
    text = re.sub(rf"\b({'|'.join(PORTS)})\b", lambda match: ports[match[0]], PAGE.read_text())
    (config,) = re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "faultproxy.yaml").write_text(config)
    sessions = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    shown = [part for session in sessions for part in re.split(r"^\$ ", session, flags=re.MULTILINE)[1:]]
    assert len(shown) > 12
    faultproxy_command = [sys.executable, "-P", "-c", "from faultproxy.cli import main; main()"]
    command = [*faultproxy_command, "run", "faultproxy.yaml", "--api", f"127.0.0.1:{ports['8474']}"]
    environment = {"PYTHONPATH": str(Path(faultproxy.__file__).parent.parent)}
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())["event"] != "api.started":
            pass
        try:
            for part in shown:
                line, _, expected = part.partition("\n")
                done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
                answer = done.stdout if done.stdout.endswith("\n") or not done.stdout else f"{done.stdout}\n"
                assert answer == expected, line
        finally:
            process.terminate()
