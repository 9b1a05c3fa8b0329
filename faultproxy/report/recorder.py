"""The recorder: what clients do now, kept for a report. A subscriber of the bus with bounded memory."""

import threading  # noqa: TID251  # events come in the proxy's thread, questions in the test's
from collections.abc import Callable
from time import monotonic

from faultproxy.events.types import CountersReset, Event
from faultproxy.report.attempts import WANTED, Attempts, take_event
from faultproxy.report.report import RetryReport, make_report

MOST_ATTEMPTS = 50_000


class Recorder:
    """Keeps the attempts of all clients, the last 50,000 or so. May be asked from any thread.

    While it is subscribed, connections that are opened and closed are published for it. ``clock`` tells seconds.
    """

    wants = WANTED | {CountersReset}

    def __init__(self, clock: Callable[[], float] = monotonic, most: int = MOST_ATTEMPTS) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts = Attempts(most)
        self._attempts.sees_all = True

    def receive(self, event: Event) -> None:
        """Keep what it says; where counters begin anew, so does the report."""
        with self._lock:
            if isinstance(event, CountersReset):
                self._attempts.forget(event.proxy)
            else:
                take_event(self._attempts, self._clock(), event)

    def snapshot(self) -> Attempts:
        """What was collected by now, for make_report: a copy, which takes under a millisecond."""
        with self._lock:
            self._attempts.saw(self._clock())
            return self._attempts.copy()

    def report(self) -> RetryReport:
        """What the clients did by now.

        With tens of thousands of attempts that takes a while: where bytes are carried, make the report of a snapshot()
        in a thread.
        """
        return make_report(self.snapshot())
