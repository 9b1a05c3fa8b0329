"""How many connections the process and each proxy may hold: each takes two descriptors, its own and the upstream's.

They are counted ahead, because a client that was accepted with the last descriptor could never be connected to its
upstream: it waits in the listener's queue instead.

So that no proxy takes all, each is guaranteed its part of one half. The other half goes to whoever comes first.
"""

import os
import resource

_SPARE = 16  # for resolving names, reading the configuration, intercepting SYNs from now on, and the unforeseen


class OutOfResources(Exception):
    """There is no room for another connection; ``error`` is the errno's name, or ``max_connections``."""

    def __init__(self, error: str) -> None:
        super().__init__(error)
        self.error = error


class ConnectionLimit:
    """The limit on descriptors (getrlimit(2), RLIMIT_NOFILE), shared by the proxies.

    So many as are ``reserved``, but never more than half, are left to others. ``holders`` have connections.
    """

    def __init__(self, reserved: int = 0) -> None:
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        free = limit - len(os.listdir("/proc/self/fd")) - _SPARE
        self._free = free - min(reserved, free // 2)
        self._listeners = 0
        self._entitled = 0
        self.holders: dict[ProxyLimit, None] = {}
        self.guaranteed = 0
        self.shared = 0

    def set_listeners(self, descriptors: int) -> None:
        """Say how many descriptors the listeners take, which edits change."""
        self._listeners = descriptors
        self.share_out()

    def add(self, max_connections: int | None = None) -> "ProxyLimit":
        """The limit of one more proxy, which remove() takes away."""
        self._entitled += 1
        self.share_out()
        return ProxyLimit(self, max_connections)

    def remove(self, proxy: "ProxyLimit") -> None:
        """Guarantee nothing to a proxy any more; the connections that it still has go on being counted."""
        proxy.is_removed = True
        self._entitled -= 1
        self.share_out()

    def share_out(self) -> None:
        """Compute anew what each proxy is guaranteed, and what is left of the rest."""
        total = max(1, (self._free - self._listeners) // 2)
        self.guaranteed = total // 2 // max(1, self._entitled)
        beyond = sum(max(0, proxy.connections - proxy.guaranteed()) for proxy in self.holders)
        self.shared = total - self._entitled * self.guaranteed - beyond


class ProxyLimit:
    """The connections of one proxy, dialled upstreams that wait for their client included.

    ``max_connections`` is the most that it may have, however many descriptors are free; None: no such limit.
    """

    def __init__(self, process: ConnectionLimit, max_connections: int | None) -> None:
        self.connections = 0
        self.max_connections = max_connections
        self.is_removed = False
        self._process = process

    def guaranteed(self) -> int:
        """How many no other proxy can take from it."""
        return 0 if self.is_removed else self._process.guaranteed

    def room(self, most: int) -> int:
        """For how many more connections there is room, up to ``most``. Raises OutOfResources if for none."""
        room = max(0, self.guaranteed() - self.connections) + self._process.shared
        if self.max_connections is not None and self.max_connections - self.connections < room:
            room, error = self.max_connections - self.connections, "max_connections"
        else:
            error = "EMFILE"
        if room <= 0:
            raise OutOfResources(error)
        return min(room, most)

    def is_tight(self) -> bool:
        """Whether less than a quarter of what it could have is left, so that no more should be dialled ahead."""
        try:
            return self.room(self.connections + 1) * 3 <= self.connections
        except OutOfResources:
            return True

    def acquire(self) -> None:
        """Count one more connection, whether or not there is room for it."""
        self.connections += 1
        if self.connections == 1:
            self._process.holders[self] = None
        if self.connections > self.guaranteed():
            self._process.shared -= 1

    def release(self) -> None:
        """A connection is over."""
        if self.connections > self.guaranteed():
            self._process.shared += 1
        self.connections -= 1
        if not self.connections:
            del self._process.holders[self]
