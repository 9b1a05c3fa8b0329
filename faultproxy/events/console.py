"""An event as a line for people: the time, who it is about, what happened."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType

from faultproxy.text import one_line

_INJECTED = "{client} -> {upstream}  {rule}: {fault} ({trigger}), client sees {client_sees}"
_TEXTS: Mapping[str, str] = MappingProxyType(
    {
        "proxy.started": "listens on {listen} for {upstream}; rules: {rules}, seed {seed}",
        "proxy.draining": "accepts no more; connections still open: {open}",
        "proxy.stopped": "stopped; connections: {connections}, faults: {faults}",
        "proxy.status": "{state}; connections open: {open}; rules: {rules}; next window edge: {next_window_edge}",
        "fault.injected": _INJECTED,
        "fault.dry_run": f"{_INJECTED} (dry run: not injected)",
        "fault.unavailable": "not exact on this host: {faults}: {reason}",
        "connection.opened": "{client} connected",
        "connection.closed": "{client} closed by {ended_by} after {duration_ms} ms; "
        "{bytes_upstream} B up, {bytes_downstream} B down; faults: {faults}",
        "connection.crashed": "a bug in faultproxy has ended the connection; please report it:\n{traceback}",
        "peek.timed_out": "{client} had said {bytes} B by peek_timeout, and rules decide by those",
        "proxy_header.rejected": "{client} was reset, as it sent no PROXY header: {reason}",
        "upstream.failed": "{client} -> {upstream}  the upstream failed: {error}",
        "outage.started": "every client  {rule}: {fault}, from now on",
        "outage.ended": "every client  {rule}: {fault}, no more",
        "listen.failed": "cannot listen on {listen} again: {error}",
        "accept.paused": "clients wait: {error}, with {open} connections open",
        "accept.resumed": "clients are accepted again: {error} is over",
        "config.loaded": "{file} in force: {changes}",
        "config.rejected": "rejected; what ran before goes on:\n{errors}",
        "api.started": "the API listens on {listen}; token: {token}",
        "api.exposed": "whoever reaches {listen} may change what runs: give the API a token with --api-token-file",
        "api.paused": "clients of the API wait: {error}, with {open} connections open",
        "api.resumed": "clients of the API are accepted again",
        "api.crashed": "a bug in faultproxy, at {request}; please report it:\n{traceback}",
        "counters.reset": "counts of rules begin anew",
        "log.dropped": "{count} lines are missing here: nobody took them",
    }
)
_FAULTS = frozenset({"fault.injected", "outage.started"})
_LEVEL_COLOURS: Mapping[str, str] = MappingProxyType({"error": "31;1", "warning": "33", "debug": "2"})
_FAULT_COLOUR, _DIM, _BOLD = "31", "2", "1"
_LINES = frozenset({"traceback", "errors"})
_HEAD = frozenset({"timestamp", "level", "event", "proxy", "connection"})
_NAME_WIDTH = 12


def console_line(fields: Mapping[str, object], *, colours: bool) -> str:
    """The line of an event with these fields, among them ``timestamp``, ``level`` and ``event``; without newline.

    Times are local. An event of which nothing is known is shown as its fields. Tracebacks and the errors of a file
    stand on lines of their own.
    """

    def paint(text: str, code: str | None) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours and code is not None else text

    event, level = str(fields["event"]), str(fields["level"])
    time = datetime.fromisoformat(str(fields["timestamp"])).astimezone().strftime("%H:%M:%S.%f")[:-3]
    shown = {key: _shown(key, value) for key, value in fields.items()}
    if fields.get("rule", "") is None:
        shown["rule"] = "by hand" if fields.get("source") == "api" else "no rule"
    of_proxy = shown["proxy"] if fields.get("proxy") is not None else "faultproxy"
    name = shown.get("connection", of_proxy)
    try:
        text = _TEXTS[event].format_map(shown)
    except KeyError:
        rest = " ".join(f"{key}={value}" for key, value in shown.items() if key not in _HEAD)
        text = f"{_shown('', event)} {rest}".rstrip()
    if fields.get("fidelity") == "degraded":
        text += f" [degraded: {shown['reason']}]"
    colour = _FAULT_COLOUR if event in _FAULTS else _LEVEL_COLOURS.get(level)
    return f"{paint(time, _DIM)}  {paint(name.ljust(_NAME_WIDTH), _BOLD)}  {paint(text, colour)}"


def _shown(key: str, value: object) -> str:
    """The value as text that cannot steer a terminal; on one line, unless its key is one of lines."""
    if isinstance(value, Mapping):
        pairs = ((_shown("", name), _shown("", item), isinstance(item, Mapping)) for name, item in value.items())
        return (
            ", ".join(f"{name} ({item})" if is_nested else f"{name} {item}" for name, item, is_nested in pairs)
            or "none"
        )
    if isinstance(value, list | tuple):
        return ("\n" if key in _LINES else ", ").join(_shown(key, item) for item in value) or "none"
    if value is None:
        return "none"
    lines = str(value).splitlines() if key in _LINES else [str(value)]
    return "\n".join(map(one_line, lines))
