"""A page that stays open under 1,000 faults a second: how much memory it holds, and how fast it answers.

Prints a line now and then. Ends with 1 if it held 100 MB or more, took longer than two seconds to answer a click,
found the API lost or had an error.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from threading import Event, Thread
from time import monotonic

from playwright.sync_api import CDPSession, Page, expect

from tests.browser import chromium
from tests.peers import Address, Server, connect, echo
from tests.running import Faultproxy
from tests.servers import unused_port

MOST_BYTES = 100_000_000
MOST_S = 2.0
RATE = 1000
CLIENTS = 4
REST_S = 15.0


def hammer(address: Address, stop: Event) -> None:
    """Connects that are reset, so many a second."""
    due = monotonic()
    while not stop.wait(max(0.0, due - monotonic())):
        due = max(due + CLIENTS / RATE, monotonic() - 1)
        with suppress(OSError), connect(address) as client:
            client.recv(1)


def look(page: Page, session: CDPSession, started: float, errors: Sequence[str]) -> bool:
    """Click, measure, print; whether it is well."""
    before = monotonic()
    page.get_by_role("button", name="Hold").click()
    going_on = page.get_by_role("button", name="Held: go on")
    expect(going_on).to_be_visible()
    took_s = monotonic() - before
    going_on.click()
    held = session.send("Runtime.getHeapUsage")["usedSize"]
    rate = page.locator(".verdict .figure").inner_text()
    print(
        f"{monotonic() - started:5.0f} s: {rate} faults/s, {held / 1e6:.1f} MB, a click took {took_s * 1000:.0f} ms",
        flush=True,
    )
    lost = page.get_by_role("alert").all_inner_texts()
    print(*lost, *errors, sep="\n", end="\n" if lost or errors else "", flush=True)
    return bool(held < MOST_BYTES and took_s < MOST_S and not lost and not errors)


def main(seconds: float) -> bool:
    """Whether it was well all the time."""
    stop, started = Event(), monotonic()
    with ExitStack() as stack:
        upstream = stack.enter_context(Server(echo)).address
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        api, port = unused_port(), unused_port()
        p = {"listen": f"127.0.0.1:{port}", "upstream": upstream, "rules": [{"name": "all", "reset": {}}]}
        stack.enter_context(
            Faultproxy(folder, {"proxies": {"p": p}}, "--api", f"127.0.0.1:{api}", level="error", may_complain=True)
        )
        page = stack.enter_context(chromium()).new_page()
        expect.set_options(timeout=60_000)
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto("about:blank")
        while page.url == "about:blank":
            with suppress(Exception):  # it is not there yet
                page.goto(f"http://127.0.0.1:{api}/")
        session = page.context.new_cdp_session(page)
        hammers = [Thread(target=hammer, args=(("127.0.0.1", int(port)), stop)) for _ in range(CLIENTS)]
        for each in hammers:
            each.start()
        try:
            page.locator(".verdict .figure").wait_for()
            is_well = True
            while monotonic() - started < seconds:
                page.wait_for_timeout(REST_S * 1000)
                is_well &= look(page, session, started, errors)
        finally:
            stop.set()
            for each in hammers:
                each.join()
    return is_well


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0)
    sys.exit(not main(parser.parse_args().seconds))
