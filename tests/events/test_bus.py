"""Who is handed which event, and when."""

from faultproxy.events.bus import Bus
from faultproxy.events.types import ConnectionClosed, ConnectionOpened, Event, FaultInjected
from tests.events.samples import FAULT, OPENED


class Listed:
    """A subscriber that notes what it is handed, under its name."""

    def __init__(self, name: str, notes: list[tuple[str, Event]], *wants: type[Event]) -> None:
        self.name = name
        self.notes = notes
        self.wants = set(wants)

    def receive(self, event: Event) -> None:
        self.notes.append((self.name, event))


def test_each_gets_what_it_wants_in_the_order_of_subscribing() -> None:
    """At once, before publish returns."""
    notes: list[tuple[str, Event]] = []
    bus = Bus(Listed("a", notes, FaultInjected), Listed("b", notes, FaultInjected, ConnectionOpened))
    bus.subscribe(Listed("c", notes, FaultInjected))
    bus.publish(FAULT)
    bus.publish(OPENED)
    assert notes == [("a", FAULT), ("b", FAULT), ("c", FAULT), ("b", OPENED)]


def test_what_nobody_wants_need_not_be_made() -> None:
    """The bus says so beforehand; what a subscriber wants may change."""
    notes: list[tuple[str, Event]] = []
    assert not Bus().wants(FaultInjected)
    subscriber = Listed("a", notes, FaultInjected)
    bus = Bus(subscriber)
    assert bus.wants(FaultInjected)
    assert not bus.wants(ConnectionClosed)
    subscriber.wants = {ConnectionClosed}
    assert bus.wants(ConnectionClosed)
    bus.publish(FAULT)
    assert notes == []
