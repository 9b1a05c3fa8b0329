"""What all tests share beside how pytest is set up, which stands in pyproject.toml."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.peers import Server, Upstream, echo

# How long an example takes says nothing of the code: the machine has other work.
settings.register_profile("faultproxy", deadline=None)
settings.load_profile("faultproxy")


@pytest.fixture
def server() -> Iterator[str]:
    """The address of a server that sends back what comes."""
    with Server(echo) as server:
        yield server.address


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    """A server whose connections the test has in hand."""
    with Upstream() as upstream:
        yield upstream
