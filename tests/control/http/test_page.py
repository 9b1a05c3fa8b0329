"""The page in a real browser, with real traffic: everything on it by mouse and by keyboard."""

import json
import re
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, time
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser import chromium
from tests.peers import PATIENCE_S, Background, Server, connect, echo, read_exactly, read_to_the_end
from tests.running import Faultproxy

MS = PATIENCE_S * 1000
FAR_AWAY = {"name": "far away", "latency": {"delay": "1ms"}}
COLD_START = {"name": "cold start", "when": {"first": 2}, "reset": {"after": "2B"}, "expect": {"min": 1, "max": 2}}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=MS)
    with chromium() as browser:
        yield browser


class Scene:
    """A running faultproxy whose proxies go to an echo, and the page that shows it."""

    def __init__(self, proxy: Faultproxy, page: Page, url: str) -> None:
        self.proxy = proxy
        self.page = page
        self.url = url

    def get(self, path: str) -> Any:
        """What the API says."""
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S).json()

    def rule(self, name: str, proxy: str = "p") -> Mapping[str, Any]:
        """A rule as it runs."""
        rules: Mapping[str, Mapping[str, Any]] = {
            rule["name"]: rule["rule"] for rule in self.get(f"v1/proxies/{proxy}")["rules"]
        }
        return rules[name]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Look again and again, with the page alive meanwhile."""
        give_up = monotonic() + PATIENCE_S
        while not is_so():
            assert monotonic() < give_up
            self.page.wait_for_timeout(50)

    def press(self, button: Locator, *, by_keyboard: bool) -> None:
        """Press it by mouse, or by the key that presses a button that has the focus."""
        if by_keyboard:
            button.focus()
            self.page.keyboard.press("Enter")
        else:
            button.click()

    def ask(self, count: int = 1, proxy: str = "p") -> None:
        """Clients that send two bytes, and read until as many are there or it is over."""
        for _ in range(count):
            with suppress(OSError), connect(self.proxy.address(proxy)) as client:
                client.sendall(b"hi")
                read_exactly(client, 2)


@contextmanager
def scene(
    browser: Browser,
    folder: Path,
    *rules: Mapping[str, Any],
    proxies: Mapping[str, Any] | None = None,
    options: Sequence[str] = (),
    privileges: bool = True,
    **context: Any,
) -> Iterator[Scene]:
    """The page of a faultproxy with one proxy, p, and these rules. Its console must stay free of errors."""
    with Server(echo) as server:
        p = {"listen": "127.0.0.1:0", "upstream": server.address, "rules": list(rules)}
        config = {"seed": 1, "proxies": {"p": p} if proxies is None else proxies}
        options = ("--api", "127.0.0.1:0", *options)
        with Faultproxy(folder, config, *options, may_complain=True, privileges=privileges) as proxy:
            url = f"http://{proxy.wait_for('api.started')['listen']}/"
            said: list[str] = []
            page = browser.new_page(**context)
            page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
            page.on("pageerror", lambda error: said.append(str(error)))
            try:
                page.goto(url)
                yield Scene(proxy, page, url)
            finally:
                page.close()
    # The browser notes each answer that refuses what was typed; that is no error of the page.
    assert [text for text in said if not re.search("responded with a status of (401|412|422)", text)] == []


def test_one_look_says_whether_to_whom_and_by_which_rule(browser: Browser, tmp_path: Path) -> None:
    """Before there is traffic it says where to point a client; then who met what, and that the rule did as expected."""
    with scene(browser, tmp_path, COLD_START, FAR_AWAY) as its:
        page, (host, port) = its.page, its.proxy.address("p")
        expect(page.get_by_role("heading", name="No faults now")).to_be_visible()
        expect(page.get_by_text(f"Point yours at {host}:{port}")).to_be_visible()
        expect(page.get_by_text("2 faults to go").or_(page.get_by_text("1 fault to go"))).to_be_visible()
        its.ask(4)
        expect(page.get_by_role("heading", name=re.compile("faults a second"))).to_be_visible()
        verdict = page.get_by_role("region", name=re.compile("faults a second"))
        expect(verdict).to_contain_text("into 1 client: 127.0.0.1")
        expect(verdict).to_contain_text("p / cold start")
        proxy = page.get_by_role("article", name="p")
        expect(proxy).to_contain_text("open")
        cold_start, far_away = proxy.get_by_role("listitem").all()
        expect(cold_start).to_contain_text("when {first: 2}")
        expect(cold_start.get_by_role("definition")).to_have_text(["4", "2", "2"])
        expect(cold_start).to_contain_text("as expected (at least 1, at most 2)")
        expect(far_away.get_by_role("definition")).to_have_text(["2", "2", "2"])
        expect(proxy.get_by_role("img", name="connections/s, the last five minutes")).to_be_visible()
        expect(proxy.get_by_role("img", name="bytes/s, the last five minutes")).to_be_visible()


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_a_rule_is_turned_off_and_on(browser: Browser, tmp_path: Path, *, by_keyboard: bool) -> None:
    """Its switch makes it a dry run, and real again."""
    with scene(browser, tmp_path, FAR_AWAY) as its:
        switch = its.page.get_by_role("switch", name="far away is carried out")
        expect(switch).to_be_checked()
        its.press(switch, by_keyboard=by_keyboard)
        expect(switch).not_to_be_checked()
        assert its.rule("far away") == {**FAR_AWAY, "dry_run": True}
        its.press(switch, by_keyboard=by_keyboard)
        expect(switch).to_be_checked()
        assert not its.rule("far away")["dry_run"]


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_a_proxy_is_disabled_and_enabled(browser: Browser, tmp_path: Path, *, by_keyboard: bool) -> None:
    """Its switch refuses clients, and lets them in again."""
    with scene(browser, tmp_path) as its:
        switch = its.page.get_by_role("switch", name="p accepts clients")
        its.press(switch, by_keyboard=by_keyboard)
        expect(its.page.get_by_role("article", name="p")).to_contain_text("disabled")
        with pytest.raises(ConnectionRefusedError):
            connect(its.proxy.address("p"))
        its.press(switch, by_keyboard=by_keyboard)
        expect(switch).to_be_checked()
        connect(its.proxy.address("p")).close()


def test_a_shape_follows_its_slider_while_it_is_dragged(browser: Browser, tmp_path: Path) -> None:
    """The strength changes before the mouse lets go, and is in the end what the slider says; arrow keys do the same."""
    with scene(browser, tmp_path, FAR_AWAY) as its:
        slider = its.page.get_by_role("slider", name="far away: latency delay")
        box = slider.bounding_box()
        assert box is not None
        middle, height = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
        its.page.mouse.move(box["x"] + box["width"] * 0.07, height)
        its.page.mouse.down()
        its.page.mouse.move(middle, height, steps=5)
        its.wait_until(lambda: its.rule("far away")["latency"]["delay"] not in {"1ms", "0s"})
        dragged = its.rule("far away")["latency"]["delay"]
        its.page.mouse.move(middle + box["width"] / 4, height, steps=5)
        its.page.mouse.up()
        its.wait_until(lambda: its.rule("far away")["latency"]["delay"] == slider.get_attribute("aria-valuetext"))
        assert its.rule("far away")["latency"]["delay"] != dragged
        slider.focus()
        for _ in range(10):
            its.page.keyboard.press("ArrowLeft")
        its.page.keyboard.press("Home")
        its.wait_until(lambda: its.rule("far away")["latency"]["delay"] == "0s")


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_a_fault_is_injected_by_hand(browser: Browser, tmp_path: Path, *, by_keyboard: bool) -> None:
    """Each button of an open connection does to its client what it says."""
    with scene(browser, tmp_path) as its:
        with connect(its.proxy.address("p")) as client:
            its.press(its.page.get_by_role("button", name="Reset p#1"), by_keyboard=by_keyboard)
            with pytest.raises(ConnectionResetError):
                client.recv(1)
        with connect(its.proxy.address("p")) as client:
            its.press(its.page.get_by_role("button", name="Half-close p#2"), by_keyboard=by_keyboard)
            assert read_to_the_end(client) == (b"", "EOF")
        with connect(its.proxy.address("p")) as client:
            its.press(its.page.get_by_role("button", name="Hang p#3"), by_keyboard=by_keyboard)
            its.proxy.wait_for("fault.injected", connection="p#3", fault="hang")
            client.sendall(b"hi")
            client.settimeout(0.2)
            with pytest.raises(TimeoutError):
                client.recv(1)
        expect(its.page.get_by_role("region", name="Faults", exact=True)).to_contain_text("by hand")


@pytest.mark.parametrize("by_keyboard", [False, True])
def test_a_connection_tells_its_story(browser: Browser, tmp_path: Path, *, by_keyboard: bool) -> None:
    """From the feed: what every rule said and why, the fault with what the client saw, its bytes, and how it ended."""
    with scene(browser, tmp_path, FAR_AWAY, COLD_START) as its:
        its.ask(3)
        feed = its.page.get_by_role("group", name="Faults, the newest first")
        expect(feed.get_by_role("listitem")).to_have_count(5)  # a row that comes moves what is under the mouse
        its.press(feed.get_by_role("link", name="p#1").first, by_keyboard=by_keyboard)
        story = its.page.get_by_role("dialog", name="p#1")
        expect(story).to_contain_text("reset by cold start")
        expect(story).to_contain_text("the client sees ECONNRESET")
        expect(story).to_contain_text("ended by fault")
        expect(story.get_by_role("img", name="Bytes over time: 2 B upstream and 2 B downstream")).to_be_visible()
        expect(story.get_by_role("listitem").filter(has_text="cold start matched")).to_be_visible()
        its.page.keyboard.press("Escape")
        expect(story).not_to_be_visible()
        its.page.goto(f"{its.url}#connection/p%233")
        expect(its.page.get_by_role("dialog", name="p#3")).to_contain_text("cold start did not match")
        its.press(its.page.get_by_role("button", name="Close", exact=True), by_keyboard=by_keyboard)
        expect(its.page.get_by_role("dialog")).to_have_count(0)


def test_the_story_of_an_open_connection_goes_on(browser: Browser, tmp_path: Path) -> None:
    """Its bytes move while one looks."""
    with scene(browser, tmp_path) as its, connect(its.proxy.address("p")) as client:
        its.page.get_by_role("link", name="p#1").click()
        story = its.page.get_by_role("dialog", name="p#1")
        expect(story).to_contain_text("open")
        client.sendall(b"x" * 500)
        read_exactly(client, 500)
        expect(story.get_by_role("img", name=re.compile("500 B upstream and 500 B downstream"))).to_be_visible()


def test_the_feed_is_filtered_and_held(browser: Browser, tmp_path: Path) -> None:
    """By proxy, rule, fault and client; held, it stands still, and goes on."""
    with scene(browser, tmp_path, FAR_AWAY, COLD_START) as its:
        its.ask(3)
        feed = its.page.get_by_role("region", name="Faults", exact=True)
        rows = feed.get_by_role("listitem")
        expect(rows).to_have_count(5)
        feed.get_by_role("combobox", name="fault").select_option("reset")
        expect(rows).to_have_count(2)
        feed.get_by_role("combobox", name="fault").select_option("")
        feed.get_by_role("combobox", name="rule").focus()
        its.page.keyboard.type("far")
        expect(rows).to_have_count(3)
        feed.get_by_role("combobox", name="rule").select_option("")
        feed.get_by_role("combobox", name="proxy").select_option("p")
        expect(rows).to_have_count(5)
        feed.get_by_role("searchbox", name="client").fill("10.9.9.9")
        expect(rows).to_have_count(0)
        feed.get_by_role("button", name="Show all").click()
        expect(rows).to_have_count(5)
        feed.get_by_role("button", name="Hold").click()
        its.ask()
        expect(its.page.get_by_role("article", name="p").get_by_role("definition").last).to_have_text("2")
        its.wait_until(lambda: its.get("v1/proxies/p")["rules"][0]["injected"] == 4)
        expect(rows).to_have_count(5)
        feed.get_by_role("button", name="Held: go on").press("Enter")
        its.ask()
        expect(rows).to_have_count(7)


def test_windows_and_outages_are_seen(browser: Browser, tmp_path: Path) -> None:
    """A window is a strip with now on it; an outage is the proxy's state, in the verdict and on the time line."""
    night = {"name": "night", "when": {"window": {"from": "1h", "to": "2h"}}, "latency": {"delay": "1ms"}}
    down = {"when": {"window": {"to": "1h"}}, "refuse": {}}
    with scene(browser, tmp_path, night) as its:
        page = its.page
        expect(page.get_by_role("img", name=re.compile("Window from 1h to 2h: closed, opens in 59 m"))).to_be_visible()
        line = page.get_by_role("img", name=re.compile("Attempts, faults and outages"))
        readout = page.locator("#timeline-readout")

        def came() -> bool:
            its.ask()
            return line.is_visible()

        its.wait_until(came)  # once the page listens
        httpx.put(f"{its.url}v1/proxies/p/rules/down", json=down, timeout=PATIENCE_S).raise_for_status()
        expect(page.get_by_role("img", name=re.compile("Window from 0s to 1h: open, closes in 59 m"))).to_be_visible()
        expect(page.get_by_role("article", name="p")).to_contain_text("outage")
        expect(page.get_by_role("region", name="1 outage")).to_contain_text("p / down")
        line.focus()
        page.keyboard.press("End")
        expect(readout).to_contain_text("outage (down)")
        for _ in range(100):
            if "attempt" in readout.inner_text():
                break
            page.keyboard.press("ArrowLeft")
        expect(readout).to_contain_text(re.compile(r"p: \d+ attempt"))
        line.hover(position={"x": 600, "y": 12})
        expect(readout).to_contain_text(re.compile(r"^\d\d:\d\d:\d\d"))


