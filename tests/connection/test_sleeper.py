"""A task sleeps until it is woken, or until its time has come."""

import math

import trio

from faultproxy.connection.sleeper import Sleeper
from faultproxy.relay import Poller


async def test_it_sleeps_until_it_is_woken() -> None:
    """And has trio take its turn for that."""
    with Poller() as poller:
        sleeper = Sleeper(poller)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sleeper.sleep, math.inf)
            await trio.testing.wait_all_tasks_blocked()
            sleeper.wake()
        assert poller.yield_soon


async def test_it_sleeps_until_its_time_has_come() -> None:
    """However far that is."""
    with Poller() as poller:
        began = trio.current_time()
        await Sleeper(poller).sleep(began + 0.02)
        assert trio.current_time() >= began + 0.02


async def test_who_was_woken_before_does_not_sleep() -> None:
    """Nothing is missed that happens between two looks; once, however often it was woken."""
    with Poller() as poller:
        sleeper = Sleeper(poller)
        sleeper.wake()
        sleeper.wake()
        await sleeper.sleep(math.inf)
        with trio.move_on_after(0.02) as patience:
            await sleeper.sleep(math.inf)
        assert patience.cancelled_caught


async def test_it_may_be_cancelled() -> None:
    """Then nobody is woken by it any more."""
    with Poller() as poller:
        sleeper = Sleeper(poller)
        with sleeper.scope:
            sleeper.scope.cancel()
            await sleeper.sleep(math.inf)
        sleeper.wake()
        assert sleeper.scope.cancelled_caught
