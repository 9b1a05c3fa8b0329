"""GET /v1/report: what the clients of a running proxy did."""

from socket import SO_LINGER, SOL_SOCKET
from struct import pack

import trio

from faultproxy.events.types import ConnectionClosed, FaultInjected
from tests.control.http.asking import asking
from tests.managing import ask

FAILS_AT_FIRST = {"name": "cold start", "when": {"first": 3}, "reset": None}


async def test_what_the_clients_did() -> None:
    """Three attempts that failed and one that was served are an episode, which ends with that."""
    async with asking(FAILS_AT_FIRST) as asked:
        address = asked.its.address("p")
        assert [await ask(address) for _ in range(4)] == ["ECONNRESET", "ECONNRESET", "ECONNRESET", b"hi"]
        report = await asked.get("/v1/report")
        (client,) = report["clients"]
        assert (client["proxy"], client["client"], client["attempts"], client["failures"]) == ("p", "127.0.0.1", 4, 3)
        (episode,) = client["episodes"]
        assert episode["recovery_s"] is not None
        assert len(episode["gaps_s"]) == 3
        assert [(proxy["proxy"], proxy["attempts"]) for proxy in report["proxies"]] == [("p", 4)]


async def test_an_open_connection_is_an_attempt() -> None:
    """Also before anything can be said of its end."""
    async with asking() as asked, await trio.open_tcp_stream(*asked.its.address("p")) as client:
        await client.send_all(b"hi")
        assert await client.receive_some(2) == b"hi"
        report = await asked.get("/v1/report")
        assert [(proxy["attempts"], proxy["failures"]) for proxy in report["proxies"]] == [(1, 0)]


async def test_time_goes_on_without_events() -> None:
    """So that a client that does not come back is seen not to, where it is the only one."""
    async with asking(FAILS_AT_FIRST) as asked:
        await ask(asked.its.address("p"))
        before, after = await asked.get("/v1/report"), await asked.get("/v1/report")
        assert after["lasts_s"] > before["lasts_s"]


async def test_no_client_is_none() -> None:
    """Every connection is seen, so that nothing is said of a log's level."""
    async with asking(FAILS_AT_FIRST) as asked:
        report = await asked.get("/v1/report")
        assert [proxy["attempts"] for proxy in report["proxies"]] == [0]
        assert report["notes"] == []


async def test_each_connection_is_told_of_once() -> None:
    """Whatever it had: its faults come between its beginning and its end."""
    async with asking({"name": "cut", "reset": {"after": "2B"}}) as asked:
        address = asked.its.address("p")
        for _ in range(50):
            await ask(address, b"hello")
        await asked.its.record.wait_for(ConnectionClosed, 50)
        (client,) = (await asked.get("/v1/report"))["clients"]
        assert (client["attempts"], client["failures"]) == (50, 50)


async def test_when_a_client_gave_up_is_seen_by_its_end() -> None:
    """A silence says nothing of when the client lost patience; the end of its connection does."""
    async with asking({"name": "silent", "when": {"first": 1}, "hang": None}) as asked:
        client = await trio.open_tcp_stream(*asked.its.address("p"))
        await asked.its.record.wait_for(FaultInjected)
        client.socket.setsockopt(SOL_SOCKET, SO_LINGER, pack("ii", 1, 0))
        await client.aclose()
        await asked.its.record.wait_for(ConnectionClosed)
        assert await ask(asked.its.address("p")) == b"hi"
        ((episode,),) = [client["episodes"] for client in (await asked.get("/v1/report"))["clients"]]
        assert (episode["end"], episode["failures"], episode["unseen"]) == ("recovered", 1, 0)


async def test_as_a_page() -> None:
    """A browser is shown it with its pictures, and runs no script of it."""
    async with asking(FAILS_AT_FIRST) as asked:
        for _ in range(4):
            await ask(asked.its.address("p"))
        page = await asked.api.get("/v1/report", headers={"accept": "text/html,*/*"})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert page.headers.get_list("content-security-policy")[0].startswith("default-src 'none'; style-src")
        assert len(page.headers.get_list("content-security-policy")) == 1
        assert "recovered" in page.text
