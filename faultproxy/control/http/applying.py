"""Edits that requests ask for: the conditions that they name, and what is answered where one is refused."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from faultproxy.config.loader import ConfigError
from faultproxy.control.edits import Edit, NotFound
from faultproxy.control.http.messages import HttpProblem, Request
from faultproxy.control.layers import Layers
from faultproxy.control.loop import in_thread
from faultproxy.control.manager import Conflict, Draining, Manager
from faultproxy.events.types import ConfigLoaded
from faultproxy.failures import CannotListen

IF_MATCH: Mapping[str, str] = MappingProxyType(
    {"If-Match": "Take effect only if the ETag of what runs is still one of these; else 412."}
)
"""For the description of a route that calls apply()."""

_LARGE = 2**14
_TAG = re.compile(r'"([0-9a-f]+)-([0-9]+)"')
_T = TypeVar("_T")


def etag(manager: Manager) -> str:
    """The entity tag of what runs (RFC 9110, section 8.8.3): it changes with every edit, and is of this run alone."""
    return f'"{manager.run_id}-{manager.revision}"'


async def apply(manager: Manager, edit: Edit, request: Request) -> ConfigLoaded:
    """Have an edit take effect, if what runs is still what If-Match says. Raises HttpProblem, and it has not then."""
    given, revisions = request.headers.get("if-match", "*").strip(), None
    if given != "*":
        revisions = {int(number) for run, number in _TAG.findall(given) if run == manager.run_id}
    try:
        edit = await _ahead(edit, manager.layers, request)
        return await manager.apply(edit, "api", revisions=revisions)
    except ConfigError as error:
        raise HttpProblem(422, "Unprocessable Content", "not valid; nothing has changed", error.errors) from None
    except CannotListen as error:
        raise HttpProblem(409, "Conflict", str(error), [str(error)]) from None
    except NotFound as error:
        raise HttpProblem(404, "Not Found", str(error)) from None
    except Conflict:
        detail = f"what runs has changed: it is {etag(manager)} now; look at it, and ask again"
        raise HttpProblem(412, "Precondition Failed", detail, headers={"etag": etag(manager)}) from None
    except Draining:
        raise HttpProblem(503, "Service Unavailable", "the proxies are being drained") from None


async def offloaded(request: Request, call: Callable[[], _T]) -> _T:
    """What a call returns, or raises; if the body is large, from a thread, so that connections do not wait for it."""
    return call() if len(request.body) < _LARGE else await in_thread(call)


async def _ahead(edit: Edit, now: Layers, request: Request) -> Edit:
    """The edit, carried out ahead for the layers that there are now: when it is its turn, they are so as a rule."""
    outcome = await offloaded(request, partial(_outcome, edit, now))

    def apply_outcome(layers: Layers) -> Layers:
        if layers is not now:
            return edit(layers)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return apply_outcome


def _outcome(edit: Edit, layers: Layers) -> Layers | Exception:
    try:
        return edit(layers)
    except Exception as error:  # noqa: BLE001  # raised when it is the edit's turn
        return error
