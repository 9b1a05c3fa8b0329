"""The stage of the matrix: one faultproxy with a proxy for every row and language, a server behind each row, and the exchanges."""

import re
import socket
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any, Self

import yaml

from tests.fidelity.languages import Client, Language
from tests.fidelity.matrix import ROWS, Row
from tests.peers import PATIENCE_S, Server, nobody, reset
from tests.running import Faultproxy, Line

_STEPS = ("connect", "send", "shut", "read", "write")


@dataclass(frozen=True)
class Seen:
    """What a client said, exchange by exchange, and what the log said of the fault."""

    row: Row
    language: Language
    exchanges: list[dict[str, str]]
    reported: Line | None = None
    heard: list[str] = field(default_factory=list)

    @property
    def fidelity(self) -> str | None:
        """``exact`` or ``degraded``, where a fault was logged."""
        return self.reported["fidelity"] if self.reported else None

    @property
    def expected(self) -> tuple[str, ...]:
        """What the row asks for, in this language, on this host."""
        if self.fidelity == "degraded" and self.row.degraded is not None:
            return self.row.degraded
        return self.row.expected

    @property
    def outcomes(self) -> tuple[str, ...]:
        """What the exchanges ended with, in the row's words."""
        return tuple(outcome(exchange, self.language) for exchange in self.exchanges)

    @property
    def wrong(self) -> list[str]:
        """What is not as the row asks for."""
        row, last = self.row, {key: int(self.exchanges[-1].get(key, 0)) for key in ("first_ms", "last_ms", "end_ms")}
        complaints = {
            f"expected {self.expected}, saw {self.outcomes}, which the client put as {self.words}": (
                self.outcomes in (self.expected, self.row.also.get(self.language.name))
            ),
            f"the first byte came after {last['first_ms']} ms": last["first_ms"] >= row.first_byte_ms,
            f"the end came after {last['end_ms']} ms": (
                last["end_ms"] >= row.end_ms or (row.is_by_chance and self.fidelity == "degraded")
            ),
            f"the last byte came only after {last['last_ms']} ms": last["end_ms"] - last["last_ms"] >= row.end_held_ms,
            f"{self.exchanges[-1].get('written')} writes went well": (
                not row.first_write_fails or self.exchanges[-1].get("written", "0") == "0"
            ),
            f"the server heard {self.heard}": self.heard == ([row.server_hears] if row.server_hears else []),
            f"the log says that the client sees {self.reported and self.reported['client_sees']}": (
                self.reported is None or self.fidelity == "degraded" or self.reported["client_sees"] == row.client_sees
            ),
        }
        return [complaint for complaint, is_right in complaints.items() if not is_right]

    @property
    def words(self) -> tuple[str, ...]:
        """The same in the client's own words."""
        return tuple(outcome(exchange, None) for exchange in self.exchanges)


def outcome(exchange: Mapping[str, str], language: Language | None) -> str:
    """What an exchange ended with; errnos by their names if the language is given, else as the client said it."""
    parts = []
    if int(exchange.get("bytes", 0)):
        parts.append(f"{exchange['bytes']} bytes")
    if changed := exchange.get("changed"):
        parts.append(f"byte{'s' if ',' in changed else ''} {changed} changed")
    for step in _STEPS:
        said = exchange.get(step, "ok")
        meant = language.errno_of(said) if language else said
        if step == "write" and step in exchange:
            parts.append(f"write: {meant}")
        elif said != "ok":
            parts.append(meant)
    return ", ".join(parts) or "connected"


