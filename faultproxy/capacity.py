"""How many connections the process may hold: each takes two descriptors, its own and the upstream's."""

import os
import resource

_SPARE = 16  # for resolving names, reading the configuration, and the unforeseen


class OutOfResources(Exception):
    """No descriptor or memory for another connection; ``error`` is the errno's name."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class Capacity:
    """Counts connections against the limit on descriptors (getrlimit(2), RLIMIT_NOFILE).

    Counted ahead, because a client that was accepted with the last descriptor could never be
    connected to its upstream: it waits in the listener's queue instead. ``listeners`` is how many descriptors
    the listeners take, which edits change.
    """

    def __init__(self) -> None:
        self.connections = 0
        self.listeners = 0
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        self._free = limit - len(os.listdir("/proc/self/fd")) - _SPARE

    def room(self, most: int) -> int:
        """For how many connections there is room, up to ``most``. Raises OutOfResources if for none."""
        room = min(most, max(1, (self._free - self.listeners) // 2) - self.connections)
        if room <= 0:
            raise OutOfResources("EMFILE")
        return room
