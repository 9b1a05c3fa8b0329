"""What events say of attempts: which failed, when the client could know, and which were served."""

from typing import Any

from faultproxy.events.types import (
    ConfigLoaded,
    Event,
    FaultInjected,
    LogDropped,
    OutageEnded,
    OutageStarted,
    ProxyStarted,
    ProxyStopped,
)
from faultproxy.report.attempts import Attempts, Cause, ClientAttempt, take_event
from tests.report.events import Script, collected

RESET = Cause("cut", "reset", "ECONNRESET")


def tried(script: Script) -> list[ClientAttempt]:
    """The attempts of the script's only client, in the script's time."""
    script.add(0.0, LogDropped(count=0))
    ((proxy, client, attempts),) = collected(script.events).clients()
    assert (proxy, client) == ("shop", "10.0.0.7")
    return attempts


def test_a_client_is_an_address() -> None:
    """Its port is left out, IPv6 has no brackets; each proxy has its own."""
    shop, bank = Script(), Script("bank")
    shop.serves(1.0)
    shop.serves(2.0, "[::1]")
    shop.fails(3.0)
    bank.fails(4.0)
    attempts = collected(shop.events + bank.events)
    assert [(proxy, client, len(its)) for proxy, client, its in attempts.clients()] == [
        ("shop", "10.0.0.7", 2),
        ("shop", "::1", 1),
        ("bank", "10.0.0.7", 1),
    ]


def test_what_fails_an_attempt() -> None:
    """An error or EOF, at the time of the fault; a fault that only delays or changes does not, nor does a dry run."""
    script = Script()
    script.fails(1.0)
    head = script.opens(2.0)
    script.injects(2.0, head, "delay", "slow", "latency")
    script.injects(2.1, head, "change", "noise", "corrupt")
    script.closes(2.2, head)
    script.upstream_fails(3.0)
    assert tried(script) == [
        ClientAttempt(1.0, 1.0, RESET),
        ClientAttempt(2.0),
        ClientAttempt(3.0, 3.0, Cause(None, "upstream", "ECONNREFUSED")),
    ]


def test_the_first_failure_counts() -> None:
    """What is injected afterwards into the same connection changes nothing."""
    script = Script()
    head = script.opens(1.0)
    script.injects(1.5, head)
    script.injects(1.6, head, "EPIPE", "other", "broken_pipe")
    assert tried(script) == [ClientAttempt(1.0, 1.5, RESET)]


def test_a_refused_syn_is_an_attempt() -> None:
    """It has a fault and no connection.opened; it began so long before as the fault says."""
    script = Script()
    head = {"proxy": "shop", "connection": "shop#1", "client": "10.0.0.7:99"}
    script.injects(1.0, head, "ECONNREFUSED", "down", "refuse", elapsed_ms=250.0)
    assert tried(script) == [ClientAttempt(0.75, 1.0, Cause("down", "refuse", "ECONNREFUSED"))]


def test_silence_fails_when_the_client_loses_patience() -> None:
    """The time is that of the close; bytes that came after all show that it has waited long enough."""
    cause = Cause("mute", "hang", "silence")
    script = Script()
    for at_s, down in ((1.0, 5), (2.0, 6)):
        head = script.opens(at_s)
        script.injects(at_s + 0.1, head, "silence", "mute", "hang", bytes_downstream=5)
        script.closes(at_s + 0.6, head, "client", 9, down)
    head = script.opens(3.0)
    script.injects(3.1, head, "silence", "mute", "hang")
    assert tried(script) == [ClientAttempt(1.0, 1.6, cause), ClientAttempt(2.0), ClientAttempt(3.0, None, cause)]


def test_a_client_that_gives_up_waiting_has_failed() -> None:
    """It asked, a fault delayed the answer, and it went before a byte had come; not if the answer came."""
    script = Script()
    for at_s, down in ((1.0, 0), (2.0, 1)):
        head = script.opens(at_s)
        script.injects(at_s, head, "delay", "slow", "latency")
        script.closes(at_s + 0.5, head, "client", 9, down)
    assert tried(script) == [ClientAttempt(1.0, 1.5, Cause("slow", "latency", "no answer in time")), ClientAttempt(2.0)]


def test_a_client_that_gives_up_connecting_has_failed() -> None:
    """Its SYN was delayed, and it never came back for it; not if it did, nor where the log would not say."""
    script = Script()
    gone, came_back = script.opens(1.5), script.opens(2.5)
    script.injects(1.0, gone, "delay", "slow", "slow_connect")
    script.injects(2.0, came_back, "delay", "slow", "slow_connect")
    script.closes(2.6, came_back)
    came = [timed for timed in script.events if timed[0] != 1.5]
    (_, _, (gave_up, served)), *_ = collected(came).clients()
    assert gave_up == ClientAttempt(0.0, None, Cause("slow", "slow_connect", "no answer in time"))
    assert served.cause is None
    (_, _, attempts), *_ = collected(came).copy().clients()
    assert attempts == [gave_up, served]
    (_, _, (only, *_)), *_ = collected(script.events).clients()
    assert only.cause is None
    (_, _, unseen), *_ = collected([timed for timed in came if isinstance(timed[1], FaultInjected)]).clients()
    assert [attempt.cause for attempt in unseen] == [None, None]


