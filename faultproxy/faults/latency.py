"""latency: everything arrives later."""

import math
from typing import ClassVar, Literal

from faultproxy.faults.base import Draw, Segment, Shaper, StreamShape
from faultproxy.units import Duration

_PARETO_SHAPE = 3.0


class Latency(StreamShape):
    """Every byte, and the final FIN, arrives later by ``delay``, in order.

    ``jitter`` spreads the delay: uniformly by as much to either side, as the standard deviation of a
    normal distribution, or as the scale of a Pareto tail (shape 3) on top of the delay. It is drawn for each
    piece that is read; a piece never overtakes another, and the delay is never below 0. Throughput
    is bounded by the 4 MiB that a pipe buffers, a delay long.
    """

    key: ClassVar[str] = "latency"

    delay: Duration
    """How much later bytes arrive, each way."""
    jitter: Duration = 0.0
    """How much the delay varies, as the distribution has it."""
    distribution: Literal["uniform", "normal", "pareto"] = "uniform"
    """How it varies: uniform is delay ± jitter, of normal the standard deviation is jitter, of pareto the scale."""

    def shaper(self, draw: Draw) -> Shaper:
        return _Delayed(self, draw)

    def drawn(self, first: float, second: float) -> float:
        """A delay in seconds from two numbers in [0, 1)."""
        if self.distribution == "uniform":
            spread = 2 * first - 1
        elif self.distribution == "normal":
            spread = math.sqrt(-2 * math.log(1 - first)) * math.cos(2 * math.pi * second)  # Box and Muller
        else:
            spread = (1 - first) ** (-1 / _PARETO_SHAPE) - 1
        return max(0.0, self.delay + self.jitter * spread)


class _Delayed(Shaper):
    def __init__(self, latency: Latency, draw: Draw) -> None:
        self.delay_s = latency.delay + latency.jitter
        self._latency = latency
        self._draw = draw
        self._last = 0.0

    def shape(self, due: float, offset: int, data: bytes) -> list[Segment]:
        return [(self._later(due, offset), data, False)]

    def end(self, due: float, *, fin: bool) -> float:
        return self._later(due, "fin" if fin else "rst")

    def _later(self, due: float, where: object) -> float:
        latency = self._latency
        delay = latency.delay
        if latency.jitter:
            delay = latency.drawn(self._draw(where), self._draw((where, "other")))
        self._last = max(self._last, due + delay)
        return self._last