class Matrix:
    """The stage, until the block ends. Clients are built and started when they are first asked for, and made warm by an exchange."""

    def __init__(self, folder: Path, languages: Iterable[Language], rows: Iterable[Row] = ROWS) -> None:
        self._folder = folder
        self._stack = ExitStack()
        self._clients: dict[str, Client] = {}
        self._heard: dict[str, Queue[str]] = {row.name: Queue() for row in rows}
        upstreams = {row.name: self._upstream(row) for row in rows}
        proxies = {
            proxy_of(row, language): {
                "listen": "127.0.0.1:0",
                "upstream": upstreams[row.name],
                "rules": yaml.safe_load(row.rules),
                **yaml.safe_load(row.settings),
            }
            for row in rows
            for language in languages
        }
        self._proxy = self._stack.enter_context(Faultproxy(folder, {"seed": 1, "proxies": proxies}))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def play(self, row: Row, language: Language) -> Seen:
        """Let the language's client make the row's exchanges, again if it has another attempt."""
        for _ in range(row.attempts.get(language.name, 1) - 1):
            if not (seen := self._play(row, language)).wrong:
                return seen
        return self._play(row, language)

    def _play(self, row: Row, language: Language) -> Seen:
        client = self._client(language)
        proxy = proxy_of(row, language)
        address = self._proxy.address(proxy)
        if row.ready:
            self._proxy.wait_for(row.ready, proxy=proxy)
        exchanges = [client.exchange(*address, row.request, row.steps) for _ in row.expected]
        heard = [self._heard[row.name].get(timeout=PATIENCE_S)] if row.server_hears else []
        is_spared = row.is_by_chance and int(exchanges[-1].get("end_ms", 0)) < row.end_ms
        reported = None
        if row.client_sees and not is_spared:
            reported = self._proxy.wait_for("fault.injected", proxy=proxy)
        elif impossible := self._proxy.seen("fault.injected", proxy=proxy, fidelity="degraded"):
            reported = impossible[0]
        return Seen(row, language, exchanges, reported, heard)

    def _client(self, language: Language) -> Client:
        if language.name not in self._clients:
            folder = self._folder / language.name
            folder.mkdir()
            client = self._clients[language.name] = self._stack.enter_context(Client(language, folder))
            with Server(lambda sock: self._serve(sock, Queue())) as server:
                host, _, port = server.address.rpartition(":")
                client.exchange(host, int(port), "GET 1", "connect send read")
        return self._clients[language.name]

    def _upstream(self, row: Row) -> str:
        if row.nobody_upstream:
            return self._stack.enter_context(nobody())
        heard = self._heard[row.name]
        return self._stack.enter_context(Server(lambda sock: self._serve(sock, heard))).address

    def _serve(self, sock: socket.socket, heard: Queue[str]) -> None:
        """Do what the request says, and note all that was heard until EOF.

        ``GET n``: n bytes, then FIN. ``LATER n``: the same once the client's EOF has come. ``HOLD n``: n bytes and no FIN until then.
        ``RESET n``: n bytes, and later RST. A request that ends in mid-line is answered with as many bytes as it has.
        """
        request = b""
        while not request.endswith(b"\n") and (byte := sock.recv(1)):
            request += byte
        verb, _, count = request.decode().partition(" ")
        size = int(count) if request.endswith(b"\n") else len(request)
        rest = _rest(sock) if verb == "LATER" else b""
        sock.sendall(bytes(offset % 251 for offset in range(size)))
        if verb == "RESET":
            time.sleep(0.1)  # until the client has read it all: see NODE_MISSES_RESETS
            reset(sock)
            return
        if verb != "HOLD":
            sock.shutdown(socket.SHUT_WR)
        heard.put((request + rest + _rest(sock)).decode())


def _rest(sock: socket.socket) -> bytes:
    data = b""
    while more := sock.recv(65536):
        data += more
    return data


def proxy_of(row: Row, language: Language) -> str:
    """The proxy that this row and this language have for themselves."""
    return f"{re.sub('[^a-z0-9]+', '-', row.name)}-{language.name}"


def heading(row: Row) -> str:
    """A row's name and its rules."""
    return f"{row.name}<br>`{row.rules}`" if row.rules != "[]" else row.name


def expectation(row: Row) -> str:
    """What a row asks for, as a sentence."""
    sentence = listed(row.expected)
    if row.first_byte_ms:
        sentence += f"; the first byte after {row.first_byte_ms} ms or more"
    if row.end_ms:
        sentence += f"; the end after {row.end_ms} ms or more"
    if row.first_write_fails:
        sentence += " at once"
    if row.server_hears:
        sentence += f"; the server hears {len(row.server_hears)} bytes"
    return sentence


def listed(outcomes: tuple[str, ...]) -> str:
    """What the exchanges ended with, in order."""
    return " · ".join(outcomes)
