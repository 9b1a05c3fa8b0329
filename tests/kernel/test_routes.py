"""The kernel is asked where it would send a packet."""

import pytest

from faultproxy.kernel import routes
from tests.network import Namespaces, inside, ip


@pytest.mark.parametrize(
    ("host", "local"),
    [
        (Namespaces.CLIENT, True),
        (Namespaces.SERVER, False),
        ("127.0.0.1", True),
        ("192.0.2.1", False),
        (Namespaces.CLIENT6, True),
        (Namespaces.SERVER6, False),
        ("::1", True),
        ("2001:db8::1", False),
    ],
)
def test_what_is_delivered_here(host: str, local: bool) -> None:
    """Addresses of this host, not of another that can be reached, nor of one that cannot."""
    with Namespaces() as namespaces, inside(namespaces.client):
        assert routes.is_local(host) is local


@pytest.mark.parametrize(("family", "host"), [("-4", "192.0.2.1"), ("-6", "2001:db8::1")])
def test_a_mark_decides(family: str, host: str) -> None:
    """A rule may have what is marked delivered here."""
    with Namespaces() as namespaces, inside(namespaces.client):
        assert not routes.is_local(host, 7)
        ip("-n", namespaces.client, family, "rule", "add", "fwmark", "7", "lookup", "900")
        ip("-n", namespaces.client, family, "route", "add", "local", "default", "dev", "lo", "table", "900")
        assert routes.is_local(host, 7)
        assert not routes.is_local(host, 8)