def test_a_browser_whose_clock_is_wrong_shows_the_same(browser: Browser, tmp_path: Path) -> None:
    """What happened now is on the time line, although it is an hour later there than here."""
    with scene(browser, tmp_path, COLD_START) as its:
        its.page.clock.install(time=time() - 3600)
        its.page.reload()
        its.ask()
        expect(its.page.get_by_role("region", name="Faults", exact=True)).to_contain_text("p#1")
        line = its.page.get_by_role("img", name=re.compile("Attempts, faults and outages"))
        line.focus()
        its.page.keyboard.press("End")
        for _ in range(60):
            if "1 attempt" in its.page.locator("#timeline-readout").inner_text():
                break
            its.page.keyboard.press("ArrowLeft")
        expect(its.page.locator("#timeline-readout")).to_contain_text("p: 1 attempt, 1 fault")


def test_the_configuration_is_edited(browser: Browser, tmp_path: Path) -> None:
    """Errors are at their places while one types; the forecast follows; it is applied, compared, and taken back."""
    with scene(browser, tmp_path, COLD_START) as its:
        page = its.page
        page.get_by_role("link", name="Configuration").focus()
        page.keyboard.press("Enter")
        text = page.get_by_label("Configuration as YAML")
        expect(text).to_have_value(re.compile("cold start"))
        before = text.input_value()
        first = page.get_by_role("tab", name="connection 1: reset")
        expect(first).to_have_attribute("aria-selected", "true")
        first.focus()
        page.keyboard.press("ArrowRight")
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tabpanel")).to_contain_text("cold start does not hold")

        text.fill(before.replace("reset:", "rest:"))
        problem = page.get_by_role("list", name="What is wrong").get_by_role("listitem")
        expect(problem).to_contain_text("rest")
        line = 1 + before[: before.index("reset:")].count("\n")
        expect(problem.get_by_role("button")).to_have_text(re.compile(rf"^{line}:\d+$"))
        expect(page.get_by_role("button", name="Apply", exact=True)).to_be_disabled()
        problem.get_by_role("button").click()
        at = text.evaluate("area => area.value.slice(area.selectionStart, area.selectionStart + 4)")
        assert at == "rest"

        text.fill(before.replace("first: 2", "first: 5"))
        expect(page.get_by_role("tab", name="connection 5: reset")).to_be_visible()
        page.get_by_role("button", name="Apply", exact=True).press("Enter")
        difference = page.get_by_role("group", name=re.compile("what the overlay changed"))
        expect(difference).to_contain_text("added: + ")
        assert its.rule("cold start")["when"] == {"first": 5}

        with page.expect_download() as download:
            page.get_by_role("button", name="Download").click()
        assert download.value.suggested_filename == "faultproxy.yaml"
        assert Path(download.value.path()).read_text() == text.input_value()

        page.get_by_role("button", name="Back to the file").click()
        expect(text).to_have_value(before)
        assert its.rule("cold start")["when"] == {"first": 2}


