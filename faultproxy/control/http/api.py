"""All routes of the API, and where it listens."""

import os
import socket

import trio

from faultproxy.addresses import Address, UnixAddress
from faultproxy.control.http import status
from faultproxy.control.http.router import Router
from faultproxy.control.http.server import serve
from faultproxy.control.listeners import CannotListen
from faultproxy.control.manager import Manager


def router(manager: Manager) -> Router:
    """Every route there is."""
    return Router([*status.routes(manager)])


async def listen(address: Address) -> trio.SocketListener:
    """Take the API's address. Raises CannotListen."""
    try:
        if isinstance(address, UnixAddress):
            sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            await sock.bind(address.path)
        else:
            family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
            sock = trio.socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            await sock.bind((address.host, address.port))
        sock.listen(128)
    except OSError as error:
        raise CannotListen(f"api: cannot listen at {address}: {os.strerror(error.errno or 0)}", may_pass=True) from None
    return trio.SocketListener(sock)


async def run(manager: Manager, listener: trio.SocketListener) -> None:
    """Serve the API until cancelled."""
    await serve(router(manager), listener)
