"""loss: packets that do not arrive."""

from typing import ClassVar

from faultproxy.faults.base import PacketShape
from faultproxy.units import Chance


class Loss(PacketShape):
    """Each packet is lost with ``probability``, and the kernel of its sender sends it again.

    ``upstream`` are the client's packets, ``downstream`` the server's: with ``both``, downloads slow down as well as
    uploads. Acknowledgements and FIN are packets too; what arrives before the proxy has accepted the connection, or
    while it dials the server, is spared. The server's packets hold no more than Ethernet's do, be it on loopback,
    where the client's hold up to 64 KiB, so that there are few to lose. The kernel draws, not the seed (BPF,
    SKF_AD_RANDOM): each time other packets are lost. It is logged when the kernel has counted the first that it
    dropped (it counts an answered keepalive, too). Needs a socket filter; where that is not allowed, nothing is lost:
    ``degraded``.
    """

    key: ClassVar[str] = "loss"

    probability: Chance
    """How likely each packet is to be dropped."""

    @property
    def loss(self) -> float:
        return self.probability