def test_a_change_of_somebody_else_is_not_overwritten(browser: Browser, tmp_path: Path) -> None:
    """What was read before another edit cannot be applied over it; that is said, and what was typed stays."""
    with scene(browser, tmp_path, COLD_START) as its:
        its.page.goto(f"{its.url}#configuration")
        text = its.page.get_by_label("Configuration as YAML")
        expect(text).to_have_value(re.compile("cold start"))
        mine = text.input_value().replace("first: 2", "first: 5")
        text.fill(mine)
        other = {**COLD_START, "when": {"first": 9}}
        httpx.put(f"{its.url}v1/proxies/p/rules/cold start", json=other, timeout=PATIENCE_S).raise_for_status()
        expect(its.page.get_by_role("button", name="Apply", exact=True)).to_be_enabled()
        with its.page.expect_response(lambda answer: answer.status == 412):
            its.page.get_by_role("button", name="Apply", exact=True).click()
        expect(its.page.get_by_text("what runs has changed")).to_be_visible()
        expect(text).to_have_value(mine)
        assert its.rule("cold start")["when"] == {"first": 9}
        its.page.get_by_role("button", name="Apply mine over it").click()
        its.page.get_by_role("button", name="Apply", exact=True).click()
        its.wait_until(lambda: its.rule("cold start")["when"] == {"first": 5})


