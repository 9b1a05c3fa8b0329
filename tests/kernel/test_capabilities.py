from pathlib import Path

from faultproxy.kernel import capabilities


def sets() -> dict[str, str]:
    """The capability sets of this process (proc(5))."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return dict(line.split(":\t") for line in lines if line.startswith("Cap"))


def test_what_is_permitted_is_effective_and_nothing_else_changes() -> None:
    """Whatever this process has, and though it be nothing."""
    before = sets()
    capabilities.use_permitted()
    assert sets() == {**before, "CapEff": before["CapPrm"]}
