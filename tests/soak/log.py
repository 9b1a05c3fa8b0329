"""The log, read as it is written, and what is wrong in it by itself."""

import json
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

from tests.peers import PATIENCE_S

Line = dict[str, Any]


class Life:
    """What the log has said of one connection so far."""

    def __init__(self) -> None:
        self.faults: list[Line] = []
        self.closed: Line | None = None
        self.failed: str | None = None


class Log:
    """``lives`` by the proxy's name and the client's address; ``wrong`` is what must not be, as sentences."""

    def __init__(self) -> None:
        self.news = threading.Condition()
        self.lives: dict[tuple[str, str], Life] = {}
        self.counts: Counter[str] = Counter()
        self.addresses: dict[str, tuple[str, int]] = {}
        self.wrong: list[str] = []
        self._open: dict[str, Life] = {}
        self._opened: set[str] = set()

    def follow(self, lines: Iterable[str]) -> None:
        """Until the end."""
        for text in lines:
            with self.news:
                self._take(json.loads(text))
                self.news.notify_all()

    def _take(self, line: Line) -> None:
        event = line["event"]
        self.counts[event] += 1
        if event == "proxy.started":
            host, _, port = line["listen"].rpartition(":")
            self.addresses[line["proxy"]] = host, int(port)
        elif event == "connection.opened":
            if line["connection"] in self._opened:
                self.wrong.append(f"opened twice: {text_of(line)}")
            self._opened.add(line["connection"])
            self.lives[line["proxy"], line["client"]] = self._open[line["connection"]] = Life()
        elif event == "fault.injected":
            self.counts[f"fault {line['fault']}"] += 1
            if line["connection"] in self._open:  # or its SYN was judged
                self._open[line["connection"]].faults.append(line)
        elif event == "upstream.failed" and line["connection"] in self._open:
            self._open[line["connection"]].failed = line["error"]
        elif event == "connection.closed":
            life = self._open.pop(line["connection"], None)
            if life is None:
                self.wrong.append(f"closed twice, or never opened: {text_of(line)}")
            else:
                life.closed = line
        elif event == "config.rejected" and any(".rules[" in error or "a bug" in error for error in line["errors"]):
            self.wrong.append(f"good rules were rejected: {text_of(line)}")
        elif event in {"connection.crashed", "log.dropped"}:
            self.wrong.append(text_of(line))

    def life(self, proxy: str, client: str) -> Life | None:
        """What became of a client's connection, once it is over; None if the log does not know it."""
        started = time.monotonic()
        with self.news:
            while time.monotonic() < started + PATIENCE_S:
                life = self.lives.get((proxy, client))
                if life is not None and life.closed is not None:
                    return self.lives.pop((proxy, client))
                if life is None and time.monotonic() > started + 1:
                    return None
                self.news.wait(0.1)
        self.wrong.append(f"{proxy}: the connection of {client} does not end")
        return None

    def wait_for(self, event: str, more_than: int) -> bool:
        """Whether an event comes to have happened more often than that."""
        with self.news:
            return self.news.wait_for(lambda: self.counts[event] > more_than, PATIENCE_S)


def text_of(line: Line) -> str:
    """It, but not too much of it."""
    return json.dumps(line)[:2000]