def test_a_rule_is_copied(browser: Browser, tmp_path: Path) -> None:
    """As YAML, as a ctl command, as a Toxiproxy call."""
    slow = {"name": "far away", "latency": {"delay": "1ms", "direction": "downstream"}}
    with scene(browser, tmp_path, slow, COLD_START) as its:
        its.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
        copied = "navigator.clipboard.readText()"
        menu = its.page.get_by_label("Copy far away")
        menu.focus()
        its.page.keyboard.press("Enter")
        its.page.keyboard.press("Tab")
        its.page.keyboard.press("Enter")
        expect(its.page.get_by_text("Copied a ctl command")).to_be_visible()
        rule = "'far away' 'latency: {direction: downstream, delay: 1ms}'"
        assert its.page.evaluate(copied) == f"faultproxy ctl --api {its.url.rstrip('/')} rule add 'p' {rule}"
        menu.click()
        its.page.get_by_role("button", name="as YAML").click()
        expect(its.page.get_by_text("Copied YAML")).to_be_visible()
        assert its.page.evaluate(copied) == "- {name: far away, latency: {direction: downstream, delay: 1ms}}\n"
        menu.click()
        its.page.get_by_role("button", name="as Toxiproxy call").click()
        expect(its.page.get_by_text("Copied a Toxiproxy call")).to_be_visible()
        assert '"type":"latency"' in its.page.evaluate(copied)
        its.page.get_by_label("Copy cold start").click()
        its.page.get_by_role("button", name="as Toxiproxy call").click()
        expect(its.page.get_by_text('No toxic says what "cold start" says')).to_be_visible()


