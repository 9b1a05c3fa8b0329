"""slow_close: the end comes late."""

from typing import ClassVar

from faultproxy.faults.base import Draw, Shaper, StreamShape
from faultproxy.units import Duration


class SlowClose(StreamShape):
    """FIN is held back by ``delay``; the data before it, and a reset, are not."""

    key: ClassVar[str] = "slow_close"

    delay: Duration
    """How much later FIN arrives."""

    def shaper(self, draw: Draw) -> Shaper:
        return _HeldBack(self.delay)


class _HeldBack(Shaper):
    def __init__(self, delay_s: float) -> None:
        self._fin_delay_s = delay_s

    def end(self, due: float, *, fin: bool) -> float:
        return due + self._fin_delay_s if fin else due
