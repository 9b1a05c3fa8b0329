"""A client behind a proxy that fails its first attempts: what the report says of it."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import faultproxy
from faultproxy.report.report import ClientReport
from tests.retries.clients import Retrier


class Hello(BaseHTTPRequestHandler):
    """A little HTTP server."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"hello\n")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class QuietServer(ThreadingHTTPServer):
    """Says nothing of connections that are reset."""

    def handle_error(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def http() -> Iterator[str]:
    """The port of an HTTP server."""
    with QuietServer(("127.0.0.1", 0), Hello) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield str(server.server_port)
        server.shutdown()
        thread.join()


def measured(retrier: Retrier, ports: Mapping[str, str]) -> ClientReport:
    """What it did, in all its episodes; each ends when the client is served."""
    with faultproxy.Proxy(f"127.0.0.1:{ports[retrier.upstream]}") as proxy:
        with suppress(Exception):
            retrier.ask(proxy.host, proxy.port)  # what is loaded once is loaded now
        for episode in range(retrier.episodes):
            rule = {"name": f"episode {episode}", "when": {"first": retrier.failures}, "reset": None}
            proxy.update(rules=[rule])
            with suppress(Exception):
                retrier.ask(proxy.host, proxy.port)
        return proxy.report().client("127.0.0.1")