def test_what_is_older_than_five_minutes_goes(browser: Browser, tmp_path: Path) -> None:
    """The page goes on when its charts and the time line are full."""
    with scene(browser, tmp_path, FAR_AWAY) as its:
        its.page.clock.install()
        its.page.reload()
        its.ask()
        chart = its.page.get_by_role("img", name="connections/s, the last five minutes")
        expect(chart).to_be_visible()
        its.ask()
        expect(chart).not_to_have_accessible_name(re.compile("at most 0$"))
        its.page.clock.fast_forward("06:00")
        expect(chart).to_have_accessible_name(re.compile("at most 0$"))
        its.ask()
        feed = its.page.get_by_role("region", name="Faults", exact=True)
        expect(feed.get_by_role("link", name="p#3")).to_be_visible()
        expect(chart).not_to_have_accessible_name(re.compile("at most 0$"))


def test_it_begins_empty(browser: Browser, tmp_path: Path) -> None:
    """Without a proxy it says how to write one; the example runs when it is applied."""
    with scene(browser, tmp_path, proxies={}) as its:
        its.page.get_by_role("link", name="Write the first one").click()
        its.page.get_by_role("button", name="begin with an example").click()
        its.page.get_by_role("button", name="Apply", exact=True).click()
        its.page.get_by_role("link", name="Watch").click()
        expect(its.page.get_by_role("article", name="web")).to_be_visible()


