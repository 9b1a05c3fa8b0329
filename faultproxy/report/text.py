"""The report as text, for people who are tired: who, what it did, how it ended."""

from collections.abc import Iterator, Sequence

from faultproxy.report.backoff import WIDE, Backoff
from faultproxy.report.episodes import Episode
from faultproxy.report.report import ClientReport, ProxyReport, RetryReport
from faultproxy.report.storms import Storm
from faultproxy.text import one_line

_MOST_CLIENTS = 20
_MOST_EPISODES = 5
_MOST_GAPS = 12
_FEW, _FEW_ATTEMPTS = 3, 20

_ENDS = {
    "never came back": "never came back",
    "still failing": "was still failing at the end",
    "not seen": "whether it recovered is not seen",
}


def as_text(report: RetryReport) -> str:
    """The report in lines, without a newline at the end; what names and a log hold is escaped."""
    return "\n".join(map(one_line, _lines(report)))


def sentence(backoff: Backoff) -> str:
    """How a client waits: ``exponential, factor 2, no jitter``."""
    if backoff.kind in {"none", "unclear"}:
        return f"{'no retry' if backoff.kind == 'none' else 'unclear'}: {backoff.why}"
    parts: list[str] = [backoff.kind]
    if backoff.kind == "constant" and backoff.first_s is not None:
        parts = [f"constant, {seconds(backoff.first_s)} s"]
    if backoff.factor is not None:
        parts.append(f"factor {backoff.factor:.2g}")
    if backoff.cap_s is not None:
        parts.append(f"up to {seconds(backoff.cap_s)} s")
    if backoff.first_at_once:
        parts.append("after a first retry at once")
    if backoff.kind != "immediate" and backoff.spread is not None:
        strays = f"the waits stray by {backoff.spread:.0%}"
        some = f"with jitter: {strays}" if backoff.spread <= WIDE else "with much jitter"
        texts = {"none": "no jitter", "some": some, "unclear": f"jitter or noise: {strays}"}
        parts.append(texts[backoff.jitter])
    return ", ".join(parts)


def seconds(time_s: float) -> str:
    """A time in seconds as people read it: three digits, to a tenth of a millisecond."""
    return f"{round(time_s, 4):.3g}" if time_s < 1000 else f"{time_s:.0f}"


def _lines(report: RetryReport) -> Iterator[str]:
    for proxy in report.proxies:
        yield from proxy_sentences(proxy)
        clients = [client for client in report.clients if client.proxy == proxy.proxy]
        for client in clients[:_MOST_CLIENTS]:
            yield from (f"  {line}" for line in _client(client))
        if len(clients) > _MOST_CLIENTS:
            yield f"  and {count(len(clients) - _MOST_CLIENTS, 'more client')} that failed"
    if not report.proxies:
        yield "no proxy, no client"
    for note in report.notes:
        yield f"note: {note}"


def proxy_sentences(proxy: ProxyReport) -> Iterator[str]:
    """What is to be said of the proxy as a whole: first how many attempts there were, then what was special."""
    yield (
        f"{proxy.proxy}: {count(proxy.attempts, 'attempt')} of {count(proxy.clients, 'client')}, "
        f"{count(proxy.failures, 'failure')}{' (those that were seen)' if proxy.outages else ''}"
    )
    for outage in proxy.outages[:_MOST_EPISODES]:
        name = outage.cause.rule or outage.cause.fault
        how_long = f"for {seconds(outage.ended_s - outage.started_s)} s" if outage.ended_s is not None else "to the end"
        sees = f"every client sees {outage.cause.sees}"
        yield f'  outage "{name}" from {seconds(outage.started_s)} s on, {how_long}: {sees}'
    if len(proxy.outages) > _MOST_EPISODES:
        yield f"  and {count(len(proxy.outages) - _MOST_EPISODES, 'more outage')}"
    for storm in proxy.storms:
        yield from (f"  {line}" for line in storm_sentences(storm))
    for leak in proxy.leaks[:_MOST_EPISODES]:
        yield f"  {leak.client} held {leak.connection} open for {seconds(leak.held_s)} s after EOF: a leak"
    if len(proxy.leaks) > _MOST_EPISODES:
        yield f"  and {count(len(proxy.leaks) - _MOST_EPISODES, 'more connection')} held open after EOF"


