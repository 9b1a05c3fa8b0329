"""A process that serves one connection: it is given the accepted socket and the plan, and writes what it published."""

import pickle
import socket
import sys

import trio

from faultproxy.connection.connection import Connection
from faultproxy.connection.context import Context, Greeting
from faultproxy.events.bus import Bus
from faultproxy.events.types import EVENTS, Event, log_fields
from faultproxy.relay import Poller
from faultproxy.upstream.circles import Circles
from faultproxy.upstream.dial import Target
from faultproxy.upstream.dialler import Dialler


class _Printer:
    wants = frozenset(EVENTS)

    def receive(self, event: Event) -> None:
        print(event.name, log_fields(event), flush=True)  # noqa: T201  # read by the test


async def _serve(channel: socket.socket) -> None:
    data, (fd,), _, _ = socket.recv_fds(channel, 65536, 1)
    facts, plan, upstream = pickle.loads(data)
    over = trio.Event()
    with Poller() as poller:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(poller.run)
            client = socket.socket(fileno=fd)
            client.setblocking(False)
            dialler = Dialler("redis", Target.tcp(*upstream), 5.0, poller, Circles())
            context = Context("redis", 7, dialler, poller, Bus(_Printer()), nursery)
            Connection(context, client, facts, plan, Greeting(), lambda _: over.set()).start()
            channel.close()
            with trio.fail_after(20):
                await over.wait()
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(_serve, socket.socket(fileno=int(sys.argv[1])))
