"""Where a client wants to go."""

import pytest

from tests.rules.conditions.judging import missed


@pytest.mark.parametrize(
    ("networks", "destination", "holds"),
    [
        ("10.0.0.0/8", "10.255.255.255", True),
        ("10.0.0.0/8", "11.0.0.0", False),
        (["192.168.0.0/16", "10.0.0.1"], "10.0.0.1", True),
        ("fe80::/10", "fe80::1%eth0", True),
        ("0.0.0.0/0", "::1", False),
        ("0.0.0.0/0", "", False),
        ("0.0.0.0/0", "unix", False),
    ],
)
def test_destination(networks: object, destination: str, holds: bool) -> None:
    """It is in one of the networks; a Unix socket's, or one that nobody knows, is in none."""
    assert missed({"destination": networks}, destination=destination) == (None if holds else "destination")


@pytest.mark.parametrize(("ports", "holds"), [(80, True), ([443, 80], True), (443, False), (65535, False)])
def test_port(ports: object, holds: bool) -> None:
    """It is one of the ports."""
    assert missed({"port": ports}, port=80) == (None if holds else "port")
