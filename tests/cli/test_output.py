"""Commands that cannot say what they have to say."""

import io

import pytest

from faultproxy.cli.output import complain, fail


def test_nobody_hears(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a standard error that can be written to, a complaint is lost, and nothing else."""
    closed = io.StringIO()
    closed.close()
    monkeypatch.setattr("sys.stderr", closed)
    complain("the log cannot be written")


def test_failing(capsys: pytest.CaptureFixture[str]) -> None:
    """The reason is on standard error, and the code is the exit code."""
    with pytest.raises(SystemExit) as ended:
        fail("it cannot run", 1)
    assert (ended.value.code, capsys.readouterr()) == (1, ("", "it cannot run\n"))
