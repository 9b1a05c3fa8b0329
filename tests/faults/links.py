"""A link that only remembers what was asked of it."""

from faultproxy.faults.base import Direction, Side


class Remembered:
    """Implements faults.base.Link; ``verbs`` is what endings did to it."""

    def __init__(self, *, client_has_eof: bool = False) -> None:
        self.client_has_eof = client_has_eof
        self.verbs: list[tuple[object, ...]] = []

    async def reset(self, *sides: Side) -> None:
        self.verbs.append(("reset", *sides))

    def shut(self, direction: Direction) -> None:
        self.verbs.append(("shut", direction))

    async def abort(self) -> None:
        self.verbs.append(("abort",))

    async def break_pipe(self) -> None:
        self.verbs.append(("break_pipe",))

    def freeze(self, for_s: float | None) -> None:
        self.verbs.append(("freeze", for_s))

    async def isolate(self, for_s: float | None) -> None:
        self.verbs.append(("isolate", for_s))

    async def close(self) -> None:
        self.verbs.append(("close",))
