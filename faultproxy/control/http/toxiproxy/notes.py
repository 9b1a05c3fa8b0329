"""What was sent, and neither a proxy nor a rule keeps: how addresses and toxics were written."""

from collections.abc import Iterable

from faultproxy.addresses import Address
from faultproxy.config.schema import ProxyConfig
from faultproxy.control.http.toxiproxy.toxics import Toxic
from faultproxy.control.manager import Manager
from faultproxy.rules.rule import BaseRule


class Notes:
    """A note is of a proxy or a rule as it was when the note was made; of another of the same name it says nothing.

    So whoever edits by other means than Toxiproxy's routes has nothing to tell. Forget() drops notes of what is gone.
    """

    def __init__(self, manager: Manager) -> None:
        self._manager = manager
        self._listens: dict[str, tuple[Address, str]] = {}
        self._upstreams: dict[str, tuple[object, str]] = {}
        self._toxics: dict[tuple[str, str], tuple[BaseRule, Toxic]] = {}

    def note_listen(self, proxy: str, sent: str) -> None:
        """The address to listen at that was asked for: what a proxy shows until it is enabled."""
        running = self._manager.proxies.get(proxy)
        if running is not None and not self._manager.config.proxies[proxy].enabled:
            self._listens[proxy] = running.listener.address, sent

    def listen(self, proxy: str) -> str | None:
        """The address that was asked for, of a proxy that is not enabled and was not since; else None."""
        running = self._manager.proxies.get(proxy)
        address, sent = self._listens.get(proxy, (None, None))
        if running is None or running.listener.address != address or self._manager.config.proxies[proxy].enabled:
            return None
        return sent

    def note_upstream(self, proxy: str, sent: str) -> None:
        """The upstream that was asked for, if the proxy dials another."""
        config = self._manager.config.proxies.get(proxy)
        if config is not None and str(config.upstream) != sent:
            self._upstreams[proxy] = config.upstream, sent

    def upstream(self, proxy: str, config: ProxyConfig) -> str:
        """The upstream of a proxy, as it was asked for."""
        noted, sent = self._upstreams.get(proxy, (None, ""))
        return sent if noted == config.upstream else str(config.upstream)

    def note_toxics(self, proxy: str, toxics: Iterable[Toxic]) -> None:
        """These toxics of a proxy, as they were sent."""
        sent = {toxic.name: toxic for toxic in toxics if toxic != toxic.normalized()}
        for rule in self._rules(proxy) if sent else ():
            if rule.name in sent:
                self._toxics[proxy, rule.name] = rule, sent[rule.name]

    def toxic(self, proxy: str, rule: BaseRule) -> Toxic | None:
        """The toxic that a rule is, as it was sent, if that says more than the rule."""
        noted, toxic = self._toxics.get((proxy, rule.name), (None, None))
        return toxic if noted == rule else None

    def forget(self) -> None:
        """Forget proxies that are enabled, and what is not the same any more."""
        self._listens = {name: note for name, note in self._listens.items() if self.listen(name) is not None}
        proxies = self._manager.config.proxies
        self._upstreams = {
            name: note
            for name, note in self._upstreams.items()
            if name in proxies and proxies[name].upstream == note[0]
        }
        self._toxics = {key: note for key, note in self._toxics.items() if note[0] in self._rules(key[0])}

    def _rules(self, proxy: str) -> tuple[BaseRule, ...]:
        config = self._manager.config.proxies.get(proxy)
        return config.rules if config is not None else ()
