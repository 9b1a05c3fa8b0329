"""broken_pipe: the reader hung up."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Ending, Link


class BrokenPipe(Ending):
    """A reader gets EOF, and the next write fails with EPIPE.

    FIN, then RST right behind it: a socket in CLOSE_WAIT that receives RST reports EPIPE (``tcp_reset`` in
    net/ipv4/tcp_input.c). A write within microseconds of the EOF may still succeed, the one after it fails.
    The server gets FIN.
    """

    key: ClassVar[str] = "broken_pipe"

    @property
    def touches_server(self) -> bool:
        return False

    def client_sees(self, link: Link) -> ClientSees:
        return "EPIPE"

    async def strike(self, link: Link) -> None:
        await link.break_pipe()
