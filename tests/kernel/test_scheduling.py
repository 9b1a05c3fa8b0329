"""What is asked of the scheduler."""

import os
import threading

from faultproxy.kernel.scheduling import ask_for_short_slices


def test_short_slices_are_granted_or_not_and_nothing_else_changes() -> None:
    """The wish is answered, and neither the policy nor the nice value is another afterwards."""
    seen: list[object] = []

    def ask() -> None:
        before = os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)
        seen.append(ask_for_short_slices())
        seen.append((os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)) == before)

    thread = threading.Thread(target=ask)  # it is this thread that is scheduled otherwise, and no other
    thread.start()
    thread.join()
    assert seen in ([True, True], [False, True])
