"""The last events as they happen, for whoever asks and for those who listen.

Nothing is copied for a listener: each has a place in one bounded queue, and reads on from there when it has time. One
that is so slow that the queue has gone on without it is told how many events it has missed.
"""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from time import time_ns
from typing import get_args

import trio

from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import EVENTS, Event, Level, log_fields
from faultproxy.text import to_json

MOST_EVENTS = 10_000
_MOST_AT_ONCE = 256
_PAUSE_S = 0.05
_LEVELS: tuple[Level, ...] = get_args(Level)
_DEBUG = frozenset(kind for kind in EVENTS if kind.level == "debug")
_OTHERS = frozenset(EVENTS) - _DEBUG
_RETRY, _DATA = b"retry: 1000\n", b"data: "


class Entry:
    """An event that has happened, its number, and when that was. What is sent of it is made once, when it is asked.

    ``at_s`` is of trio.current_time(), which does not jump when the clock is set.
    """

    __slots__ = ("_at_ns", "_frame", "_injected", "at_s", "event", "id")

    def __init__(self, number: int, event: Event, injected: int | None) -> None:
        self.id = number
        self.event = event
        self._injected = injected
        self.at_s = trio.current_time()
        self._at_ns = time_ns()
        self._frame: bytes | None = None

    @property
    def frame(self) -> bytes:
        """A frame of Server-Sent Events, whose data is the line of the log with ``id`` before it."""
        if self._frame is None:
            at = datetime.fromtimestamp(self._at_ns / 1e9, UTC).isoformat(timespec="microseconds")
            head = {"id": self.id, "timestamp": at.replace("+00:00", "Z"), "level": self.event.level}
            line = {**head, "event": self.event.name, **log_fields(self.event, self._injected)}
            name, data = self.event.name.encode(), to_json(line)
            self._frame = b"id: %d\nevent: %b\n%b%b\n\n" % (self.id, name, _DATA, data)
        return self._frame

    @property
    def json(self) -> bytes:
        """The data of the frame."""
        return self.frame.partition(_DATA)[2].removesuffix(b"\n\n")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which events are asked for, from ``level`` up; None stands for any."""

    events: frozenset[str] | None = None
    proxy: str | None = None
    rule: str | None = None
    level: Level = "info"

    def __call__(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        event = entry.event
        if _LEVELS.index(event.level) < _LEVELS.index(self.level):
            return False
        if self.events is not None and event.name not in self.events:
            return False
        if self.proxy is not None and getattr(event, "proxy", None) != self.proxy:
            return False
        return self.rule is None or getattr(event, "rule", None) == self.rule


class Feed:
    """A subscriber that keeps the last 10,000 events, numbered without gaps.

    Numbers go on from run to run, unless the clock is set back. Events at level debug are kept while somebody listens
    to them.
    """

    wants: frozenset[type[Event]] = _OTHERS

    def __init__(self, bus: Bus, stats: Stats) -> None:
        self._stats = stats
        self._entries: deque[Entry] = deque(maxlen=MOST_EVENTS)
        self.first_id = time_ns() // 1_000_000_000 * 1_000_000 + 1  # below 2**53, exact in JavaScript, till 2255
        self.last_id = self.first_id - 1
        self._waiting = trio.lowlevel.ParkingLot()
        self._debugging = 0
        bus.subscribe(self)

    def receive(self, event: Event) -> None:
        """Keep it, and wake those who wait."""
        self.last_id += 1
        self._entries.append(Entry(self.last_id, event, self._stats.count(event)))
        if self._waiting:
            self._waiting.unpark_all()

    def since(self, number: int) -> Iterator[Entry]:
        """The events after this one, as far as they are kept."""
        return islice(self._entries, max(0, len(self._entries) - max(0, self.last_id - number)), None)

    def latest(self) -> Iterator[Entry]:
        """All that are kept, the latest first."""
        return reversed(self._entries)

    def missed(self, number: int) -> int:
        """How many events after this one are not kept any more, of this run's."""
        return max(0, self.last_id - len(self._entries) - max(number, self.first_id - 1))

    async def listen(
        self, asked: Callable[[Entry], bool], since: int | None, *, debug: bool
    ) -> AsyncGenerator[bytes, None]:
        """The events that are asked for, as frames of Server-Sent Events, after this one, or from now on."""
        place = self.last_id if since is None else min(since, self.last_id)
        self._debug(1 if debug else 0)
        try:
            yield _RETRY + b"id: %d\n\n" % place
            while True:
                if place == self.last_id:
                    await self._waiting.park()
                missed = self.missed(place)
                frames = []
                if missed:
                    place = self.last_id - len(self._entries)
                    frames.append(b'event: dropped\nid: %d\ndata: {"dropped":%d}\n\n' % (place, missed))
                for entry in islice(self.since(place), _MOST_AT_ONCE):
                    place = entry.id
                    if asked(entry):
                        frames.append(entry.frame)
                if frames:
                    yield b"".join(frames)
                if place == self.last_id:
                    await trio.sleep(_PAUSE_S)  # one wake-up for many events, for each listener
                else:
                    await trio.lowlevel.checkpoint()
        finally:
            self._debug(-1 if debug else 0)

    def _debug(self, change: int) -> None:
        self._debugging += change
        self.wants = _OTHERS | _DEBUG if self._debugging else _OTHERS
