"""docs/other-languages.md: each example is a test that passes as it stands there."""

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.commands import environment
from tests.peers import PATIENCE_S

PAGE = Path(__file__).parent.parent / "docs" / "other-languages.md"
PORT = "8474"


@pytest.mark.parametrize(
    ("language", "file", "command"),
    [
        ("js", "shop.test.mjs", ["node", "--test", "shop.test.mjs"]),
        ("java", "ShopTest.java", ["java", "-ea", "ShopTest.java"]),
        ("go", "shop_test.go", ["go", "test", "-count=1", "./shop_test.go"]),
    ],
)
def test_example(tmp_path: Path, language: str, file: str, command: list[str]) -> None:
    """It runs to its end, on another port than the page's; its assertions hold, so its rule was broken by none."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    (example,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert PORT in example
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    (tmp_path / file).write_text(example.replace(PORT, port))
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**environment(tmp_path), "GOCACHE": str(tmp_path / "go"), "GOFLAGS": "-mod=mod"},
        capture_output=True,
        text=True,
        timeout=6 * PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
