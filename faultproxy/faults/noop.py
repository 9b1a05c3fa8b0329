"""noop: nothing happens."""

from typing import ClassVar

from faultproxy.faults.base import ClientSees, Shape


class Noop(Shape):
    """Does nothing: its rule counts the connections that it matches, and is a place for a fault to come."""

    key: ClassVar[str] = "noop"
    client_sees: ClassVar[ClientSees] = "nothing"
