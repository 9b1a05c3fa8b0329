"""The demo with the page, as a user runs it."""

import re
import signal
import subprocess
import sys
import time

import httpx

from tests.peers import PATIENCE_S


def test_the_scenes_go_on_and_the_page_is_there() -> None:
    """It prints the page's address, its clients come again and again, and Ctrl-C ends it without a word."""
    command = [sys.executable, "-P", "-X", "faulthandler", "-m", "faultproxy", "demo", "--page"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        try:
            assert demo.stdout is not None
            match = re.match(r"(http://127\.0\.0\.1:\d+/) shows what happens", demo.stdout.readline())
            assert match is not None
            with httpx.Client(base_url=match[1], timeout=PATIENCE_S) as client:
                assert "<title>faultproxy</title>" in client.get("/").text
                give_up = time.monotonic() + 3 * PATIENCE_S
                while not is_lively(client) and time.monotonic() < give_up:
                    time.sleep(0.1)
                assert is_lively(client)
            demo.send_signal(signal.SIGINT)
            _, complaints = end_of(demo)
        finally:
            demo.kill()
    assert not complaints, complaints
    assert demo.returncode == 0


def end_of(demo: subprocess.Popen[str]) -> tuple[str, str]:
    """What it has written by its end; if it does not end, where its threads are."""
    try:
        return demo.communicate(timeout=3 * PATIENCE_S)
    except subprocess.TimeoutExpired:
        demo.send_signal(signal.SIGABRT)  # for faulthandler
        return demo.communicate()


def is_lively(client: httpx.Client) -> bool:
    """Whether most clients came twice by now, and the rule that meets the first three connections counted anew."""
    proxies = {proxy["name"]: proxy for proxy in client.get("/v1/proxies").json()["proxies"]}
    retry = proxies["retry"]
    is_anew = bool(retry["rules"][0]["considered"] < retry["connections"])
    return is_anew and sum(proxy["connections"] >= 2 for proxy in proxies.values()) > 15
