"""What all tests share beside how pytest is set up, which stands in pyproject.toml."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.peers import Server, Upstream, echo

# How long an example takes says nothing of the code: the machine has other work.
settings.register_profile("faultproxy", deadline=None)
settings.load_profile("faultproxy")

_LONGEST = ("http/test_page.py", "tests/test_shapes.py", "test_matrix.py", "test_editing.py", "test_lifecycle.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The files that take longest come first: where several files run at a time, none of them is left for the end."""
    items.sort(key=lambda item: not str(item.path).endswith(_LONGEST))


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
