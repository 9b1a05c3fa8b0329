"""How much memory there is: the machine's, or what the control groups allow, of either version."""

from pathlib import Path

import pytest

from faultproxy.kernel import memory

MACHINE = {"/proc/meminfo": "MemTotal:        2048 kB\nMemFree:         1024 kB\n"}
ALL = 2048 * 1024


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        pytest.param({}, ALL, id="no control groups"),
        pytest.param({"/proc/self/cgroup": "0::/"}, ALL, id="no limit known"),
        pytest.param({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/memory.max": "1000"}, 1000, id="version 2"),
        pytest.param({"/proc/self/cgroup": "0::/a/b", "/sys/fs/cgroup/a/b/memory.max": "max"}, ALL, id="none"),
        pytest.param(
            {
                "/proc/self/cgroup": "0::/a/b",
                "/sys/fs/cgroup/a/b/memory.max": "max",
                "/sys/fs/cgroup/a/memory.max": "500",
            },
            500,
            id="the group above has one",
        ),
        pytest.param(
            {"/proc/self/cgroup": "0::/docker/1f", "/sys/fs/cgroup/memory.max": "700"}, 700, id="inside a container"
        ),
        pytest.param(
            {
                "/proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n0::/",
                "/sys/fs/cgroup/memory/x/memory.limit_in_bytes": "900",
                "/sys/fs/cgroup/x/memory.max": "1",
            },
            900,
            id="version 1",
        ),
        pytest.param(
            {
                "/proc/self/cgroup": "4:memory:/",
                "/sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712",
            },
            ALL,
            id="version 1 without a limit",
        ),
    ],
)
def test_available(monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: int) -> None:
    """The least of all that bind this process."""
    there = {Path(name): text for name, text in {**MACHINE, **files}.items()}
    monkeypatch.setattr(memory, "_lines", lambda path: there.get(Path(path), "").splitlines())
    assert memory.available() == expected


def test_this_machine() -> None:
    """It has some, and no more than it has."""
    total_kib = int(Path("/proc/meminfo").read_text().split()[1])
    assert 2**24 < memory.available() <= total_kib * 1024
