"""Commands, run to their end in this process, and files for them."""

from pathlib import Path

import pytest

from faultproxy.cli import main
from tests.commands import BAD, GOOD, TWO, Ran, Run


@pytest.fixture
def ran(capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command to its end, in this process; anything but an exit code would be a traceback."""

    def run(*arguments: str | Path) -> Ran:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments], prog_name="faultproxy")
        code = ended.value.code
        assert isinstance(code, int)
        return Ran(code, *capsys.readouterr())

    return run


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with good.yaml, two.yaml and bad.yaml."""
    for name, text in (("good", GOOD), ("two", TWO), ("bad", BAD)):
        (tmp_path / f"{name}.yaml").write_text(text)
    return tmp_path
