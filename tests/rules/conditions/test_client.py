"""Where a client comes from."""

import pytest

from tests.rules.conditions.judging import missed


@pytest.mark.parametrize(
    ("networks", "client", "holds"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        (["192.168.0.0/16", "10.0.0.0/8"], "10.0.0.1", True),
        (["192.168.0.0/16", "10.0.0.0/8"], "172.16.0.1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:db8::/32", "2001:db9::1", False),
        ("fe80::/10", "fe80::1%eth0", True),
        ("::/0", "10.0.0.1", False),
        ("0.0.0.0/0", "::1", False),
    ],
)
def test_client(networks: object, client: str, holds: bool) -> None:
    """A client is in one of the networks; a bare address is a network of one; a zone does not matter."""
    assert missed({"client": networks}, client=client) == (None if holds else "client")
