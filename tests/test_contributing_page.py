"""docs/contributing.md: the fault and the condition that it adds work as soon as they stand in their lists."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import faultproxy

PAGE = Path(__file__).parent.parent / "docs" / "contributing.md"
PACKAGE = Path(faultproxy.__file__).parent
USE = """
import socket
from time import monotonic

import faultproxy

rules = [
    {"name": "not these", "when": {"ipv6": True}, "reset": None},
    {"name": "think", "when": {"ipv6": False}, "first_byte": {"delay": "100ms", "direction": "downstream"}},
]
with socket.create_server(("127.0.0.1", 0)) as server:
    host, port = server.getsockname()
    with faultproxy.Proxy(f"{host}:{port}", rules) as proxy:
        with socket.create_connection((proxy.host, proxy.port)) as client, server.accept()[0] as peer:
            began = monotonic()
            peer.sendall(b"hello")
            assert client.recv(5) == b"hello"
            assert monotonic() - began >= 0.1
            fault = proxy.wait_for("first_byte", rule="think")
            assert fault.client_sees == "delay", fault
print("works")
"""


def test_the_examples(tmp_path: Path) -> None:
    """Each is one file and one line, as the page says."""
    package = tmp_path / "faultproxy"
    shutil.copytree(PACKAGE, package)
    for name, code in re.findall(
        r"^`faultproxy/(\S+\.py)`\n```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE
    ):
        (package / name).write_text(code)
    add(
        package / "faults" / "__init__.py",
        "from faultproxy.faults.first_byte import FirstByte",
        "    Pass,\n",
        "FirstByte",
    )
    conditions = package / "rules" / "conditions" / "__init__.py"
    add(conditions, "from faultproxy.rules.conditions.ipv6 import IPv6", "    Probability,\n", "IPv6")
    done = subprocess.run(
        [sys.executable, "-P", "-c", USE],
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("works\n", "")


def add(file: Path, line: str, after: str, name: str) -> None:
    """Import a class, and list it."""
    text = file.read_text()
    assert text.count(after) == 1
    file.write_text(text.replace("\n\n", f"\n\n{line}\n", 1).replace(after, f"{after}    {name},\n"))