def test_a_fault_that_is_degraded_says_why(browser: Browser, tmp_path: Path) -> None:
    """Without privileges a host is not unreachable, but the connection is reset: the proxy says so."""
    with scene(browser, tmp_path, {"name": "no route", "unreachable": {}}, privileges=False) as its:
        expect(its.page.get_by_role("article", name="p")).to_contain_text("Degraded: unreachable")
        its.ask()
        expect(its.page.get_by_role("region", name="Faults", exact=True)).to_contain_text("degraded")


def test_a_token_is_asked_for(browser: Browser, tmp_path: Path) -> None:
    """Where the API wants one, the page asks once, and then shows all there is, live."""
    token = tmp_path / "token"
    token.write_text("xyzzy")
    with scene(browser, tmp_path, FAR_AWAY, options=["--api-token-file", str(token)]) as its:
        its.page.get_by_label("This API asks for a token").fill("plugh")
        its.page.keyboard.press("Enter")
        expect(its.page.get_by_label("This API asks for a token")).to_be_visible()
        its.page.get_by_label("This API asks for a token").fill("xyzzy")
        its.page.get_by_role("button", name="Use it").click()
        expect(its.page.get_by_role("article", name="p")).to_be_visible()
        its.ask()
        expect(its.page.get_by_role("link", name="p#1").first).to_be_visible()


def test_it_says_that_the_api_is_lost_and_comes_back(browser: Browser, tmp_path: Path) -> None:
    """What is shown stays, marked as old; when the API is back, faults are shown again by themselves."""
    with Server(echo) as server, socket.socket() as reserved:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(("127.0.0.1", 0))
        port = reserved.getsockname()[1]
        reserved.close()
        p = {"listen": "127.0.0.1:0", "upstream": server.address, "rules": [COLD_START]}
        options = {"proxies": {"p": p}}, "--api", f"127.0.0.1:{port}"
        page = browser.new_page()
        with Faultproxy(tmp_path, *options, may_complain=True) as proxy:
            proxy.wait_for("api.started")
            page.goto(f"http://127.0.0.1:{port}/")
            expect(page.get_by_role("article", name="p")).to_be_visible()
        expect(page.get_by_role("alert")).to_contain_text("The API does not answer")
        expect(page.get_by_role("article", name="p")).to_be_visible()
        with Faultproxy(tmp_path, *options, may_complain=True) as proxy:
            its = Scene(proxy, page, f"http://127.0.0.1:{port}/")
            proxy.wait_for("api.started")
            expect(page.get_by_role("alert")).to_have_count(0)
            its.ask()
            expect(
                page.get_by_role("region", name="Faults", exact=True).get_by_role("link", name="p#1")
            ).to_be_visible()
        page.close()


QUICKER = "const real = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = (ms) => real(ms / 5);"


def test_it_says_that_the_api_hangs(browser: Browser, tmp_path: Path) -> None:
    """An API that takes a request and never answers is lost too; what happened meanwhile is shown when it goes on."""
    with scene(browser, tmp_path, COLD_START) as its:
        its.page.add_init_script(QUICKER)
        its.page.reload()
        expect(its.page.get_by_role("article", name="p")).to_be_visible()
        its.proxy.signal(signal.SIGSTOP)
        try:
            expect(its.page.get_by_role("alert")).to_contain_text("The API does not answer")
        finally:
            its.proxy.signal(signal.SIGCONT)
        expect(its.page.get_by_role("alert")).to_have_count(0)
        its.ask()
        expect(
            its.page.get_by_role("region", name="Faults", exact=True).get_by_role("link", name="p#1")
        ).to_be_visible()


