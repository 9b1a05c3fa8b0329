"""Outages: the listener is closed, so that the kernel itself refuses, while open connections go on."""

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers import (
    Address,
    Upstream,
    connect,
    connect_and_read,
    connect_error,
    exchange,
    name_of,
    read_to_the_end,
)
from tests.running import Faultproxy, Scene, Settings, Stage, one

REFUSE = {"name": "outage", "refuse": None}
LATER = {"from": "800ms", "to": "1800ms"}
SCENES = {
    "always": Scene([REFUSE]),
    "disabled": Scene(settings={"enabled": False}),
    "opens_and_ends": Scene([{**REFUSE, "when": {"window": LATER}}]),
    "starts_with_it": Scene([{**REFUSE, "when": {"window": {"to": "1s"}}}]),
    "repeats": Scene([{**REFUSE, "when": {"window": {"to": "100ms", "every": "200ms"}}}]),
    "below_a_pass": Scene([{"name": "nobody", "when": {"connection": 99}, "pass": None}, REFUSE]),
    "counted": Scene([{**REFUSE, "limit": 1}]),
    "live": Scene(
        [
            {"name": "health", "when": {"connection": 1}, "pass": None},
            {"name": "restart", "when": {"window": LATER}, "live": True, "reset": None},
        ]
    ),
    "live_close": Scene([{"name": "restart", "when": {"window": LATER}, "live": True, "close": None}]),
    "live_again": Scene(
        [
            {
                "name": "restart",
                "when": {"window": {"to": "10ms", "every": "20ms"}},
                "live": True,
                "half_close": {"after": "4B"},
            }
        ]
    ),
    "not_live": Scene([{"name": "restart", "when": {"window": LATER}, "reset": None}]),
}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with Stage(tmp_path_factory.mktemp("outages"), SCENES) as stage:
        yield stage


def windows_later(stage: Stage) -> None:
    """Wait while the windows that repeat open some more times."""
    before = len(stage.proxy.seen("outage.started", proxy="repeats"))
    stage.proxy.wait_for("outage.started", proxy="repeats", nth=before + 2)


def fate_of_connecting(address: Address) -> str:
    try:
        return connect_and_read(address)[1]
    except ConnectionRefusedError as error:
        return name_of(error)


# These scenes play at the same time: their windows open and close together, and the open connections are made first.


def test_windows_open_and_close(stage: Stage) -> None:
    """What is open goes on through an outage; a live triggered fault is injected into it, but not into what a pass rule exempts."""
    with (
        stage.ends("opens_and_ends") as open_through_it,
        stage.ends("live") as exempt,
        stage.ends("live") as injected,
        stage.ends("live_close") as closed,
        stage.ends("not_live") as spared,
    ):
        address = stage.proxy.address("opens_and_ends")
        assert stage.proxy.wait_for("outage.started", proxy="opens_and_ends")["rule"] == "outage"
        assert [connect_error(address) for _ in range(20)] == ["ECONNREFUSED"] * 20
        exchange(*open_through_it)

        stage.proxy.wait_for("fault.injected", connection="live#2", rule="restart", fault="reset", fidelity="exact")
        assert [read_to_the_end(sock) for sock in injected] == [(b"", "ECONNRESET")] * 2
        exchange(*exempt)
        assert not stage.proxy.seen("fault.injected", connection="live#1")

        stage.proxy.wait_for("fault.injected", connection="live_close#1", client_sees="EOF")
        assert read_to_the_end(closed[0]) == (b"", "EOF")
        exchange(*spared)

        stage.proxy.wait_for("outage.ended", proxy="opens_and_ends", rule="outage")
        with stage.ends("opens_and_ends") as again:
            exchange(*again)
        exchange(*open_through_it)
        assert stage.proxy.address("opens_and_ends") == address
    assert stage.proxy.wait_for("connection.opened", connection="opens_and_ends#2"), "who is refused has no number"
    assert len(stage.proxy.seen("outage.started", proxy="opens_and_ends")) == 1
    assert not stage.proxy.seen("fault.injected", proxy="not_live")


def test_a_live_triggered_fault_is_injected_once(stage: Stage) -> None:
    """However often the window opens before the trigger is reached, and after: the log says once what happened."""
    with stage.ends("live_again") as (client, server):
        windows_later(stage)
        exchange(client, server)
        assert read_to_the_end(client) == (b"", "EOF")
        windows_later(stage)
        client.close()
        assert read_to_the_end(server) == (b"", "EOF")
        server.close()
        assert stage.closed("live_again")["faults"] == ["half_close"]
    assert len(stage.proxy.seen("fault.injected", proxy="live_again")) == 1


def test_an_outage_from_the_start(stage: Stage) -> None:
    """A proxy whose outage begins at 0 s is announced with its port, and opens when the outage ends."""
    stage.proxy.wait_for("outage.started", proxy="starts_with_it")
    stage.proxy.wait_for("outage.ended", proxy="starts_with_it")
    with stage.ends("starts_with_it") as (client, server):
        exchange(client, server)


