"""The mirror: while SYNs are judged, what the upstream says to the proxy is what connect() says to the client."""

from pathlib import Path

import pytest

from tests.knocking import connect_many, need_a_gate
from tests.peers import SilentUpstream, Upstream, connect, connect_error, nobody, read_exactly
from tests.running import Faultproxy, one

pytestmark = pytest.mark.usefixtures("_gate")
NEEDS_SYNS = {"name": "nobody", "when": {"client": "127.9.9.9"}, "refuse": None}


@pytest.fixture(scope="module")
def _gate() -> None:
    need_a_gate()


def test_an_upstream_that_refuses_refuses_the_client(tmp_path: Path) -> None:
    """ECONNREFUSED from connect(), for a burst too; each is told, and none was opened."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream, NEEDS_SYNS)) as proxy:
        assert connect_many(proxy.address("p"), 100) == {"ECONNREFUSED": 100}
        failed = proxy.wait_for("upstream.failed", nth=100)
        assert failed["error"] == "ECONNREFUSED"
        assert not proxy.seen("connection.opened")


def test_an_upstream_that_never_answers_leaves_the_client_without_an_answer(tmp_path: Path) -> None:
    """connect() hangs as it would have without a proxy, until the server speaks."""
    with SilentUpstream() as upstream:
        config = one(upstream.address, NEEDS_SYNS, dial_timeout="300ms")
        with Faultproxy(tmp_path, config) as proxy:
            assert connect_many(proxy.address("p"), 1, patience_s=0.8) == {"silence": 1}
            assert proxy.wait_for("upstream.failed")["error"] == "ETIMEDOUT"
            assert not proxy.seen("connection.opened")


def test_a_server_that_was_dialled_first_serves_the_client(tmp_path: Path) -> None:
    """The connection that was dialled is the one that carries the bytes; there is no other."""
    with Upstream() as upstream, Faultproxy(tmp_path, one(upstream.address, NEEDS_SYNS)) as proxy:
        with connect(proxy.address("p")) as client, upstream.accept() as server:
            client.sendall(b"ping")
            assert read_exactly(server, 4) == b"ping"
        assert upstream.is_left_alone()


def test_without_a_rule_on_syns_an_upstream_that_refuses_is_a_reset(tmp_path: Path) -> None:
    """The gate runs only while a rule needs it."""
    with nobody() as upstream, Faultproxy(tmp_path, one(upstream)) as proxy:
        assert connect_error(proxy.address("p")) in (None, "ECONNRESET")
        proxy.wait_for("connection.opened")
