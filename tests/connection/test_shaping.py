"""Which shapes act on a connection, how far each has come, and that each is reported once."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from time import monotonic

import pytest

from faultproxy.connection.lines import Lines
from faultproxy.connection.shaping import Shaping
from faultproxy.faults.base import Direction, Shape
from faultproxy.kernel import sockets
from faultproxy.rules.draw import draw
from faultproxy.rules.plan import Match
from tests.connection.connecting import Ends, ends, match
from tests.network import needs_a_filter
from tests.relay.relaying import past, read_exactly, read_to_the_end, reset, send_all, until

UP, DOWN = Direction.UPSTREAM, Direction.DOWNSTREAM


@dataclass
class Shaped:
    """The shaping of two peers, and what it has reported."""

    two: Ends
    shaping: Shaping
    reported: list[tuple[str, str, str | None]] = field(default_factory=list)

    def act(self, *matches: Match) -> None:
        """Let these act at once, and no others."""
        self.shaping.set(matches)
        self.shaping.install()


@pytest.fixture
async def shaped() -> AsyncIterator[Shaped]:
    async with ends() as two:
        reported: list[tuple[str, str, str | None]] = []

        def report(match: Match, shape: Shape, degraded: str | None = None) -> None:
            reported.append((match.rule, shape.key, degraded))

        yield Shaped(two, Shaping(two.peers, lambda *what: draw(1, "p", *what), report, Lines()), reported)


def corrupting(rule: str, *at: int, direction: str = "both") -> Match:
    return match(rule, corrupt={"at": list(at), "direction": direction})


async def test_one_direction(shaped: Shaped) -> None:
    """A shape acts on the direction that it names, and is reported when it first does; once."""
    shaped.two.connect()
    shaped.act(corrupting("r", 1, 2, direction="downstream"))
    await send_all(shaped.two.client, b"abcd")
    assert await read_exactly(shaped.two.server, 4) == b"abcd"
    assert shaped.reported == []
    for offset in (0, 2):
        await send_all(shaped.two.server, b"abcd"[offset : offset + 2])
        got = await read_exactly(shaped.two.client, 2)
        assert got != b"abcd"[offset : offset + 2]
    assert shaped.reported == [("r", "corrupt", None)]


async def test_release(shaped: Shaped) -> None:
    """What only these rules hold goes at once; of several latencies each lets go of its own; each is reported anew."""
    shaped.two.connect()
    shaped.act(match("r", latency={"delay": "1h"}), match("other", latency={"delay": "50ms"}))
    start = monotonic()
    await send_all(shaped.two.client, b"held")
    await until(lambda: shaped.two.peers.pipe(UP).bytes_read == 4)
    shaped.shaping.release({"r", "absent"})
    assert await read_exactly(shaped.two.server, 4) == b"held"
    assert past(start, 0.05)
    await send_all(shaped.two.client, b"more")
    await until(lambda: shaped.two.peers.pipe(UP).bytes_read == 8)
    shaped.shaping.release({"r", "other"})
    assert await read_exactly(shaped.two.server, 4) == b"more"
    assert [rule for rule, _, _ in shaped.reported] == ["r", "other", "r"]


async def test_a_rate_of_nothing_is_reported_at_once(shaped: Shaped) -> None:
    """It acts without a byte."""
    shaped.two.connect()
    shaped.act(match("r", bandwidth={"rate": "0B/s", "direction": "upstream"}))
    assert shaped.reported == [("r", "bandwidth", None)]


async def test_before_the_server_is_reached(shaped: Shaped) -> None:
    """What is set then acts from the first byte on, once it is installed."""
    shaped.act(corrupting("r", 0))
    shaped.two.connect()
    shaped.shaping.install()
    await send_all(shaped.two.client, b"x")
    assert await read_exactly(shaped.two.server, 1) != b"x"


async def test_bytes_that_are_changed_are_counted(shaped: Shaped) -> None:
    """Those of both directions, and those of a shape that an edit has replaced or removed."""
    shaped.two.connect()
    shaped.act(corrupting("r", 0, 1))
    for sender, reader in ((shaped.two.client, shaped.two.server), (shaped.two.server, shaped.two.client)):
        await send_all(sender, b"abcd")
        await read_exactly(reader, 4)
    assert shaped.shaping.bytes_changed == 4
    shaped.act(corrupting("r", 5))
    await send_all(shaped.two.client, b"abcd")
    await read_exactly(shaped.two.server, 4)
    shaped.act()
    assert shaped.shaping.bytes_changed == 5


async def test_several_rules(shaped: Shaped) -> None:
    """They add up, and each is reported for itself."""
    shaped.two.connect()
    shaped.act(corrupting("one", 0), corrupting("other", 1))
    await send_all(shaped.two.client, b"ab")
    first, second = await read_exactly(shaped.two.server, 2)
    assert (first != ord("a"), second != ord("b")) == (True, True)
    assert shaped.reported == [("one", "corrupt", None), ("other", "corrupt", None)]


async def test_no_more(shaped: Shaped) -> None:
    """Bytes that are read later travel unshaped; offsets are those of the stream."""
    shaped.two.connect()
    await send_all(shaped.two.client, b"ab")
    await read_exactly(shaped.two.server, 2)
    shaped.act(corrupting("r", 2, 3))
    await send_all(shaped.two.client, b"c")
    assert await read_exactly(shaped.two.server, 1) != b"c"
    shaped.act()
    await send_all(shaped.two.client, b"d")
    assert await read_exactly(shaped.two.server, 1) == b"d"


async def test_a_shape_goes_on_where_it_was(shaped: Shaped) -> None:
    """When others come or go it is the same at work; changed, it begins anew."""
    shaped.two.connect()
    rate, other = match("r", bandwidth={"rate": "1MB/s"}), match("r", bandwidth={"rate": "2MB/s"})
    shaper = shaped.shaping._shaper
    (shape,), (changed,) = (one.faults.shapes for one in (rate, other))
    shaped.act(rate)
    at_work = shaper(rate, shape, UP)  # type: ignore[arg-type]
    shaped.act(match("new", latency={"delay": "1ms"}), rate)
    assert shaper(rate, shape, UP) is at_work  # type: ignore[arg-type]
    assert shaper(rate, shape, DOWN) is not at_work  # type: ignore[arg-type]
    shaped.act(other)
    assert shaper(other, changed, UP) is not at_work  # type: ignore[arg-type]


async def test_a_shared_line(shaped: Shaped) -> None:
    """It comes before the other shapes, is the same after other edits, and another once it was changed."""
    shaped.two.connect()
    late, line, other = (
        match("late", latency={"delay": "1ms"}),
        match("r", bandwidth={"rate": "1MB/s", "per": "proxy"}),
        match("r", bandwidth={"rate": "2MB/s", "per": "proxy"}),
    )
    shaped.act(late, line)
    assert [one.rule for one, _ in shaped.shaping._streams] == ["r", "late"]
    at_work = dict(shaped.shaping._at_work)
    shaped.act(line)
    key = ("r", "bandwidth", UP)
    assert shaped.shaping._at_work[key] is at_work[key]
    shaped.act(other)
    assert shaped.shaping._at_work[key][1] is not at_work[key][1]


async def test_a_direction_that_was_ended(shaped: Shaped) -> None:
    """Is not shaped: what comes there is thrown away."""
    shaped.two.connect()
    shaped.two.peers.end(UP)
    shaped.act(corrupting("r", 0))
    assert shaped.two.peers.pipe(UP)._shaper is None
    await send_all(shaped.two.client, b"x")
    await send_all(shaped.two.server, b"x")
    assert await read_exactly(shaped.two.client, 1) != b"x"
    assert await read_to_the_end(shaped.two.server) == (b"", "EOF")


# ---- loss


async def drop(two: Ends) -> None:
    """Have the kernel drop a packet of the client's."""
    before = sockets.dropped(two.peers.client)
    await send_all(two.client, b"x")
    await until(lambda: sockets.dropped(two.peers.client) > before)


