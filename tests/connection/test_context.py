import pytest

from faultproxy.connection.context import Greeting
from tests.connection.connecting import scene


def test_a_greeting_of_nothing() -> None:
    """Nothing has happened before, unless it is said."""
    greeting = Greeting()
    assert (greeting.not_intercepted, greeting.faults, greeting.server, greeting.client_was_reset) == (
        None, (), None, False,
    )  # fmt: skip


async def test_a_context_is_what_it_was() -> None:
    """An edit makes a new one, so connections see one state of their proxy from beginning to end."""
    async with scene() as it:
        with pytest.raises(AttributeError):
            it.context.seed = 8  # type: ignore[misc]