def test_what_is_held_open_after_eof() -> None:
    """For about a second or more, and then closed, or still open at the end."""
    script = Script()
    for at_s, held_s in ((1.0, 0.2), (2.0, 3.0), (3.0, None)):
        head = script.opens(at_s)
        script.injects(at_s, head, "EOF", "end", "close")
        if held_s is not None:
            script.closes(at_s + held_s, head, "fault", 0, 0)
    script.serves(9.0)
    leaks = collected(script.events).leaks()
    assert [(leak.connection, round(leak.held_s, 2)) for leak in leaks] == [("shop#2", 3.0), ("shop#3", 6.0)]


def test_another_run_numbers_its_connections_anew() -> None:
    """Its shop#1 is not the one before, which was open when that run ended."""
    first, second = Script(), Script()
    first.opens(1.0)
    second.fails(5.0)
    started = ProxyStarted(proxy="shop", listen="", upstream="", rules=0, seed=0, run="b", config={})
    attempts = collected([(0.0, LogDropped(count=0)), *first.events, (4.0, started), *second.events])
    ((_, _, its),) = attempts.clients()
    assert its == [ClientAttempt(1.0), ClientAttempt(5.0, 5.0, RESET)]


def test_memory_is_bounded() -> None:
    """The older half of each client's attempts goes, and is counted; what is still open is still told apart."""
    script = Script()
    head = script.opens(100.0, "10.0.0.8")
    for number in range(250):
        script.fails(float(number))
    script.injects(300.0, head)
    attempts = Attempts(most=100)
    for at_s, event in script.events:
        take_event(attempts, at_s, event)
    kept = {client: its for _, client, its in attempts.clients()}
    assert len(kept["10.0.0.7"]) <= 100
    assert kept["10.0.0.7"][-1].started_s == 249.0
    assert attempts.forgotten + sum(map(len, kept.values())) >= 251


def test_missing_lines_are_counted() -> None:
    """As the log says."""
    assert collected([(1.0, LogDropped(count=3)), (2.0, LogDropped(count=4))]).dropped == 7


def test_outages_have_their_times() -> None:
    """The last one may have no end."""
    script = Script()
    script.outage(1.0, 2.0)
    script.outage(3.0, None)
    assert [(its.started_s, its.ended_s) for its in collected(script.events).outages] == [(0.0, 1.0), (2.0, None)]


def test_an_outage_ends_with_its_proxy() -> None:
    """When it stops; or, if nobody saw that, when another run starts it."""
    script = Script()
    script.outage(1.0, None)
    script.add(2.0, ProxyStopped(proxy="shop", connections=0, faults={}))
    script.outage(3.0, None)
    started: dict[str, Any] = {"listen": "", "upstream": "", "rules": 0, "seed": 0, "config": {}}
    script.add(5.0, ProxyStarted(proxy="bank", run="b", **started))
    script.add(6.0, ProxyStarted(proxy="shop", run="b", **started))
    assert [(its.started_s, its.ended_s) for its in collected(script.events).outages] == [(0.0, 1.0), (2.0, 5.0)]


def test_an_outage_does_not_end_before_it_begins() -> None:
    """Even if the clock was set back meanwhile."""
    events: list[tuple[float, Event]] = [
        (50.0, OutageStarted(proxy="shop", rule="down", fault="refuse", client_sees="ECONNREFUSED")),
        (10.0, OutageEnded(proxy="shop", rule="down", fault="refuse")),
    ]
    assert [(its.started_s, its.ended_s) for its in collected(events).outages] == [(0.0, 0.0)]


def test_a_disabled_proxy_is_an_outage() -> None:
    """From the edit that disables it to the one that enables it; also if it begins so."""
    same: dict[str, Any] = {"source": "api", "file": None, "changes": (), "unaffected": 0}
    events: list[tuple[float, Event]] = [
        (0.0, ProxyStarted(proxy="bank", listen="", upstream="", rules=0, seed=0, run="a", config={"enabled": False})),
        (1.0, ConfigLoaded(**same, config={"shop": {"enabled": False}})),
        (2.0, ConfigLoaded(**same, config={"shop": {"enabled": False}, "bank": {}})),
        (3.0, ConfigLoaded(**same, config={"shop": {"listen": "127.0.0.1:1"}})),
    ]
    outages = collected(events).outages
    assert [(its.proxy, its.started_s, its.ended_s) for its in outages] == [("bank", 0.0, 2.0), ("shop", 1.0, 3.0)]
    assert {its.cause for its in outages} == {Cause(None, "disabled", "ECONNREFUSED")}
