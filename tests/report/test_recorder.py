"""Live events to a report."""

from faultproxy.events.bus import Bus
from faultproxy.events.types import CountersReset, UpstreamFailed
from faultproxy.report.attempts import WANTED
from faultproxy.report.recorder import Recorder
from tests.report.events import Script


class Clock:
    """Tells what it is set to."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def recorded(script: Script, most: int = 1000) -> tuple[Recorder, Clock]:
    """A recorder on a bus on which the script was played, and its clock."""
    clock = Clock()
    recorder = Recorder(clock, most)
    bus = Bus(recorder)
    for at_s, event in script.events:
        clock.now_s = 1000 + at_s
        bus.publish(event)
    return recorder, clock


def test_events_have_the_times_of_the_clock() -> None:
    """The report is that of the same events in a log."""
    script = Script()
    script.retries([0.1, 0.2, 0.4, 0.8])
    recorder, _ = recorded(script)
    assert recorder.report() == script.report()
    assert Bus(recorder).wants(next(iter(WANTED)))


def test_it_sees_every_connection() -> None:
    """So that no client is seen only where there was none."""
    assert not recorded(Script())[0].report().notes
    script = Script()
    script.upstream_fails(1.0)
    script._events = [timed for timed in script.events if isinstance(timed[1], UpstreamFailed)]
    assert not recorded(script)[0].report().notes


def test_time_goes_on_without_events() -> None:
    """A client that does not come back is seen not to, though nothing happens."""
    script = Script()
    script.fails(1.0)
    recorder, clock = recorded(script)
    assert recorder.report().client("10.0.0.7").episodes[0].end == "still failing"
    clock.now_s += 60
    assert recorder.report().client("10.0.0.7").episodes[0].end == "never came back"


def test_a_snapshot_stays_as_it_is() -> None:
    """What happens afterwards is not in it; leaks that last are."""
    script = Script()
    script.injects(1.0, script.opens(1.0), "EOF", "end", "close")
    recorder, clock = recorded(script)
    clock.now_s += 5
    snapshot = recorder.snapshot()
    recorder.receive(script.events[0][1])
    assert [len(attempts) for _, _, attempts in snapshot.clients()] == [1]
    assert [leak.held_s for leak in snapshot.leaks()] == [5.0]


def test_memory_is_bounded() -> None:
    """The report says what is not kept."""
    script = Script()
    for number in range(300):
        script.fails(float(number))
    recorder, _ = recorded(script, most=100)
    report = recorder.report()
    assert report.clients[0].attempts <= 100
    assert any("attempts are not kept any more" in note for note in report.notes)


def test_it_begins_anew_with_the_counters() -> None:
    """Of one proxy or of all; an outage that lasts goes on, and so does a connection that is open."""
    shop, bank = Script(), Script("bank")
    shop.fails(1.0)
    shop.outage(2.0, 3.0)
    shop.outage(4.0, None)
    still_open = shop.opens(5.0)
    bank.fails(6.0)
    shop.add(7.0, CountersReset(proxy="shop", source="api"))
    shop.injects(8.0, still_open, elapsed_ms=3000.0)
    shop._events += bank.events
    recorder, _ = recorded(shop)
    report = recorder.report()
    assert [(client.proxy, client.failures) for client in report.clients] == [("bank", 1), ("shop", 1)]
    assert [(outage.proxy, outage.ended_s) for proxy in report.proxies for outage in proxy.outages] == [("shop", None)]
    recorder.receive(CountersReset(proxy=None, source="api"))
    assert not recorder.report().clients
