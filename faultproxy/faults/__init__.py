"""One file a fault. This catalogue is all that the rest of the program knows of them."""

from faultproxy.faults.base import Fault
from faultproxy.faults.close import Close
from faultproxy.faults.exempt import Pass
from faultproxy.faults.half_close import HalfClose
from faultproxy.faults.refuse import Refuse
from faultproxy.faults.reset import Reset

CATALOGUE: tuple[type[Fault], ...] = (Refuse, Reset, HalfClose, Close, Pass)
"""Every fault there is; a rule's keys, the JSON Schema and the documentation follow it."""
