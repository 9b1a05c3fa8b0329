"""Proxies, read and edited as Toxiproxy would."""

from collections.abc import Collection, Sequence
from typing import Any

import trio
from pydantic_core import PydanticCustomError

from faultproxy.addresses import Address, TcpAddress, host_port, parse_listen, parse_upstream
from faultproxy.config.loader import ConfigError, build_proxy
from faultproxy.config.schema import ProxyConfig
from faultproxy.control.edits import Edit, all_of, delete_proxy, patch_proxy, put_proxy
from faultproxy.control.http.toxiproxy.answers import Refused
from faultproxy.control.http.toxiproxy.applying import apply, cannot_bind, find
from faultproxy.control.http.toxiproxy.bodies import ProxyBody
from faultproxy.control.http.toxiproxy.flags import ALL_ADDRESSES
from faultproxy.control.http.toxiproxy.notes import Notes
from faultproxy.control.http.toxiproxy.proxy_toxics import ProxyToxics, read, without_toxics
from faultproxy.control.http.toxiproxy.toxics import to_rule
from faultproxy.control.layers import Layers
from faultproxy.control.loop import in_batches, in_thread
from faultproxy.control.manager import Manager, Source
from faultproxy.proxy.proxy import RunningProxy
from faultproxy.upstream.resolver import resolve

_RESOLVE_WITHIN_S = 10.0
_MANY = 20

NOWHERE = "not-an-address.invalid:1"
"""A name that nobody has (RFC 6761, section 6.4)."""

Shown = dict[str, Any]


class PopulateStopped(Exception):
    """Of a list of proxies, only the first could be made; ``shown`` are those."""

    def __init__(self, why: Refused, shown: Sequence[Shown]) -> None:
        super().__init__(str(why))
        self.why = why
        self.shown = shown


class ToxicProxies:
    """Each method raises Refused, and has done nothing then. ``source`` and ``file`` are what the log says of edits."""

    def __init__(self, manager: Manager, notes: Notes, source: Source = "api", file: str | None = None) -> None:
        self._manager = manager
        self._notes = notes
        self._toxics = ProxyToxics(manager, notes)
        self._source = source
        self._file = file

    def show(self, name: str) -> Shown:
        """A proxy, with the address that it really has; with the one that it was given, until it is enabled."""
        config = find(self._manager.layers, name)
        given = self._notes.listen(name)
        return {
            "name": name,
            "listen": given if given is not None else self._listen(name),
            "upstream": self._notes.upstream(name, config),
            "enabled": config.enabled,
            "toxics": self._toxics.show_all(name),
        }

    async def show_all(self) -> dict[str, Shown]:
        """All proxies by their names, in order."""
        names = in_batches(sorted(self._manager.config.proxies))
        return {name: self.show(name) async for name in names if name in self._manager.config.proxies}  # or it is gone

    async def create(self, body: ProxyBody) -> Shown:
        """A new proxy."""
        name = body.name
        _, place = await _place(body.listen or "")
        value = _value(body)

        def edit(layers: Layers) -> Layers:
            if name in layers.config.proxies:
                raise Refused(409, "proxy already exists")
            return put_proxy(name, value)(layers)

        await self._apply(edit, place=place)
        self._note(body)
        return self.show(name)

    async def update(self, name: str, body: ProxyBody) -> Shown:
        """Change what is given; another listen or upstream restarts the proxy, which drops its connections."""
        place = await _place(body.listen) if body.listen is not None else None
        restarted: list[RunningProxy] = []
        moving: list[str] = []
        changes: Shown = {}

        def edit(layers: Layers) -> Layers:
            config = find(layers, name)
            if place is not None and not self._is_at(name, config, place):
                changes["listen"] = str(place[0])
                moving.append(name)
            if body.upstream is not None and body.upstream != self._notes.upstream(name, config):
                changes["upstream"] = _upstream(body.upstream)
            if changes:
                restarted.append(self._manager.proxies[name])
            if body.enabled is not None:
                changes["enabled"] = body.enabled
            return patch_proxy(name, changes)(layers)

        await self._apply(edit, restarted, moving, place[1] if place is not None else "")
        if moving:
            self._notes.note_listen(name, body.listen or "")
        if "upstream" in changes:
            self._notes.note_upstream(name, body.upstream or "")
        await self._check_enabled(name)
        return self.show(name)

    async def delete(self, name: str) -> None:
        """Remove a proxy, and drop its connections."""
        removed: list[RunningProxy] = []

        def edit(layers: Layers) -> Layers:
            find(layers, name)
            removed.append(self._manager.proxies[name])
            return delete_proxy(name)(layers)

        await self._apply(edit, removed)

    async def reset(self) -> None:
        """Enable all proxies and remove all toxics, at once."""

        def edit(layers: Layers) -> Layers:
            return layers.with_proxies({name: without_toxics(its) for name, its in layers.config.proxies.items()})

        await self._apply(edit)
        await self._check_enabled(*self._manager.proxies)

    async def populate(self, bodies: Sequence[ProxyBody]) -> list[Shown]:
        """Make these proxies, in this order; one that has this listen and upstream already is left alone.

        All of them at once if that can be, otherwise one after another up to the first that cannot be made. Raises
        PopulateStopped.
        """
        done = 0
        try:
            try:
                await self._make(*bodies)
            except Refused:
                if len(bodies) < 2:
                    raise
                for body in bodies:
                    await self._make(body)
                    done += 1
        except Refused as why:
            raise PopulateStopped(why, [self.show(body.name) for body in bodies[:done]]) from None
        return [self.show(body.name) for body in bodies]

    async def _make(self, *bodies: ProxyBody) -> None:
        if not bodies:
            return
        places = [await _place(body.listen or "") for body in bodies]
        replaced: list[RunningProxy] = []
        put: dict[str, ProxyBody] = {}
        built = await _built(bodies)

        def edit(layers: Layers) -> Layers:
            if isinstance(built, ConfigError):
                raise built
            proxies = dict(layers.config.proxies)
            for body, place, made in zip(bodies, places, built, strict=True):
                name = body.name
                config = proxies.get(name)
                dials = self._notes.upstream(name, config) if config is not None else None
                if config is None or dials != (body.upstream or "") or not self._is_at(name, config, place):
                    proxies[name] = made
                    put[name] = body
                    replaced.extend([self._manager.proxies[name]] if name in self._manager.proxies else ())
            return layers.with_proxies(proxies)

        await self._apply(edit, replaced, put, places[0][1])
        for body in put.values():
            self._note(body)

    def _note(self, body: ProxyBody) -> None:
        name = body.name
        self._notes.note_listen(name, body.listen or "")
        self._notes.note_upstream(name, body.upstream or "")
        self._notes.note_toxics(name, read(body.toxics or ()))

    async def _apply(
        self, edit: Edit, restarted: Sequence[RunningProxy] = (), moving: Collection[str] = (), place: str = ""
    ) -> None:
        await apply(self._manager, edit, restarted, moving, self._source, self._file, place)
        self._notes.forget()

    async def _check_enabled(self, *names: str) -> None:
        """Disable those again whose port another process took while they were disabled, and say so."""
        failed = [name for name in names if self._manager.proxies[name].status().state == "failed"]
        if failed:
            places = ", ".join(map(self._listen, failed))
            await self._apply(all_of(*(patch_proxy(name, {"enabled": False}) for name in failed)))
            raise cannot_bind(places)

    def _listen(self, name: str) -> str:
        return _written(self._manager.proxies[name].listener.address)

    def _is_at(self, name: str, config: ProxyConfig, place: tuple[Address, str]) -> bool:
        """Whether a proxy has this address already; port 0 is another each time."""
        address, resolved = place
        given = self._notes.listen(name)
        if given is not None:
            return given == resolved
        if isinstance(address, TcpAddress) and address.port == 0:
            return False
        running = self._manager.proxies.get(name)
        is_the_same = running is not None and running.listener.configured == config.listen
        return config.listen == address or (is_the_same and self._listen(name) == resolved)


