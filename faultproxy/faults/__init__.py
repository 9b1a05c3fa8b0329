"""One file a fault. This catalogue is all that the rest of the program knows of them."""

from faultproxy.faults.abort import Abort
from faultproxy.faults.bandwidth import Bandwidth
from faultproxy.faults.base import Fault
from faultproxy.faults.blackhole import Blackhole
from faultproxy.faults.broken_pipe import BrokenPipe
from faultproxy.faults.close import Close
from faultproxy.faults.connect_timeout import ConnectTimeout
from faultproxy.faults.corrupt import Corrupt
from faultproxy.faults.exempt import Pass
from faultproxy.faults.half_close import HalfClose
from faultproxy.faults.hang import Hang
from faultproxy.faults.latency import Latency
from faultproxy.faults.loss import Loss
from faultproxy.faults.noop import Noop
from faultproxy.faults.refuse import Refuse
from faultproxy.faults.reset import Reset
from faultproxy.faults.slice import Slice
from faultproxy.faults.slow_close import SlowClose
from faultproxy.faults.slow_connect import SlowConnect
from faultproxy.faults.unreachable import Unreachable

CATALOGUE: tuple[type[Fault], ...] = (
    Refuse,
    Unreachable,
    ConnectTimeout,
    SlowConnect,
    Reset,
    BrokenPipe,
    Abort,
    HalfClose,
    Close,
    Hang,
    Blackhole,
    Latency,
    Bandwidth,
    Slice,
    Corrupt,
    Loss,
    SlowClose,
    Noop,
    Pass,
)
"""Every fault there is; a rule's keys, the JSON Schema and the documentation follow it."""
