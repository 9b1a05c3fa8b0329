"""loss: packets that do not arrive."""

from typing import ClassVar

from faultproxy.faults.base import PacketShape
from faultproxy.units import Probability


class Loss(PacketShape):
    """Each packet that comes from the client is lost with ``probability``, and the client's kernel sends it again.

    Acknowledgements and FIN are packets too; what arrives before the proxy has accepted the connection is spared. The
    kernel draws, not the seed (BPF, SKF_AD_RANDOM): each time other packets are lost. It is logged when the kernel
    has counted the first that it dropped (it counts an answered keepalive, too). Needs a socket filter; where that
    is not allowed, nothing is lost: ``degraded``.
    """

    key: ClassVar[str] = "loss"

    probability: Probability
    """How likely each packet is to be dropped."""

    @property
    def loss(self) -> float:
        return self.probability
