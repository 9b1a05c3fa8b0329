"""Rules of nftables: printed as a rule, carried out if that is asked for."""

import os

import pytest

from tests.commands import Run


def test_intercept_prints_a_script(ran: Run) -> None:
    """To be looked at, with the number of the user, and each port once."""
    done = ran("intercept", "--port", "6379", "--port", "5432", "--port", "6379", "--to", "15432", "--user", "root")
    assert (done.code, done.errors) == (0, "")
    assert "meta skuid != 0 tcp dport { 5432, 6379 } redirect to :15432" in done.output
    assert "tproxy to :15432" in ran("intercept", "--port", "1", "--to", "15432", "--tproxy").output


def test_intercept_exempts_who_runs_it(ran: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also behind sudo."""
    monkeypatch.delenv("SUDO_UID", raising=False)
    assert f"skuid != {os.geteuid()} " in ran("intercept", "--port", "1", "--to", "2").output
    monkeypatch.setenv("SUDO_UID", "1234")
    assert "skuid != 1234 " in ran("intercept", "--port", "1", "--to", "2").output


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "both --port and --to"),
        (("--port", "1"), "both --port and --to"),
        (("--port", "1", "--to", "1"), "have the proxy listen at another"),
        (("--remove", "--apply"), "write it alone"),
        (("--remove", "--port", "1"), "write it alone"),
        (("--port", "0", "--to", "1"), "is not a number from 1 to 65535"),
        (("--port", "1", "--to", "2", "--user", "no such"), 'there is no user "no such" here'),
    ],
)
def test_intercept_refuses(ran: Run, options: tuple[str, ...], why: str) -> None:
    """What cannot be meant, before anything is changed."""
    done = ran("intercept", *options)
    assert done.code == 2
    assert why in " ".join(done.errors.split())


@pytest.mark.parametrize("options", [("--port", "1", "--to", "2", "--apply"), ("--remove",)])
def test_intercept_without_nftables(ran: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...]) -> None:
    """A sentence, and the exit code of what could not be done."""
    monkeypatch.setenv("PATH", "/nowhere")
    done = ran("intercept", *options)
    assert (done.code, done.errors) == (1, "nft is not installed; it is in the package nftables\n")
