"""abort: the client's own kernel gives up."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Ending, Link, Need


class Abort(Ending):
    """Data up to the trigger, then ECONNABORTED on the next call, read or write.

    The client's own socket is destroyed, as ``ss -K`` does it (sock_diag(7)): so the proxy must share the
    client's network namespace, as a sidecar does, and have CAP_NET_ADMIN. Otherwise the client is reset:
    ``degraded``. The server gets FIN.
    """

    key: ClassVar[str] = "abort"

    @property
    def needs(self) -> Need:
        return Need.DESTROY

    @property
    def touches_server(self) -> bool:
        return False

    def client_sees(self, link: Link) -> ClientSees:
        return "ECONNABORTED"

    def client_sees_instead(self, link: Link) -> ClientSees:
        return "EPIPE" if link.client_has_eof else "ECONNRESET"

    async def strike(self, link: Link) -> None:
        await link.abort()
