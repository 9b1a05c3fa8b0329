"""Real systems with their own clients and load tools, in small pieces and late: no error that was not injected."""

from pathlib import Path

from tests.running import Faultproxy, Settings, one
from tests.servers import output, postgresql, program, redis

RULES = [
    {"name": "in pieces", "slice": {"size": "300B", "jitter": "299B"}},
    {"name": "late", "latency": {"delay": "1ms", "jitter": "1ms"}},
]


def settings(port: str) -> Settings:
    return {**one(f"127.0.0.1:{port}", *RULES), "drain": "5s"}


def no_other_fault(proxy: Faultproxy) -> None:
    """The shapes acted, and nothing broke: every connection ended as its peers wanted it."""
    proxy.stop()
    assert {line["fault"] for line in proxy.seen("fault.injected")} == {"slice", "latency"}
    assert {line["ended_by"] for line in proxy.seen("connection.closed")} <= {"client", "server"}
    assert not proxy.seen("upstream.failed")


def test_redis(tmp_path: Path) -> None:
    """redis-benchmark has no error, and redis-cli gets back the megabyte that it stored."""
    cli, benchmark = program("redis-cli"), program("redis-benchmark")
    with redis(tmp_path) as port, Faultproxy(tmp_path, settings(port)) as proxy:
        at = str(proxy.address("p")[1])
        value = bytes(range(33, 126)) * 10_000
        assert output(cli, "-e", "-p", at, "-x", "set", "big", stdin=value) == b"OK\n"
        assert output(cli, "-e", "--raw", "-p", at, "get", "big") == value + b"\n"
        for options in (
            ["-t", "set,get,lpush,lrange_100", "-d", "500"],
            ["-P", "8", "-t", "set,get,incr", "-d", "2000"],
        ):
            said = output(benchmark, "-e", "-p", at, "-c", "10", "-n", "400", "--csv", *options)
            assert b"error" not in said.lower(), said
        no_other_fault(proxy)


def test_postgresql(tmp_path: Path) -> None:
    """pgbench finishes every transaction, and psql gets a megabyte as it was sent."""
    psql, pgbench = program("psql"), program("pgbench")
    with postgresql() as port, Faultproxy(tmp_path, settings(port)) as proxy:
        at = ["-h", "127.0.0.1", "-U", "me", "-p", str(proxy.address("p")[1])]
        output(pgbench, *at, "-i", "-I", "dtGp", "-q", "postgres")
        said = output(pgbench, *at, "-n", "-c", "4", "-t", "15", "-M", "prepared", "postgres")
        assert b"actually processed: 60/60" in said
        assert b"failed transactions: 0 " in said
        script = b"\\copy (select md5(i::text) from generate_series(1, 20000) i) to stdout\n"
        rows = output(psql, *at, "-d", "postgres", "-v", "ON_ERROR_STOP=1", stdin=script).split()
        assert (len(rows), rows[0], {len(row) for row in rows}) == (
            20_000,
            b"c4ca4238a0b923820dcc509a6f75849b",
            {32},
        )
        no_other_fault(proxy)
