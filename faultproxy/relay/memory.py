"""How much all pipes hold together is bounded by not reading; no byte that was read is dropped."""

from collections import OrderedDict
from collections.abc import Callable

BUFFER_SIZE = 512 * 1024  # beyond this bulk gains nothing more
_SMALL_READ = 16 * 1024


class Memory:
    """Counts what is held in the queues of all pipes, in bytes, and says how much may be read.

    Once ``held`` has reached the limit, a pipe that holds something reads no more, until there is room again; one that
    holds nothing may always read ``max_read`` bytes, then 16 KiB. So ``held`` exceeds the limit by one read and by
    16 KiB a pipe at most, and no connection stands still. Without a limit everything may be read. The
    limit may be changed at any time.
    """

    def __init__(self, limit: int | None) -> None:
        self.held = 0
        self.is_full = False
        self.max_read = BUFFER_SIZE
        self._limit = limit
        self._waiting: OrderedDict[Callable[[], None], None] = OrderedDict()

    @property
    def limit(self) -> int | None:
        """The most that is held, but for what one more read takes; None: there is no limit."""
        return self._limit

    @limit.setter
    def limit(self, limit: int | None) -> None:
        self._limit = limit
        self.add(0)

    def add(self, size: int) -> None:
        """So much more is held, or, if it is negative, less. Whoever waits for room is called, the first first."""
        self.held += size
        if self._limit is None:
            return
        room = self._limit - self.held
        self.is_full = room <= 0
        self.max_read = _SMALL_READ if self.is_full else BUFFER_SIZE
        while room > 0 and self._waiting:
            room -= BUFFER_SIZE
            self._waiting.popitem(last=False)[0]()

    def wait(self, callback: Callable[[], None]) -> None:
        """Call a function, once however often it waits, when there is room and those who came before were called."""
        self._waiting[callback] = None