def test_an_outage_without_a_window_refuses_everybody(stage: Stage) -> None:
    """Each connect() fails with ECONNREFUSED, the upstream sees none, and the outage is logged once."""
    address = stage.proxy.address("always")
    stage.proxy.wait_for("outage.started", proxy="always", rule="outage")
    assert [connect_error(address) for _ in range(50)] == ["ECONNREFUSED"] * 50
    assert stage.upstreams["always"].is_left_alone()
    assert len(stage.proxy.seen("outage.started", proxy="always")) == 1
    assert not stage.proxy.seen("connection.opened", proxy="always")


def test_a_disabled_proxy_refuses_everybody(stage: Stage) -> None:
    """It looks like a stopped server, and no rule is said to be the cause."""
    assert connect_error(stage.proxy.address("disabled")) == "ECONNREFUSED"
    assert not stage.proxy.seen("outage.started", proxy="disabled")


def test_an_outage_that_repeats(stage: Stage) -> None:
    """Every period it begins and ends again, in turn."""
    stage.proxy.wait_for("outage.ended", proxy="repeats", nth=3)
    events = [line["event"] for line in stage.proxy.log if line.get("proxy") == "repeats" and "outage" in line["event"]]
    assert events[:6] == ["outage.started", "outage.ended"] * 3


@pytest.mark.parametrize("name", ["below_a_pass", "counted"])
def test_a_refuse_that_is_no_outage_leaves_the_listener_open(stage: Stage, name: str) -> None:
    """With a limit, or a verdict above, clients are judged one by one: by their SYN, or else reset after the accept."""
    seen = fate_of_connecting(stage.proxy.address(name))
    injected = stage.injected(name)
    assert seen == injected["client_sees"]
    assert injected["fidelity"] == ("exact" if seen == "ECONNREFUSED" else "degraded")
    assert not stage.proxy.seen("outage.started", proxy=name)


def with_rules(upstream: Upstream, *rules: Settings, **settings: Any) -> Settings:
    return one(upstream.address, *rules, **settings)


def test_the_port_stays_through_outages(tmp_path: Path, upstream: Upstream) -> None:
    """Port 0 is chosen once: after each outage the listener is where it was."""
    with Faultproxy(tmp_path, with_rules(upstream)) as proxy:
        address = proxy.address("p")
        for number in range(1, 4):
            proxy.edit(with_rules(upstream, REFUSE))
            proxy.wait_for("outage.started", nth=number)
            assert connect_error(address) == "ECONNREFUSED"
            proxy.edit(with_rules(upstream))
            proxy.wait_for("outage.ended", nth=number)
            with connect(address) as client, upstream.accept() as server:
                exchange(client, server)


def test_disabling_is_like_stopping_a_server(tmp_path: Path, upstream: Upstream) -> None:
    """Open connections are reset on both sides, which is a fault of no rule; new ones are refused, until it is enabled."""
    with Faultproxy(tmp_path, with_rules(upstream)) as proxy:
        address = proxy.address("p")
        with connect(address) as client, upstream.accept() as server:
            exchange(client, server)
            proxy.edit(with_rules(upstream, enabled=False))
            assert read_to_the_end(client) == (b"", "ECONNRESET")
            assert read_to_the_end(server) == (b"", "ECONNRESET")
        assert connect_error(address) == "ECONNREFUSED"
        (line,) = proxy.seen("fault.injected")
        assert (line["rule"], line["fault"], line["ordinal"], line["injected"]) == (None, "disabled", None, None)
        assert (line["client_sees"], line["fidelity"], line["trigger"]) == ("ECONNRESET", "exact", "edit")
        closed = proxy.wait_for("connection.closed")
        assert (closed["faults"], closed["ended_by"]) == (["disabled"], "fault")
        proxy.edit(with_rules(upstream))
        with connect(address) as client, upstream.accept() as server:
            exchange(client, server)


def test_a_port_that_another_process_took_meanwhile(tmp_path: Path, upstream: Upstream) -> None:
    """When the outage ends the log says that the port is taken; once it is free the proxy listens again."""
    with Faultproxy(tmp_path, with_rules(upstream)) as proxy:
        host, port = address = proxy.address("p")
        proxy.edit(with_rules(upstream, REFUSE))
        proxy.wait_for("outage.started")
        with socket.socket() as squatter:
            squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            squatter.bind((host, port))
            squatter.listen()
            proxy.edit(with_rules(upstream))
            failed = proxy.wait_for("listen.failed", proxy="p", error="EADDRINUSE")
            assert failed["listen"] == f"{host}:{port}"
            assert not proxy.seen("outage.ended")
        proxy.wait_for("outage.ended", proxy="p")
        with connect(address) as client, upstream.accept() as server:
            exchange(client, server)


def test_expect_counts_an_outage_once(tmp_path: Path, upstream: Upstream) -> None:
    """However many clients an outage refuses, it counts once."""
    rule = {**REFUSE, "expect": {"min": 1, "max": 1}}
    with Faultproxy(tmp_path, with_rules(upstream, rule), "--expect") as proxy:
        proxy.wait_for("outage.started")
        for _ in range(3):
            assert connect_error(proxy.address("p")) == "ECONNREFUSED"
        assert proxy.stop() == 0
        assert proxy.wait_for("proxy.stopped")["faults"] == {"outage": 1}
