"""A server for the clients of a proxy in a test."""

from collections.abc import Iterator

import pytest

from tests.peers import Server, echo


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a server that sends back what comes."""
    with Server(echo) as echoing:
        yield echoing.address
