"""What is held together is counted, and who waits for room is called in turn."""

from faultproxy.relay.memory import BUFFER_SIZE, Memory

MIB = 2**20


def test_full_and_free() -> None:
    """At the limit it is full, and reads are small; below it they are not."""
    memory = Memory(MIB)
    memory.add(MIB - 1)
    assert (memory.is_full, memory.max_read) == (False, BUFFER_SIZE)
    memory.add(1)
    assert (memory.is_full, memory.max_read) == (True, 16 * 1024)
    memory.add(-1)
    assert (memory.is_full, memory.max_read, memory.held) == (False, BUFFER_SIZE, MIB - 1)


def test_no_limit() -> None:
    """Without a limit it counts, and is never full."""
    memory = Memory(None)
    memory.add(1 << 50)
    assert (memory.is_full, memory.max_read, memory.held) == (False, BUFFER_SIZE, 1 << 50)


def test_who_waits_is_called_in_turn() -> None:
    """As many as there is room for a read of each, the first first; the others at the next occasion."""
    memory, called = Memory(MIB), list[int]()
    memory.add(2 * MIB)
    for number in range(6):
        memory.wait(lambda number=number: called.append(number))  # type: ignore[misc]
    memory.add(-MIB)
    assert called == []
    memory.add(-1)
    assert called == [0]
    memory.add(-3 * BUFFER_SIZE)
    assert called == [0, 1, 2, 3, 4]
    memory.add(-1)
    assert called == [0, 1, 2, 3, 4, 5]
