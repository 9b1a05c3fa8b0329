"""The configuration file, followed while the program runs."""

import math
import os
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import trio

from faultproxy.config.loader import ConfigError, load
from faultproxy.control.edits import rebase
from faultproxy.control.loop import in_thread
from faultproxy.control.manager import Manager
from faultproxy.events.types import ConfigRejected
from faultproxy.failures import CannotListen

_LOOK_EVERY_S = 0.25
_AT_REST_WITHIN_S = 1.0  # a file that changes all the time is loaded as it is
_TRY_AGAIN_S = 1.0

Stamp = tuple[int, int, int, int] | None


class WatchedFile:
    """Looks at a file four times a second, and applies it once it has changed and come to rest."""

    def __init__(self, path: Path, manager: Manager) -> None:
        self._path = path
        self._manager = manager
        self._loaded: Stamp = None  # it may have changed since it was read for the start, so it is read once more
        self._is_first = True
        self._asked = trio.Event()

    def look_now(self) -> None:
        """Load the file, whether it has changed or not (SIGHUP)."""
        self._asked.set()

    async def watch(self) -> None:
        """Until cancelled."""
        seen: Stamp = None
        restless_since = math.inf
        try_again_at = math.inf
        while True:
            with trio.move_on_after(_LOOK_EVERY_S):
                await self._asked.wait()
            asked, self._asked = self._asked.is_set(), trio.Event()
            before, seen = seen, await in_thread(partial(_stamp, self._path))
            now = trio.current_time()
            has_changed = seen != self._loaded
            restless_since = min(restless_since, now) if has_changed else math.inf
            is_settled = has_changed and (seen == before or now >= restless_since + _AT_REST_WITHIN_S)
            if asked or is_settled or (not has_changed and now >= try_again_at):
                self._loaded, restless_since = seen, math.inf
                passes = await self._load(quietly=self._is_first and not asked, again=not (asked or is_settled))
                self._is_first = False
                try_again_at = trio.current_time() + _TRY_AGAIN_S if passes else math.inf

    async def _load(self, *, quietly: bool, again: bool) -> bool:
        """Apply the file; whether it was rejected for a reason that may pass, so that it is worth another try.

        ``quietly``: nothing is logged if it is what runs already. ``again``: a reason is not logged a second time.
        """
        try:
            config = await in_thread(partial(load, self._path, has_api=self._manager.api is not None))
            if quietly and config == self._manager.layers.base:
                return False
            await self._manager.apply(rebase(config), source="file", file=str(self._path))
        except (ConfigError, CannotListen) as error:
            if not again:
                self._reject(error.errors if isinstance(error, ConfigError) else [str(error)])
            return error.may_pass
        except Exception as error:  # noqa: BLE001  # an edit never ends the program
            self._reject([f"a bug in faultproxy, please report it: {''.join(traceback.format_exception(error))}"])
        return False

    def _reject(self, errors: Sequence[str]) -> None:
        self._manager.bus.publish(ConfigRejected(source="file", file=str(self._path), errors=tuple(errors)))


def _stamp(path: Path) -> Stamp:
    """What changes when a file is written, replaced, may be read again, or a link on its path is turned.

    None if it is not there. The time of its last change of any kind stands for that of its content, which a copy may
    have kept.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size
