"""Whether clients did what a rule expects of them, as sentences that say what was seen. Pure."""

from collections.abc import Iterator

from faultproxy.report.backoff import Policy
from faultproxy.report.episodes import Episode
from faultproxy.report.report import ClientReport, RetryReport
from faultproxy.report.text import count, seconds, sentence, waits
from faultproxy.text import one_line
from faultproxy.units import format_duration

_MOST = 5


def unmet_by_clients(
    report: RetryReport,
    proxy: str,
    rule: str,
    *,
    backoff: Policy | None = None,
    recovery_s: float | None = None,
    attempts: tuple[int | None, int | None] = (None, None),
) -> list[str]:
    """What the clients that this rule failed did otherwise than expected; the first five, and how many more.

    ``backoff`` is how they should wait, ``recovery_s`` how long each episode may take at most, ``attempts`` how many it
    should have at least and at most.
    """
    head = f'{proxy}: "{rule}" expected'
    clients = [
        (client, episodes)
        for client in report.clients
        if client.proxy == proxy and (episodes := [one for one in client.episodes if rule in one.rules])
    ]
    if not clients:
        what = _named(backoff) if backoff is not None else "clients to recover" if recovery_s else "attempts"
        return [f"{head} {what}, and failed no client whose attempts were seen"]
    unmet: list[str] = []
    for client, episodes in clients:
        name = one_line(client.client)
        if backoff is not None and client.backoff.kind != backoff:
            unmet.append(f"{head} {_named(backoff)}; {name} {_did(client)}")
        for episode in episodes:
            unmet += (f"{head} {sentence}" for sentence in _of_episode(name, episode, recovery_s, attempts))
    more = [f"{head} more: {len(unmet) - _MOST} further clients and episodes are not as expected"]
    return unmet[:_MOST] + (more if len(unmet) > _MOST else [])


def _of_episode(
    name: str, episode: Episode, recovery_s: float | None, attempts: tuple[int | None, int | None]
) -> Iterator[str]:
    if recovery_s is not None and (episode.recovery_s is None or episode.recovery_s > recovery_s):
        ended = "never came back" if episode.end == "never came back" else "did not recover"
        if episode.recovery_s is not None:
            ended = f"recovered after {seconds(episode.recovery_s)} s"
        yield f"recovery within {format_duration(recovery_s)}; {name} {ended}"
    least, most = attempts
    seen = "" if episode.gaps_before_outage is None else "at least "
    if least is not None and episode.attempts < least:
        yield f"at least {count(least, 'attempt')}; {name} made {seen}{episode.attempts}"
    if most is not None and episode.attempts > most:
        yield f"at most {count(most, 'attempt')}; {name} made {seen}{episode.attempts}"


def _named(backoff: Policy) -> str:
    return "no retry" if backoff == "none" else f"{backoff} backoff"


def _did(client: ClientReport) -> str:
    """What it did, in short."""
    if client.backoff.kind == "none":
        return "did not try again"
    longest = max(client.episodes, key=lambda episode: len(episode.waits_s))
    if not longest.waits_s:
        return f"is {sentence(client.backoff)}"
    return f"waited {waits(longest.waits_s)} ({sentence(client.backoff)})"
