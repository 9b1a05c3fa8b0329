"""Proxies beside one another and beside the API: who listens where, and who dials whom."""

import pytest

from faultproxy.addresses import parse_listen, parse_upstream
from faultproxy.config.loader import ConfigError, build, check_together, parse
from faultproxy.config.together import clashes


@pytest.mark.parametrize(
    ("upstream", "api"),
    [
        ("127.0.0.1:8474", "127.0.0.1:8474"),
        ("127.0.0.1:8474", ":8474"),
        ("localhost:8474", "127.0.0.1:8474"),
        ("127.9.9.9:8474", "0.0.0.0:8474"),
        ("[::1]:8474", "[::]:8474"),
        ("unix:/run/api", "unix:/run/api"),
    ],
)
def test_a_proxy_that_dials_the_api(upstream: str, api: str) -> None:
    """It would let anybody who reaches the proxy change it: an error in a file, and beside an API that listens."""
    file = f"api: '{api}'\nproxies:\n  p:\n    listen: :1\n    upstream: '{upstream}'\n"
    reason = f'proxies.p.upstream: "{upstream}" is where the API listens; write the address of the server'
    with pytest.raises(ConfigError) as caught:
        parse(file.encode(), "f")
    assert caught.value.errors == (f"f:5:15: {reason}",)
    config = build({"proxies": {"p": {"listen": ":1", "upstream": upstream}}})
    check_together(config)
    with pytest.raises(ConfigError) as caught:
        check_together(config, parse_listen(api))
    assert caught.value.errors == (reason,)


@pytest.mark.parametrize(
    ("upstream", "api"),
    [
        ("[::ffff:127.0.0.1]:8474", "127.0.0.1:8474"),
        ("[::ffff:7f00:1]:8474", ":8474"),
        ("unix:/run/./x/..//api", "unix:/run/api"),
    ],
)
def test_an_address_that_is_written_in_another_way(upstream: str, api: str) -> None:
    """It is the same, of the API and of a proxy."""
    for listens, at in (({"p": parse_listen(":9")}, parse_listen(api)), ({"p": parse_listen(api)}, None)):
        (clash,) = clashes(listens, {"p": parse_upstream(upstream)}, at)
        assert (clash.key, "listens; write the address of the server" in clash.text) == ("upstream", True)


def test_a_proxy_where_the_api_listens() -> None:
    """It cannot have the address."""
    file = b"api: 127.0.0.1:1\nproxies:\n  p: {listen: ':1', upstream: 'a:2'}\n"
    with pytest.raises(ConfigError, match=r'f:3:15: proxies.p.listen: ":1" is where the API listens already'):
        parse(file, "f")


def test_a_proxy_beside_the_api() -> None:
    """Another port, another address and another path of this host are no concern of it."""
    for upstream, api in (("127.0.0.1:1", "127.0.0.1:2"), ("127.0.0.1:1", "10.0.0.1:1"), ("unix:/a", "unix:/b")):
        assert not list(clashes({"p": parse_listen(":9")}, {"p": parse_upstream(upstream)}, parse_listen(api)))


def test_a_thousand_in_a_row() -> None:
    """A chain of proxies is no circle until it is closed."""
    count = 1000
    listens = {f"p{number}": parse_listen(f"127.0.0.1:{10_000 + number}") for number in range(count)}
    upstreams = {f"p{number}": parse_upstream(f"127.0.0.1:{10_001 + number}") for number in range(count)}
    assert not list(clashes(listens, upstreams))
    upstreams[f"p{count - 1}"] = parse_upstream("127.0.0.1:10000")
    (found,) = clashes(listens, upstreams)
    assert found.proxy == "p0"
    assert found.text.startswith("is where proxy p1 listens, and p0 -> p1 ->")
