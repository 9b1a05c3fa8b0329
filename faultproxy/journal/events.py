"""The events of the log. Their names and fields stand here and nowhere else."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from faultproxy.journal.log import Format, Level, Sink, make_logger


@dataclass(frozen=True, slots=True, kw_only=True)
class Strike:
    """A fault that struck a connection, and how far the connection had come.

    ``connection`` reads ``redis#17``, ``count`` is the rule's; ``degraded`` is None where the fault was
    exact, else the reason why it was not. Bytes are those delivered in each direction.
    """

    proxy: str
    connection: str
    client: str
    upstream: str
    rule: str
    fault: str
    count: int
    options: Mapping[str, object]
    trigger: str
    client_sees: str
    degraded: str | None = None
    bytes_upstream: int
    bytes_downstream: int
    elapsed_ms: float


class Journal:
    """Tells what happened. An event below the level costs a call; per-connection ones are asked for first."""

    tells_connections: bool
    """Whether ``connection_opened`` and ``connection_closed`` are told; ask before putting their fields together."""

    def __init__(self, writer: Sink, log_format: Format = "json", level: Level = "info") -> None:
        self._writer = writer
        self.configure(log_format, level)

    def configure(self, log_format: Format, level: Level) -> None:
        """Tell everything from now on in this format, from this level up."""
        self._log = make_logger(self._writer, log_format, level)
        self.tells_connections = level == "debug"

    def proxy_started(
        self, *, proxy: str, listen: str, upstream: str, rules: int, seed: int, run: str, config: Mapping[str, object]
    ) -> None:
        """A proxy listens at this real address, with so many rules."""
        self._log.info(
            "proxy.started",
            proxy=proxy,
            listen=listen,
            upstream=upstream,
            rules=rules,
            seed=seed,
            run=run,
            config=config,
        )

    def fault_injected(self, strike: Strike) -> None:
        """A fault struck."""
        self._log.info("fault.injected", **_fields(strike))

    def fault_shadowed(self, strike: Strike) -> None:
        """A fault of a rule in shadow mode would have struck."""
        self._log.info("fault.shadowed", **_fields(strike))

    def connection_opened(self, *, proxy: str, connection: str, client: str) -> None:
        """A client was accepted."""
        self._log.debug("connection.opened", proxy=proxy, connection=connection, client=client)

    def connection_closed(
        self,
        *,
        proxy: str,
        connection: str,
        client: str,
        rule: str | None,
        faults: Sequence[str],
        bytes_upstream: int,
        bytes_downstream: int,
        duration_ms: float,
        ended_by: str,
    ) -> None:
        """A connection is over; ended by client, server, fault, upstream_error or drain."""
        self._log.debug(
            "connection.closed",
            proxy=proxy,
            connection=connection,
            client=client,
            rule=rule,
            faults=faults,
            bytes_upstream=bytes_upstream,
            bytes_downstream=bytes_downstream,
            duration_ms=round(duration_ms, 3),
            ended_by=ended_by,
        )

    def upstream_failed(self, *, proxy: str, connection: str, error: str, elapsed_ms: float) -> None:
        """The upstream could not be dialled; the errno's name says why."""
        self._log.warning(
            "upstream.failed", proxy=proxy, connection=connection, error=error, elapsed_ms=round(elapsed_ms, 3)
        )

    def outage_started(self, *, proxy: str, rule: str, fault: str) -> None:
        """The listener was shut, so every connect is refused; or silenced, so none is answered."""
        self._log.info("outage.started", proxy=proxy, rule=rule, fault=fault)

    def outage_ended(self, *, proxy: str, rule: str, fault: str) -> None:
        """The listener is open again."""
        self._log.info("outage.ended", proxy=proxy, rule=rule, fault=fault)

    def fault_unavailable(self, *, proxy: str, faults: Sequence[str], reason: str) -> None:
        """Faults of the rules ask for what is not allowed here: they are degraded."""
        self._log.warning("fault.unavailable", proxy=proxy, faults=list(faults), reason=reason)

    def listen_failed(self, *, proxy: str, listen: str, error: str) -> None:
        """The listener could not be opened again after an outage."""
        self._log.warning("listen.failed", proxy=proxy, listen=listen, error=error)

    def accept_paused(self, *, error: str, open_connections: int) -> None:
        """The process ran out of something a new connection needs; so many connections are open."""
        self._log.warning("accept.paused", error=error, open=open_connections)

    def accept_resumed(self, *, error: str, open_connections: int) -> None:
        """What had run out is there again."""
        self._log.info("accept.resumed", error=error, open=open_connections)

    def config_loaded(self, *, file: str | None, changes: Sequence[str], config: Mapping[str, object]) -> None:
        """An edit took effect; ``config`` holds the proxies that it changed. Without a file it came from Python."""
        self._log.info("config.loaded", file=file, changes=changes, config=config)

    def config_rejected(self, *, file: str, errors: Sequence[str]) -> None:
        """An edit is not valid and changed nothing."""
        self._log.error("config.rejected", file=file, errors=errors)

    def crashed(self, *, proxy: str, connection: str, error: BaseException) -> None:
        """A bug of ours ended this connection, and no other."""
        self._log.error(
            "connection.crashed",
            proxy=proxy,
            connection=connection,
            traceback="".join(traceback.format_exception(error)),
        )

    def proxy_draining(self, *, proxy: str, open_connections: int) -> None:
        """No more connections are taken; so many may still finish."""
        self._log.info("proxy.draining", proxy=proxy, open=open_connections)

    def proxy_stopped(self, *, proxy: str, connections: int, faults: Mapping[str, int]) -> None:
        """A proxy is done: how many connections it had, and how often each rule's faults struck, none left out."""
        self._log.info("proxy.stopped", proxy=proxy, connections=connections, faults=faults)


def _fields(strike: Strike) -> dict[str, object]:
    fidelity = {"fidelity": "exact"} if strike.degraded is None else {"fidelity": "degraded", "reason": strike.degraded}
    return {
        "proxy": strike.proxy,
        "connection": strike.connection,
        "client": strike.client,
        "upstream": strike.upstream,
        "rule": strike.rule,
        "fault": strike.fault,
        "count": strike.count,
        "options": strike.options,
        "trigger": strike.trigger,
        "client_sees": strike.client_sees,
        **fidelity,
        "bytes_upstream": strike.bytes_upstream,
        "bytes_downstream": strike.bytes_downstream,
        "elapsed_ms": round(strike.elapsed_ms, 3),
    }
