"""The bus: hands each event to those who want its kind, at once, in the order in which they subscribed."""

from collections.abc import Set as AbstractSet
from typing import Protocol

from faultproxy.events.types import Event


class Subscriber(Protocol):
    """Is handed events. ``wants`` may change at any time."""

    @property
    def wants(self) -> AbstractSet[type[Event]]:
        """The kinds of events that it is handed."""

    def receive(self, event: Event) -> None:
        """Take one. Must neither block nor raise: whoever publishes carries bytes."""


class Bus:
    """Publishes events to the subscribers. An event that nobody wants need not be made: ask wants() first."""

    def __init__(self, *subscribers: Subscriber) -> None:
        self._subscribers = list(subscribers)

    def subscribe(self, subscriber: Subscriber) -> None:
        """Hand it events from now on, after those who subscribed before."""
        self._subscribers.append(subscriber)

    def publish(self, event: Event) -> None:
        """Hand the event to each subscriber that wants its kind."""
        kind = type(event)
        for subscriber in self._subscribers:
            if kind in subscriber.wants:
                subscriber.receive(event)

    def wants(self, kind: type[Event]) -> bool:
        """Whether any subscriber wants events of this kind."""
        for subscriber in self._subscribers:  # noqa: SIM110  # a generator would cost every connection more
            if kind in subscriber.wants:
                return True
        return False
