"""Notices when the process forks (fork(2)): the child holds copies of all descriptors, so closing ends nothing."""

import os
import weakref
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


def on_fork(owner: T, before: Callable[[T], None], in_child: Callable[[T], None]) -> None:
    """Call these with the owner, for as long as it lives: in this process before each os.fork(), and in the child.

    Programs that are started, as by subprocess, are not registered: they close what they inherit (O_CLOEXEC).
    """
    it = weakref.ref(owner)
    os.register_at_fork(before=partial(_call, it, before), after_in_child=partial(_call, it, in_child))


def _call(it: "weakref.ref[T]", function: Callable[[T], None]) -> None:
    owner = it()
    if owner is not None:
        function(owner)
