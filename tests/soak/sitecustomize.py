"""Is imported by the faultproxy that is tested, before all else: names that hang, and a count of what is alive.

``*.hang.test`` has servers that do not answer; ``itself.test`` is this machine, which no loader can know. At SIGUSR2 how
many objects there are of some kinds is written to the file that SOAK_COUNTS names.
"""

import gc
import json
import os
import signal
import socket
import time
from collections import Counter
from pathlib import Path
from typing import Any

HANGS_S = 3.0
COUNTED = ("Task", "Connection", "Relay", "Pipe", "Lookup")
_resolve = socket.getaddrinfo


def getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
    """As socket.getaddrinfo."""
    if isinstance(host, str) and host.endswith(".hang.test"):
        time.sleep(HANGS_S)
        raise socket.gaierror(socket.EAI_AGAIN, "nobody answers")
    return _resolve("127.0.0.1" if host == "itself.test" else host, *args, **kwargs)


def write_counts(*_: object) -> None:
    """What is alive, whole or not at all."""
    gc.collect()
    kinds = Counter(
        kind.__name__.lstrip("_") for kind in map(type, gc.get_objects()) if kind.__module__.startswith(_OURS)
    )
    file = Path(os.environ["SOAK_COUNTS"])
    new = file.with_suffix(".new")
    new.write_text(json.dumps({kind.lower() + "s": kinds[kind] for kind in COUNTED}))
    new.rename(file)


_OURS = ("faultproxy.", "trio.")
socket.getaddrinfo = getaddrinfo
signal.signal(signal.SIGUSR2, write_counts)
