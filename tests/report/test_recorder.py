"""Live events to a report."""

from faultproxy.events.bus import Bus
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


def test_memory_is_bounded_and_can_be_given_up() -> None:
    """The report says what is not kept."""
    script = Script()
    for number in range(300):
        script.fails(float(number))
    recorder, _ = recorded(script, most=100)
    report = recorder.report()
    assert report.clients[0].attempts <= 100
    assert any("attempts are not kept any more" in note for note in report.notes)
    recorder.forget()
    assert not recorder.report().clients
