"""How much memory this process may use (cgroups(7); proc(5), /proc/self/cgroup, /proc/meminfo)."""

from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def available() -> int:
    """Bytes: the least that a control group, of version 1 or 2, allows, or else what the machine has."""
    total = int(next(line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal:"))) * 1024
    return min([total, *_limits()])


def _limits() -> list[int]:
    limits = []
    for line in _lines("/proc/self/cgroup"):
        _, controllers, path = line.split(":", 2)
        if controllers not in {"", "memory"}:
            continue
        root, name = (_ROOT, "memory.max") if not controllers else (_ROOT / "memory", "memory.limit_in_bytes")
        group = root / path.lstrip("/")
        # Inside a container the path may be that of the host; the container's own group is then the root.
        for folder in {root, group, *group.parents}:
            if folder.is_relative_to(root):
                limits += [int(text) for text in _lines(folder / name) if text.isdigit()]
    return limits


def _lines(path: str | Path) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
