"""Two pipes between a client's socket and a server's."""

import socket
from collections.abc import Callable
from typing import Literal

from faultproxy.relay.pipe import FIN, RST, Change, Pipe
from faultproxy.relay.poller import Endpoint, Poller

Peer = Literal["client", "server"]


class Relay:
    """Passes bytes, ends and resets between two non-blocking sockets, which stay the caller's: it closes them.

    ``on_change`` is called between two batches of events, at most once a batch, when a peer has reset, a limit was
    reached, both pipes are done, or there was an error. It may stop the relay and close its sockets; once stopped it
    is not called. ``broken`` is the peer that reset first. ``first_ended`` is the pipe whose source sent FIN first.
    ``error`` says that there was no memory to go on: nothing moves any more, and what was held is gone.
    """

    __slots__ = ("_is_changed", "_on_change", "_poller", "broken", "downstream", "error", "first_ended", "upstream")

    def __init__(
        self, poller: Poller, client: socket.socket, server: socket.socket, on_change: Callable[[], None]
    ) -> None:
        self._poller = poller
        self._on_change: Callable[[], None] | None = on_change
        self._is_changed = False
        one, other = Endpoint(client), Endpoint(server)
        changed = self._pipe_changed
        self.upstream, self.downstream = Pipe(poller, one, other, changed), Pipe(poller, other, one, changed)
        self.upstream.reverse, self.downstream.reverse = self.downstream, self.upstream
        self.broken: Peer | None = None
        self.first_ended: Pipe | None = None
        self.error: MemoryError | None = None

    def start(self) -> None:
        """Let the bytes flow, as far as the pipes' limits allow. Once started, nothing more."""
        self.upstream.start()
        self.downstream.start()

    def freeze(self, *, for_ever: bool) -> None:
        """Move nothing. If it is for ever, a reset of the client's is reported at once; else when it goes on."""
        self.upstream.freeze(report_reset=for_ever)
        self.downstream.freeze()

    def thaw(self) -> None:
        """Move again, from where it stopped."""
        self.upstream.thaw()
        self.downstream.thaw()

    def stop(self) -> None:
        """Stop for good. The sockets stay open: their owner ends them as it sees fit."""
        if self._on_change is not None:
            self._on_change = None
            self.upstream.stop()
            self.downstream.stop()

    @property
    def is_finished(self) -> bool:
        """Whether both directions have ended, and that was passed on."""
        return self.upstream.is_done and self.downstream.is_done

    def _pipe_changed(self, pipe: Pipe, change: Change) -> None:
        if change is FIN:
            self.first_ended = self.first_ended or pipe
            if not self.is_finished:
                return
        elif change is RST:
            self.broken = self.broken or ("client" if pipe is self.upstream else "server")
        elif isinstance(change, MemoryError):
            self.error = change
            for one in (self.upstream, self.downstream):
                one.is_frozen = True
                one.clear()
        if not self._is_changed:
            self._is_changed = True
            self._poller.call_soon(self._report)

    def _report(self) -> None:
        self._is_changed = False
        if self._on_change is not None:
            self._on_change()