@needs_a_filter
async def test_the_first_packet_that_is_lost(shaped: Shaped) -> None:
    """It is reported once it is looked for, once, for each rule that loses any; before the server is reached, too."""
    shaped.act(*(match(name, loss={"probability": fraction}) for name, fraction in (("all", "100%"), ("none", "0%"))))
    assert shaped.shaping.expects_loss
    shaped.shaping.look()
    assert shaped.reported == []
    await drop(shaped.two)
    shaped.shaping.look()
    shaped.shaping.look()
    assert shaped.reported == [("all", "loss", None)]
    assert not shaped.shaping.expects_loss


@needs_a_filter
async def test_the_servers_packets(shaped: Shaped) -> None:
    """They are lost at our socket to it, and those rules say so that lose any of them."""
    both = [match(way, loss={"probability": "100%", "direction": way}) for way in ("upstream", "downstream")]
    shaped.act(*both)
    shaped.two.connect()
    shaped.shaping.install()
    await send_all(shaped.two.server, b"x")
    await until(lambda: bool(sockets.dropped(shaped.two.to_server)))
    shaped.shaping.look()
    assert shaped.reported == [("downstream", "loss", None)]
    assert shaped.shaping.expects_loss


@needs_a_filter
async def test_what_was_lost_before_an_edit(shaped: Shaped) -> None:
    """Is reported by those rules that lost it, and not by others that come then."""
    shaped.act(match("old", loss={"probability": "100%"}))
    await drop(shaped.two)
    shaped.act(match("new", loss={"probability": "1%"}))
    shaped.shaping.look()
    assert shaped.reported == [("old", "loss", None)]


async def test_chances_add_up(shaped: Shaped, monkeypatch: pytest.MonkeyPatch) -> None:
    """A packet must get past every rule. The filter is not touched where nothing of it changes."""
    asked: list[tuple[float, float]] = []
    monkeypatch.setattr(
        "faultproxy.connection.packets.PacketFilter.lose",
        lambda _, upstream, downstream, __: asked.append((round(upstream, 6), round(downstream, 6))),
    )
    half = match("half", loss={"probability": "50%"})
    third = match("some", loss={"probability": "20%", "direction": "upstream"})
    shaped.act(half, third)
    shaped.act(corrupting("r", 1), half, third)
    shaped.act()
    shaped.act()
    assert asked == [(0.6, 0.5), (0, 0)]


async def test_where_no_filter_is_allowed(shaped: Shaped, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is lost, and each rule says so, once."""

    def turn_down(*_: object) -> None:
        raise PermissionError(1, "not here")

    monkeypatch.setattr("faultproxy.connection.packets.socket_filter.attach", turn_down)
    for _ in range(2):
        shaped.act(match("r", loss={"probability": "10%"}))
        shaped.act()
    reason = "nothing is lost: a filter on a connection is not allowed here (EPERM)"
    assert shaped.reported == [("r", "loss", reason)]
    reset(shaped.two.client)
