"""Dialling for the clients of one proxy: where to, for how long, and never in a circle."""

import socket
from dataclasses import dataclass, replace
from time import monotonic
from typing import NamedTuple

from faultproxy.kernel import sockets
from faultproxy.relay import Poller
from faultproxy.upstream.circles import Circles, Note
from faultproxy.upstream.dial import Target, begin, dial
from faultproxy.upstream.durations import Durations


@dataclass(frozen=True, slots=True)
class Dialler:
    """How the clients of a proxy reach its upstream. An edit makes a new one, for those that come after it.

    ``timeout_s`` bounds a dial; whoever waits for one keeps to it. ``dials`` counts how long they took, if anybody
    wants to know. ``may_be_led_back``: the server is where the client wanted to go, and a firewall may lead that way
    back here.
    """

    proxy: str
    target: Target
    timeout_s: float
    poller: Poller
    circles: Circles
    dials: Durations | None = None
    may_be_led_back: bool = False

    def towards(self, host: str, port: int) -> "Dialler":
        """The same, for a client that wanted to go to this IP address and port, if that is what is dialled."""
        return replace(self, target=self.target.towards(host, port)) if self.may_be_led_back else self

    def enter(self, through: tuple[str, ...]) -> Note | None:
        """Raise OSError (ELOOP) if a client that came through these proxies has come through this one before."""
        return self.circles.enter(self.proxy, self.target.port, through, may_be_led_back=self.may_be_led_back)

    def begin(self, through: tuple[str, ...], *, in_small_packets: bool = False) -> "socket.socket | Dial":
        """Begin to dial for a client that came through these proxies, without waiting. Raises OSError.

        Returns the connected socket, which the caller closes, if that is all: on loopback it mostly is.
        """
        began_at_s, note = monotonic(), self.enter(through)
        target = self.target.in_small_packets() if in_small_packets else self.target
        sock, is_over = begin(target, note) or (None, False)
        if sock is None or not is_over:
            return Dial(self, target, note, began_at_s, sock)
        if self.dials is not None:
            self.dials.add(monotonic() - began_at_s)
        return sock


class Dial(NamedTuple):
    """One that has begun, and takes time: with a socket, or with a name to be looked up first.

    Whoever holds it finishes it, or gives it up.
    """

    dialler: Dialler
    target: Target
    note: Note | None
    began_at_s: float
    sock: socket.socket | None

    async def finish(self) -> socket.socket:
        """Wait until it is over, once; as upstream.dial.dial()."""
        server = await dial(self.target, self.dialler.poller, self.sock, self.note)
        if self.dialler.dials is not None:
            self.dialler.dials.add(monotonic() - self.began_at_s)
        return server

    def give_up(self) -> None:
        """It is not wanted any more."""
        if self.sock is not None:
            sockets.end(self.sock)