def test_what_others_say_is_text(browser: Browser, tmp_path: Path) -> None:
    """Markup in names is shown as it is, and nothing of it is loaded or run."""
    evil = "<img src=x onerror=alert(1)><script>alert(2)</script>{{3}}"
    with scene(browser, tmp_path, {**COLD_START, "name": evil}) as its:
        its.page.on("dialog", lambda dialog: pytest.fail(dialog.message))
        its.ask(2)
        feed = its.page.get_by_role("region", name="Faults", exact=True)
        expect(feed.get_by_role("listitem")).to_have_count(2)  # a row that comes moves what is under the mouse
        expect(feed.get_by_role("listitem").first).to_contain_text(evil)
        feed.get_by_role("link", name="p#1").click()
        expect(its.page.get_by_role("dialog").get_by_text(evil).first).to_be_visible()
        assert its.page.locator("img[src=x], script:not([src])").count() == 0


TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("body *")]
    .filter((one) => one.getBoundingClientRect().right > innerWidth).map((one) => `${one.tagName} ${one.className}`)"""
SEEN_BY = [{"color_scheme": "light"}, {"color_scheme": "dark"}, {"viewport": {"width": 380, "height": 800}}]


@pytest.mark.parametrize("context", SEEN_BY, ids=["light", "dark", "narrow"])
def test_everyone_can_use_it(browser: Browser, tmp_path: Path, context: Mapping[str, Any]) -> None:
    """axe-core finds nothing serious on any view, and nothing is wider than the window."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    window = {"name": "night", "when": {"window": {"from": "1s", "every": "2s"}}, "bandwidth": {"rate": "1MB/s"}}
    dry = {"name": "dry", "dry_run": True, "loss": {"probability": "1%"}}
    with scene(browser, tmp_path, COLD_START, window, dry, FAR_AWAY, **context) as its:
        its.ask(3)
        with connect(its.proxy.address("p")):
            expect(its.page.get_by_role("button", name="Reset p#4")).to_be_visible()
            for view in ("#watch", "#connection/p%231", "#configuration"):
                its.page.goto(f"{its.url}{view}")
                if view == "#configuration":
                    expect(its.page.get_by_role("tab").first).to_be_visible()
                    its.page.get_by_label("Configuration as YAML").press("End")
                    its.page.keyboard.type(" x: [")
                    expect(
                        its.page.get_by_role("list", name="What is wrong").get_by_role("listitem")
                    ).not_to_have_count(0)
                else:
                    expect(its.page.get_by_role("link", name="p#1").first).to_be_attached()
                found = axe.Axe().run(its.page).response["violations"]
                serious = [each for each in found if each["impact"] in {"serious", "critical"}]
                assert not serious, json.dumps(serious, indent=1)[:5000]
                assert its.page.evaluate(TOO_WIDE) == []


def test_everything_is_bounded(browser: Browser, tmp_path: Path) -> None:
    """Thousands of faults later there are as many rows as before, little memory, and a click is answered."""
    many = 1_000  # scripts/soak-page has a thousand a second
    with scene(browser, tmp_path, {"name": "all", "reset": {}}) as its:
        address, stop = its.proxy.address("p"), threading.Event()

        def hammer() -> None:
            while not stop.is_set():
                with suppress(OSError), connect(address) as client:
                    client.recv(1)

        try:
            with Background(hammer):
                try:
                    its.wait_until(lambda: its.get("v1/proxies/p")["rules"][0]["injected"] > many)
                    its.page.get_by_role("button", name="Hold").click()
                    expect(its.page.get_by_role("button", name="Held: go on")).to_be_visible()
                finally:
                    stop.set()
        finally:
            stop.set()
        feed = its.page.get_by_role("region", name="Faults", exact=True)
        assert feed.get_by_role("listitem").count() <= 100
        session = its.page.context.new_cdp_session(its.page)
        session.send("HeapProfiler.collectGarbage")
        assert session.send("Runtime.getHeapUsage")["usedSize"] < 30_000_000