def _client(client: ClientReport) -> Iterator[str]:
    shown = client.episodes[:_MOST_EPISODES]
    for index, episode in enumerate(shown):
        yield episode_sentence(client, episode, with_backoff=index == 0 and len(client.episodes) == 1)
    if len(client.episodes) > 1:
        if len(client.episodes) > len(shown):
            yield f"  and {count(len(client.episodes) - len(shown), 'more episode')}"
        yield f"  {client.client} waits, over {len(client.episodes)} episodes: {sentence(client.backoff)}"


def episode_sentence(client: ClientReport, episode: Episode, *, with_backoff: bool) -> str:
    """What the client did in one episode."""
    name = client.client
    policy = f" ({sentence(client.backoff)})" if with_backoff else ""
    retries = episode.retries
    if not retries:
        how_often = "once" if episode.failures == 1 else f"on {episode.failures} connections at once"
        return f"{name} failed {how_often} ({_causes(episode)}), and {_end(episode)}"
    least = "" if episode.gaps_before_outage is None else "at least "
    tries = f"retried {least}{'once' if retries == 1 else f'{retries} times'}"
    if episode.end == "not seen" and not least:  # without debug: it may have been served in between
        tries = f"failed {episode.failures} times"
    waited = f", waiting {waits(episode.waits_s)}" if episode.waits_s else ""
    hidden = f"{' and then' if waited else ','} unseen in an outage" if least else ""
    return f"{name} {tries}{waited}{hidden}{policy}, and {_end(episode)}"


def storm_sentences(storm: Storm) -> Iterator[str]:
    """What the clients did together; nothing of a disturbance with few clients and attempts."""
    if storm.clients < _FEW and storm.attempts < _FEW_ATTEMPTS:
        return
    span = f"from {seconds(storm.started_s)} s on for {seconds(storm.ended_s - storm.started_s)} s"
    if storm.had_outage and not storm.attempts:
        yield f"{span} an outage hid what the clients did"
    else:
        yield _while_it_lasted(storm, span)
    if storm.returned >= _FEW:
        herd = f"{storm.herd} of {storm.returned} clients came back within 0.1 s"
        yield f"  at its end {herd}{': a herd' if storm.is_herd else ''}; {storm.peak_after} attempts a second at most"


def _while_it_lasted(storm: Storm, span: str) -> str:
    before = f"{storm.rate_before:.3g} before" if storm.rate_before is not None else "what was not seen before"
    name = "a retry storm: " if storm.is_storm else ""
    unseen = " (those that were seen)" if storm.had_outage else ""
    return (
        f"{span} {name}{count(storm.clients, 'client')} made {count(storm.attempts, 'attempt')}{unseen}, "
        f"{storm.peak} a second at the peak against {before}"
    )


def count(number: int, noun: str) -> str:
    """``1 client``, ``2 clients``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def waits(gaps_s: Sequence[float]) -> str:
    """The first waits: ``0.1, 0.2, 0.4 s``."""
    shown = ", ".join(seconds(gap) for gap in gaps_s[:_MOST_GAPS])
    return f"{shown}{', ...' if len(gaps_s) > _MOST_GAPS else ''} s"


def _causes(episode: Episode) -> str:
    return ", ".join(
        f"{cause.sees} by {f'{chr(34)}{cause.rule}{chr(34)}' if cause.rule else cause.fault}"
        for cause in episode.causes[:3]
    )


def _end(episode: Episode) -> str:
    if episode.recovery_s is not None:
        return f"recovered after {seconds(episode.recovery_s)} s"
    return _ENDS[episode.end]
