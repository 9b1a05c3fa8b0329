"""One event of each kind, and the fields of its line."""

from collections.abc import Mapping
from typing import Any

from faultproxy.events.types import (
    AcceptPaused,
    AcceptResumed,
    ApiCrashed,
    ApiExposed,
    ApiPaused,
    ApiResumed,
    ApiStarted,
    ConfigLoaded,
    ConfigRejected,
    ConnectionClosed,
    ConnectionCrashed,
    ConnectionOpened,
    CountersReset,
    Event,
    FaultDryRun,
    FaultInjected,
    FaultUnavailable,
    ListenFailed,
    LogDropped,
    OutageEnded,
    OutageStarted,
    PeekTimedOut,
    ProxyDraining,
    ProxyHeaderRejected,
    ProxyStarted,
    ProxyStatus,
    ProxyStopped,
    UpstreamFailed,
)

_OPENED: Mapping[str, Any] = {"proxy": "redis", "connection": "redis#17", "client": "10.0.0.1:5555"}
_FAULT: Mapping[str, Any] = {
    **_OPENED,
    "upstream": "redis:6379",
    "rule": "cut",
    "fault": "reset",
    "ordinal": 3,
    "options": {"after": "4KiB"},
    "trigger": "4KiB downstream",
    "client_sees": "ECONNRESET",
    "bytes_upstream": 20,
    "bytes_downstream": 4096,
    "elapsed_ms": 1.235,
}
_OUTAGE: Mapping[str, Any] = {"proxy": "redis", "rule": "down", "fault": "refuse"}
_SHORTAGE: Mapping[str, Any] = {"error": "EMFILE", "open": 1000}

FIELDS: Mapping[type[Event], Mapping[str, Any]] = {
    ProxyStarted: {
        "proxy": "redis",
        "listen": "127.0.0.1:16379",
        "upstream": "redis:6379",
        "rules": 2,
        "seed": 42,
        "run": "5f3a",
        "config": {"listen": "127.0.0.1:0"},
    },
    FaultInjected: _FAULT,
    FaultDryRun: _FAULT,
    PeekTimedOut: {**_OPENED, "bytes": 4, "elapsed_ms": 1000.25},
    ProxyHeaderRejected: {**_OPENED, "reason": "malformed", "bytes": 4, "elapsed_ms": 1000.25},
    ConnectionOpened: _OPENED,
    ConnectionClosed: {
        **_OPENED,
        "rule": "cut",
        "faults": ("reset",),
        "bytes_upstream": 20,
        "bytes_downstream": 4096,
        "bytes_changed": 0,
        "duration_ms": 12.5,
        "ended_by": "fault",
    },
    UpstreamFailed: {**_OPENED, "upstream": "redis:6379", "error": "ECONNREFUSED", "elapsed_ms": 0.5},
    OutageStarted: {**_OUTAGE, "client_sees": "ECONNREFUSED"},
    OutageEnded: _OUTAGE,
    ConfigLoaded: {
        "source": "file",
        "file": "demo.yaml",
        "changes": ("redis: rules",),
        "config": {"redis": {"listen": "127.0.0.1:0"}},
        "unaffected": 4,
    },
    ConfigRejected: {"source": "file", "file": "demo.yaml", "errors": ("demo.yaml:1:1: is empty",)},
    FaultUnavailable: {"proxy": "redis", "faults": ("refuse", "abort"), "reason": "not allowed here (EPERM)"},
    ListenFailed: {"proxy": "redis", "listen": "127.0.0.1:16379", "error": "EADDRINUSE"},
    AcceptPaused: _SHORTAGE,
    AcceptResumed: _SHORTAGE,
    CountersReset: {"proxy": "redis", "source": "api"},
    ConnectionCrashed: {"proxy": "redis", "connection": "redis#17", "traceback": "Traceback"},
    ProxyDraining: {"proxy": "redis", "open": 3},
    ProxyStopped: {"proxy": "redis", "connections": 20, "faults": {"cut": 3}},
    ProxyStatus: {
        "proxy": "redis",
        "state": "open",
        "open": 3,
        "rules": {"cut": {"considered": 9, "matched": 3, "injected": 2}},
        "next_window_edge": "12.5s",
    },
    ApiStarted: {"listen": "127.0.0.1:8474", "token": False},
    ApiExposed: {"listen": ":8474"},
    ApiPaused: _SHORTAGE,
    ApiResumed: {"open": 3},
    ApiCrashed: {"request": "GET /v1/status", "traceback": "Traceback"},
    LogDropped: {"count": 12},
}
SAMPLES: Mapping[type[Event], Event] = {kind: kind(**fields) for kind, fields in FIELDS.items()}

FAULT = FaultInjected(**_FAULT)
DRY_RUN = FaultDryRun(**_FAULT)
OPENED = ConnectionOpened(**_OPENED)
OUTAGE = OutageStarted(**FIELDS[OutageStarted])