async def _built(bodies: Sequence[ProxyBody]) -> Sequence[ProxyConfig] | ConfigError:
    """New proxies, or what is wrong with the first that is; many of them in a thread, so that no byte waits.

    Raises Refused.
    """

    def build() -> Sequence[ProxyConfig] | ConfigError:
        try:
            return [build_proxy(body.name, _value(body)) for body in bodies]
        except ConfigError as error:
            return error

    return build() if len(bodies) < _MANY else await in_thread(build)


def _value(body: ProxyBody) -> Shown:
    """A new proxy as it stands in a file. Raises Refused."""
    return {
        "listen": str(_address(body.listen or "")),
        "upstream": _upstream(body.upstream or ""),
        "enabled": body.enabled is not False,
        "rules": [to_rule(toxic) for toxic in read(body.toxics or ())],
    }


def _upstream(sent: str) -> str:
    """An upstream as it stands in a file; what is no address is NOWHERE, as nothing can be dialled there either."""
    try:
        parse_upstream(sent)
    except PydanticCustomError:
        return NOWHERE
    return sent


def _address(listen: str) -> Address:
    if listen and ":" not in listen:
        raise Refused(500, f"listen tcp: address {listen}: missing port in address")
    try:
        address = parse_listen(f"{listen}0" if listen.endswith(":") else listen or ":0")
    except PydanticCustomError as error:
        raise Refused(500, f"listen tcp: {error}") from None
    if isinstance(address, TcpAddress) and address.host in ALL_ADDRESSES:
        return TcpAddress("", address.port)
    return address


async def _place(listen: str) -> tuple[Address, str]:
    """An address to listen at, and how it is written once its host is looked up. Raises Refused."""
    address = _address(listen)
    if isinstance(address, TcpAddress) and address.host:
        try:
            with trio.fail_after(_RESOLVE_WITHIN_S):
                (_, found), *_ = await resolve(address.host, address.port)
        except (OSError, trio.TooSlowError):
            raise Refused(500, f"listen tcp {listen}: no such host") from None
        return address, host_port(str(found[0]), address.port)
    return address, _written(address)


def _written(address: Address) -> str:
    """As Go writes an address: all of them are [::]."""
    return host_port("::", address.port) if isinstance(address, TcpAddress) and not address.host else str(address)
