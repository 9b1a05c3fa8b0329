"""What it costs to report a large log: time and memory, measured in a process of its own; fails above the bounds."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from tests.report.events import Script, as_lines

LINES = 1_000_000
MOST_CPU_S, MOST_MB = 10.0, 300
_CLIENTS = 1757


def log(*, has_debug: bool) -> Iterator[bytes]:
    """Clients that fail two times of three: all lines, or those of the faults alone."""
    number = 0
    while True:
        script = Script()
        script._number = number
        for attempt in range(1000):
            client = f"10.0.{number % _CLIENTS // 250}.{number % _CLIENTS % 250}"
            number += 1
            if attempt % 3:
                script.fails(number / 1000 % 3600, client)
            else:
                script.serves(number / 1000 % 3600, client)
        yield from (line for line in as_lines(script.events) if has_debug or b'"level":"debug"' not in line)


def main() -> None:
    """Both logs, one after the other."""
    is_fine = True
    for has_debug in (True, False):
        with tempfile.NamedTemporaryFile() as file:
            file.writelines(islice(log(has_debug=has_debug), LINES))
            file.flush()
            with subprocess.Popen(
                [sys.executable, "-m", "faultproxy", "report", file.name], stdout=subprocess.DEVNULL
            ) as process:
                _, status, used = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
            size = Path(file.name).stat().st_size
        cpu_s, memory = used.ru_utime + used.ru_stime, used.ru_maxrss // 1024
        name = "debug" if has_debug else "faults alone"
        print(f"{name}: {LINES:,} lines, {size // 10**6} MB: {cpu_s:.1f} s of CPU, {memory} MB of memory")
        is_fine &= cpu_s <= MOST_CPU_S and memory <= MOST_MB and process.returncode == 0
    sys.exit(not is_fine)


if __name__ == "__main__":
    main()
