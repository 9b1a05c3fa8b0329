"""hang: silence."""

from typing import ClassVar

from pydantic import Field

from faultproxy.faults.base import ClientSees, Ending, Link
from faultproxy.units import Duration


class Hang(Ending):
    """Nothing moves in either direction, not even FIN, and the connection stays up.

    What the peers send is acknowledged until the buffers are full. After ``for``, every byte goes on its
    way; without it the silence lasts until the client resets the connection, or is found to be gone
    (keepalive, tcp(7)).
    """

    key: ClassVar[str] = "hang"

    for_: Duration | None = Field(default=None, alias="for")

    def client_sees(self, link: Link) -> ClientSees:
        return "silence"

    async def strike(self, link: Link) -> None:
        link.freeze(self.for_)
