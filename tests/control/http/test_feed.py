"""The queue of events: bounded, numbered, and the same for all who listen."""

import json
from dataclasses import replace

from faultproxy.control.http.feed import MOST_EVENTS, Feed, Filter
from faultproxy.events.bus import Bus
from faultproxy.events.stats import Stats
from faultproxy.events.types import ConnectionOpened
from tests.events.samples import FAULT, OPENED, SAMPLES


def feed() -> tuple[Bus, Feed]:
    stats = Stats()
    bus = Bus(stats)
    return bus, Feed(bus, stats)


async def test_who_has_missed_some_is_told_how_many() -> None:
    """A listener that reads nothing holds nobody up; when it reads on, it learns what is gone, and gets the rest."""
    bus, its = feed()
    stream = its.listen(Filter(), None, debug=False)
    assert b"id: " in await anext(stream)
    bus.publish(FAULT)
    assert b"fault.injected" in await anext(stream)
    for _ in range(MOST_EVENTS + 7):
        bus.publish(FAULT)
    told = (await anext(stream)).split(b"\n\n")
    assert told[0].splitlines()[0::2] == [b"event: dropped", b'data: {"dropped":7}']
    assert json.loads(told[1].partition(b"data: ")[2])["id"] == its.first_id + 8
    await stream.aclose()


async def test_an_event_is_put_into_json_once() -> None:
    """However many listen."""
    bus, its = feed()
    streams = [its.listen(Filter(), None, debug=False) for _ in range(16)]
    for stream in streams:
        await anext(stream)
    bus.publish(FAULT)
    assert len({await anext(stream) for stream in streams}) == 1
    (entry,) = its.latest()
    assert entry.frame is entry.frame
    for stream in streams:
        await stream.aclose()


async def test_all_that_was_missed_is_of_this_run() -> None:
    """Who comes back from an earlier run gets what there is; what this run has dropped is counted."""
    bus, its = feed()
    bus.publish(FAULT)
    assert (its.missed(0), its.missed(its.last_id + 5)) == (0, 0)
    assert [entry.id for entry in its.since(0)] == [its.first_id]
    assert list(its.since(its.last_id + 5)) == []
    later = its.listen(Filter(), its.last_id + 5, debug=False)
    assert b"id: %d\n" % its.last_id in await anext(later)
    await later.aclose()


async def test_debug_events() -> None:
    """They are wanted as long as somebody listens to them."""
    bus, its = feed()
    assert not bus.wants(ConnectionOpened)
    stream = its.listen(Filter(level="debug"), None, debug=True)
    await anext(stream)
    assert bus.wants(ConnectionOpened)
    bus.publish(OPENED)
    assert b"connection.opened" in await anext(stream)
    await stream.aclose()
    assert not bus.wants(ConnectionOpened)


async def test_every_event_can_be_sent() -> None:
    """Its JSON is its line, with its number before."""
    bus, its = feed()
    for event in SAMPLES.values():
        bus.publish(event)
    sent = [json.loads(entry.json)["event"] for entry in its.latest()]
    assert sent == [entry.event.name for entry in its.latest()] != []


async def test_filters() -> None:
    """All that are given must hold; an event that has no such field does not."""
    bus, its = feed()
    for event in (FAULT, replace(FAULT, rule=None, source="api"), replace(FAULT, proxy="web")):
        bus.publish(event)

    def found(asked: Filter) -> int:
        return sum(map(asked, its.latest()))

    assert [found(Filter(proxy="redis")), found(Filter(rule="cut")), found(Filter(proxy="redis", rule="cut"))] == [
        2,
        2,
        1,
    ]
    assert [found(Filter(events=frozenset({"fault.injected"}))), found(Filter(level="warning"))] == [3, 0]
