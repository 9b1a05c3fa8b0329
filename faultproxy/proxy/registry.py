"""All connections that are open, and the last that are over, for whoever asks."""

from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import trio

from faultproxy.connection.connection import Connection
from faultproxy.connection.record import ConnectionRecord
from faultproxy.proxy.connections import Connections
from faultproxy.upstream.durations import Durations

MOST_CLOSED = 10_000


class Registry:
    """The open connections of every proxy, also of those that edits have removed, and the last 10,000 that are over.

    ``dials`` counts how long it took to reach servers, ``forgotten`` the connections that were over before these.
    Exists only where somebody may ask: while it does, every connection keeps what the rules said to it.
    """

    def __init__(self) -> None:
        self.dials = Durations()
        self.forgotten = 0
        self._began_at = datetime.now(UTC) - timedelta(seconds=trio.current_time())
        self._proxies: dict[int, tuple[str, Connections]] = {}
        self._closed: deque[ConnectionRecord] = deque(maxlen=MOST_CLOSED)

    def wall_time(self, at_s: float) -> datetime:
        """The UTC time of a moment of trio.current_time(), unless the clock was set since."""
        return self._began_at + timedelta(seconds=at_s)

    def add_proxy(self, name: str, connections: Connections) -> None:
        """A proxy has begun to accept."""
        self._proxies[id(connections)] = name, connections

    def remove_proxy(self, connections: Connections) -> None:
        """A proxy is done: it was drained, and its last connection is over."""
        del self._proxies[id(connections)]

    def add_closed(self, record: ConnectionRecord) -> None:
        """A connection is over."""
        self.forgotten += len(self._closed) == MOST_CLOSED
        self._closed.append(record)

    def proxies(self, name: str | None = None) -> Iterator[tuple[str, Connections]]:
        """The proxies of this name, or all: one more than one has where an edit has removed it, and brought it back."""
        return ((its, connections) for its, connections in self._proxies.values() if name in (None, its))

    def open(self, proxy: str | None = None) -> Iterator[Connection]:
        """The open connections of a proxy, or of all."""
        return (connection for _, connections in self.proxies(proxy) for connection in connections)

    def closed(self, proxy: str | None = None) -> Iterator[ConnectionRecord]:
        """The last that are over, the latest first."""
        return (record for record in reversed(self._closed) if proxy in (None, record.proxy))
