"""Takes the pictures of docs/page.md: five minutes of a Redis and a PostgreSQL that fail, and their clients."""

import shutil
import socket
import subprocess
import sys
import tempfile
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread

import httpx
from playwright.sync_api import Page

from tests.browser import chromium
from tests.peers import Address, Server, echo, read_exactly
from tests.running import Faultproxy

DOCS = Path(__file__).parents[3] / "docs"
LASTS_S = 290.0
SIZE = {"width": 1360, "height": 1000}
ROLLING = {"window": {"from": "20s", "to": "35s", "every": "90s"}}
MORNING = {"window": {"from": "45s", "to": "65s", "every": "80s"}}


def config(upstream: str) -> dict[str, object]:
    redis = [
        {"name": "cold start", "when": {"first": 3}, "reset": {}, "expect": {"min": 3, "max": 3}},
        {"name": "cut mid-reply", "when": {"client": "127.0.0.8/29", "probability": "10%"}, "reset": {"after": "4KiB"}},
        {"name": "slow morning", "when": MORNING, "latency": {"delay": "80ms", "jitter": "20ms"}},
        {"name": "narrow line", "dry_run": True, "bandwidth": {"rate": "64KiB/s"}},
    ]
    postgres = [
        {"name": "nightly backup", "when": {"window": {"from": "2m", "to": "140s"}}, "refuse": {}},
        {"name": "rolling restart", "when": ROLLING, "reset": {}, "expect": {"min": 20}},
    ]
    proxies = {"redis": redis, "postgres": postgres}
    ports = {"redis": 16379, "postgres": 15432}
    return {
        "seed": 42,
        "proxies": {
            name: {"listen": f"127.0.0.1:{ports[name]}", "upstream": upstream, "rules": rules}
            for name, rules in proxies.items()
        },
    }


def come_again(address: Address, host: str, size: int, pause_s: float, factor: float, stop: Event) -> None:
    """A client: it asks, rests, and asks again; after a failure it waits a quarter of that, then ``factor`` times longer."""
    wait_s = pause_s
    while not stop.wait(wait_s):
        try:
            with socket.socket() as sock:
                sock.settimeout(5)
                sock.bind((host, 0))
                sock.connect(address)
                sock.sendall(b"x" * size)
                read_exactly(sock, size)
            wait_s = pause_s
        except OSError:
            wait_s = max(0.03, min(20.0, wait_s * factor if wait_s != pause_s else pause_s / 4))


def stay(address: Address, host: str, stop: Event) -> None:
    """A client of a pool: it stays connected, and asks now and then."""
    while not stop.is_set():
        with suppress(OSError), socket.socket() as sock:
            sock.settimeout(5)
            sock.bind((host, 0))
            sock.connect(address)
            while not stop.wait(0.4):
                sock.sendall(b"x" * 900)
                read_exactly(sock, 900)
        stop.wait(1)


def shrink(picture: Path) -> None:
    """With 256 colours it is a third as large."""
    if shutil.which("pngquant"):
        subprocess.run(["pngquant", "--force", "--speed=1", "--strip", "--output", picture, "256", picture], check=True)


def main(lasts_s: float) -> None:
    stop = Event()
    with ExitStack() as stack:
        upstream = stack.enter_context(Server(echo)).address
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        proxy = stack.enter_context(Faultproxy(folder, config(upstream), "--api", "127.0.0.1:0", may_complain=True))
        url = f"http://{proxy.wait_for('api.started')['listen']}/"
        browser = stack.enter_context(chromium())
        pages: dict[str, Page] = {}
        for scheme in ("light", "dark"):
            pages[scheme] = browser.new_page(viewport=SIZE, color_scheme=scheme)  # type: ignore[arg-type]
            pages[scheme].goto(url)
        redis, postgres = proxy.address("redis"), proxy.address("postgres")
        clients = [
            *(
                Thread(target=come_again, args=(redis, f"127.0.0.{8 + n}", 9_000, 0.4 + n / 7, 1.0, stop))
                for n in range(6)
            ),
            *(
                Thread(target=come_again, args=(postgres, f"127.0.0.{20 + n}", 700, 2.0 + n / 3, 2.0, stop))
                for n in range(2)
            ),
            Thread(target=come_again, args=(postgres, "127.0.0.30", 700, 1.0, 0.7, stop)),
            *(Thread(target=stay, args=(redis, f"127.0.0.{40 + n}", stop)) for n in range(4)),
        ]
        for client in clients:
            client.start()
        try:
            pages["light"].wait_for_timeout(lasts_s * 1000)
            for scheme, page in pages.items():
                page.screenshot(path=DOCS / f"page-{scheme}.png")
            slower = {"when": MORNING, "latency": {"delay": "120ms", "jitter": "20ms"}}
            httpx.put(f"{url}v1/proxies/redis/rules/slow morning", json=slower).raise_for_status()
            page = pages["light"]
            page.goto(f"{url}#configuration")
            text = page.get_by_label("Configuration as YAML")
            text.wait_for()
            page.get_by_role("tab").first.wait_for()
            text.fill(
                text.input_value().replace("first: 3", "first: 5").replace("\n      reset: {}", "\n      rest: {}", 1)
            )
            page.get_by_text("1 error").wait_for()
            page.screenshot(path=DOCS / "page-configuration.png")
        finally:
            stop.set()
            for client in clients:
                client.join()
    for picture in DOCS.glob("page-*.png"):
        shrink(picture)


if __name__ == "__main__":
    main(float(sys.argv[1]) if len(sys.argv) > 1 else LASTS_S)
